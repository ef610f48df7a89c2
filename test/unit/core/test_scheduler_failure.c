/* test_scheduler_failure.c: tasks that fail, workers that die, data that is lost, messages that come late. */
#include "support/story.h"

static void erred_graph(struct stage *stage, worker_id *out_worker, client_id *out_client)
{
    stage_open(stage);
    *out_worker = stage_worker(stage, "a", 1);
    *out_client = stage_client(stage, "me");
    stage_graph(stage, *out_client, "x y:x z:y", "z");
    stage_erred(stage, *out_worker, "x");
}

/* ---- failing tasks ---- */

/* A task fails: all that depends on it errs with the same cause. */
static void test_erred(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a;
    client_id client;
    erred_graph(&stage, &a, &client);
    stage_expect(&stage, "compute x@a\nerred me: z (user of x)\n");
    assert_string_equal(stage_state(&stage, "y"), "erred");
    struct failure_view failure;
    view_failure(stage_view(&stage, "z").failure, &failure);
    assert_true(span_equal(failure.key, stage_key(&stage, "x")));
    assert_true(span_equal(failure.worker, SPAN("tcp://a:1")));
    assert_true(span_equal(failure.exception_text, SPAN("ValueError('oops')")));
    assert_int_equal(stage_view(&stage, "x").erred_on.count, 1);
    stage_release(&stage, "me", "z");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* Client.retry: from the wanted key down to what failed, which runs again. */
static void test_retry(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a;
    client_id client;
    erred_graph(&stage, &a, &client);
    stage_forget_transcript(&stage);
    struct span key = stage_key(&stage, "z");
    struct event event = {.kind = EVENT_RETRY, .of.retry = {client, {&key, 1}}};
    stage_step(&stage, &event);
    assert_int_equal(stage.step.reply_keys.count, 3);
    stage_expect(&stage, "free a: x\ncompute x@a\nretried me: z\n");
    assert_null(stage_view(&stage, "z").failure);
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    stage_finish(&stage, a, "z");
    stage_expect(
        &stage,
        "compute y@a <- x(8)@a\nfree a: x\ncompute z@a <- y(8)@a\nmemory me: z\nfree a: y\n");
    stage_close(&stage);
}

/* Two inputs failed and only one is tried again: the task stays erred, by the other's fault, and no client
 * waits for ever (Dask would let it wait for the input that nobody retries). */
static void test_retry_one_of_two(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 2);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x y z:x,y", "x y z");
    stage_erred(&stage, a, "x");
    stage_erred(&stage, a, "y");
    stage_forget_transcript(&stage);
    struct span key = stage_key(&stage, "x");
    struct event event = {.kind = EVENT_RETRY, .of.retry = {client, {&key, 1}}};
    stage_step(&stage, &event);
    assert_string_equal(stage_state(&stage, "x"), "processing");
    assert_string_equal(stage_state(&stage, "z"), "erred");
    struct failure_view failure;
    view_failure(stage_view(&stage, "z").failure, &failure);
    assert_true(span_equal(failure.key, stage_key(&stage, "y")));
    stage_close(&stage);
}

/* retries=2: tried again without anybody hearing of it, then it fails. */
static void test_retries(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    struct annotation_info annotation = {.retries = 2};
    stage_graph_with(&stage, client, "x", "x",
                     (struct graph_info){.annotations = &annotation, .annotation_count = 1});
    stage_erred(&stage, a, "x");
    stage_expect(&stage, "compute x@a\nfree a: x\ncompute x@a\n");
    assert_int_equal(stage_view(&stage, "x").retries, 1);
    stage_erred(&stage, a, "x");
    stage_erred(&stage, a, "x");
    stage_expect(&stage, "free a: x\ncompute x@a\nerred me: x (user of x)\n");
    stage_close(&stage);
}

/* A new graph on a failed task: it fails at once, with the old cause. */
static void test_graph_on_erred(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a;
    client_id client;
    erred_graph(&stage, &a, &client);
    stage_forget_transcript(&stage);
    stage_graph(&stage, client, "v:x w:v", "w");
    stage_expect(&stage,
                 "erred me: w (user of x)\nerred me: w (user of x)\nerred me: v (user of x)\n"
                 "erred me: x (user of x)\n");
    stage_close(&stage);
}

/* The graph itself could not be read: its keys err, and nothing else changes. */
static void test_graph_failed(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id client = stage_client(&stage, "me");
    struct span keys[] = {stage_key(&stage, "x"), stage_key(&stage, "y")};
    struct failure_info failure = {.kind = FAILURE_TEXT, .exception_text = SPAN("no module")};
    struct event event = {.kind = EVENT_GRAPH_FAILED,
                          .of.graph_failed = {client, {keys, 2}, &failure, false}};
    stage_step(&stage, &event);
    stage_expect(&stage, "erred me: x (text of x)\nerred me: y (text of y)\n");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* ---- dying workers ---- */

/* A worker dies: what it was running runs elsewhere, what it held is computed again. */
static void test_worker_lost(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x y:x", "y");
    stage_finish(&stage, a, "x");
    stage_worker(&stage, "b", 1);
    stage_expect(&stage, "compute x@a\ncompute y@a <- x(8)@a\n");
    stage_worker_lost(&stage, a, "connection closed");
    stage_expect(&stage, "compute x@b\ngone a\n");
    assert_string_equal(stage_state(&stage, "y"), "waiting");
    assert_int_equal(stage_view(&stage, "y").suspicious, 1);
    assert_int_equal(stage_view(&stage, "x").suspicious, 0);
    assert_int_equal(stage.notices[NOTICE_WORKER_REMOVED], 1);
    stage_close(&stage);
}

/* One of two holders dies: nothing is computed again. */
static void test_replica_survives(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    worker_id b = stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x", "x");
    stage_finish(&stage, a, "x");
    struct span key = stage_key(&stage, "x");
    struct event event = {.kind = EVENT_ADD_KEYS, .of.add_keys = {b, {&key, 1}}};
    stage_step(&stage, &event);
    assert_int_equal(stage_view(&stage, "x").holder_count, 2);
    stage_forget_transcript(&stage);
    stage_worker_lost(&stage, a, "");
    stage_expect(&stage, "gone a\n");
    assert_string_equal(stage_state(&stage, "x"), "memory");
    stage_close(&stage);
}

/* A task that takes down one worker after the other is stopped, and the failure tells of each. */
static void test_killed_worker(void **state)
{
    (void)state;
    struct stage stage;
    stage_prepare(&stage);
    stage.config.allowed_failures = 2;
    stage_begin(&stage);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x y:x", "y");
    static const char *const names[] = {"a", "b", "c"};
    for (uint32_t i = 0; i < 3; i++) {
        worker_id worker = stage_worker(&stage, names[i], 1);
        stage_worker_lost(&stage, worker, "exit code -9");
    }
    stage_expect(&stage, "compute x@a\ngone a\ncompute x@b\ngone b\ncompute x@c\n"
                         "erred me: y (killed-worker of x)\ngone c\n");
    struct failure_view failure;
    view_failure(stage_view(&stage, "y").failure, &failure);
    assert_int_equal(failure.allowed_failures, 2);
    assert_true(span_equal(failure.worker, SPAN("tcp://c:1")));
    static const char attempts[] =
        "tcp://a:1 (name: 'a') was lost on 1970-01-01 00:16:44 UTC: exit code -9\n"
        "tcp://b:1 (name: 'b') was lost on 1970-01-01 00:16:46 UTC: exit code -9\n"
        "tcp://c:1 (name: 'c') was lost on 1970-01-01 00:16:48 UTC: exit code -9";
    assert_int_equal(failure.attempts.size, sizeof attempts - 1);
    assert_memory_equal(failure.attempts.data, attempts, failure.attempts.size);
    stage_close(&stage);
}

/* A worker that leaves as planned does not make its tasks suspicious. */
static void test_expected_leave(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x", "x");
    struct event event = {.kind = EVENT_WORKER_REMOVE,
                          .of.worker_remove = {.worker = a, .expected = true, .close = true}};
    stage_step(&stage, &event);
    stage_expect(&stage, "compute x@a\nclose a\ngone a\n");
    assert_int_equal(stage_view(&stage, "x").suspicious, 0);
    assert_string_equal(stage_state(&stage, "x"), "queued");
    stage_close(&stage);
}

/* Scattered data dies with its only holder: it is forgotten, with all that needed it. */
static void test_scattered_lost(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    struct span key = stage_key(&stage, "data");
    int64_t size = 100;
    struct event event = {.kind = EVENT_DATA_PLACED,
                          .of.data_placed = {client, {&key, 1}, {&a, 1}, {&size, 1}}};
    stage_step(&stage, &event);
    stage_expect(&stage, "memory me: data\n");
    stage_graph(&stage, client, "x:data", "x");
    stage_expect(&stage, "compute x@a <- data(100)@a\nmemory me: data\n");
    stage_worker_lost(&stage, a, "");
    stage_expect(
        &stage,
        "cancelled me: data (already forgotten)\ncancelled me: x (already forgotten)\ngone a\n");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* A worker drops scattered data that its task still needs: nothing can make it again, so nothing is sent to a
 * worker in its stead. */
static void test_scattered_dropped(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    struct span key = stage_key(&stage, "data");
    int64_t size = 100;
    struct event event = {.kind = EVENT_DATA_PLACED,
                          .of.data_placed = {client, {&key, 1}, {&a, 1}, {&size, 1}}};
    stage_step(&stage, &event);
    stage_graph(&stage, client, "x:data y:x", "y");
    stage_forget_transcript(&stage);
    struct event drop = {.kind = EVENT_RELEASE_WORKER_DATA, .of.release_worker_data = {a, key}};
    stage_step(&stage, &drop);
    stage_expect(&stage, "lost me: data\nfree a: x\ncancelled me: data (already forgotten)\n"
                         "cancelled me: y (already forgotten)\n");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* An actor's worker dies: it cannot be made again, and clients are told so. */
static void test_actor_lost(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph_with(&stage, client, "actor", "actor", (struct graph_info){.all_actors = true});
    stage_finish(&stage, a, "actor");
    stage_forget_transcript(&stage);
    stage_worker_lost(&stage, a, "");
    stage_expect(&stage, "erred me: actor (actor-lost of actor)\ngone a\n");
    stage_close(&stage);
}

/* An actor is lost while others hold proxies of it, and while a task that uses it is on its way elsewhere:
 * they are told to let go of both. */
static void test_actor_lost_proxies_freed(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    worker_id b = stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph_with(&stage, client, "actor", "actor", (struct graph_info){.all_actors = true});
    stage_finish(&stage, a, "actor");
    struct span keys[] = {stage_key(&stage, "actor")};
    struct event event = {.kind = EVENT_ADD_KEYS, .of.add_keys = {b, {keys, 1}}};
    stage_step(&stage, &event);
    stage_graph(&stage, client, "p:actor q:actor r:actor", "p q r");
    struct task_view view = stage_view(&stage, "q");
    bool is_on_b = view.processing_on == b || stage_view(&stage, "p").processing_on == b ||
                   stage_view(&stage, "r").processing_on == b;
    assert_true(is_on_b);
    stage_forget_transcript(&stage);
    stage_worker_lost(&stage, a, "");
    const char *transcript = text_cstr(&stage.transcript);
    assert_non_null(strstr(transcript, "free b: actor\n"));
    bool frees_user = strstr(transcript, "free b: p\n") != NULL ||
                      strstr(transcript, "free b: q\n") != NULL ||
                      strstr(transcript, "free b: r\n") != NULL;
    assert_true(frees_user);
    stage_close(&stage);
}

/* The executor in which an actor lives ends, the worker lives on; another worker has a proxy, which is not the actor.
 * Simulator: sim_core 13511. */
static void test_actor_lost_with_its_executor(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    worker_id b = stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph_with(&stage, client, "actor", "actor", (struct graph_info){.all_actors = true});
    stage_finish(&stage, a, "actor");
    struct span key = stage_key(&stage, "actor");
    struct event event = {.kind = EVENT_ADD_KEYS, .of.add_keys = {b, {&key, 1}}};
    stage_step(&stage, &event);
    stage_forget_transcript(&stage);
    event = (struct event){.kind = EVENT_RELEASE_WORKER_DATA, .of.release_worker_data = {a, key}};
    stage_step(&stage, &event);
    stage_expect(&stage, "free b: actor\nerred me: actor (actor-lost of actor)\n");
    stage_close(&stage);
}

/* A worker dies with a task, its inputs, and scattered data that what needs the task needs as well: nothing
 * can come of it, and the loss of one more input must not bring the forgotten task back. */
static void test_forgotten_and_input_lost(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 4);
    worker_id b = stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    stage_worker_status(&stage, b, "paused");
    struct span data[] = {stage_key(&stage, "data")};
    int64_t size = 8;
    struct event event = {.kind = EVENT_DATA_PLACED,
                          .of.data_placed = {client, {data, 1}, {&b, 1}, {&size, 1}}};
    stage_step(&stage, &event);
    stage_graph(&stage, client, "q p y:data x:p,q top:x,y", "top");
    stage_finish(&stage, a, "q");
    stage_finish(&stage, a, "y");
    event = (struct event){.kind = EVENT_ADD_KEYS, .of.add_keys = {a, {data, 1}}};
    stage_step(&stage, &event);
    event =
        (struct event){.kind = EVENT_RELEASE_WORKER_DATA, .of.release_worker_data = {b, data[0]}};
    stage_step(&stage, &event);
    stage_finish(&stage, a, "p");
    assert_string_equal(stage_state(&stage, "x"), "processing");
    stage_worker_lost(&stage, a, "");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* A worker looks for a replica it was asked to make, and nobody wants the key any more: it is told so, lest
 * it ask for ever. */
static void test_refresh_of_released(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    worker_id b = stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x y:x", "y");
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    assert_string_equal(stage_state(&stage, "x"), "released");
    stage_forget_transcript(&stage);
    struct span keys[] = {stage_key(&stage, "x")};
    struct event event = {.kind = EVENT_REFRESH_WHO_HAS, .of.refresh_who_has = {b, {keys, 1}}};
    stage_step(&stage, &event);
    stage_expect(&stage, "free b: x\n");
    stage_close(&stage);
}

/* A silent worker: with a nanny it is restarted, without one removed. */
static void test_ttl(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    stage_worker_with(&stage, "b", (struct worker_info){.nanny = SPAN("tcp://b:2")});
    assert_true(scheduler_next_tick(stage.s) < INFINITY);
    stage_tick(&stage, 200);
    stage_expect(&stage, "");
    stage_tick(&stage, 200);
    stage_expect(&stage, "close a\ngone a\nrestart b\n");
    assert_true(scheduler_next_tick(stage.s) > stage.time);
    stage_close(&stage);
}

/* ---- waiting without hope ---- */

/* no-workers-timeout: tasks without any worker, and tasks whose rules no worker meets, fail in the end. */
static void test_no_workers_timeout(void **state)
{
    (void)state;
    struct stage stage;
    stage_prepare(&stage);
    stage.config.no_workers_timeout = 60;
    stage_begin(&stage);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x", "x");
    worker_id a = stage_worker(&stage, "a", 1);
    struct span nobody = stage_key(&stage, "tcp://nobody:1");
    struct annotation_info annotation = {.workers = {&nobody, 1}, .has_workers = true};
    stage_graph_with(&stage, client, "y", "y",
                     (struct graph_info){.annotations = &annotation, .annotation_count = 1});
    stage_forget_transcript(&stage);
    assert_true(fabs(scheduler_next_tick(stage.s) - (stage.time + 60)) < 1e-6);
    stage_tick(&stage, 61);
    stage_expect(&stage, "erred me: y (no-valid-worker of y)\n");
    struct failure_view failure;
    view_failure(stage_view(&stage, "y").failure, &failure);
    assert_true(failure.timeout == 60 && failure.worker_restrictions.count == 1);
    stage_worker_lost(&stage, a, "");
    stage_forget_transcript(&stage);
    assert_string_equal(stage_state(&stage, "x"), "queued");
    stage_tick(&stage, 30);
    stage_expect(&stage, "");
    stage_tick(&stage, 31);
    assert_string_equal(stage_state(&stage, "x"), "erred");
    assert_int_equal(stage.notices[NOTICE_NO_WORKERS_TIMEOUT], 2);
    stage_close(&stage);
}

/* no-workers-timeout where no worker ever was: the wait begins with the first task that is ready, and anew
 * after the last of them is gone. */
static void test_no_workers_ever(void **state)
{
    (void)state;
    struct stage stage;
    stage_prepare(&stage);
    stage.config.no_workers_timeout = 60;
    stage_begin(&stage);
    client_id client = stage_client(&stage, "me");
    assert_true(isinf(scheduler_next_tick(stage.s)));
    stage_graph(&stage, client, "x", "x");
    assert_string_equal(stage_state(&stage, "x"), "queued");
    assert_true(fabs(scheduler_next_tick(stage.s) - (stage.time + 60)) < 1e-6);
    stage_tick(&stage, 50);
    stage_release(&stage, "me", "x");
    assert_true(isinf(scheduler_next_tick(stage.s)));
    stage_graph(&stage, client, "y", "y");
    stage_tick(&stage, 50);
    stage_expect(&stage, "");
    stage_tick(&stage, 10);
    stage_expect(&stage, "erred me: y (no-worker of y)\n");
    stage_close(&stage);
}

/* ---- late and stray messages ---- */

/* A result of a run that was given up: freed, or the task is sent again if the worker is still to run it. */
static void test_stale_run(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    worker_id b = stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x", "x");
    int64_t run = stage_view(&stage, "x").run_id;
    stage_finish_run(&stage, b, "x", run + 5, 0.5, 8);
    stage_expect(&stage, "compute x@a\nfree b: x\n");
    stage_finish_run(&stage, b, "x", run, 0.5, 8); /* the right number from the wrong worker */
    stage_expect(&stage, "free b: x\n");
    stage_finish_run(&stage, a, "x", run - 1, 0.5, 8);
    stage_expect(&stage, "free a: x\ncompute x@b\n");
    assert_int_not_equal(stage_view(&stage, "x").run_id, run);
    stage_erred_run(&stage, b, "x", run);
    stage_expect(&stage, "free b: x\ncompute x@a\n");
    stage_finish(&stage, a, "x");
    stage_expect(&stage, "memory me: x\n");
    stage_finish(&stage, b, "x"); /* done twice with one number: that is a replica */
    assert_int_equal(stage_view(&stage, "x").holder_count, 2);
    stage_finish_run(&stage, b, "unknown", 1, 0.5, 8);
    stage_expect(&stage, "free b: unknown\n");
    stage_close(&stage);
}

/* The worker lost the data (or was told to drop it): the last replica gone means computing again. */
static void test_release_worker_data(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x", "x");
    stage_finish(&stage, a, "x");
    stage_forget_transcript(&stage);
    struct event event = {.kind = EVENT_RELEASE_WORKER_DATA,
                          .of.release_worker_data = {a, stage_key(&stage, "x")}};
    stage_step(&stage, &event);
    stage_expect(&stage, "lost me: x\ncompute x@a\n");
    stage_step(&stage, &event);
    stage_expect(&stage, "");
    stage_close(&stage);
}

/* add-keys for what is not in memory: the worker may drop it. Refresh: who has what, and what to free. */
static void test_add_and_refresh(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    worker_id b = stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x", "x");
    stage_finish(&stage, a, "x");
    stage_forget_transcript(&stage);
    struct span keys[] = {stage_key(&stage, "x"), stage_key(&stage, "ghost")};
    struct event event = {.kind = EVENT_ADD_KEYS, .of.add_keys = {b, {keys, 2}}};
    stage_step(&stage, &event);
    stage_expect(&stage, "remove-replicas b: ghost\n");
    event = (struct event){.kind = EVENT_REFRESH_WHO_HAS, .of.refresh_who_has = {b, {keys, 2}}};
    stage_step(&stage, &event);
    stage_expect(&stage, "refresh b <- x(8)@a,b\nfree b: ghost\n");
    stage_close(&stage);
}

/* Reschedule: the worker gives the task back; it may go anywhere. */
static void test_reschedule(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    worker_id b = stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x", "x");
    stage_forget_transcript(&stage);
    struct event event = {.kind = EVENT_RESCHEDULE, .of.reschedule = {b, stage_key(&stage, "x")}};
    stage_step(&stage, &event); /* not b's to give back */
    stage_expect(&stage, "");
    event.of.reschedule.worker = a;
    stage_step(&stage, &event);
    stage_expect(&stage, "free a: x\ncompute x@b\n");
    stage_close(&stage);
}

/* The process that ran it died, as of a wild pointer; the worker lives. */
static void died(struct stage *stage, worker_id worker, const char *key)
{
    struct event event = {.kind = EVENT_TASK_DIED,
                          .of.task_died = {worker, stage_key(stage, key),
                                           stage_view(stage, key).run_id, SPAN("SIGSEGV")}};
    stage_step(stage, &event);
}

/* A crash counts as a lost worker does, and the next attempt is made elsewhere, though `a` comes first. */
static void test_crashes(void **state)
{
    (void)state;
    struct stage stage;
    stage_prepare(&stage);
    stage.config.allowed_failures = 2;
    stage_begin(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    worker_id b = stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x y:x", "y");
    stage_expect(&stage, "compute x@a\n");
    died(&stage, b, "x"); /* not b's to tell of */
    stage_expect(&stage, "");
    died(&stage, a, "x");
    stage_expect(&stage, "free a: x\ncompute x@b\n");
    died(&stage, b, "x");
    stage_expect(&stage, "free b: x\ncompute x@a\n");
    stage_worker_lost(&stage, a, "connection lost");
    stage_expect(&stage, "erred me: y (killed-worker of x)\ngone a\n");
    struct failure_view failure;
    view_failure(stage_view(&stage, "y").failure, &failure);
    assert_true(failure.has_crashes);
    assert_int_equal(failure.attempt_count, 3);
    static const char attempts[] =
        "tcp://a:1 (name: 'a'), 1970-01-01 00:16:46 UTC: SIGSEGV\n"
        "tcp://b:1 (name: 'b'), 1970-01-01 00:16:47 UTC: SIGSEGV\n"
        "tcp://a:1 (name: 'a') was lost on 1970-01-01 00:16:48 UTC: connection lost";
    assert_int_equal(failure.attempts.size, sizeof attempts - 1);
    assert_memory_equal(failure.attempts.data, attempts, failure.attempts.size);
    stage_close(&stage);
}

/* The only worker gets it again; retries begin anew. */
static void test_crashes_with_retries(void **state)
{
    (void)state;
    struct stage stage;
    stage_prepare(&stage);
    stage.config.allowed_failures = 1;
    stage_begin(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    struct annotation_info annotation = {.retries = 1};
    stage_graph_with(&stage, client, "x", "x",
                     (struct graph_info){.annotations = &annotation, .annotation_count = 1});
    stage_forget_transcript(&stage);
    for (uint32_t i = 0; i < 3; i++) {
        died(&stage, a, "x");
        stage_expect(&stage, "free a: x\ncompute x@a\n");
    }
    died(&stage, a, "x");
    stage_expect(&stage, "erred me: x (killed-worker of x)\n");
    struct failure_view failure;
    view_failure(stage_view(&stage, "x").failure, &failure);
    assert_int_equal(failure.attempt_count, 2);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_erred),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_retry_one_of_two),
        cmocka_unit_test(test_retries),
        cmocka_unit_test(test_graph_on_erred),
        cmocka_unit_test(test_graph_failed),
        cmocka_unit_test(test_worker_lost),
        cmocka_unit_test(test_replica_survives),
        cmocka_unit_test(test_killed_worker),
        cmocka_unit_test(test_crashes),
        cmocka_unit_test(test_crashes_with_retries),
        cmocka_unit_test(test_expected_leave),
        cmocka_unit_test(test_scattered_lost),
        cmocka_unit_test(test_scattered_dropped),
        cmocka_unit_test(test_actor_lost),
        cmocka_unit_test(test_actor_lost_proxies_freed),
        cmocka_unit_test(test_actor_lost_with_its_executor),
        cmocka_unit_test(test_forgotten_and_input_lost),
        cmocka_unit_test(test_refresh_of_released),
        cmocka_unit_test(test_ttl),
        cmocka_unit_test(test_no_workers_timeout),
        cmocka_unit_test(test_no_workers_ever),
        cmocka_unit_test(test_stale_run),
        cmocka_unit_test(test_release_worker_data),
        cmocka_unit_test(test_add_and_refresh),
        cmocka_unit_test(test_reschedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
