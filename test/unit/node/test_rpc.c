/* RPCs of a whole scheduler that nobody is connected to: calls go in as a client would send them, answers are
 * compared as text. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "node/coordination.h"
#include "node/scheduler_node.h"
#include "node/topics.h"

/* ---- the stage --------------------------------------------------------------------------------- */

struct stage {
    struct config *config;
    struct node *node;
    struct text answer; /* the last one, as Python shows it */
    uint32_t answer_count;
};

static int open_stage(void **state)
{
    struct stage *stage = mem_zalloc(1, sizeof *stage);
    struct text why = {0};
    struct node_options options = {.listen = {.host = "127.0.0.1", .port = "0"}};
    assert_int_equal(config_create(&stage->config, &why), OK);
    config_set(stage->config, "distributed.admin.low-level-log-length", "3");
    config_set(stage->config, "distributed.scheduler.events-cleanup-delay", "0s");
    assert_int_equal(node_create(stage->config, &options, &stage->node, &why), OK);
    text_fini(&why);
    *state = stage;
    return 0;
}

static int close_stage(void **state)
{
    struct stage *stage = *state;
    node_destroy(stage->node);
    config_destroy(stage->config);
    text_fini(&stage->answer);
    mem_free(stage);
    return 0;
}

static void put_json(struct text *out, const json_t *value)
{
    const char *name;
    const json_t *item;
    size_t index;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        msgpack_write_map(out, (uint32_t)json_object_size(value));
        json_object_foreach((json_t *)(uintptr_t)value, name, item)
        {
            msgpack_write_cstr(out, name);
            put_json(out, item);
        }
        break;
    case JSON_ARRAY:
        msgpack_write_array(out, (uint32_t)json_array_size(value));
        json_array_foreach(value, index, item)
        {
            put_json(out, item);
        }
        break;
    case JSON_STRING:
        msgpack_write_cstr(out, json_string_value(value));
        break;
    case JSON_INTEGER:
        msgpack_write_int(out, json_integer_value(value));
        break;
    case JSON_REAL:
        msgpack_write_float(out, json_real_value(value));
        break;
    case JSON_NULL:
        msgpack_write_nil(out);
        break;
    default:
        msgpack_write_bool(out, json_is_true(value));
    }
}

static void take_answer(void *user, struct request *request, struct outgoing *answer)
{
    struct stage *stage = user;
    struct span text, value = text_span(&answer->head);
    (void)request;
    if (msgpack_find(value, "exception_text", &text) == OK) {
        value = text; /* it raised */
    }
    text_clear(&stage->answer);
    msgpack_print(&stage->answer, value, 100000);
    stage->answer_count++;
}

/* Begin a call, written as JSON with ' for ". Gives the request while it is open. */
static struct request *begin(struct stage *stage, const char *call)
{
    struct text json = {0}, map = {0};
    text_add_cstr(&json, call);
    for (size_t i = 0; i < json.size; i++) {
        json.data[i] = json.data[i] == '\'' ? '"' : json.data[i];
    }
    json_t *value = json_loads(text_cstr(&json), JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    put_json(&map, value);
    json_decref(value);
    struct frames frames = {0};
    frames_add(&frames, slice_copy(text_span(&map)));
    struct request *request;
    assert_int_equal(request_create(&stage->node->server, &frames, take_answer, stage, &request),
                     OK);
    uint64_t number = request->number;
    frames_fini(&frames);
    text_fini(&json);
    text_fini(&map);
    arena_reset(&stage->node->scratch);
    text_clear(&stage->answer);
    request_dispatch(request);
    return request_find(&stage->node->server, number);
}

/* A call that is answered at once. */
static const char *ask(struct stage *stage, const char *call)
{
    assert_null(begin(stage, call));
    return text_cstr(&stage->answer);
}

#define EXPECT(stage, call, answer) assert_string_equal(ask((stage), (call)), (answer))

static client_id add_client(struct stage *stage, const char *name)
{
    struct event event = event_of(EVENT_CLIENT_ADD);
    event.of.client_add.name = span_of_text(name);
    node_apply(stage->node, &event);
    return stage->node->step.client;
}

/* ---- tests ------------------------------------------------------------------------------------- */

/* A client of a newer Dask calls what we do not have: it gets None, as from stock. */
static void test_unknown_operation(void **state)
{
    EXPECT(*state, "{'op': 'no-such-operation', 'x': 1}", "None");
}

/* A call with a field of the wrong type raises at its caller, and only there. */
static void test_wrong_field(void **state)
{
    ask(*state, "{'op': 'queue_create', 'name': 'q', 'maxsize': 'many'}");
    assert_non_null(strstr(text_cstr(&((struct stage *)*state)->answer), "TypeError"));
}

/* Clients share metadata as a tree: a path may end inside a value that was set as a map, and a value may stand
 * in the way of a longer path. */
static void test_metadata(void **state)
{
    EXPECT(*state, "{'op': 'set_metadata', 'keys': ['a', 'b'], 'value': {'c': 1}}", "None");
    EXPECT(*state, "{'op': 'get_metadata', 'keys': ['a']}", "{'b': {'c': 1}}");
    EXPECT(*state, "{'op': 'get_metadata', 'keys': ['a', 'b', 'c']}", "1");
    EXPECT(*state, "{'op': 'set_metadata', 'keys': ['a', 'b', 'c', 'd'], 'value': 2}", "None");
    EXPECT(*state, "{'op': 'get_metadata', 'keys': ['a', 'b']}", "{'c': {'d': 2}}");
    EXPECT(*state, "{'op': 'get_metadata', 'keys': ['a', 'x'], 'default': 5}", "5");
    EXPECT(*state, "{'op': 'set_metadata', 'keys': ['a'], 'value': 3}", "None");
    EXPECT(*state, "{'op': 'get_metadata', 'keys': []}", "{'a': 3}");
}

/* Only the newest events of a topic are kept (here 3), oldest first. */
static void test_events_are_bounded(void **state)
{
    struct stage *stage = *state;
    for (int i = 0; i < 5; i++) {
        struct text call = {0};
        text_printf(&call, "{'op': 'log_event', 'topic': ['t', 'u'], 'msg': {'i': %d}}", i);
        EXPECT(stage, text_cstr(&call), "None");
        text_fini(&call);
    }
    const char *events = ask(stage, "{'op': 'events', 'topic': 'u'}");
    assert_null(strstr(events, "{'i': 1}"));
    const char *second = strstr(events, "{'i': 2}"), *last = strstr(events, "{'i': 4}");
    assert_true(second != NULL && last != NULL && second < last);
    EXPECT(stage, "{'op': 'events', 'topic': 'nothing'}", "[]");
}

/* A client that left is forgotten by the event log, too, unless it is back when its time has come. */
static void test_topic_of_a_client_that_left(void **state)
{
    struct stage *stage = *state;
    client_id client = add_client(stage, "Client-1");
    assert_non_null(strstr(ask(stage, "{'op': 'events', 'topic': 'Client-1'}"), "add-client"));
    struct event event = event_of(EVENT_CLIENT_REMOVE);
    event.of.client_remove.client = client;
    node_apply(stage->node, &event);
    EXPECT(stage, "{'op': 'events', 'topic': 'Client-1'}", "[]");
    assert_non_null(strstr(ask(stage, "{'op': 'events'}"), "remove-client"));
}

/* A queue hands on plain values; get waits, and whoever waits in vain is told so. */
static void test_queue(void **state)
{
    struct stage *stage = *state;
    EXPECT(stage, "{'op': 'queue_create', 'name': 'q', 'maxsize': 0}", "None");
    EXPECT(stage, "{'op': 'queue_put', 'name': 'q', 'data': [1, 2]}", "None");
    EXPECT(stage, "{'op': 'queue_qsize', 'name': 'q'}", "1");
    EXPECT(stage, "{'op': 'queue_get', 'name': 'q', 'timeout': 1}",
           "{'type': 'msgpack', 'value': [1, 2]}");
    assert_non_null(begin(stage, "{'op': 'queue_get', 'name': 'q', 'timeout': null}"));
    ask(stage, "{'op': 'queue_put', 'name': 'q', 'data': 3}");
    assert_int_equal(stage->answer_count, 6); /* the put's and that of the get */
    assert_int_equal(stage->node->server.requests.count, 0);
    EXPECT(stage, "{'op': 'queue_qsize', 'name': 'q'}", "0");
    assert_non_null(strstr(ask(stage, "{'op': 'queue_get', 'name': 'q', 'timeout': 1, 'batch': 2}"),
                           "NotImplementedError"));
}

/* A client dies while it waits for an event or in a queue: nothing of its call is left, and what comes later
 * goes to those who are alive. */
static void test_abandoned_wait(void **state)
{
    struct stage *stage = *state;
    struct request *waiting = begin(stage, "{'op': 'event_wait', 'name': 'e', 'timeout': null}");
    assert_non_null(waiting);
    assert_int_equal(waiting->message.count, 0); /* a long wait holds no buffer */
    request_abandon(waiting);
    assert_int_equal(stage->node->server.requests.count, 0);
    EXPECT(stage, "{'op': 'queue_create', 'name': 'q', 'maxsize': 0}", "None");
    request_abandon(begin(stage, "{'op': 'queue_get', 'name': 'q', 'timeout': null}"));
    EXPECT(stage, "{'op': 'queue_put', 'name': 'q', 'data': 1}", "None");
    EXPECT(stage, "{'op': 'queue_qsize', 'name': 'q'}", "1");
    assert_int_equal(stage->node->server.requests.count, 0);
}

/* publish_put waits until the client's stream has said what it said before; the two may come in either order. */
static void test_publish_waits_for_the_stream(void **state)
{
    struct stage *stage = *state;
    const char *put =
        "{'op': 'publish_put', 'names': ['d'], 'keys': [['x']], 'data': [7], 'override': false,"
        " 'client': 'Client-1', 'uid': 'one'}";
    add_client(stage, "Client-1");
    assert_non_null(begin(stage, put));
    EXPECT(stage, "{'op': 'publish_list'}", "[]");
    publish_flushed(stage->node, SPAN("\xa3one"));
    EXPECT(stage, "{'op': 'publish_list'}", "['d']");
    publish_flushed(stage->node, SPAN("\xa3one"));
    assert_non_null(strstr(ask(stage, put), "KeyError"));
    EXPECT(stage, "{'op': 'publish_get', 'names': ['d', 'no'], 'client': 'Client-1'}",
           "[{'data': 7, 'keys': ['x']}, None]");
}

/* The planner reads the state as tables; names that are not there are left out. */
static void test_planner_views(void **state)
{
    struct stage *stage = *state;
    add_client(stage, "Client-1");
    const char *clients =
        ask(stage, "{'op': 'planner_view', 'what': 'clients', 'names': ['Client-1', 'no']}");
    assert_non_null(
        strstr(clients, "{'fields': ['client_key', 'wants_what', 'last_seen', 'versions'], 'rows': "
                        "[['Client-1', [], "));
    EXPECT(stage, "{'op': 'planner_view', 'what': 'task_sets'}",
           "{'queued': [], 'unrunnable': [], 'replicated_tasks': []}");
    assert_non_null(
        strstr(ask(stage, "{'op': 'planner_view', 'what': 'scheduler'}"), "'status': 'running'"));
    assert_non_null(
        strstr(ask(stage, "{'op': 'planner_view', 'what': 'everything'}"), "ValueError"));
    assert_non_null(
        strstr(ask(stage, "{'op': 'planner_client_send', 'name': 'Client-1', 'messages': []}"),
               "KeyError")); /* known, but it has no stream */
}

/* A dump leaves out what it is told to, at every level. */
static void test_dump_excludes(void **state)
{
    struct stage *stage = *state;
    add_client(stage, "Client-1");
    const char *whole = ask(stage, "{'op': 'dump_state', 'exclude': []}");
    assert_non_null(strstr(whole, "'last_seen'"));
    assert_non_null(strstr(whole, "'transition_log': []"));
    const char *part = ask(stage, "{'op': 'dump_state', 'exclude': ['last_seen', 'events']}");
    assert_null(strstr(part, "'last_seen'"));
    assert_null(strstr(part, "'events'"));
    assert_non_null(strstr(part, "'Client-1': {'client_key': 'Client-1'"));
}

int main(void)
{
#define STAGED(test) cmocka_unit_test_setup_teardown(test, open_stage, close_stage)
    const struct CMUnitTest tests[] = {
        STAGED(test_unknown_operation),
        STAGED(test_wrong_field),
        STAGED(test_metadata),
        STAGED(test_events_are_bounded),
        STAGED(test_topic_of_a_client_that_left),
        STAGED(test_queue),
        STAGED(test_abandoned_wait),
        STAGED(test_publish_waits_for_the_stream),
        STAGED(test_planner_views),
        STAGED(test_dump_excludes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
