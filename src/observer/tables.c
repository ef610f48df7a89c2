/* tables.c: rows: finding, making and forgetting them. Records become rows in tables_apply.c. */
#include "observer/tables.h"
#include "observer/activities.h"

#include "base/alloc.h"
#include "observer/tables_internal.h"
#include "wire/key.h"

struct tables *tables_create(size_t bytes_max)
{
    struct tables *tables = mem_zalloc(1, sizeof *tables);
    tables->runs.bytes_max = bytes_max;
    findings_defaults(&tables->findings);
    return tables;
}

static void worker_free(struct worker_row *row)
{
    if (row == NULL) {
        return;
    }
    struct text *texts[] = {&row->address,   &row->name,   &row->host,  &row->nanny,
                            &row->directory, &row->status, &row->reason};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        text_fini(texts[i]);
    }
    for (uint32_t i = 0; i < WORKER_VICTIMS; i++) {
        text_fini(&row->victims[i]);
    }
    vec_fini(&row->threads);
    mem_free(row);
}

static void failure_free(struct failure_row *row)
{
    struct text *texts[] = {&row->type, &row->message, &row->where, &row->exception,
                            &row->traceback};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        text_fini(texts[i]);
    }
    for (uint32_t i = 0; i < FAILURE_SAMPLES; i++) {
        text_fini(&row->keys[i]);
    }
    mem_free(row);
}

static void lines_fini(struct lines *lines)
{
    for (uint32_t i = 0; i < lines->rows.count; i++) {
        text_fini(&lines->rows.items[i].name);
        text_fini(&lines->rows.items[i].text);
    }
    vec_fini(&lines->rows);
    lines->next = lines->base = 0;
}

static void groups_clear(struct tables *tables)
{
    for (uint32_t i = 0; i < tables->groups.count; i++) {
        struct group_row *row = tables->groups.items[i];
        text_fini(&row->name);
        vec_fini(&row->dependencies);
        mem_free(row);
    }
    vec_fini(&tables->groups);
    map_fini(&tables->group_places);
}

static void prefixes_clear(struct tables *tables)
{
    for (uint32_t i = 0; i < tables->prefixes.count; i++) {
        if (tables->prefixes.items[i] != NULL) {
            text_fini(&tables->prefixes.items[i]->name);
            mem_free(tables->prefixes.items[i]);
        }
    }
    vec_fini(&tables->prefixes);
}

static void texts_clear(struct tables *tables)
{
    for (uint32_t i = 0; i < tables->texts.count; i++) {
        text_fini(&tables->texts.items[i]);
    }
    vec_fini(&tables->texts);
    tables->texts_gone = 0;
    tables->texts_bytes = 0;
}

static void unrunnable_clear(struct unrunnable *unrunnable)
{
    for (uint32_t i = 0; i < UNRUNNABLE_SAMPLES; i++) {
        text_fini(&unrunnable->keys[i]);
        text_fini(&unrunnable->reasons[i]);
    }
    *unrunnable = (struct unrunnable){0};
}

void tables_clear(struct tables *tables)
{
    for (uint32_t i = 0; i < tables->workers.count; i++) {
        worker_free(tables->workers.items[i]);
    }
    vec_fini(&tables->workers);
    tables->worker_count = 0;
    tables->gone_count = 0;
    prefixes_clear(tables);
    groups_clear(tables);
    texts_clear(tables);
    for (uint32_t i = 0; i < tables->failures.count; i++) {
        failure_free(tables->failures.items[i]);
    }
    vec_fini(&tables->failures);
    map_fini(&tables->failure_places);
    failed_rows_fini(&tables->failed);
    lines_fini(&tables->logs);
    lines_fini(&tables->events);
    lines_fini(&tables->graphs);
    lines_fini(&tables->statuses);
    lines_fini(&tables->deaths);
    lines_fini(&tables->large);
    lines_fini(&tables->versions);
    unrunnable_clear(&tables->unrunnable);
    vec_fini(&tables->paces);
    map_fini(&tables->pace_places);
    findings_clear(&tables->findings);
    vec_fini(&tables->transfers);
    map_fini(&tables->transfer_places);
    activities_clear(tables);
    for (uint32_t i = 0; i < tables->moved.count; i++) {
        text_fini(&tables->moved.items[i].type);
    }
    vec_fini(&tables->moved);
    for (uint32_t i = 0; i < tables->semaphores.count; i++) {
        text_fini(&tables->semaphores.items[i].name);
    }
    vec_fini(&tables->semaphores);
    for (uint32_t i = 0; i < tables->lags.count; i++) {
        text_fini(&tables->lags.items[i].name);
    }
    vec_fini(&tables->lags);
    for (uint32_t i = 0; i < tables->clients.count; i++) {
        text_fini(&tables->clients.items[i]);
    }
    vec_fini(&tables->clients);
    runs_clear(&tables->runs);
}

void tables_destroy(struct tables *tables)
{
    tables_clear(tables);
    text_fini(&tables->reason);
    text_fini(&tables->cluster_id);
    text_fini(&tables->address);
    text_fini(&tables->version);
    mem_free(tables);
}

void table_set_text(struct text *text, struct span value)
{
    text_clear(text);
    text_add(text, value);
}

/* ---- workers ------------------------------------------------------------------------------------ */

struct worker_row *tables_worker(const struct tables *tables, uint32_t id)
{
    return id < tables->workers.count ? tables->workers.items[id] : NULL;
}

struct worker_row *tables_worker_by_address(const struct tables *tables, struct span address)
{
    for (uint32_t i = tables->workers.count; i-- > 0;) {
        struct worker_row *row = tables->workers.items[i];
        if (row != NULL && span_equal(text_span(&row->address), address)) {
            return row;
        }
    }
    return NULL;
}

struct worker_row *table_worker_make(struct tables *tables, uint32_t id)
{
    if (id == 0 || id > TABLE_ID_MAX) {
        return NULL;
    }
    while (tables->workers.count <= id) {
        vec_push(&tables->workers, NULL);
    }
    struct worker_row **place = &tables->workers.items[id];
    if (*place == NULL) {
        *place = mem_zalloc(1, sizeof **place);
        (*place)->id = id;
        tables->worker_count++;
    }
    return *place;
}

/* Of those that left, the oldest go. */
void table_workers_trim(struct tables *tables)
{
    for (uint32_t i = 0; i < tables->workers.count && tables->gone_count > TABLE_GONE_MAX; i++) {
        struct worker_row *row = tables->workers.items[i];
        if (row != NULL && row->removed > 0) {
            worker_free(row);
            tables->workers.items[i] = NULL;
            tables->worker_count--;
            tables->gone_count--;
        }
    }
}

uint16_t table_lane(struct worker_row *worker, uint64_t thread)
{
    for (uint32_t i = 0; i < worker->threads.count; i++) {
        if (worker->threads.items[i] == thread) {
            return (uint16_t)i;
        }
    }
    if (worker->threads.count >= 4096) { /* threads come and go: share the last lane */
        return 4095;
    }
    vec_push(&worker->threads, thread);
    return (uint16_t)(worker->threads.count - 1);
}

/* ---- prefixes, groups, texts -------------------------------------------------------------------- */

struct prefix_row *table_prefix_make(struct tables *tables, uint32_t id)
{
    if (id == 0 || id > TABLE_ID_MAX) {
        return NULL;
    }
    while (tables->prefixes.count < id) {
        vec_push(&tables->prefixes, NULL);
    }
    struct prefix_row **place = &tables->prefixes.items[id - 1];
    if (*place == NULL) {
        *place = mem_zalloc(1, sizeof **place);
        (*place)->id = id;
    }
    return *place;
}

const struct prefix_row *tables_prefix(const struct tables *tables, uint32_t id)
{
    return id == 0 || id > tables->prefixes.count ? NULL : tables->prefixes.items[id - 1];
}

const char *tables_prefix_name(const struct tables *tables, uint32_t id)
{
    const struct prefix_row *row = tables_prefix(tables, id);
    return row == NULL ? "" : text_cstr(&row->name);
}

static struct span id_name(const uint32_t *id)
{
    return span_of(id, sizeof *id);
}

struct group_row *tables_group(const struct tables *tables, uint32_t id)
{
    struct map_entry *entry = map_find(&tables->group_places, id_name(&id));
    return entry == NULL ? NULL : tables->groups.items[entry->value.number];
}

struct group_row *table_group_make(struct tables *tables, uint32_t id)
{
    bool is_new;
    if (tables->groups.count >= TABLE_ID_MAX) {
        return NULL;
    }
    struct map_entry *entry = map_put(&tables->group_places, id_name(&id), &is_new);
    if (is_new) {
        struct group_row *row = mem_zalloc(1, sizeof *row);
        row->id = id;
        entry->value.number = tables->groups.count;
        vec_push(&tables->groups, row);
    }
    return tables->groups.items[entry->value.number];
}

/* Texts come numbered one after the other; a hole is one that was lost. */
#define TEXTS_BYTES_MAX ((size_t)32 << 20)

void table_text_put(struct tables *tables, uint32_t id, struct span text)
{
    uint64_t end = (uint64_t)tables->texts_gone + tables->texts.count;
    if (id == 0 || id <= end || id > end + TABLE_ID_MAX) {
        return;
    }
    while ((uint64_t)tables->texts_gone + tables->texts.count < id) {
        vec_push(&tables->texts, (struct text){0});
    }
    text_add(&tables->texts.items[tables->texts.count - 1], text);
    tables->texts_bytes += text.size + sizeof(struct text);
    tables->texts_told += text.size;
    if (tables->texts_bytes > TEXTS_BYTES_MAX) { /* the older half goes */
        uint32_t half = tables->texts.count / 2;
        for (uint32_t i = 0; i < half; i++) {
            tables->texts_bytes -= tables->texts.items[i].size + sizeof(struct text);
            text_fini(&tables->texts.items[i]);
        }
        memmove(tables->texts.items, tables->texts.items + half,
                (tables->texts.count - half) * sizeof *tables->texts.items);
        tables->texts.count -= half;
        tables->texts_gone += half;
    }
}

struct span table_text(const struct tables *tables, uint32_t id)
{
    if (id <= tables->texts_gone || id - tables->texts_gone > tables->texts.count) {
        return (struct span){0};
    }
    return text_span(&tables->texts.items[id - tables->texts_gone - 1]);
}

/* ---- clients ------------------------------------------------------------------------------------ */

void table_client_set(struct tables *tables, uint32_t id, struct span name)
{
    if (id > TABLE_ID_MAX) {
        return;
    }
    while (tables->clients.count <= id) {
        vec_push(&tables->clients, (struct text){0});
    }
    table_set_text(&tables->clients.items[id], name);
}

const char *tables_client(const struct tables *tables, uint32_t id)
{
    return id < tables->clients.count ? text_cstr(&tables->clients.items[id]) : "";
}

bool table_print_key(struct text *out, struct span key)
{
    struct arena scratch;
    struct span canonical;
    arena_init(&scratch);
    bool is_key = key_canonical(key, &scratch, &canonical) == OK;
    if (is_key) {
        key_print(out, canonical);
    }
    arena_fini(&scratch);
    return is_key;
}

/* ---- lines -------------------------------------------------------------------------------------- */

struct line_row *table_line_add(struct lines *lines)
{
    if (lines->rows.count < TABLE_LINES_MAX) {
        vec_push(&lines->rows, (struct line_row){0});
    }
    struct line_row *row = &lines->rows.items[(lines->next - lines->base) % TABLE_LINES_MAX];
    text_clear(&row->name);
    text_clear(&row->text);
    row->n = lines->next++;
    return row;
}

uint64_t lines_first(const struct lines *lines)
{
    return lines->next - lines->rows.count;
}

const struct line_row *lines_at(const struct lines *lines, uint64_t n)
{
    return n < lines_first(lines) || n >= lines->next
               ? NULL
               : &lines->rows.items[(n - lines->base) % TABLE_LINES_MAX];
}

/* ---- failures ----------------------------------------------------------------------------------- */

void table_failures_trim(struct tables *tables)
{
    if (tables->failures.count < TABLE_FAILURES_MAX) {
        return;
    }
    uint32_t half = TABLE_FAILURES_MAX / 2; /* the oldest half, seldom */
    for (uint32_t i = 0; i < half; i++) {
        failure_free(tables->failures.items[i]);
    }
    memmove(tables->failures.items, tables->failures.items + half,
            (tables->failures.count - half) * sizeof *tables->failures.items);
    tables->failures.count -= half;
    map_fini(&tables->failure_places); /* those that are kept go on under new rows */
}

static void failure_name(const struct failure_row *row, struct text *out)
{
    text_printf(out, "%u\n%s\n%s", row->prefix, text_cstr(&row->type), text_cstr(&row->where));
}

struct failure_row *table_failure_find(const struct tables *tables, const struct failure_row *like)
{
    struct text name = {0};
    failure_name(like, &name);
    struct map_entry *entry = map_find(&tables->failure_places, text_span(&name));
    text_fini(&name);
    return entry == NULL ? NULL : entry->value.pointer;
}

void table_failure_put(struct tables *tables, struct failure_row *row)
{
    struct text name = {0};
    failure_name(row, &name);
    map_put(&tables->failure_places, text_span(&name), NULL)->value.pointer = row;
    text_fini(&name);
    vec_push(&tables->failures, row);
}

/* ---- transfers ---------------------------------------------------------------------------------- */

struct transfer_row *table_transfer_make(struct tables *tables, uint32_t from, uint32_t to)
{
    uint32_t pair[2] = {from, to};
    bool is_new;
    if (tables->transfers.count >= TABLE_ID_MAX) {
        return NULL;
    }
    struct map_entry *entry =
        map_put(&tables->transfer_places, span_of(pair, sizeof pair), &is_new);
    if (is_new) {
        struct transfer_row row = {.from = from, .to = to};
        entry->value.number = tables->transfers.count;
        vec_push(&tables->transfers, row);
    }
    return &tables->transfers.items[entry->value.number];
}

/* ---- seconds ------------------------------------------------------------------------------------ */

const struct second_row *tables_second(const struct tables *tables, uint64_t second)
{
    const struct second_row *row = &tables->seconds[second % SERIES_SECONDS];
    return row->second == second ? row : NULL;
}

struct second_row *table_second_make(struct tables *tables, double time)
{
    if (!(time >= 1 && time < 1e11)) {
        return NULL;
    }
    uint64_t second = (uint64_t)time;
    struct second_row *row = &tables->seconds[second % SERIES_SECONDS];
    if (row->second > second) {
        return NULL; /* longer ago than is kept */
    }
    if (row->second != second) {
        *row = (struct second_row){.second = second};
    }
    tables->second_changed = second < tables->second_changed ? second : tables->second_changed;
    return row;
}

#define RATE_SECONDS 5u

void tables_rates(const struct tables *tables, double now, double out_rates[3])
{
    uint64_t sums[3] = {0};
    for (uint32_t i = 1; i <= RATE_SECONDS && now > RATE_SECONDS; i++) {
        const struct second_row *row = tables_second(tables, (uint64_t)now - i);
        if (row != NULL) {
            sums[0] += row->runs;
            sums[1] += row->failures;
            sums[2] += row->transfers;
        }
    }
    for (int i = 0; i < 3; i++) {
        out_rates[i] = (double)sums[i] / RATE_SECONDS;
    }
}

double tables_threads_busy(const struct tables *tables, double now)
{
    double busy = 0;
    for (uint32_t i = 1; i <= RATE_SECONDS && now > RATE_SECONDS; i++) {
        const struct second_row *row = tables_second(tables, (uint64_t)now - i);
        busy += row == NULL ? 0 : row->busy;
    }
    return busy / RATE_SECONDS;
}
