/* api_task.c: GET api/cask/v1/…: one task: what ran, what failed, and what the scheduler says of it. */
#include "observer/routes.h"
#include "wire/json.h"
#include "wire/msgpack.h"

#define RUNS_MAX 100u

static bool wants_key(struct exchange *exchange, struct span *out_key)
{
    *out_key = exchange_argument(exchange, "key");
    if (out_key->size == 0) {
        exchange_fail(exchange, 400, "which key?");
    }
    return out_key->size > 0;
}

static void put_answer(struct jot *jot, struct span answer)
{
    struct text text = {0};
    if (answer.data != NULL && json_from_msgpack(&text, answer, 0)) {
        jot_raw(jot, text_span(&text));
    } else {
        jot_null(jot);
    }
    text_fini(&text);
}

/* An answer is for the page as it is. */
static void forward(struct exchange *exchange, struct span answer)
{
    if (answer.data == NULL || msgpack_is_nil(answer)) {
        exchange_fail(exchange, 503, "the scheduler does not answer");
        return;
    }
    struct jot jot = jot_on(exchange_body(exchange));
    put_answer(&jot, answer);
    exchange_answer(exchange, 200, TYPE_JSON);
}

static bool is_explained(struct span answer)
{
    struct span raw;
    bool known = false;
    if (msgpack_find(answer, "known", &raw) == OK) {
        struct msgpack_reader reader = msgpack_reader(raw);
        known = msgpack_read_bool(&reader, &known) == OK && known;
    }
    return known;
}

void api_why(struct exchange *exchange)
{
    struct ask ask = {.op = "explain", .name = "key", .is_known = is_explained, .then = forward};
    if (wants_key(exchange, &ask.key_text)) {
        ask_scheduler(exchange, &ask);
    }
}

static bool is_filled(struct span answer)
{
    struct msgpack_reader reader = msgpack_reader(answer);
    uint32_t count;
    return msgpack_read_array(&reader, &count) == OK && count > 0;
}

void api_story(struct exchange *exchange)
{
    struct ask ask = {.op = "get_story",
                      .name = "keys_or_stimuli",
                      .is_list = true,
                      .is_known = is_filled,
                      .then = forward};
    if (wants_key(exchange, &ask.key_text)) {
        ask_scheduler(exchange, &ask);
    }
}

void api_stacks(struct exchange *exchange)
{
    struct text more = {0};
    struct span worker = exchange_argument(exchange, "worker");
    struct ask ask = {.op = "call_stack", .then = forward};
    if (worker.size > 0) {
        const struct worker_row *row = tables_worker_by_address(exchange->observer->tables, worker);
        if (row == NULL || row->removed > 0) {
            exchange_fail(exchange, 404, "there is no such worker");
            return;
        }
        msgpack_write_cstr(&more, "workers");
        msgpack_write_array(&more, 1);
        msgpack_write_str_lossy(&more, worker);
        ask.more = text_span(&more);
        ask.more_count = 1;
        ask_scheduler(exchange, &ask);
    } else if (wants_key(exchange, &ask.key_text)) {
        ask.name = "keys";
        ask.is_list = true;
        ask_scheduler(exchange, &ask);
    }
    text_fini(&more);
}

/* ---- a task ------------------------------------------------------------------------------------- */

/* Its runs, newest first; the last one's numbers in out_last. False: it never ran. */
static bool put_runs(const struct tables *tables, struct span text, struct jot *jot,
                     struct run *out_last)
{
    struct text keys[2] = {{0}, {0}};
    uint32_t count = 0;
    ask_text_key(text, &keys[0]);
    bool is_tuple = ask_parse_tuple(text, &keys[1]);
    for (uint64_t n = tables->runs.next; n > runs_first(&tables->runs) && count < RUNS_MAX;) {
        struct run run;
        if (runs_at(&tables->runs, --n, &run) &&
            (span_equal(run.key, text_span(&keys[0])) ||
             (is_tuple && span_equal(run.key, text_span(&keys[1]))))) {
            api_put_run(tables, &run, jot);
            if (count++ == 0) {
                *out_last = run;
            }
        }
    }
    text_fini(&keys[0]);
    text_fini(&keys[1]);
    return count > 0;
}

static void put_failures(const struct tables *tables, struct span text, struct jot *jot)
{
    for (uint32_t i = 0; i < tables->failures.count; i++) {
        const struct failure_row *row = tables->failures.items[i];
        for (uint32_t k = 0; k < row->key_count; k++) {
            if (span_equal(text_span(&row->keys[k]), text)) {
                jot_int(jot, row->id);
                break;
            }
        }
    }
}

static void task_explained(struct exchange *exchange, struct span answer)
{
    const struct tables *tables = exchange->observer->tables;
    struct span key = exchange_argument(exchange, "key");
    struct jot jot = api_begin(exchange);
    struct run last = {0};
    jot_name(&jot, "key");
    jot_text(&jot, key);
    jot_name(&jot, "runs");
    jot_open(&jot, '[');
    bool has_run = put_runs(tables, key, &jot, &last);
    jot_close(&jot, ']');
    jot_name(&jot, "prefix");
    if (has_run) {
        jot_cstr(&jot, tables_prefix_name(tables, last.prefix));
    } else {
        jot_null(&jot);
    }
    jot_name(&jot, "failures");
    jot_open(&jot, '[');
    put_failures(tables, key, &jot);
    jot_close(&jot, ']');
    jot_name(&jot, "inputs");
    const struct failed_row *failed = failed_rows_find(&tables->failed, key);
    if (failed != NULL) {
        jot_raw(&jot, text_span(&failed->description));
    } else {
        jot_null(&jot);
    }
    jot_name(&jot, "scheduler");
    if (answer.data != NULL && is_explained(answer)) {
        put_answer(&jot, answer);
    } else {
        jot_null(&jot);
    }
    api_end(exchange, &jot);
}

void api_task(struct exchange *exchange)
{
    struct ask ask = {
        .op = "explain", .name = "key", .is_known = is_explained, .then = task_explained};
    if (wants_key(exchange, &ask.key_text)) {
        ask_scheduler(exchange, &ask);
    }
}

static void ask_since(struct exchange *exchange, const char *argument, const char *name,
                      struct ask *ask, struct text *more)
{
    double time = exchange_number(exchange, argument, 0);
    if (time > 0) {
        msgpack_write_cstr(more, name);
        msgpack_write_float(more, time);
        ask->more_count++;
    }
}

/* The worker with the number that is asked for, as the only one. False: there is none, and that has been answered. */
static bool ask_worker(struct exchange *exchange, struct ask *ask, struct text *more)
{
    double number = exchange_number(exchange, "worker", 0);
    if (number < 1) {
        return true;
    }
    const struct worker_row *row =
        number > UINT32_MAX ? NULL : tables_worker(exchange->observer->tables, (uint32_t)number);
    if (row == NULL || row->removed > 0) {
        exchange_fail(exchange, 404, "there is no such worker");
        return false;
    }
    msgpack_write_cstr(more, "workers");
    msgpack_write_array(more, 1);
    msgpack_write_str_lossy(more, text_span(&row->address));
    ask->more_count++;
    return true;
}

void api_profile(struct exchange *exchange)
{
    struct text more = {0};
    struct ask ask = {.op = "profile", .then = forward};
    struct span prefix = exchange_argument(exchange, "prefix");
    if (ask_worker(exchange, &ask, &more)) {
        if (prefix.size > 0) {
            msgpack_write_cstr(&more, "key"); /* workers hold profiles by prefix, and call it so */
            msgpack_write_str_lossy(&more, prefix);
            ask.more_count++;
        }
        if (exchange_number(exchange, "server", 0) > 0) {
            msgpack_write_cstr(&more, "server");
            msgpack_write_bool(&more, true);
            ask.more_count++;
        }
        ask_since(exchange, "since", "start", &ask, &more);
        ask_since(exchange, "until", "stop", &ask, &more);
        ask.more = text_span(&more);
        ask_scheduler(exchange, &ask);
    }
    text_fini(&more);
}
