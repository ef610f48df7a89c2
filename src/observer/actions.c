/* actions.c: POST api/cask/v1/actions/…: what the dashboard may change, and who may have it changed.
 *
 * Off by default. Whoever asks has the token (server.c looked), sends what no form and no other site's script can send
 * (a JSON body, X-Cask-Action, an Origin that is ours), and is written into the scheduler's log. Of names only those of
 * workers and tasks that are known go on. */
#include <jansson.h>

#include "observer/routes.h"
#include "wire/json.h"
#include "wire/msgpack.h"

#define NAMES_MAX 1000u
#define STIMULUS "dashboard"

/* The pairs of the call, after "op", from the body; false: it was refused, which was answered. */
typedef bool write_function(struct exchange *exchange, const json_t *body, struct text *call);

/* ---- what goes on ------------------------------------------------------------------------------- */

static bool put_workers(struct exchange *exchange, const json_t *body, struct text *call)
{
    const json_t *names = json_object_get(body, "workers");
    size_t count = json_array_size(names);
    if (count == 0 || count > NAMES_MAX) {
        exchange_fail(exchange, 400, "workers: a list of 1 to %u addresses", NAMES_MAX);
        return false;
    }
    msgpack_write_cstr(call, "workers");
    msgpack_write_array(call, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        struct span address = span_of_text(name == NULL ? "" : name);
        const struct worker_row *row =
            tables_worker_by_address(exchange->observer->tables, address);
        if (row == NULL || row->removed != 0) {
            exchange_fail(exchange, 404, "there is no such worker: %.200s",
                          name == NULL ? "" : name);
            return false;
        }
        msgpack_write_str_lossy(call, address);
    }
    return true;
}

static void put_bool(struct text *call, const char *name, bool value)
{
    msgpack_write_cstr(call, name);
    msgpack_write_bool(call, value);
}

static void put_stimulus(struct text *call)
{
    msgpack_write_cstr(call, "stimulus_id");
    msgpack_write_cstr(call, STIMULUS);
}

static bool write_retire(struct exchange *exchange, const json_t *body, struct text *call)
{
    bool fine = put_workers(exchange, body, call);
    put_bool(call, "close_workers", true);
    return fine;
}

static bool write_restart_workers(struct exchange *exchange, const json_t *body, struct text *call)
{
    bool fine = put_workers(exchange, body, call);
    put_bool(call, "wait_for_workers", false);
    msgpack_write_cstr(call, "on_error");
    msgpack_write_cstr(call, "return");
    put_stimulus(call);
    return fine;
}

static bool write_restart(struct exchange *exchange, const json_t *body, struct text *call)
{
    (void)exchange;
    (void)body;
    put_bool(call, "wait_for_workers", false);
    put_stimulus(call);
    return true;
}

/* What looks like a tuple is meant as one or as a str; the scheduler leaves out which of them it does not know. */
static uint32_t put_key(struct span name, struct text *keys)
{
    struct text key = {0};
    uint32_t count = 1;
    if (ask_parse_tuple(name, &key)) {
        msgpack_write_raw(keys, text_span(&key));
        count++;
        text_clear(&key);
    }
    ask_text_key(name, &key);
    msgpack_write_raw(keys, text_span(&key));
    text_fini(&key);
    return count;
}

static const struct failure_row *failure_of(const struct exchange *exchange, const json_t *id)
{
    const struct tables *tables = exchange->observer->tables;
    for (uint32_t i = 0; json_is_integer(id) && i < tables->failures.count; i++) {
        if (tables->failures.items[i]->id == json_integer_value(id)) {
            return tables->failures.items[i];
        }
    }
    return NULL;
}

static bool write_keys(struct exchange *exchange, const json_t *body, struct text *call)
{
    const json_t *names = json_object_get(body, "keys"), *id = json_object_get(body, "failure");
    const struct failure_row *failure = failure_of(exchange, id);
    size_t given = json_array_size(names);
    struct text keys = {0};
    uint32_t count = 0;
    if (id != NULL && failure == NULL) {
        exchange_fail(exchange, 404, "there is no such failure");
        return false;
    }
    if (failure == NULL && (given == 0 || given > NAMES_MAX)) {
        exchange_fail(exchange, 400, "keys: a list of 1 to %u; or failure: its id", NAMES_MAX);
        return false;
    }
    for (uint32_t i = 0; failure != NULL && i < failure->key_count; i++) {
        count += put_key(text_span(&failure->keys[i]), &keys);
    }
    for (size_t i = 0; failure == NULL && i < given; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        count += put_key(span_of_text(name == NULL ? "" : name), &keys);
    }
    msgpack_write_cstr(call, "keys");
    msgpack_write_array(call, count);
    msgpack_write_raw(call, text_span(&keys));
    text_fini(&keys);
    return true;
}

static const struct action {
    const char *name, *op;
    uint32_t pairs; /* that `write` writes */
    write_function *write;
} actions[] = {
    {"cancel", "cancel", 1, write_keys},
    {"retry", "retry", 1, write_keys},
    {"retire", "retire_workers", 2, write_retire},
    {"restart-workers", "restart_workers", 4, write_restart_workers},
    {"restart", "restart", 2, write_restart},
};

enum { ACTION_COUNT = sizeof actions / sizeof actions[0] };

/* ---- asking ------------------------------------------------------------------------------------- */

static bool read_field(struct span map, const char *name, struct span *out)
{
    struct span raw;
    if (msgpack_find(map, name, &raw) != OK) {
        return false;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    return msgpack_read_str(&reader, out) == OK;
}

static void acted(struct exchange *exchange, struct span answer)
{
    struct span status = {0}, why = SPAN("the scheduler raised an exception");
    struct text json = {0};
    if (answer.data == NULL) {
        exchange_fail(exchange, 503, "the scheduler has not answered; it may still do it");
        return;
    }
    bool is_error = read_field(answer, "status", &status) &&
                    (span_equal_text(status, "uncaught-error") || span_equal_text(status, "error"));
    if (is_error) {
        struct span text;
        why = read_field(answer, "exception_text", &text) ? text : why;
        exchange_fail(exchange, 500, "%.*s", (int)(why.size > 400 ? 400 : why.size),
                      (const char *)why.data);
    } else if (!json_from_msgpack(&json, answer, 0)) {
        exchange_fail(exchange, 503, "the scheduler's answer cannot be shown");
    } else {
        struct jot jot = jot_on(exchange_body(exchange));
        jot_open(&jot, '{');
        jot_name(&jot, "answer");
        jot_raw(&jot, text_span(&json));
        jot_close(&jot, '}');
        exchange_answer(exchange, 200, TYPE_JSON);
    }
    text_fini(&json);
}

static void act(struct exchange *exchange, const struct action *action, const json_t *body)
{
    struct text pairs = {0}, more = {0};
    if (action->write(exchange, body, &pairs)) {
        msgpack_write_cstr(&more, "by");
        msgpack_write_cstr(&more, exchange->peer);
        msgpack_write_cstr(&more, "call");
        msgpack_write_map(&more, 2 + action->pairs);
        msgpack_write_cstr(&more, "op");
        msgpack_write_cstr(&more, action->op);
        msgpack_write_cstr(&more, "reply");
        msgpack_write_bool(&more, true);
        msgpack_write_raw(&more, text_span(&pairs));
        struct ask ask = {.op = "act", .more = text_span(&more), .more_count = 2, .then = acted};
        ask_scheduler(exchange, &ask);
    }
    text_fini(&pairs);
    text_fini(&more);
}

/* Why this exchange may not change anything; NULL: it may. */
static const char *refusal(const struct exchange *exchange)
{
    if (!exchange->observer->settings.actions) {
        return "actions are off: cask.dashboard.actions and cask.dashboard.token switch them on";
    }
    if (!exchange->is_own_origin) {
        return "this comes from another site";
    }
    return exchange->has_action_header && exchange->has_json
               ? NULL
               : "an action is JSON (Content-Type) and has the header X-Cask-Action: 1";
}

void api_act(struct exchange *exchange)
{
    const struct action *action = NULL;
    for (int i = 0; i < ACTION_COUNT; i++) {
        action = span_equal_text(exchange->part, actions[i].name) ? &actions[i] : action;
    }
    const char *why = refusal(exchange);
    struct span text = text_span(&exchange->request_body);
    json_t *body = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
    if (why != NULL) {
        exchange_fail(exchange, 403, "%s", why);
    } else if (action == NULL) {
        exchange_fail(exchange, 404, "there is no such action");
    } else if (!json_is_object(body)) {
        exchange_fail(exchange, 400, "the body is no JSON object");
    } else {
        act(exchange, action, body);
    }
    json_decref(body);
}

void api_actions(struct exchange *exchange)
{
    struct jot jot = api_begin(exchange);
    jot_put_bool(&jot, "enabled", exchange->observer->settings.actions);
    jot_name(&jot, "actions");
    jot_open(&jot, '[');
    for (int i = 0; i < ACTION_COUNT; i++) {
        jot_cstr(&jot, actions[i].name);
    }
    jot_close(&jot, ']');
    api_end(exchange, &jot);
}
