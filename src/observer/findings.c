/* findings.c: rows of findings, and the rules about what happened. Those about what is now: findings_rules.c. */
#include "observer/findings_internal.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "observer/jot.h"
#include "wire/msgpack.h"

#define LOOK_SECONDS 1.0
/* Memory above this share of the limit when a worker was lost says why it may be. */
#define NEARLY_FULL 0.9

static const struct rule {
    const char *name;
    enum finding_severity severity;
    double threshold;
    const char *advice;
} rules[] = {
#define FINDING(ID, name, severity, threshold, unit, advice)                                       \
    {name, FINDING_##severity, threshold, advice},
#include "observer/findings.def"
};

/* ---- rules -------------------------------------------------------------------------------------- */

const char *finding_name(enum finding_kind kind)
{
    return rules[kind].name;
}

enum finding_severity finding_severity(enum finding_kind kind)
{
    return rules[kind].severity;
}

const char *finding_severity_name(enum finding_severity severity)
{
    static const char *const names[] = {"note", "warning", "error"};
    return names[severity];
}

const char *finding_advice(enum finding_kind kind)
{
    return rules[kind].advice;
}

void findings_defaults(struct findings *findings)
{
    for (int i = 0; i < FINDING_COUNT; i++) {
        findings->thresholds[i] = rules[i].threshold;
    }
}

void findings_configure(struct findings *findings, struct span settings)
{
    for (int i = 0; i < FINDING_COUNT; i++) {
        struct span raw;
        double number;
        bool is_on;
        if (msgpack_find(settings, rules[i].name, &raw) != OK) {
            continue;
        }
        struct msgpack_reader as_number = msgpack_reader(raw), as_bool = msgpack_reader(raw);
        if (msgpack_read_bool(&as_bool, &is_on) == OK) {
            findings->thresholds[i] = is_on ? rules[i].threshold : (double)NAN;
        } else if (msgpack_read_float(&as_number, &number) == OK) {
            findings->thresholds[i] = number;
        }
    }
}

/* ---- rows --------------------------------------------------------------------------------------- */

static void row_free(struct finding_row *row)
{
    text_fini(&row->subject);
    text_fini(&row->sentence);
    text_fini(&row->link);
    for (uint32_t i = 0; i < FINDING_KEYS; i++) {
        text_fini(&row->keys[i]);
    }
    mem_free(row);
}

void findings_clear(struct findings *findings)
{
    for (uint32_t i = 0; i < findings->rows.count; i++) {
        row_free(findings->rows.items[i]);
    }
    vec_fini(&findings->rows);
    map_fini(&findings->places);
    struct findings kept = {.last_id = findings->last_id, .dropped = findings->dropped};
    memcpy(kept.thresholds, findings->thresholds, sizeof kept.thresholds);
    *findings = kept;
}

static void place_name(enum finding_kind kind, struct span subject, struct text *out)
{
    text_printf(out, "%d ", (int)kind);
    text_add(out, subject);
}

/* The oldest goes. */
static void trim(struct findings *findings)
{
    if (findings->rows.count < FINDINGS_MAX) {
        return;
    }
    struct finding_row *row = findings->rows.items[0];
    struct text name = {0};
    place_name(row->kind, text_span(&row->subject), &name);
    map_remove(&findings->places, text_span(&name));
    text_fini(&name);
    row_free(row);
    findings->rows.count--;
    memmove(findings->rows.items, findings->rows.items + 1,
            findings->rows.count * sizeof *findings->rows.items);
}

static struct finding_row *row_of(struct look *look, enum finding_kind kind, struct span subject,
                                  double time)
{
    struct findings *findings = look->findings;
    if (isnan(findings->thresholds[kind])) {
        return NULL;
    }
    struct text name = {0};
    place_name(kind, subject, &name);
    struct map_entry *entry = map_find(&findings->places, text_span(&name));
    struct finding_row *row = entry == NULL ? NULL : entry->value.pointer;
    if (row == NULL) {
        trim(findings);
        row = mem_zalloc(1, sizeof *row);
        row->id = ++findings->last_id;
        row->kind = kind;
        row->first = time;
        text_add(&row->subject, subject);
        map_put(&findings->places, text_span(&name), NULL)->value.pointer = row;
        vec_push(&findings->rows, row);
    }
    text_fini(&name);
    row->last = time;
    return row;
}

struct finding_row *finding_found(struct look *look, enum finding_kind kind, struct span subject)
{
    struct finding_row *row = row_of(look, kind, subject, look->tables->time);
    if (row != NULL) {
        row->was_found = true;
        if (!row->is_active) {
            row->is_active = true;
            row->count++;
            row->tick = look->tables->tick;
        }
    }
    return row;
}

struct finding_row *finding_happened(struct look *look, enum finding_kind kind, struct span subject,
                                     double time)
{
    struct finding_row *row = row_of(look, kind, subject, time);
    if (row != NULL) {
        row->count++;
        row->tick = look->tables->tick;
    }
    return row;
}

void finding_say(struct look *look, struct finding_row *row, const char *format, ...)
{
    struct text sentence = {0};
    va_list arguments;
    va_start(arguments, format);
    text_vprintf(&sentence, format, arguments);
    va_end(arguments);
    if (!span_equal(text_span(&sentence), text_span(&row->sentence))) {
        row->tick = look->tables->tick;
    }
    text_fini(&row->sentence);
    row->sentence = sentence;
}

void finding_add_key(struct finding_row *row, struct span key)
{
    for (uint32_t i = 0; i < row->key_count; i++) {
        if (span_equal(text_span(&row->keys[i]), key)) {
            return;
        }
    }
    if (row->key_count < FINDING_KEYS) {
        text_add(&row->keys[row->key_count++], key);
    }
}

void finding_set_link(struct finding_row *row, const char *before, struct span name,
                      const char *after)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    text_clear(&row->link);
    text_add_cstr(&row->link, before);
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] != '\0' && strchr(plain, name.data[i]) != NULL) {
            text_add_char(&row->link, (char)name.data[i]);
        } else {
            text_printf(&row->link, "%%%02X", name.data[i]);
        }
    }
    text_add_cstr(&row->link, after);
}

void finding_worker_name(const struct tables *tables, uint32_t worker, struct text *out)
{
    const struct worker_row *row = tables_worker(tables, worker);
    if (row == NULL) {
        text_printf(out, "worker %u", worker);
    } else if (row->name.size == 0 || span_equal(text_span(&row->name), text_span(&row->address))) {
        text_add(out, text_span(&row->address));
    } else {
        text_printf(out, "%s (%s)", text_cstr(&row->name), text_cstr(&row->address));
    }
}

/* ---- what happened ------------------------------------------------------------------------------ */

static struct span first_line(struct span text)
{
    const uint8_t *end = text.size == 0 ? NULL : memchr(text.data, '\n', text.size);
    return end == NULL ? text : span_of(text.data, (size_t)(end - text.data));
}

static bool contains(struct span text, const char *word)
{
    size_t size = strlen(word);
    for (size_t i = 0; i + size <= text.size; i++) {
        if (memcmp(text.data + i, word, size) == 0) {
            return true;
        }
    }
    return false;
}

/* A process that ran tasks died, and the worker lives. Its certificate begins with how. */
static void death(struct look *look, const struct line_row *line)
{
    struct span how = first_line(text_span(&line->text));
    bool is_memory = contains(how, "memory was out") || contains(how, "memory limit");
    enum finding_kind kind = is_memory ? FINDING_OUT_OF_MEMORY : FINDING_EXECUTOR_DIED;
    struct finding_row *row = finding_happened(look, kind, text_span(&line->name), line->time);
    if (row == NULL) {
        return;
    }
    struct text worker = {0};
    row->worker = line->level;
    finding_worker_name(look->tables, row->worker, &worker);
    finding_add_key(row, text_span(&line->name));
    finding_set_link(row, "info/task/", text_span(&line->name), ".html");
    finding_say(look, row, "%sTask %s took the process that ran it along%s, on worker %s: %.*s.",
                is_memory ? "Out of memory (OOM). " : "", text_cstr(&line->name),
                row->count > 1 ? ", again" : "", text_cstr(&worker), (int)how.size,
                (const char *)how.data);
    text_fini(&worker);
}

static void deaths(struct look *look)
{
    struct lines *lines = &look->tables->deaths;
    uint64_t at = look->findings->deaths;
    at = at < lines_first(lines) ? lines_first(lines) : at;
    for (; at < lines->next; at++) {
        death(look, lines_at(lines, at));
    }
    look->findings->deaths = at;
}

static void lost(struct look *look, const struct worker_row *worker)
{
    struct finding_row *row =
        finding_happened(look, FINDING_WORKER_LOST, text_span(&worker->address), worker->removed);
    if (row == NULL) {
        return;
    }
    struct text name = {0}, why = {0};
    double share = worker->memory_limit > 0
                       ? (double)worker->sample.process / (double)worker->memory_limit
                       : 0;
    row->worker = worker->id;
    for (uint32_t i = 0; i < worker->victim_count; i++) {
        finding_add_key(row, text_span(&worker->victims[i]));
    }
    finding_worker_name(look->tables, worker->id, &name);
    finding_set_link(row, "info/worker/", text_span(&worker->address), ".html");
    if (contains(text_span(&worker->reason), "ttl")) {
        text_add_cstr(&why, "it was not heard of for too long");
    } else {
        text_add_cstr(&why, "its connection broke");
    }
    if (share > NEARLY_FULL) {
        text_printf(&why,
                    "; its memory was at %.0f %% of its limit, so perhaps it was killed for lack "
                    "of memory (OOM)",
                    100 * share);
    }
    finding_say(
        look, row,
        "Worker %s was lost: %s. It ran %u tasks, and had %u results that were nowhere else.",
        text_cstr(&name), text_cstr(&why), worker->was_busy, worker->lost);
    text_fini(&name);
    text_fini(&why);
}

static void workers_lost(struct look *look)
{
    const struct tables *tables = look->tables;
    for (uint32_t i = 0; i < tables->workers.count; i++) {
        struct worker_row *worker = tables->workers.items[i];
        if (worker != NULL && worker->removed > 0 && !worker->was_expected &&
            !worker->is_found_lost) {
            worker->is_found_lost = true;
            lost(look, worker);
        }
    }
}

/* Tasks that were given up because what ran them died too often. */
static void given_up(struct look *look)
{
    const struct tables *tables = look->tables;
    enum { KILLED_WORKER_CAUSE = 1 };
    for (uint32_t i = 0; i < tables->failures.count; i++) {
        const struct failure_row *failure = tables->failures.items[i];
        if (failure->cause != KILLED_WORKER_CAUSE ||
            failure->tick <= look->findings->failures_tick || failure->key_count == 0) {
            continue;
        }
        char number[16];
        int size = snprintf(number, sizeof number, "%u", failure->id);
        struct span subject = span_of(number, (size_t)size);
        struct finding_row *row =
            finding_happened(look, FINDING_KILLED_WORKER, subject, failure->last);
        if (row == NULL) {
            continue;
        }
        row->count = failure->count;
        for (uint32_t k = 0; k < failure->key_count; k++) {
            finding_add_key(row, text_span(&failure->keys[k]));
        }
        finding_set_link(row, "failure/", subject, "");
        struct span how = first_line(text_span(&failure->message));
        finding_say(look, row, "Task %s%s given up: %.*s.", text_cstr(&failure->keys[0]),
                    failure->count > 1 ? " and others were" : " was", (int)how.size,
                    (const char *)how.data);
    }
    look->findings->failures_tick = tables->tick;
}

static void large_graphs(struct look *look)
{
    struct lines *lines = &look->tables->large;
    uint64_t at = look->findings->large;
    at = at < lines_first(lines) ? lines_first(lines) : at;
    for (; at < lines->next; at++) {
        const struct line_row *line = lines_at(lines, at);
        struct finding_row *row =
            (double)line->tasks >= look->findings->thresholds[FINDING_LARGE_GRAPH]
                ? finding_happened(look, FINDING_LARGE_GRAPH, text_span(&line->name), line->time)
                : NULL;
        if (row != NULL) {
            struct text size = {0};
            text_add_bytes_size(&size, (double)line->tasks);
            finding_set_link(row, "scheduler", (struct span){0}, "");
            finding_say(look, row, "Client %s sent a graph of %s%s.", text_cstr(&line->name),
                        text_cstr(&size), row->count > 1 ? ", and others before" : "");
            text_fini(&size);
        }
    }
    look->findings->large = at;
}

static void mismatches(struct look *look)
{
    struct lines *lines = &look->tables->versions;
    uint64_t at = look->findings->versions;
    at = at < lines_first(lines) ? lines_first(lines) : at;
    for (; at < lines->next; at++) {
        const struct line_row *line = lines_at(lines, at);
        struct finding_row *row =
            finding_happened(look, FINDING_VERSIONS, text_span(&line->name), line->time);
        if (row != NULL) {
            finding_say(look, row, "%s has other versions of packages than the cluster.\n%s",
                        text_cstr(&line->name), text_cstr(&line->text));
        }
    }
    look->findings->versions = at;
}

/* The longest turn since the beginning has become longer. */
static void lag(struct look *look)
{
    double longest = look->tables->totals.longest;
    if (longest <= look->findings->loop_longest) {
        return;
    }
    look->findings->loop_longest = longest;
    struct finding_row *row =
        longest >= look->findings->thresholds[FINDING_LOOP_LAG]
            ? finding_happened(look, FINDING_LOOP_LAG, SPAN("loop"), look->tables->time)
            : NULL;
    if (row != NULL) {
        finding_set_link(row, "scheduler", (struct span){0}, "");
        finding_say(look, row, "The scheduler was busy with one thing for %.2f s.", longest);
    }
}

static void records_lost(struct look *look)
{
    if (look->dropped <= look->findings->dropped) {
        return;
    }
    look->findings->dropped = look->dropped;
    struct finding_row *row =
        (double)look->dropped >= look->findings->thresholds[FINDING_RECORDS_LOST]
            ? finding_happened(look, FINDING_RECORDS_LOST, SPAN("ring"), look->tables->time)
            : NULL;
    if (row != NULL) {
        finding_say(look, row, "%llu records of what happened found no room and are lost.",
                    (unsigned long long)look->dropped);
    }
}

/* ---- looking ------------------------------------------------------------------------------------ */

void findings_look(struct tables *tables, uint64_t dropped, double now)
{
    struct findings *findings = &tables->findings;
    bool is_due = now - findings->looked_at >= LOOK_SECONDS || now < findings->looked_at;
    if (!is_due || (tables->tick == findings->looked_tick && dropped <= findings->dropped)) {
        return;
    }
    struct look look = {tables, findings, now, dropped};
    tables->tick++; /* viewers that have seen all that was get what is found */
    findings->looked_at = now;
    for (uint32_t i = 0; i < findings->rows.count; i++) {
        findings->rows.items[i]->was_found = false;
    }
    deaths(&look);
    workers_lost(&look);
    given_up(&look);
    large_graphs(&look);
    mismatches(&look);
    lag(&look);
    records_lost(&look);
    findings_of_now(&look);
    for (uint32_t i = 0; i < findings->rows.count; i++) {
        struct finding_row *row = findings->rows.items[i];
        if (row->is_active && !row->was_found) {
            row->is_active = false;
            row->tick = tables->tick;
        }
    }
    findings->looked_tick = tables->tick;
}

bool findings_hold(const struct findings *findings)
{
    for (uint32_t i = 0; i < findings->rows.count; i++) {
        if (findings->rows.items[i]->is_active) {
            return true;
        }
    }
    return false;
}

/* ---- telling ------------------------------------------------------------------------------------ */

/* The last minutes of a worker's memory. */
static void put_memory(const struct worker_row *worker, struct jot *jot)
{
    jot_open(jot, '{');
    const char *names[] = {"time", "process"};
    for (int column = 0; column < 2; column++) {
        jot_name(jot, names[column]);
        jot_open(jot, '[');
        for (uint32_t i = 0; i < WORKER_MEMORY_SAMPLES; i++) {
            uint32_t at = (worker->memory_next + i) % WORKER_MEMORY_SAMPLES;
            const struct memory_sample *sample = &worker->memory[at];
            if (sample->time > 0 && column == 0) {
                jot_real(jot, sample->time);
            } else if (sample->time > 0) {
                jot_int(jot, sample->process);
            }
        }
        jot_close(jot, ']');
    }
    jot_put_int(jot, "limit", worker->memory_limit);
    jot_close(jot, '}');
}

void finding_put_detail(const struct tables *tables, const struct finding_row *row, struct jot *jot)
{
    const struct worker_row *worker = row->worker == 0 ? NULL : tables_worker(tables, row->worker);
    jot_name(jot, "worker");
    if (worker == NULL) {
        jot_null(jot);
    } else {
        jot_text(jot, text_span(&worker->address));
    }
    jot_name(jot, "keys");
    jot_open(jot, '[');
    for (uint32_t i = 0; i < row->key_count; i++) {
        jot_text(jot, text_span(&row->keys[i]));
    }
    jot_close(jot, ']');
    jot_name(jot, "memory");
    if (worker == NULL) {
        jot_null(jot);
    } else {
        put_memory(worker, jot);
    }
}

void finding_put(const struct tables *tables, const struct finding_row *row, struct jot *jot)
{
    jot_open(jot, '{');
    jot_put_int(jot, "id", row->id);
    jot_put_cstr(jot, "kind", finding_name(row->kind));
    jot_put_cstr(jot, "severity", finding_severity_name(finding_severity(row->kind)));
    jot_put_text(jot, "sentence", &row->sentence);
    jot_put_cstr(jot, "advice", finding_advice(row->kind));
    jot_put_text(jot, "link", &row->link);
    jot_put_int(jot, "count", (int64_t)row->count);
    jot_put_real(jot, "first", row->first);
    jot_put_real(jot, "last", row->last);
    jot_put_bool(jot, "active", row->is_active);
    finding_put_detail(tables, row, jot);
    jot_close(jot, '}');
}
