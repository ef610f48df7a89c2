/* test_exchange.c: queues, variables and published datasets: who is answered when, and what holds a future. */
#include "support/story_replies.h"

#include "core/scheduler/exchange.h"

static void queue_create(struct stage *stage, uint64_t request, const char *name, int64_t maxsize)
{
    struct event event = {.kind = EVENT_QUEUE_CREATE,
                          .of.queue_create = {request, stage_key(stage, name), maxsize}};
    stage_step_now(stage, &event);
}

static void queue_put(struct stage *stage, uint64_t request, const char *name, const char *data,
                      double seconds)
{
    struct blob *blob = stage_blob(data);
    struct event event = {
        .kind = EVENT_QUEUE_PUT,
        .of.queue_put = {request, stage_key(stage, name), {0}, blob, stage->time + seconds}};
    stage_step_now(stage, &event);
    blob_unref(blob);
}

static void queue_put_future(struct stage *stage, uint64_t request, const char *name,
                             const char *key, double seconds)
{
    struct event event = {.kind = EVENT_QUEUE_PUT,
                          .of.queue_put = {request, stage_key(stage, name), stage_key(stage, key),
                                           NULL, stage->time + seconds}};
    stage_step_now(stage, &event);
}

/* batch: −1 one bare, 0 all, n so many */
static void queue_get(struct stage *stage, uint64_t request, const char *name, double seconds,
                      int64_t batch)
{
    struct event event = {
        .kind = EVENT_QUEUE_GET,
        .of.queue_get = {request, stage_key(stage, name), stage->time + seconds, batch}};
    stage_step_now(stage, &event);
}

static void queue_size(struct stage *stage, uint64_t request, const char *name)
{
    struct event event = {.kind = EVENT_QUEUE_SIZE,
                          .of.queue_size = {request, stage_key(stage, name)}};
    stage_step_now(stage, &event);
}

static void queue_release(struct stage *stage, const char *name)
{
    struct event event = {.kind = EVENT_QUEUE_RELEASE,
                          .of.queue_release = {0, stage_key(stage, name)}};
    stage_step_now(stage, &event);
}

static void queue_future_release(struct stage *stage, const char *name, const char *key,
                                 client_id client)
{
    struct event event = {
        .kind = EVENT_QUEUE_FUTURE_RELEASE,
        .of.queue_future_release = {stage_key(stage, name), stage_key(stage, key), client}};
    stage_step_now(stage, &event);
}

static void request_gone(struct stage *stage, uint64_t request)
{
    struct event event = {.kind = EVENT_REQUEST_GONE, .of.request_gone = {request}};
    stage_step_now(stage, &event);
}

static void client_remove(struct stage *stage, client_id client)
{
    struct event event = {.kind = EVENT_CLIENT_REMOVE, .of.client_remove = {client}};
    stage_step(stage, &event);
}

/* First in, first out; a getter that comes early waits for the next item. */
static void test_queue(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    queue_create(&stage, 1, "q", 0);
    expect_replies(&stage, "1: nil\n");
    queue_put(&stage, 2, "q", "one", INFINITY);
    expect_replies(&stage, "2: nil\n");
    queue_put(&stage, 3, "q", "two", INFINITY);
    queue_size(&stage, 4, "q");
    expect_replies(&stage, "4: 2\n");
    queue_get(&stage, 5, "q", INFINITY, -1);
    expect_replies(&stage, "5: one\n");
    queue_get(&stage, 6, "q", INFINITY, -1);
    expect_replies(&stage, "6: two\n");
    queue_get(&stage, 7, "q", 10, -1);
    expect_replies(&stage, "");
    queue_get(&stage, 8, "q", INFINITY, -1);
    queue_put(&stage, 9, "q", "three", INFINITY);
    expect_replies(&stage, "9: nil\n7: three\n");
    queue_get(&stage, 10, "q", 5, -1);
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "10: TimeoutError()\n");
    assert_false(stage_tick_due(&stage));
    stage_close(&stage);
}

/* A full queue makes putters wait, in order, or until their time is up. */
static void test_queue_maxsize(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    queue_create(&stage, 1, "q", 2);
    queue_put(&stage, 2, "q", "a", INFINITY);
    queue_put(&stage, 3, "q", "b", INFINITY);
    queue_put(&stage, 4, "q", "c", INFINITY);
    expect_replies(&stage, "");
    queue_put(&stage, 5, "q", "d", 0);
    expect_replies(&stage, "5: TimeoutError()\n");
    queue_put(&stage, 6, "q", "e", 3);
    queue_get(&stage, 7, "q", INFINITY, -1);
    expect_replies(&stage, "7: a\n4: nil\n");
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "6: TimeoutError()\n");
    queue_get(&stage, 8, "q", INFINITY, 0);
    expect_replies(&stage, "8: [b, c]\n");
    queue_get(&stage, 9, "q", INFINITY, 0);
    expect_replies(&stage, "9: []\n");
    stage_close(&stage);
}

/* A batch of n waits until it has n, taking turns with others; if it gives up, what it took goes back. */
static void test_queue_batch(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    queue_create(&stage, 1, "q", 0);
    queue_put(&stage, 2, "q", "a", INFINITY);
    queue_get(&stage, 3, "q", INFINITY, 3);
    expect_replies(&stage, "");
    queue_get(&stage, 4, "q", INFINITY, -1);
    queue_put(&stage, 5, "q", "b", INFINITY);
    expect_replies(&stage, "5: nil\n");
    queue_put(&stage, 6, "q", "c", INFINITY);
    expect_replies(&stage, "6: nil\n4: c\n");
    queue_put(&stage, 7, "q", "d", INFINITY);
    expect_replies(&stage, "7: nil\n3: [a, b, d]\n");
    queue_get(&stage, 8, "q", INFINITY, 2);
    queue_put(&stage, 9, "q", "e", INFINITY);
    request_gone(&stage, 8);
    queue_get(&stage, 10, "q", INFINITY, -1);
    expect_replies(&stage, "10: e\n");
    queue_get(&stage, 11, "q", INFINITY, 2);
    queue_put(&stage, 12, "q", "f", INFINITY);
    queue_get(&stage, 13, "q", INFINITY, -1);
    stage_close(&stage); /* with one item in the hands of a getter */
}

/* A future in a queue is kept for the one who takes it, until that one says that it wants it. */
static void test_queue_future(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    client_id d = stage_client(&stage, "d");
    stage_graph(&stage, c, "x", "x");
    queue_create(&stage, 1, "q", 0);
    queue_put_future(&stage, 2, "q", "x", INFINITY);
    expect_replies(&stage, "2: nil\n");
    stage_finish(&stage, a, "x");
    stage_release(&stage, "c", "x");
    stage_forget_transcript(&stage);
    assert_string_equal(stage_state(&stage, "x"), "memory");
    queue_get(&stage, 3, "q", INFINITY, -1);
    expect_replies(&stage, "3: x (memory)\n");
    assert_string_equal(stage_state(&stage, "x"), "memory");
    queue_future_release(&stage, "q", "x", d);
    stage_expect(&stage, "memory d: x\n");
    stage_release(&stage, "d", "x");
    stage_expect(&stage, "free a: x\n");
    assert_string_equal(stage_state(&stage, "x"), "gone");
    stage_close(&stage);
}

/* An erred future tells so in its record; one that was released meanwhile is lost. */
static void test_queue_future_states(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x y", "x y");
    stage_erred(&stage, a, "x");
    queue_create(&stage, 1, "q", 0);
    queue_put_future(&stage, 2, "q", "x", INFINITY);
    queue_put_future(&stage, 3, "q", "y", INFINITY);
    struct event cancel = {
        .kind = EVENT_CANCEL,
        .of.cancel = {.client = c, .keys = stage_keys(&stage, "y", ' '), .force = true}};
    stage_step(&stage, &cancel);
    queue_get(&stage, 4, "q", INFINITY, 2);
    expect_replies(&stage, "4: [x (erred, failed), y (lost)]\n");
    stage_close(&stage);
}

/* The put came before its graph (another connection): it waits until the key is known, or its time is up. */
static void test_queue_unknown_key(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    queue_create(&stage, 1, "q", 0);
    queue_put_future(&stage, 2, "q", "x", 10);
    queue_put_future(&stage, 3, "q", "never", 5);
    queue_put_future(&stage, 4, "other", "x", 10);
    expect_replies(&stage, "");
    stage_graph(&stage, c, "x", "x");
    expect_replies(&stage, "");
    assert_true(scheduler_next_tick(stage.s) <= stage.time);
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "2: nil\n4: KeyError(other)\n");
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "3: TimeoutError(Task never unknown to scheduler.)\n");
    queue_put_future(&stage, 5, "q", "gone", INFINITY);
    request_gone(&stage, 5);
    stage_graph(&stage, c, "gone", "gone");
    assert_false(stage_tick_due(&stage));
    queue_size(&stage, 6, "q");
    expect_replies(&stage, "6: 1\n");
    stage_close(&stage);
}

/* A queue goes with its last user; its futures are let go and those who wait are told. */
static void test_queue_release(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x y", "x y");
    queue_create(&stage, 1, "q", 1);
    queue_create(&stage, 2, "q", 1);
    queue_put_future(&stage, 3, "q", "x", INFINITY);
    queue_put_future(&stage, 4, "q", "y", INFINITY);
    queue_release(&stage, "q");
    stage_release(&stage, "c", "x y");
    assert_string_equal(stage_state(&stage, "x"), "queued");
    queue_release(&stage, "q");
    expect_replies(&stage, "4: KeyError(q)\n");
    assert_string_equal(stage_state(&stage, "x"), "gone");
    assert_string_equal(stage_state(&stage, "y"), "gone");
    assert_int_equal(view_client_find(stage.s, SPAN("queue-q")), CLIENT_NONE);
    queue_get(&stage, 5, "q", INFINITY, -1);
    expect_replies(&stage, "5: KeyError(q)\n");
    queue_put(&stage, 6, "q", "a", INFINITY);
    expect_replies(&stage, "6: KeyError(q)\n");
    queue_size(&stage, 7, "q");
    expect_replies(&stage, "7: KeyError(q)\n");
    queue_release(&stage, "q");
    stage_close(&stage);
}

/* ---- variables ---- */

static void variable_set(struct stage *stage, uint64_t request, const char *name, const char *data)
{
    struct blob *blob = stage_blob(data);
    struct event event = {
        .kind = EVENT_VARIABLE_SET,
        .of.variable_set = {request, stage_key(stage, name), {0}, blob, INFINITY}};
    stage_step_now(stage, &event);
    blob_unref(blob);
}

static void variable_set_future(struct stage *stage, uint64_t request, const char *name,
                                const char *key, double seconds)
{
    struct event event = {.kind = EVENT_VARIABLE_SET,
                          .of.variable_set = {request, stage_key(stage, name),
                                              stage_key(stage, key), NULL, stage->time + seconds}};
    stage_step_now(stage, &event);
}

static void variable_get(struct stage *stage, uint64_t request, const char *name, double seconds,
                         const char *client)
{
    struct event event = {.kind = EVENT_VARIABLE_GET,
                          .of.variable_get = {request, stage_key(stage, name),
                                              stage->time + seconds, span_of_text(client)}};
    stage_step_now(stage, &event);
}

/* The token of the last answer, copied. */
static struct span last_token(struct stage *stage)
{
    const struct action *last = NULL;
    for (uint32_t i = 0; i < stage->step.action_count; i++) {
        if (stage->step.actions[i].kind == ACTION_REPLY) {
            last = &stage->step.actions[i];
        }
    }
    assert_non_null(last);
    return arena_copy(&stage->arena, last->of.reply.answer->records[0].token);
}

static void variable_confirm(struct stage *stage, const char *name, const char *key,
                             struct span token, client_id client)
{
    struct event event = {
        .kind = EVENT_VARIABLE_CONFIRM,
        .of.variable_confirm = {stage_key(stage, name), stage_key(stage, key), token, client}};
    stage_step_now(stage, &event);
}

static void variable_delete(struct stage *stage, const char *name)
{
    struct event event = {.kind = EVENT_VARIABLE_DELETE,
                          .of.variable_delete = {stage_key(stage, name), CLIENT_NONE}};
    stage_step_now(stage, &event);
}

/* Plain data: readers wait for the first value; each sees the newest. */
static void test_variable(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    variable_get(&stage, 1, "v", INFINITY, "c");
    variable_get(&stage, 2, "v", 4, "c");
    variable_get(&stage, 3, "v", 0, "c");
    expect_replies(&stage, "3: TimeoutError()\n");
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "2: TimeoutError()\n");
    variable_set(&stage, 4, "v", "one");
    expect_replies(&stage, "1: one\n4: nil\n");
    variable_set(&stage, 5, "v", "two");
    variable_get(&stage, 6, "v", INFINITY, "c");
    expect_replies(&stage, "6: two\n");
    variable_delete(&stage, "v");
    variable_get(&stage, 7, "v", 5, "c");
    expect_replies(&stage, "");
    request_gone(&stage, 7);
    assert_false(stage_tick_due(&stage));
    stage_close(&stage);
}

/* A future that was read stays until the reader has it, even when the variable is set to something else. */
static void test_variable_future(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    client_id d = stage_client(&stage, "d");
    stage_graph(&stage, c, "x", "x");
    variable_set_future(&stage, 1, "v", "x", INFINITY);
    expect_replies(&stage, "1: nil\n");
    stage_finish(&stage, a, "x");
    stage_release(&stage, "c", "x");
    variable_get(&stage, 2, "v", INFINITY, "d");
    expect_replies(&stage, "2: x (memory) +token\n");
    struct span first = last_token(&stage);
    variable_get(&stage, 3, "v", INFINITY, "d");
    struct span second = last_token(&stage);
    assert_int_equal(first.size, 32);
    assert_false(span_equal(first, second));
    variable_set(&stage, 4, "v", "other");
    assert_string_equal(stage_state(&stage, "x"), "memory");
    variable_confirm(&stage, "v", "x", first, d);
    stage_release(&stage, "d", "x");
    assert_string_equal(stage_state(&stage, "x"), "memory");
    variable_confirm(&stage, "v", "x", second, CLIENT_NONE);
    assert_string_equal(stage_state(&stage, "x"), "gone");
    variable_confirm(&stage, "v", "x", second, d);
    stage_close(&stage);
}

/* The reader died before it confirmed: the future is not held for ever. */
static void test_variable_reader_gone(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    client_id d = stage_client(&stage, "d");
    stage_graph(&stage, c, "x y", "x y");
    variable_set_future(&stage, 1, "v", "x", INFINITY);
    variable_get(&stage, 2, "v", INFINITY, "d");
    variable_set_future(&stage, 3, "v", "y", INFINITY);
    variable_get(&stage, 4, "v", INFINITY, "d");
    variable_delete(&stage, "v");
    stage_release(&stage, "c", "x y");
    assert_string_equal(stage_state(&stage, "x"), "queued");
    assert_string_equal(stage_state(&stage, "y"), "queued");
    client_remove(&stage, d);
    assert_string_equal(stage_state(&stage, "x"), "gone");
    assert_string_equal(stage_state(&stage, "y"), "gone");
    assert_int_equal(view_client_find(stage.s, SPAN("variable-v")), CLIENT_NONE);
    stage_close(&stage);
}

/* Set to a future whose graph has not arrived: the setter waits; back to the same future: it stays held. */
static void test_variable_unknown_key(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    variable_set_future(&stage, 1, "v", "x", 30);
    variable_set_future(&stage, 2, "w", "never", 2);
    variable_get(&stage, 3, "v", INFINITY, "c");
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "2: TimeoutError(Task never unknown to scheduler.)\n");
    stage_graph(&stage, c, "x y", "x y");
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "3: x (queued) +token\n1: nil\n");
    stage_close(&stage);
}

static void test_variable_there_and_back(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x y", "x y");
    variable_set_future(&stage, 1, "v", "x", 30);
    variable_get(&stage, 2, "v", INFINITY, "c");
    struct span token = last_token(&stage);
    variable_set_future(&stage, 3, "v", "y", 30);
    variable_set_future(&stage, 4, "v", "x", 30);
    stage_release(&stage, "c", "x y");
    variable_confirm(&stage, "v", "x", token, CLIENT_NONE);
    assert_string_equal(stage_state(&stage, "x"), "queued");
    assert_string_equal(stage_state(&stage, "y"), "gone");
    variable_delete(&stage, "v");
    assert_string_equal(stage_state(&stage, "x"), "gone");
    stage_close(&stage);
}

/* ---- published datasets ---- */

struct dataset {
    const char *name, *keys, *data;
};

static void publish(struct stage *stage, uint64_t request, struct dataset dataset, bool override)
{
    struct blob *blob = stage_blob(dataset.data);
    struct event event = {.kind = EVENT_PUBLISH_PUT,
                          .of.publish_put = {request, stage_key(stage, dataset.name),
                                             stage_keys(stage, dataset.keys, ' '), blob, override,
                                             CLIENT_NONE}};
    stage_step_now(stage, &event);
    blob_unref(blob);
}

static void published(struct stage *stage, enum event_kind kind, uint64_t request, const char *name)
{
    struct event event = {.kind = kind,
                          .of.publish_get = {request, stage_key(stage, name), CLIENT_NONE}};
    stage_step_now(stage, &event);
}

/* A dataset holds its keys until it is unpublished or replaced. */
static void test_publish(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x y z", "x y z");
    publish(&stage, 1, (struct dataset){"data", "x y", "value"}, false);
    expect_replies(&stage, "1: nil\n");
    stage_release(&stage, "c", "x y");
    assert_string_equal(stage_state(&stage, "x"), "queued");
    published(&stage, EVENT_PUBLISH_GET, 2, "data");
    expect_replies(&stage, "2: value x y\n");
    published(&stage, EVENT_PUBLISH_GET, 3, "other");
    expect_replies(&stage, "3: no dataset\n");
    publish(&stage, 4, (struct dataset){"data", "z", "again"}, false);
    expect_replies(&stage, "4: KeyError(Dataset data already exists)\n");
    publish(&stage, 5, (struct dataset){"data", "y z", "again"}, true);
    expect_replies(&stage, "5: nil\n");
    assert_string_equal(stage_state(&stage, "x"), "gone");
    assert_string_equal(stage_state(&stage, "y"), "queued");
    publish(&stage, 6, (struct dataset){"a-set", "", "plain"}, false);
    struct span_list names = exchange_published(stage.s, &stage.arena);
    assert_int_equal(names.count, 2);
    assert_true(span_equal(names.items[0], stage_key(&stage, "a-set")));
    assert_true(span_equal(names.items[1], stage_key(&stage, "data")));
    published(&stage, EVENT_PUBLISH_DELETE, 7, "data");
    expect_replies(&stage, "7: nil\n");
    assert_string_equal(stage_state(&stage, "y"), "gone");
    assert_string_equal(stage_state(&stage, "z"), "queued");
    assert_int_equal(view_client_find(stage.s, SPAN("published-data")), CLIENT_NONE);
    published(&stage, EVENT_PUBLISH_DELETE, 8, "data");
    expect_replies(&stage, "8: nil\n");
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_queue_maxsize),
        cmocka_unit_test(test_queue_batch),
        cmocka_unit_test(test_queue_future),
        cmocka_unit_test(test_queue_future_states),
        cmocka_unit_test(test_queue_unknown_key),
        cmocka_unit_test(test_queue_release),
        cmocka_unit_test(test_variable),
        cmocka_unit_test(test_variable_future),
        cmocka_unit_test(test_variable_reader_gone),
        cmocka_unit_test(test_variable_unknown_key),
        cmocka_unit_test(test_variable_there_and_back),
        cmocka_unit_test(test_publish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
