/* The planner's C side with a real child: the real one, if there is a Python with Dask, and
 * small scripts that play one that dies. The rest of the node is played here: requests are
 * recorded, queries answered. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "node/connection.h"
#include "node/planner_internal.h"
#include "wire/payload.h"

/* ---- the rest of the node, as far as the planner sees it ---- */

static struct {
    struct text raised;  /* text of the last exception raised at a caller */
    struct text replied; /* value of the last reply */
    uint32_t reply_count;
    uint32_t query_count;
    uint32_t item_count; /* items of feeds that went out */
    struct io_loop *loop;
    uint32_t reply_awaited;
    bool peer_is_gone;
    uint32_t graph_count;
} world;

static void stop_if_enough(void)
{
    if (world.reply_count >= world.reply_awaited) {
        io_loop_stop(world.loop);
    }
}

int request_create(struct server *server, const struct frames *message, request_deliver *deliver,
                   void *user, struct request **out_request)
{
    struct request *request = mem_zalloc(1, sizeof *request);
    struct span op;
    if (msgpack_find(frames_head(message), "op", &op) != OK) {
        mem_free(request);
        return ERR_MISSING;
    }
    struct msgpack_reader reader = msgpack_reader(op);
    for (uint32_t i = 0; i < message->count; i++) {
        frames_add(&request->message, slice_ref(message->items[i]));
    }
    assert_int_equal(msgpack_read_str(&reader, &request->op), OK);
    request->server = server;
    request->deliver = deliver;
    request->user = user;
    *out_request = request;
    return OK;
}

static void request_end(struct request *request, struct outgoing *answer)
{
    if (request->deliver != NULL) {
        request->deliver(request->user, request, answer);
    }
    frames_fini(&request->message);
    mem_free(request);
}

/* Every query is answered {"status": "running"}: enough for feeds and addresses. */
void request_dispatch(struct request *request)
{
    world.query_count++;
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, 2);
    msgpack_write_cstr(&answer.head, "status");
    msgpack_write_cstr(&answer.head, "running");
    msgpack_write_cstr(&answer.head, "address");
    msgpack_write_cstr(&answer.head, "tcp://scheduler");
    request_end(request, &answer);
    outgoing_fini(&answer);
}

void request_abandon(struct request *request)
{
    request->deliver = NULL;
    struct outgoing nothing = {0};
    request_end(request, &nothing);
}

void request_raise(struct request *request, const char *module, const char *name,
                   const char *format, ...)
{
    (void)module;
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    text_clear(&world.raised);
    text_printf(&world.raised, "%s: %s", name, text);
    world.reply_count++;
    struct outgoing nothing = {0};
    request_end(request, &nothing);
    stop_if_enough();
}

void request_reply_blob(struct request *request, const struct blob *blob)
{
    text_clear(&world.replied);
    text_add(&world.replied, slice_span(blob->value));
    world.reply_count++;
    struct outgoing nothing = {0};
    request_end(request, &nothing);
    stop_if_enough();
}

void request_reply_nil(struct request *request)
{
    struct blob *nil = payload_nil();
    request_reply_blob(request, nil);
    blob_unref(nil);
}

struct connection *connection_of(struct request *request)
{
    return world.peer_is_gone ? NULL : (struct connection *)request;
}

struct comm *connection_comm(struct connection *connection)
{
    return (struct comm *)connection;
}

void comm_send(struct comm *comm, struct outgoing *out)
{
    (void)comm;
    world.item_count++;
    world.peer_is_gone = world.item_count >= 3;
    outgoing_clear(out);
}

const char *comm_peer(const struct comm *comm)
{
    (void)comm;
    return "tcp://peer";
}

void node_close(struct node *node, const char *reason)
{
    (void)reason;
    node->is_closing = true;
    io_loop_stop(node->loop);
}

static char python_path[64]; /* what cask.planner.python says; empty: unset */
static const char *preload_path;
static const char *set_variable; /* of the command line */

const char *config_text(const struct config *config, const char *name, const char *absent)
{
    (void)config;
    return strcmp(name, "cask.planner.python") == 0 && python_path[0] != '\0' ? python_path
                                                                              : absent;
}

const char *config_variable(const struct config *config, uint32_t index)
{
    (void)config;
    return index == 0 ? set_variable : NULL;
}

void config_write(const struct config *config, const char *name, struct text *out_msgpack)
{
    (void)config;
    if (preload_path != NULL && strcmp(name, "distributed.scheduler.preload") == 0) {
        msgpack_write_array(out_msgpack, 1);
        msgpack_write_cstr(out_msgpack, preload_path);
    } else {
        msgpack_write_nil(out_msgpack);
    }
}

/* ---- support ---- */

static struct node *node_begin(void)
{
    memset(&world, 0, sizeof world);
    struct node *node = mem_zalloc(1, sizeof *node);
    node->loop = world.loop = io_loop_create();
    struct scheduler_config config;
    scheduler_config_init(&config);
    node->core = scheduler_create(&config); /* told when nobody wants transitions any more */
    world.reply_awaited = 1;
    node->planner = planner_create(node);
    return node;
}

static void node_end(struct node *node)
{
    planner_destroy(node->planner);
    io_loop_destroy(node->loop);
    scheduler_destroy(node->core);
    text_fini(&world.raised);
    text_fini(&world.replied);
    arena_fini(&node->scratch);
    mem_free(node);
}

/* From now on the planner is a script. */
static void use_script(const char *script)
{
    snprintf(python_path, sizeof python_path, "/tmp/cask-planner-%d.sh", (int)getpid());
    FILE *file = fopen(python_path, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", script);
    fclose(file);
    assert_int_equal(chmod(python_path, 0700), 0);
}

static void use_default(void)
{
    if (python_path[0] != '\0') {
        unlink(python_path);
    }
    python_path[0] = '\0';
}

/* Skip unless the interpreter that would be taken has Dask. */
static void need_dask(void)
{
    struct text python = {0}, package = {0}, command = {0};
    planner_find_python(NULL, &python, &package);
    text_printf(&command, "%s -c 'import cask.planner, distributed' 2>/dev/null",
                text_cstr(&python));
    bool is_there = system(text_cstr(&command)) == 0;
    text_fini(&python);
    text_fini(&package);
    text_fini(&command);
    if (!is_there) {
        skip();
    }
}

/* A call as a client sends it: {"op": op, then `more` pairs, raw}. */
static struct request *call(struct node *node, const char *op, uint32_t count,
                            const struct text *more)
{
    struct text head = {0};
    msgpack_write_map(&head, 2 + count);
    msgpack_write_cstr(&head, "op");
    msgpack_write_cstr(&head, op);
    msgpack_write_cstr(&head, "reply");
    msgpack_write_bool(&head, true);
    msgpack_write_raw(&head, text_span(more));
    struct frames message = {0};
    frames_add(&message, slice_copy(text_span(&head)));
    struct request *request = NULL;
    assert_int_equal(request_create(&node->server, &message, NULL, NULL, &request), OK);
    frames_fini(&message);
    text_fini(&head);
    return request;
}

/* run_function of builtins.`name`(argument), pickled by hand. */
static struct request *call_builtin(struct node *node, const char *name,
                                    const char *pickled_arguments, size_t size)
{
    struct text more = {0}, function = {0};
    text_printf(&function,
                "\x80\x04"
                "cbuiltins\n%s\n.",
                name);
    msgpack_write_cstr(&more, "function");
    msgpack_write_bin(&more, text_span(&function));
    msgpack_write_cstr(&more, "args");
    msgpack_write_bin(&more, span_of(pickled_arguments, size));
    struct request *request = call(node, "run_function", 2, &more);
    text_fini(&more);
    text_fini(&function);
    return request;
}

struct outcome {
    struct text failure;
    struct flat_graph graph;
    uint32_t count;
    struct node *node;
    bool asks_again;
};

static void ask_graph(struct node *node, struct outcome *outcome);

static void graph_done(void *user, struct planner_graph *result)
{
    struct outcome *outcome = user;
    outcome->count++;
    if (result->is_ok) {
        outcome->graph = *result->graph;
        memset(result->graph, 0, sizeof *result->graph);
    } else {
        assert_non_null(result->exception);
        assert_non_null(result->traceback);
        text_clear(&outcome->failure);
        text_add(&outcome->failure, result->exception_text);
    }
    if (outcome->asks_again) {
        outcome->asks_again = false;
        ask_graph(outcome->node, outcome);
        return;
    }
    io_loop_stop(outcome->node->loop);
}

/* {"a": 1, "b": (operator.neg, "a")}, as a client would send it. */
static void ask_graph(struct node *node, struct outcome *outcome)
{
    static const char pickle[] = "\x80\x04}(\x8c\x01"
                                 "aK\x01\x8c\x01"
                                 "bcoperator\nneg\n\x8c\x01"
                                 "a\x86u.";
    outcome->node = node;
    struct text head = {0}, sub_header = {0};
    msgpack_write_raw(&head, SPAN("\x81\xae__Serialized__\x01"));
    msgpack_write_map(&sub_header, 3);
    msgpack_write_cstr(&sub_header, "serializer");
    msgpack_write_cstr(&sub_header, "pickle");
    msgpack_write_cstr(&sub_header, "writeable");
    msgpack_write_array(&sub_header, 0);
    msgpack_write_cstr(&sub_header, "num-sub-frames");
    msgpack_write_int(&sub_header, 1);
    struct frames message = {0};
    frames_add(&message, slice_copy(text_span(&head)));
    frames_add(&message, slice_copy(text_span(&sub_header)));
    frames_add(&message, slice_copy(span_of(pickle, sizeof pickle - 1)));
    struct planner_graph_request request = {.message = &message, .expr_ser = frames_head(&message)};
    planner_materialise(node->planner, &request, graph_done, outcome);
    frames_fini(&message);
    text_fini(&head);
    text_fini(&sub_header);
}

static void outcome_fini(struct outcome *outcome)
{
    text_fini(&outcome->failure);
    flat_graph_fini(&outcome->graph);
}

static void assert_contains(const struct text *text, const char *part)
{
    if (strstr(text_cstr(text), part) == NULL) {
        fail_msg("'%s' lacks '%s'", text_cstr(text), part);
    }
}

/* With this script in the planner's place a graph fails, and the failure says so. */
static void expect_failure(const char *script, const char *says)
{
    use_script(script);
    struct node *node = node_begin();
    struct outcome outcome = {0};
    ask_graph(node, &outcome);
    io_loop_run(node->loop);
    assert_contains(&outcome.failure, says);
    outcome_fini(&outcome);
    node_end(node);
    use_default();
}

/* ---- the planner dies, or never lives ---- */

/* It prints something and exits: graph and call fail with both. */
static void test_exit_is_explained(void **state)
{
    (void)state;
    use_script("echo 'ModuleNotFoundError: dask' >&2; exit 3");
    struct node *node = node_begin();
    struct outcome outcome = {0};
    ask_graph(node, &outcome);
    assert_int_equal(outcome.count, 0); /* never inside the call */
    io_loop_run(node->loop);
    assert_int_equal(outcome.count, 1);
    assert_contains(&outcome.failure, "RuntimeError");
    assert_contains(&outcome.failure, "ended with status 3");
    assert_contains(&outcome.failure, "ModuleNotFoundError: dask");

    struct text none = {0};
    planner_forward(node->planner, call(node, "unregister_scheduler_plugin", 0, &none));
    io_loop_run(node->loop);
    assert_contains(&world.raised, "RuntimeError: the planner");
    assert_contains(&world.raised, "status 3");
    outcome_fini(&outcome);
    node_end(node);
    use_default();
}

/* Killed by a signal, while its owner asks again as soon as it hears of it. */
static void test_signal_and_asking_again(void **state)
{
    (void)state;
    use_script("kill -9 $$");
    struct node *node = node_begin();
    struct outcome outcome = {.asks_again = true};
    ask_graph(node, &outcome);
    io_loop_run(node->loop);
    assert_int_equal(outcome.count, 2);
    assert_contains(&outcome.failure, "ended by signal 9 (Killed): out of memory?");
    outcome_fini(&outcome);
    node_end(node);
    use_default();
}

/* Planners that end before they finish anything are started ever more rarely; the reason stays. */
static void test_ends_again_and_again(void **state)
{
    (void)state;
    use_script("echo \"No module named 'dask'\" >&2; exit 1");
    struct node *node = node_begin();
    struct outcome outcome = {0};
    for (uint32_t i = 1; i <= 3; i++) {
        ask_graph(node, &outcome);
        io_loop_run(node->loop);
        assert_contains(&outcome.failure, "ended with status 1");
        assert_int_equal(node->planner->life.failures, i);
    }
    ask_graph(node, &outcome);
    assert_null(node->planner->process);
    io_loop_run(node->loop);
    assert_contains(&outcome.failure, "3 planners in a row ended");
    assert_contains(&outcome.failure, "No module named 'dask'");
    node->planner->life.not_before = 0; /* the wait is over */
    ask_graph(node, &outcome);
    assert_non_null(node->planner->process);
    io_loop_run(node->loop);
    assert_int_equal(node->planner->life.failures, 4);
    assert_true(node->planner->life.not_before > io_monotonic() + 1); /* and longer now */
    outcome_fini(&outcome);
    node_end(node);
    use_default();
}

/* What the command line says is in the planner's environment. */
static void test_settings_reach_it(void **state)
{
    (void)state;
    set_variable = "DASK_A__B=from the command line";
    expect_failure("echo \"a.b is $DASK_A__B\" >&2; exit 1", "a.b is from the command line");
    set_variable = NULL;
}

static void test_no_interpreter(void **state)
{
    (void)state;
    snprintf(python_path, sizeof python_path, "/no/such/python");
    struct node *node = node_begin();
    struct outcome outcome = {0};
    ask_graph(node, &outcome);
    assert_int_equal(outcome.count, 0);
    io_loop_run(node->loop);
    assert_int_equal(outcome.count, 1);
    assert_contains(&outcome.failure, "/no/such/python");
    assert_contains(&outcome.failure, "cask.planner.python");
    outcome_fini(&outcome);
    node_end(node);
    python_path[0] = '\0';
}

/* Bytes that are no message: it is stopped, and the reason says so. */
static void test_malformed_message(void **state)
{
    (void)state;
    expect_failure("head -c 400 /dev/zero | tr '\\0' '\\377' >&3; sleep 60", "malformed message");
}

/* The scheduler closes while a request is under way, and while none runs. */
static void test_stop(void **state)
{
    (void)state;
    use_script("sleep 60");
    struct node *node = node_begin();
    struct outcome outcome = {0};
    ask_graph(node, &outcome);
    planner_stop(node->planner);
    io_loop_run(node->loop);
    assert_contains(&outcome.failure, "closing");
    ask_graph(node, &outcome);
    io_loop_run(node->loop);
    assert_int_equal(outcome.count, 2);
    outcome_fini(&outcome);
    node_end(node);

    node = node_begin();
    memset(&outcome, 0, sizeof outcome);
    ask_graph(node, &outcome);
    node_end(node); /* destroyed with a request under way: nothing is told */
    assert_int_equal(outcome.count, 0);
    use_default();
}

/* ---- with the real one ---- */

static void test_graph(void **state)
{
    (void)state;
    need_dask();
    struct node *node = node_begin();
    struct outcome outcome = {0};
    ask_graph(node, &outcome);
    io_loop_run(node->loop);
    assert_string_equal(text_cstr(&outcome.failure), "");
    assert_int_equal(outcome.graph.task_count, 2);
    assert_int_equal(outcome.graph.key_count, 2);
    assert_true(outcome.graph.cull);
    assert_int_equal(outcome.graph.flags[0], FLAT_DATA_PRODUCER | FLAT_NOT_A_TASK);
    assert_int_equal(outcome.graph.deps[0], 0);
    assert_int_equal(outcome.graph.run_specs[1]->frame_count, 1);
    outcome_fini(&outcome);
    node_end(node);
}

static void test_functions_and_restart(void **state)
{
    (void)state;
    need_dask();
    struct node *node = node_begin();
    planner_forward(node->planner, call_builtin(node, "len",
                                                "(\x8c\x03"
                                                "abct.",
                                                8));
    io_loop_run(node->loop);
    struct span status, map = text_span(&world.replied);
    assert_int_equal(msgpack_find(map, "status", &status), OK);
    assert_true(span_equal(status, SPAN("\xa2OK")));

    /* os._exit(7): what is under way fails, the next request has a new planner. */
    planner_forward(node->planner,
                    call_builtin(node, "exec", "(\x8c\x17import os; os._exit(7) t.", 28));
    world.reply_awaited = 2;
    io_loop_run(node->loop);
    assert_contains(&world.raised, "ended with status 7");
    planner_forward(node->planner, call_builtin(node, "int", "(t.", 3));
    world.reply_awaited = 3;
    io_loop_run(node->loop);
    assert_int_equal(msgpack_find(text_span(&world.replied), "result", &status), OK);
    node_end(node);
}

static struct request *call_register(struct node *node)
{
    struct text more = {0};
    msgpack_write_cstr(&more, "plugin");
    msgpack_write_bin(&more, SPAN("\x80\x04"
                                  "cdistributed.diagnostics.plugin\nSchedulerPlugin\n)\x81."));
    msgpack_write_cstr(&more, "name");
    msgpack_write_cstr(&more, "mine");
    msgpack_write_cstr(&more, "idempotent");
    msgpack_write_bool(&more, false);
    struct request *request = call(node, "register_scheduler_plugin", 3, &more);
    text_fini(&more);
    return request;
}

static bool has_plugin(const struct node *node)
{
    return map_find(&node->planner->plugins, SPAN("mine")) != NULL;
}

/* A client's plugin is there again after the planner's end, until it is unregistered. */
static void test_plugins_come_back(void **state)
{
    (void)state;
    need_dask();
    struct node *node = node_begin();
    struct planner *planner = node->planner;
    planner_forward(planner, call_register(node));
    io_loop_run(node->loop);
    assert_true(span_equal(text_span(&world.replied), SPAN("\xc0"))); /* nil, as stock answers */
    assert_true(has_plugin(node));
    for (uint32_t i = 0; i < 2; i++) {
        planner_forward(planner,
                        call_builtin(node, "exec", "(\x8c\x17import os; os._exit(7) t.", 28));
        world.reply_awaited++;
        io_loop_run(node->loop);
        assert_false(has_plugin(node));
        assert_int_equal(planner->life.plugins.count, 1);
        planner_forward(planner, call_builtin(node, "int", "(t.", 3));
        world.reply_awaited++;
        io_loop_run(node->loop);
        assert_true(has_plugin(node));
    }
    struct text more = {0};
    msgpack_write_cstr(&more, "name");
    msgpack_write_cstr(&more, "mine");
    planner_forward(planner, call(node, "unregister_scheduler_plugin", 1, &more));
    text_fini(&more);
    world.reply_awaited++;
    io_loop_run(node->loop);
    assert_int_equal(planner->life.plugins.count, 0);
    node_end(node);
}

/* A plugin that planners do not survive is let go of in the end. */
static void test_plugin_that_ends_planners(void **state)
{
    (void)state;
    need_dask();
    struct node *node = node_begin();
    struct planner *planner = node->planner;
    planner_forward(planner, call_register(node));
    io_loop_run(node->loop);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(planner->life.plugins.count, 1);
        planner_forward(planner,
                        call_builtin(node, "exec", "(\x8c\x17import os; os._exit(7) t.", 28));
        world.reply_awaited++;
        io_loop_run(node->loop);
    }
    assert_int_equal(planner->life.plugins.count, 0);
    node_end(node);
}

/* Items go out until the reader has gone; then the feed is cancelled and ends. */
static void test_feed(void **state)
{
    (void)state;
    need_dask();
    struct node *node = node_begin();
    struct text more = {0};
    msgpack_write_cstr(&more, "function");
    msgpack_write_bin(&more, SPAN("\x80\x04"
                                  "cbuiltins\nid\n."));
    msgpack_write_cstr(&more, "interval");
    msgpack_write_cstr(&more, "5ms");
    planner_forward(node->planner, call(node, "feed", 2, &more));
    text_fini(&more);
    io_loop_run(node->loop);
    assert_int_equal(world.item_count, 3);
    assert_true(world.query_count >= 3); /* the feed asks for the scheduler's status */
    node_end(node);
}

/* A preload adds an operation; planner_has_handler knows it, and it answers. */
static void test_preload_and_added_operation(void **state)
{
    (void)state;
    need_dask();
    preload_path = "def dask_setup(s):\n    s.handlers['ping'] = lambda: 'pong'\n";
    struct node *node = node_begin();
    preload_path = NULL;
    struct text none = {0};
    planner_forward(node->planner, call_builtin(node, "int", "(t.", 3));
    io_loop_run(node->loop);
    assert_true(planner_has_handler(node->planner, SPAN("ping")));
    assert_false(planner_has_handler(node->planner, SPAN("pong")));
    assert_false(planner_wants(node->planner, PLANNER_HOOK_TRANSITION));
    planner_forward(node->planner, call(node, "ping", 0, &none));
    world.reply_awaited = 2;
    io_loop_run(node->loop);
    assert_true(span_equal(text_span(&world.replied), SPAN("\xa4pong")));
    node_end(node);
}

int main(void)
{
    setenv("PYTHONPATH", CASK_TEST_DIR "/../../python", 1);
    setenv("CASK_PYTHON", CASK_TEST_DIR "/../../.venv/bin/python3", 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_is_explained),
        cmocka_unit_test(test_signal_and_asking_again),
        cmocka_unit_test(test_ends_again_and_again),
        cmocka_unit_test(test_settings_reach_it),
        cmocka_unit_test(test_no_interpreter),
        cmocka_unit_test(test_malformed_message),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_graph),
        cmocka_unit_test(test_functions_and_restart),
        cmocka_unit_test(test_plugins_come_back),
        cmocka_unit_test(test_plugin_that_ends_planners),
        cmocka_unit_test(test_feed),
        cmocka_unit_test(test_preload_and_added_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
