/* values.c: msgpack values of messages as the structs that events carry. */
#include "node/values.h"

#include <math.h>

#include "node/node.h"

struct span_list values_keys(struct arena *arena, struct key_list keys)
{
    struct span *items = arena_array(arena, struct span, keys.count);
    uint32_t count = 0;
    struct span key;
    while (key_list_next(&keys, &key)) {
        items[count++] = key;
    }
    return (struct span_list){items, count};
}

static bool read_startstop(struct msgpack_reader *reader, struct startstop *out)
{
    uint32_t pairs;
    memset(out, 0, sizeof *out);
    if (msgpack_read_map(reader, &pairs) != OK) {
        return false;
    }
    for (uint32_t i = 0; i < pairs; i++) {
        struct span name, skipped;
        if (msgpack_read_str(reader, &name) != OK) {
            return false;
        }
        int code;
        if (span_equal(name, SPAN("action"))) {
            code = msgpack_read_str(reader, &out->action);
        } else if (span_equal(name, SPAN("start"))) {
            code = msgpack_read_float(reader, &out->start);
        } else if (span_equal(name, SPAN("stop"))) {
            code = msgpack_read_float(reader, &out->stop);
        } else if (span_equal(name, SPAN("source"))) {
            code = msgpack_read_str(reader, &out->source);
        } else {
            code = msgpack_read_value(reader, &skipped);
        }
        if (code != OK) {
            return false;
        }
    }
    return true;
}

bool values_startstops(struct arena *arena, struct span raw, struct startstop_list *out_list)
{
    *out_list = (struct startstop_list){0};
    if (msgpack_is_nil(raw)) {
        return true;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count;
    if (msgpack_read_array(&reader, &count) != OK) {
        return false;
    }
    struct startstop *items = arena_array(arena, struct startstop, count);
    for (uint32_t i = 0; i < count; i++) {
        if (!read_startstop(&reader, &items[i])) {
            return false;
        }
    }
    *out_list = (struct startstop_list){items, count};
    return true;
}

bool values_resources(struct arena *arena, struct span raw, struct resource_list *out_list)
{
    *out_list = (struct resource_list){0};
    if (msgpack_is_nil(raw)) {
        return true;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count;
    if (msgpack_read_map(&reader, &count) != OK) {
        return false;
    }
    struct resource *items = arena_array(arena, struct resource, count);
    for (uint32_t i = 0; i < count; i++) {
        if (msgpack_read_str(&reader, &items[i].name) != OK ||
            msgpack_read_float(&reader, &items[i].amount) != OK) {
            return false;
        }
    }
    *out_list = (struct resource_list){items, count};
    return true;
}

/* A list or set: the reader stands before its items afterwards. */
static bool open_list(struct span raw, struct msgpack_reader *out_reader, uint32_t *out_count)
{
    struct span items;
    if (msgpack_find(raw, "as-list", &items) == OK) {
        raw = items;
    }
    *out_reader = msgpack_reader(raw);
    return msgpack_read_array(out_reader, out_count) == OK;
}

bool values_data_placed(struct node *node, client_id client, struct span who_has,
                        struct span nbytes)
{
    struct msgpack_reader reader = msgpack_reader(who_has);
    uint32_t count, size_count;
    if (msgpack_read_map(&reader, &count) != OK) {
        return false;
    }
    struct VEC(struct span) keys = {0};
    struct VEC(worker_id) holders = {0};
    bool is_fine = true;
    for (uint32_t i = 0; is_fine && i < count; i++) {
        struct span key, list;
        bool given;
        is_fine = key_read(&reader, &node->scratch, &key) == OK &&
                  msgpack_read_value(&reader, &list) == OK;
        struct worker_list workers =
            is_fine ? values_workers(node, list, &given) : (struct worker_list){0};
        for (uint32_t j = 0; j < workers.count; j++) {
            vec_push(&keys, key);
            vec_push(&holders, workers.items[j]);
        }
    }
    int64_t *sizes = arena_array(&node->scratch, int64_t, keys.count);
    memset(sizes, 0xff, keys.count * sizeof *sizes); /* −1: unknown */
    reader = msgpack_reader(nbytes);
    is_fine = is_fine && msgpack_read_map(&reader, &size_count) == OK;
    uint32_t at = 0; /* both maps are in the same order; so the search is short */
    for (uint32_t i = 0; is_fine && i < size_count; i++) {
        struct span key;
        int64_t size;
        is_fine =
            key_read(&reader, &node->scratch, &key) == OK && msgpack_read_int(&reader, &size) == OK;
        for (uint32_t tried = 0; is_fine && tried < keys.count;
             tried++, at = (at + 1) % keys.count) {
            if (span_equal(keys.items[at], key)) {
                for (; at < keys.count && span_equal(keys.items[at], key); at++) {
                    sizes[at] = size;
                }
                at = at == keys.count ? 0 : at;
                break;
            }
        }
    }
    if (is_fine) {
        struct event event = event_of(EVENT_DATA_PLACED);
        event.of.data_placed.client = client;
        event.of.data_placed.keys = (struct span_list){keys.items, keys.count};
        event.of.data_placed.holders = (struct worker_list){holders.items, holders.count};
        event.of.data_placed.sizes = (struct size_list){sizes, keys.count};
        node_apply(node, &event);
    }
    vec_fini(&keys);
    vec_fini(&holders);
    return is_fine;
}

static double find_float(struct span map, const char *name, double absent)
{
    struct span value;
    double number;
    if (msgpack_find(map, name, &value) != OK) {
        return absent;
    }
    struct msgpack_reader reader = msgpack_reader(value);
    return msgpack_read_float(&reader, &number) == OK ? number : absent;
}

/* bandwidth: {"total": x, "workers": {address: [mean, count]}, …} */
static bool read_bandwidth(struct node *node, struct span raw, struct metrics_info *out)
{
    struct span workers;
    out->bandwidth = find_float(raw, "total", NAN);
    if (msgpack_find(raw, "workers", &workers) != OK || msgpack_is_nil(workers)) {
        return true;
    }
    struct msgpack_reader reader = msgpack_reader(workers);
    uint32_t count;
    if (msgpack_read_map(&reader, &count) != OK) {
        return false;
    }
    struct prefix_number *items = arena_array(&node->scratch, struct prefix_number, count);
    for (uint32_t i = 0; i < count; i++) {
        struct span pair;
        if (msgpack_read_str(&reader, &items[i].name) != OK ||
            msgpack_read_value(&reader, &pair) != OK) {
            return false;
        }
        struct msgpack_reader inner = msgpack_reader(pair);
        uint32_t two;
        items[i].number = NAN;
        if (msgpack_read_array(&inner, &two) == OK && two > 0 &&
            msgpack_read_float(&inner, &items[i].number) != OK) {
            return false;
        }
    }
    out->bandwidth_workers = items;
    out->bandwidth_worker_count = count;
    return true;
}

static bool read_executing(struct node *node, struct span raw, struct metrics_info *out)
{
    if (msgpack_is_nil(raw)) {
        return true;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count;
    if (msgpack_read_map(&reader, &count) != OK) {
        return false;
    }
    struct span *keys = arena_array(&node->scratch, struct span, count);
    double *seconds = arena_array(&node->scratch, double, count);
    for (uint32_t i = 0; i < count; i++) {
        if (key_read(&reader, &node->scratch, &keys[i]) != OK ||
            msgpack_read_float(&reader, &seconds[i]) != OK) {
            return false;
        }
    }
    out->executing_keys = keys;
    out->executing_seconds = seconds;
    out->executing_count = count;
    return true;
}

struct blob *values_plain(struct span raw)
{
    /* A message without further frames: a placeholder in `raw` would name one that is not there. */
    struct slice only = {.data = raw.data, .size = raw.size};
    struct frames frames = {.items = &only, .count = 1, .capacity = 1};
    struct blob *blob;
    return payload_take(&frames, raw, &blob) == OK ? blob : NULL;
}

bool values_metrics(struct node *node, struct span raw, struct span executing, double worker_time,
                    struct metrics_info *out)
{
    memset(out, 0, sizeof *out);
    if (msgpack_is_nil(raw) || msgpack_check(raw) != OK) {
        return false;
    }
    struct span part;
    out->worker_time = worker_time;
    out->bandwidth = NAN;
    out->memory = (int64_t)find_float(raw, "memory", 0);
    if (msgpack_find(raw, "spilled_bytes", &part) == OK) {
        out->spilled_memory = (int64_t)find_float(part, "memory", 0);
        out->spilled_disk = (int64_t)find_float(part, "disk", 0);
    }
    if (msgpack_find(raw, "bandwidth", &part) == OK && !read_bandwidth(node, part, out)) {
        return false;
    }
    if (!read_executing(node, executing, out)) {
        return false;
    }
    out->raw = values_plain(raw);
    return out->raw != NULL;
}

/* One address or name as a known worker. */
static worker_id find_worker(struct node *node, struct span raw)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    struct span text, name;
    if (msgpack_peek(&reader) == MSGPACK_STR && msgpack_read_str(&reader, &text) == OK) {
        worker_id worker = view_worker_by_address(node->core, text);
        if (worker != WORKER_NONE) {
            return worker;
        }
    }
    return key_canonical(raw, &node->scratch, &name) == OK ? view_worker_by_alias(node->core, name)
                                                           : WORKER_NONE;
}

struct worker_list values_workers(struct node *node, struct span raw, bool *out_given)
{
    *out_given = !msgpack_is_nil(raw);
    struct msgpack_reader reader;
    uint32_t count;
    if (!*out_given) {
        return (struct worker_list){0};
    }
    if (!open_list(raw, &reader, &count)) {
        worker_id *one = arena_new(&node->scratch, worker_id);
        *one = find_worker(node, raw);
        return (struct worker_list){one, *one != WORKER_NONE};
    }
    worker_id *items = arena_array(&node->scratch, worker_id, count);
    uint32_t found = 0;
    struct span item;
    for (uint32_t i = 0; i < count && msgpack_read_value(&reader, &item) == OK; i++) {
        items[found] = find_worker(node, item);
        found += items[found] != WORKER_NONE;
    }
    return (struct worker_list){items, found};
}

struct worker_list values_workers_or_all(struct node *node, struct span raw)
{
    bool given;
    struct worker_list workers = values_workers(node, raw, &given);
    if (given) {
        return workers;
    }
    uint32_t count = view_worker_count(node->core);
    worker_id *all = arena_array(&node->scratch, worker_id, count);
    for (uint32_t i = 0; i < count; i++) {
        all[i] = view_worker_at(node->core, i);
    }
    return (struct worker_list){all, count};
}

bool values_seconds(struct span raw, double absent, double *out_seconds)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    struct span text;
    if (msgpack_is_nil(raw)) {
        *out_seconds = absent;
        return true;
    }
    if (msgpack_peek(&reader) == MSGPACK_STR) {
        return msgpack_read_str(&reader, &text) == OK && text_parse_seconds(text, out_seconds);
    }
    return msgpack_read_float(&reader, out_seconds) == OK;
}
