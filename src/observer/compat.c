/* compat.c: stock's URLs that programs read: /health, /json, /sitemap.json, /individual-plots.json, /api/v1.
 * Source: distributed http/health.py, http/routing.py, http/scheduler/{json,info,api}.py. */
#include <jansson.h>

#include "observer/routes.h"
#include "wire/json.h"
#include "wire/msgpack.h"

void route_root(struct exchange *exchange)
{
    /* Relative, so that it holds behind a proxy that adds a path. From "/" outside the prefix into it. */
    struct text location = {0};
    struct span prefix = text_span(&exchange->observer->settings.prefix);
    if (prefix.size > 1) {
        text_add_char(&location, '/');
        text_add(&location, span_of(prefix.data + 1, prefix.size - 1));
        text_add_cstr(&location, "/status");
    } else {
        text_add_cstr(&location, "status");
    }
    exchange_redirect(exchange, 301, text_cstr(&location));
    text_fini(&location);
}

void route_info(struct exchange *exchange)
{
    exchange_redirect(exchange, 302, "info/main/workers.html");
}

/* ---- health ------------------------------------------------------------------------------------- */

static void answer_health(struct exchange *exchange)
{
    const struct observer *observer = exchange->observer;
    if (observer->channel < 0) {
        const struct tables *tables = observer->tables;
        exchange_fail(exchange, 503, "the scheduler is not there: %s",
                      tables->reason.size > 0 ? text_cstr(&tables->reason) : "it has ended");
        return;
    }
    text_add_cstr(exchange_body(exchange), "ok");
    exchange_answer(exchange, 200, TYPE_TEXT);
}

static void health_answered(struct exchange *exchange, struct span answer)
{
    if (answer.data == NULL && exchange->observer->channel >= 0) {
        exchange_fail(exchange, 503, "the scheduler does not answer");
    } else {
        answer_health(exchange);
    }
}

/* Healthy is a scheduler whose loop turns: it is asked each time. */
void route_health(struct exchange *exchange)
{
    struct ask ask = {.op = "check_idle", .then = health_answered};
    if (exchange->observer->channel < 0) {
        answer_health(exchange);
    } else {
        ask_scheduler(exchange, &ask);
    }
}

/* ---- what there is ------------------------------------------------------------------------------ */

void route_sitemap(struct exchange *exchange)
{
    struct jot jot = jot_on(exchange_body(exchange));
    const char *prefix = text_cstr(&exchange->observer->settings.prefix);
    const char *pattern;
    struct text path = {0};
    jot_open(&jot, '{');
    jot_name(&jot, "paths");
    jot_open(&jot, '[');
    for (uint32_t i = 0; (pattern = route_path(i)) != NULL; i++) {
        const char *star = strchr(pattern, '*');
        text_clear(&path);
        text_add_cstr(&path, prefix);
        text_add(&path,
                 span_of(pattern, star == NULL ? strlen(pattern) : (size_t)(star - pattern)));
        if (star != NULL) {
            text_printf(&path, "(.*)%s", star + 1);
        }
        jot_text(&jot, text_span(&path));
    }
    jot_close(&jot, ']');
    jot_close(&jot, '}');
    text_fini(&path);
    exchange_answer(exchange, 200, TYPE_JSON);
}

/* "/individual-task-stream" → "Individual Task Stream": Python's str.title(). */
static void add_title(struct text *out, const char *path)
{
    bool begins = true;
    for (; *path != '\0' && *path != '.'; path++) {
        char c = *path == '-' ? ' ' : *path;
        text_add_char(out, begins && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c);
        begins = c == ' ';
    }
}

void route_individual_plots(struct exchange *exchange)
{
    static const char panel[] = "/individual-", map[] = "/statics/";
    struct jot jot = jot_on(exchange_body(exchange));
    struct text title = {0};
    const char *path;
    jot_open(&jot, '{');
    for (uint32_t i = 0; (path = route_path(i)) != NULL; i++) {
        bool is_map = strncmp(path, map, sizeof map - 1) == 0;
        const char *name = is_map ? path + sizeof map - 1 : path + 1;
        if (strncmp(name, panel + 1, sizeof panel - 2) == 0 && strstr(name, ".json") == NULL) {
            text_clear(&title);
            add_title(&title, name);
            jot_put_cstr(&jot, text_cstr(&title), path);
        }
    }
    jot_close(&jot, '}');
    text_fini(&title);
    exchange_answer(exchange, 200, TYPE_JSON);
}

/* ---- /json -------------------------------------------------------------------------------------- */

void route_json_index(struct exchange *exchange)
{
    text_add_cstr(
        exchange_body(exchange),
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Index of "
        "JSON routes</title></head>\n<body><main><h1>JSON</h1><ul>\n"
        "<li><a href=\"counts.json\">counts.json</a></li>\n"
        "<li><a href=\"identity.json\">identity.json</a></li>\n"
        "</ul></main></body></html>\n");
    exchange_answer(exchange, 200, TYPE_HTML);
}

static void identity_answered(struct exchange *exchange, struct span answer)
{
    if (answer.data == NULL || !json_from_msgpack(exchange_body(exchange), answer, 0)) {
        exchange_fail(exchange, 503, "the scheduler does not answer");
        return;
    }
    exchange_answer(exchange, 200, TYPE_JSON);
}

void route_identity(struct exchange *exchange)
{
    struct text more = {0};
    msgpack_write_cstr(&more, "n_workers");
    msgpack_write_int(&more, -1);
    struct ask ask = {
        .op = "identity", .more = text_span(&more), .more_count = 1, .then = identity_answered};
    ask_scheduler(exchange, &ask);
    text_fini(&more);
}

static void put_counts(const struct observer *observer, uint64_t waiting_data, struct jot *jot)
{
    const struct record_totals *totals = &observer->tables->totals;
    const struct tables *tables = observer->tables;
    uint64_t has_what = 0, processing = 0, tasks = 0;
    for (uint32_t i = 0; i < tables->workers.count; i++) {
        const struct worker_row *row = tables->workers.items[i];
        if (row != NULL && row->removed == 0) {
            has_what += row->sample.has_what;
            processing += row->sample.processing;
        }
    }
    for (int i = 0; i < RECORD_STATES; i++) {
        tasks += totals->tasks[i];
    }
    jot_put_int(jot, "bytes", totals->managed + totals->spilled);
    jot_put_int(jot, "clients", (int64_t)totals->clients + 1); /* and "fire-and-forget" */
    jot_put_int(jot, "cores", (int64_t)totals->threads);
    jot_put_int(jot, "erred", totals->tasks[6]);
    jot_put_int(jot, "hosts", totals->hosts);
    jot_put_int(jot, "idle", totals->idle);
    jot_put_int(jot, "memory", (int64_t)has_what);
    jot_put_int(jot, "processing", (int64_t)processing);
    jot_put_int(jot, "released", totals->tasks[0]);
    jot_put_int(jot, "saturated", totals->saturated);
    jot_put_int(jot, "tasks", (int64_t)tasks);
    jot_put_int(jot, "unrunnable", totals->unrunnable);
    jot_put_int(jot, "waiting", totals->tasks[1]);
    jot_put_int(jot, "waiting_data", (int64_t)waiting_data);
    jot_put_int(jot, "workers", totals->workers);
    jot_put_int(jot, "desired_workers", totals->desired);
}

static void ask_waiting(struct exchange *exchange, uint64_t cursor);

/* [cursor, how many since the last, done]; the sum stands in the exchange. */
static void waiting_answered(struct exchange *exchange, struct span answer)
{
    struct msgpack_reader reader = msgpack_reader(answer);
    uint32_t count;
    uint64_t cursor, found;
    bool is_done;
    if (answer.data != NULL && msgpack_read_array(&reader, &count) == OK && count == 3 &&
        msgpack_read_uint(&reader, &cursor) == OK && msgpack_read_uint(&reader, &found) == OK &&
        msgpack_read_bool(&reader, &is_done) == OK) {
        exchange->counted += found;
        if (!is_done) {
            ask_waiting(exchange, cursor);
            return;
        }
    }
    struct jot jot = jot_on(exchange_body(exchange));
    jot_open(&jot, '{');
    put_counts(exchange->observer, exchange->counted, &jot);
    jot_close(&jot, '}');
    exchange_answer(exchange, 200, TYPE_JSON);
}

static void ask_waiting(struct exchange *exchange, uint64_t cursor)
{
    struct text more = {0};
    msgpack_write_cstr(&more, "cursor");
    msgpack_write_uint(&more, cursor);
    struct ask ask = {
        .op = "count-waiting", .more = text_span(&more), .more_count = 1, .then = waiting_answered};
    ask_scheduler(exchange, &ask);
    text_fini(&more);
}

static void counts_sampled(struct exchange *exchange)
{
    ask_waiting(exchange, 0);
}

void route_counts(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, counts_sampled);
}

/* ---- /api/v1, by setting ------------------------------------------------------------------------ */

void stock_api(struct exchange *exchange)
{
    text_add_cstr(exchange_body(exchange), "API V1");
    exchange_answer(exchange, 200, TYPE_TEXT);
}

void stock_get_workers(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct jot jot = jot_on(exchange_body(exchange));
    jot_open(&jot, '{');
    jot_put_int(&jot, "num_workers", (int64_t)tables->worker_count - tables->gone_count);
    jot_name(&jot, "workers");
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < tables->workers.count; i++) {
        const struct worker_row *row = tables->workers.items[i];
        if (row != NULL && row->removed == 0) {
            jot_open(&jot, '{');
            jot_put_text(&jot, "name", &row->name);
            jot_put_text(&jot, "address", &row->address);
            jot_close(&jot, '}');
        }
    }
    jot_close(&jot, ']');
    jot_close(&jot, '}');
    exchange_answer(exchange, 200, TYPE_JSON);
}

static void fail_as_stock(struct exchange *exchange)
{
    struct text *body = exchange_body(exchange);
    body->size = exchange->body_begin;
    text_add_cstr(body, "{\"Error\": \"Internal Server Error\"}");
    exchange_answer(exchange, 500, TYPE_JSON);
}

/* {name: answer} */
static void answer_as(struct exchange *exchange, const char *name, struct span answer)
{
    struct text *body = exchange_body(exchange);
    text_printf(body, "{\"%s\": ", name);
    if (answer.data == NULL || !json_from_msgpack(body, answer, 0)) {
        fail_as_stock(exchange);
        return;
    }
    text_add_char(body, '}');
    exchange_answer(exchange, 200, TYPE_JSON);
}

static void target_answered(struct exchange *exchange, struct span answer)
{
    answer_as(exchange, "workers", answer);
}

void stock_adaptive_target(struct exchange *exchange)
{
    struct ask ask = {.op = "adaptive_target", .then = target_answered};
    ask_scheduler(exchange, &ask);
}

static void idle_answered(struct exchange *exchange, struct span answer)
{
    answer_as(exchange, "idle_since", answer);
}

void stock_check_idle(struct exchange *exchange)
{
    struct ask ask = {.op = "check_idle", .then = idle_answered};
    ask_scheduler(exchange, &ask);
}

static void retired(struct exchange *exchange, struct span answer)
{
    struct text *body = exchange_body(exchange);
    struct span status;
    bool is_error = answer.data == NULL || msgpack_find(answer, "status", &status) == OK;
    if (is_error || !json_from_msgpack(body, answer, 0)) {
        fail_as_stock(exchange);
        return;
    }
    exchange_answer(exchange, 200, TYPE_JSON);
}

static void retire(struct exchange *exchange, struct span workers)
{
    struct text more = {0};
    msgpack_write_cstr(&more, "workers");
    msgpack_write_raw(&more, workers);
    struct ask ask = {
        .op = "retire_workers", .more = text_span(&more), .more_count = 1, .then = retired};
    ask_scheduler(exchange, &ask);
    text_fini(&more);
}

static void to_close_answered(struct exchange *exchange, struct span answer)
{
    struct msgpack_reader reader = msgpack_reader(answer);
    uint32_t count;
    if (answer.data == NULL || msgpack_read_array(&reader, &count) != OK) {
        fail_as_stock(exchange);
    } else {
        retire(exchange, answer);
    }
}

static void retire_some(struct exchange *exchange, int64_t count)
{
    struct text more = {0};
    msgpack_write_cstr(&more, "n");
    msgpack_write_int(&more, count);
    struct ask ask = {.op = "workers_to_close",
                      .more = text_span(&more),
                      .more_count = 1,
                      .then = to_close_answered};
    ask_scheduler(exchange, &ask);
    text_fini(&more);
}

/* {"workers": [address …]} or {"n": how many} */
void stock_retire_workers(struct exchange *exchange)
{
    struct span body = text_span(&exchange->request_body);
    json_t *given = json_loadb((const char *)body.data, body.size, 0, NULL);
    json_t *workers = json_object_get(given, "workers");
    int64_t count = json_integer_value(json_object_get(given, "n"));
    struct text list = {0};
    if (!json_is_object(given)) {
        json_decref(given);
        fail_as_stock(exchange);
        return;
    }
    if (count <= 0) {
        uint32_t size = (uint32_t)json_array_size(workers);
        msgpack_write_array(&list, size);
        for (uint32_t i = 0; i < size; i++) {
            const char *name = json_string_value(json_array_get(workers, i));
            msgpack_write_str_lossy(&list, span_of_text(name == NULL ? "" : name));
        }
    }
    json_decref(given);
    if (count > 0) {
        retire_some(exchange, count);
    } else {
        retire(exchange, text_span(&list));
    }
    text_fini(&list);
}
