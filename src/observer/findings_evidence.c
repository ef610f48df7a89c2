/* findings_evidence.c: records that only findings look at, taken into the tables. */
#include "observer/tables_internal.h"
#include "wire/msgpack.h"

#define PACES_MAX 65536u
#define MEMORY_PAUSE 0.9

void evidence_run(struct tables *tables, const struct record_run *record, double seconds)
{
    uint32_t pair[2] = {record->worker, record->prefix};
    struct span name = span_of(pair, sizeof pair);
    struct map_entry *entry = map_find(&tables->pace_places, name);
    if (entry == NULL && tables->paces.count < PACES_MAX) {
        struct pace_row row = {.worker = record->worker, .prefix = record->prefix};
        entry = map_put(&tables->pace_places, name, NULL);
        entry->value.number = tables->paces.count;
        vec_push(&tables->paces, row);
    }
    if (entry != NULL && (record->head.flags & RUN_ERRED) == 0) {
        struct pace_row *row = &tables->paces.items[entry->value.number];
        row->count++;
        row->seconds += seconds;
    }
}

void evidence_memory(struct worker_row *worker, const struct record_worker_sample *record)
{
    uint32_t last = (worker->memory_next + WORKER_MEMORY_SAMPLES - 1) % WORKER_MEMORY_SAMPLES;
    if (record->last_seen - worker->memory[last].time >= MEMORY_PAUSE) {
        struct memory_sample sample = {record->last_seen, record->process};
        worker->memory[worker->memory_next] = sample;
        worker->memory_next = (worker->memory_next + 1) % WORKER_MEMORY_SAMPLES;
    }
}

/* The key that the text begins with, as people write it; what follows is left in `rest`. */
static bool take_key(struct span text, struct text *out, struct span *out_rest)
{
    struct msgpack_reader reader = msgpack_reader(text);
    struct span key;
    text_clear(out);
    if (msgpack_read_value(&reader, &key) != OK || !table_print_key(out, key)) {
        return false;
    }
    *out_rest = span_of(key.data + key.size, text.size - key.size);
    return true;
}

void evidence_victim(struct tables *tables, const struct record_victim *record, struct span text)
{
    struct worker_row *worker = tables_worker(tables, record->worker);
    struct text key = {0};
    struct span rest;
    if (!take_key(text, &key, &rest)) {
        text_fini(&key);
        return;
    }
    if (rest.size > 0) {
        struct line_row *row = table_line_add(&tables->deaths);
        row->time = record->time;
        row->level = record->worker;
        text_add(&row->name, text_span(&key));
        text_add(&row->text, rest);
    } else if (worker != NULL && worker->victim_count < WORKER_VICTIMS) {
        text_add(&worker->victims[worker->victim_count++], text_span(&key));
    }
    text_fini(&key);
}

void evidence_graph(struct tables *tables, const struct record_graph_bytes *record)
{
    struct line_row *row = table_line_add(&tables->large);
    row->time = record->time;
    row->tasks = record->bytes;
    text_add_cstr(&row->name, tables_client(tables, record->client));
}

void evidence_versions(struct tables *tables, const struct record_versions *record,
                       struct span text)
{
    const uint8_t *end = memchr(text.data, '\0', text.size);
    if (end != NULL) {
        size_t size = (size_t)(end - text.data);
        struct line_row *row = table_line_add(&tables->versions);
        row->time = record->time;
        text_add(&row->name, span_of(text.data, size));
        text_add(&row->text, span_of(end + 1, text.size - size - 1));
    }
}

void evidence_unrunnable(struct tables *tables, const struct record_unrunnable *record,
                         struct span text)
{
    struct unrunnable *now = &tables->unrunnable;
    if (text.size == 0 || record->time != now->time) {
        now->count = 0; /* of another sample */
        now->since = record->since;
    }
    now->time = record->time;
    now->total = record->total;
    struct span reason;
    if (text.size > 0 && now->count < UNRUNNABLE_SAMPLES &&
        take_key(text, &now->keys[now->count], &reason)) {
        table_set_text(&now->reasons[now->count], reason);
        now->count++;
    }
}
