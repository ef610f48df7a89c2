/* test_scheduler_placement.c: which worker gets a task, and which tasks are held back. */
#include "support/story.h"

static void set_saturation(struct stage *stage, double saturation)
{
    stage_prepare(stage);
    stage->config.worker_saturation = saturation;
    stage_begin(stage);
}

/* Few independent tasks go round the idle workers in turn. */
static void test_round_robin(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 2);
    stage_worker(&stage, "b", 2);
    stage_worker(&stage, "c", 2);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x", "x");
    stage_graph(&stage, client, "y", "y");
    stage_graph(&stage, client, "z", "z");
    stage_expect(&stage, "compute x@a\ncompute y@b\ncompute z@c\n");
    stage_close(&stage);
}

/* With twenty idle workers or more nobody looks for the least loaded: turns are taken. */
static void test_many_workers(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    for (int i = 0; i < 25; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%02d", i);
        stage_worker(&stage, name, 4);
    }
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x", "x");
    stage_graph(&stage, client, "y", "y");
    stage_expect(&stage, "compute x@w00\ncompute y@w01\n");
    stage_close(&stage);
}

/* A task goes where most of its inputs are, as moving bytes takes time. */
static void test_follows_data(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 2);
    worker_id b = stage_worker(&stage, "b", 2);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "small", "small");
    stage_graph(&stage, client, "large", "large");
    stage_expect(&stage, "compute small@a\ncompute large@b\n");
    stage_finish_run(&stage, a, "small", stage_view(&stage, "small").run_id, 0.5, 1000);
    stage_finish_run(&stage, b, "large", stage_view(&stage, "large").run_id, 0.5, 100000000);
    stage_forget_transcript(&stage);
    stage_graph(&stage, client, "sum:small,large", "sum");
    stage_expect(
        &stage,
        "compute sum@b <- small(1000)@a large(100000000)@b\nmemory me: large\nmemory me: small\n");
    stage_close(&stage);
}

/* The holder of the input is busy for long: Dask still prefers holders; stealing evens that out. */
static void test_holder_before_idle(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x", "x");
    stage_finish(&stage, a, "x");
    stage_worker(&stage, "b", 1);
    stage_graph(&stage, client, "y:x", "y");
    stage_graph(&stage, client, "z:x", "z");
    stage_forget_transcript(&stage);
    assert_int_equal(stage_view(&stage, "y").processing_on, a);
    assert_int_equal(stage_view(&stage, "z").processing_on, a);
    stage_close(&stage);
}

/* Many tasks of one group are roots: what exceeds the slots of the workers is held back, and comes when a
 * task is done, after what that task made ready. */
static void test_queue(void **state)
{
    (void)state;
    struct stage stage;
    set_saturation(&stage, 1.0);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    int64_t priorities[] = {0, 1, 2, 3, 4, 5, 6, 7};
    stage_graph_with(&stage, client, "r-1 s-1:r-1 r-2 s-2:r-2 r-3 s-3:r-3 r-4 s-4:r-4",
                     "s-1 s-2 s-3 s-4", (struct graph_info){.priorities = priorities});
    stage_expect(&stage, "compute r-1@a\n");
    assert_string_equal(stage_state(&stage, "r-2"), "queued");
    struct totals_view totals;
    view_totals(stage.s, &totals);
    assert_int_equal(totals.queued_count, 3);
    stage_finish(&stage, a, "r-1");
    stage_expect(&stage, "compute s-1@a <- r-1(8)@a\n");
    stage_finish(&stage, a, "s-1");
    stage_expect(&stage, "memory me: s-1\nfree a: r-1\ncompute r-2@a\n");
    stage_worker(&stage, "b", 1);
    stage_expect(&stage, "compute r-3@b\n");
    stage_close(&stage);
}

/* A worker of one thread has ended the first of forty roots, which took `seconds`: how many it has then. */
static uint32_t sent_after(double seconds, double ahead_seconds)
{
    struct stage stage;
    stage_prepare(&stage);
    stage.config.ahead_seconds = ahead_seconds;
    stage_begin(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    struct text names = {0};
    for (int i = 0; i < 40; i++) {
        text_printf(&names, "%sr-%d", i == 0 ? "" : " ", i);
    }
    stage_graph(&stage, client, text_cstr(&names), text_cstr(&names));
    struct worker_view view;
    assert_true(view_worker(stage.s, a, &view) && view.processing_count == 2);
    const char *first = strstr(text_cstr(&stage.transcript), "compute ");
    char key[8];
    assert_int_equal(sscanf(first, "compute %7[^@]", key), 1);
    stage_finish_run(&stage, a, key, stage_view(&stage, key).run_id, seconds, 8);
    assert_true(view_worker(stage.s, a, &view));
    uint32_t sent = view.processing_count;
    stage_forget_transcript(&stage);
    text_fini(&names);
    stage_close(&stage);
    return sent;
}

/* Roots that take but a moment are sent ahead, up to 20 ms of work and half of what is queued; others one for one. */
static void test_short_tasks_go_ahead(void **state)
{
    (void)state;
    assert_int_equal(sent_after(0.5, 0.02), 2);
    assert_int_equal(sent_after(0.0026, 0.02), 2); /* fewer than eight fit */
    assert_int_equal(sent_after(0.0025, 0.02), 8);
    assert_int_equal(sent_after(0.0001, 0.02), 13); /* and 26 are queued */
    assert_int_equal(sent_after(0.0001, 0), 2);
}

/* All that runs is rescheduled to where it may not run for now: what is queued does not wait for it. */
static void test_reschedule_opens_slot(void **state)
{
    (void)state;
    struct stage stage;
    set_saturation(&stage, 1.0);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    int64_t priorities[] = {0, 1, 2};
    struct span elsewhere = SPAN("tcp://gone:1");
    stage_graph_with(&stage, client, "r-1 r-2 r-3", "r-1 r-2 r-3",
                     (struct graph_info){.priorities = priorities});
    stage_expect(&stage, "compute r-1@a\n");
    struct event restrict_it = {
        .kind = EVENT_SET_RESTRICTIONS,
        .of.set_restrictions = {.key = stage_key(&stage, "r-1"), .workers = {&elsewhere, 1}}};
    stage_step(&stage, &restrict_it);
    struct event reschedule = {.kind = EVENT_RESCHEDULE,
                               .of.reschedule = {a, stage_key(&stage, "r-1")}};
    stage_step(&stage, &reschedule);
    stage_expect(&stage, "free a: r-1\ncompute r-2@a\n");
    assert_string_equal(stage_state(&stage, "r-1"), "no-worker");
    stage_close(&stage);
}

/* A client retries a value while what was made from it runs: what runs is let go, and what is queued does not wait for
 * anything else to end, as there may be nothing. Seed 36194 of the simulator. */
static void test_retry_opens_a_slot(void **state)
{
    (void)state;
    struct stage stage;
    set_saturation(&stage, 1.0);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "k-0 k-1:k-0 k-2:k-1 k-3:k-2", "k-3");
    stage_finish(&stage, a, "k-0");
    stage_finish(&stage, a, "k-1");
    stage_forget_transcript(&stage);
    struct span key = stage_key(&stage, "k-1");
    struct event event = {.kind = EVENT_RETRY, .of.retry = {client, {&key, 1}}};
    stage_step(&stage, &event);
    stage_expect(&stage, "free a: k-1\nfree a: k-2\ncompute k-0@a\n");
    stage_close(&stage);
}

/* One thread gives two slots at the default saturation of 1.1. */
static void test_saturation_rounds_up(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "r-1 r-2 r-3 r-4", "r-1 r-2 r-3 r-4");
    struct totals_view totals;
    view_totals(stage.s, &totals);
    assert_int_equal(totals.processing_count, 2);
    assert_int_equal(totals.queued_count, 2);
    stage_close(&stage);
}

/* The queue is by priority, whenever a task came in; released tasks leave it. */
static void test_queue_order(void **state)
{
    (void)state;
    struct stage stage;
    set_saturation(&stage, 1.0);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    int64_t priorities[] = {0, 1, 2, 3, 4};
    stage_graph_with(&stage, client, "r-1 r-2 r-3 r-4 r-5", "r-1 r-2 r-3 r-4 r-5",
                     (struct graph_info){.priorities = priorities});
    stage_graph_with(&stage, client, "q-1 q-2 q-3 q-4 q-5", "q-1 q-2 q-3 q-4 q-5",
                     (struct graph_info){.priorities = priorities, .user_priority = 1});
    stage_expect(&stage, "compute r-1@a\n");
    stage_release(&stage, "me", "q-2 r-2 q-4");
    stage_forget_transcript(&stage);
    static const char *const expected[] = {"q-1", "q-3", "q-5", "r-3", "r-4", "r-5"};
    const char *last = "r-1";
    for (uint32_t i = 0; i < 6; i++) {
        stage_finish(&stage, a, last);
        assert_string_equal(stage_state(&stage, expected[i]), "processing");
        last = expected[i];
    }
    stage_close(&stage);
}

/* Without queuing, roots of a group stay together: each worker gets a run of neighbours. */
static void test_co_assignment(void **state)
{
    (void)state;
    struct stage stage;
    set_saturation(&stage, INFINITY);
    stage_worker(&stage, "a", 1);
    stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    int64_t priorities[] = {0, 1, 2, 3, 4, 5};
    stage_graph_with(&stage, client, "r-1 r-2 r-3 r-4 r-5 r-6", "r-1 r-2 r-3 r-4 r-5 r-6",
                     (struct graph_info){.priorities = priorities});
    stage_expect(&stage,
                 "compute r-1@a\ncompute r-2@a\ncompute r-3@a\ncompute r-4@b\ncompute r-5@b\n"
                 "compute r-6@b\n");
    stage_close(&stage);
}

/* Data producers are roots however small their group. */
static void test_data_producer(void **state)
{
    (void)state;
    struct stage stage;
    set_saturation(&stage, 1.0);
    stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    uint8_t flags[] = {GRAPH_DATA_PRODUCER, GRAPH_DATA_PRODUCER};
    stage_graph_with(&stage, client, "x y", "x y", (struct graph_info){.flags = flags});
    struct totals_view totals;
    view_totals(stage.s, &totals);
    assert_int_equal(totals.queued_count, 1);
    stage_close(&stage);
}

/* ---- rules ---- */

static void graph_with(struct stage *stage, client_id client, const char *key,
                       struct annotation_info annotation)
{
    stage_graph_with(stage, client, key, key,
                     (struct graph_info){.annotations = &annotation, .annotation_count = 1});
}

/* workers=[…] by name or address: only there, whatever is idle; nobody there: it waits for that worker. */
static void test_worker_restriction(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    stage_worker(&stage, "b", 1);
    client_id client = stage_client(&stage, "me");
    struct span by_name = stage_key(&stage, "b");
    graph_with(&stage, client, "x",
               (struct annotation_info){.workers = {&by_name, 1}, .has_workers = true});
    struct span by_address = stage_key(&stage, "tcp://c:1");
    graph_with(&stage, client, "y",
               (struct annotation_info){.workers = {&by_address, 1}, .has_workers = true});
    stage_expect(&stage, "compute x@b\n");
    assert_string_equal(stage_state(&stage, "y"), "no-worker");
    stage_worker(&stage, "d", 1);
    stage_expect(&stage, "");
    stage_worker(&stage, "c", 1);
    stage_expect(&stage, "compute y@c\n");
    stage_close(&stage);
}

/* Restrictions change while a task has no worker, or is queued: its place is looked for anew. */
static void test_restrictions_change_before_it_runs(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    struct span by_address = stage_key(&stage, "tcp://gone:1");
    graph_with(&stage, client, "x",
               (struct annotation_info){.workers = {&by_address, 1}, .has_workers = true});
    assert_string_equal(stage_state(&stage, "x"), "no-worker");
    struct event event = {.kind = EVENT_SET_RESTRICTIONS,
                          .of.set_restrictions.key = stage_key(&stage, "x")};
    stage_step(&stage, &event);
    stage_expect(&stage, "compute x@a\n");
    stage_close(&stage);
}

/* A host's name allows all workers there; the name of a worker not known yet is looked up when it comes. */
static void test_host_restriction(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id client = stage_client(&stage, "me");
    struct span host = stage_key(&stage, "10.0.0.2");
    graph_with(&stage, client, "x",
               (struct annotation_info){.workers = {&host, 1}, .has_workers = true});
    struct span later = stage_key(&stage, "late");
    graph_with(&stage, client, "y",
               (struct annotation_info){.workers = {&later, 1}, .has_workers = true});
    stage_worker_with(&stage, "a", (struct worker_info){.host = SPAN("10.0.0.1")});
    stage_expect(&stage, "");
    stage_worker_with(&stage, "b", (struct worker_info){.host = SPAN("10.0.0.2")});
    stage_expect(&stage, "compute x@b\n");
    stage_worker_with(&stage, "late", (struct worker_info){.host = SPAN("10.0.0.3")});
    stage_expect(&stage, "compute y@late\n");
    stage_close(&stage);
}

/* allow_other_workers: a wish, not a rule. */
static void test_loose_restriction(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    struct span address = stage_key(&stage, "tcp://c:1");
    graph_with(&stage, client, "x",
               (struct annotation_info){
                   .workers = {&address, 1}, .has_workers = true, .allow_other_workers = true});
    stage_expect(&stage, "compute x@a\n");
    stage_close(&stage);
}

/* allow_other_workers lets go of names, not of resources: a worker without them could never run the task. It
 * waits until one comes, whatever its name. */
static void test_loose_restriction_keeps_resources(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    struct span address = stage_key(&stage, "tcp://c:1");
    struct resource gpu = {SPAN("GPU"), 1};
    graph_with(&stage, client, "x",
               (struct annotation_info){.workers = {&address, 1},
                                        .has_workers = true,
                                        .allow_other_workers = true,
                                        .resources = &gpu,
                                        .resource_count = 1});
    assert_string_equal(stage_state(&stage, "x"), "no-worker");
    stage_forget_transcript(&stage);
    stage_worker_with(&stage, "b", (struct worker_info){.resources = &gpu, .resource_count = 1});
    stage_expect(&stage, "compute x@b\n");
    stage_close(&stage);
}

/* A worker's name that is a number and not there cannot be a host: the graph is refused, as stock does. */
static void test_bad_worker_name(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id client = stage_client(&stage, "me");
    struct span number = SPAN("\x07");
    graph_with(&stage, client, "x",
               (struct annotation_info){.workers = {&number, 1}, .has_workers = true});
    stage_expect(&stage, "erred me: x (text of x)\n");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* Resources: only where enough is offered; among those, where it is free now (Dask looks at totals only). */
static void test_resources(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "none", 8);
    struct resource one = {SPAN("GPU"), 1};
    struct resource two = {SPAN("GPU"), 2};
    worker_id a = stage_worker_with(&stage, "a",
                                    (struct worker_info){.resources = &one, .resource_count = 1});
    stage_worker_with(&stage, "b", (struct worker_info){.resources = &two, .resource_count = 1});
    client_id client = stage_client(&stage, "me");
    graph_with(&stage, client, "big",
               (struct annotation_info){.resources = &two, .resource_count = 1});
    graph_with(&stage, client, "x",
               (struct annotation_info){.resources = &one, .resource_count = 1});
    graph_with(&stage, client, "y",
               (struct annotation_info){.resources = &one, .resource_count = 1});
    stage_expect(&stage, "compute big@b\ncompute x@a\ncompute y@a\n");
    struct worker_view view;
    view_worker(stage.s, a, &view);
    assert_true(view.used_resources.items[0].amount == 2);
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    view_worker(stage.s, a, &view);
    assert_true(view.used_resources.items[0].amount == 0);
    struct resource three = {SPAN("GPU"), 3};
    graph_with(&stage, client, "z",
               (struct annotation_info){.resources = &three, .resource_count = 1});
    assert_string_equal(stage_state(&stage, "z"), "no-worker");
    stage_close(&stage);
}

/* An actor goes to the worker with the fewest actors and stays in its list until released. */
static void test_actors(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 4);
    worker_id b = stage_worker(&stage, "b", 4);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x", "x");
    stage_finish(&stage, a, "x");
    stage_forget_transcript(&stage);
    stage_graph_with(&stage, client, "one:x", "one", (struct graph_info){.all_actors = true});
    stage_graph_with(&stage, client, "two:x", "two", (struct graph_info){.all_actors = true});
    assert_int_equal(stage_view(&stage, "one").processing_on, a);
    assert_int_equal(stage_view(&stage, "two").processing_on, b);
    assert_true(stage_view(&stage, "two").actor);
    stage_finish(&stage, b, "two");
    struct worker_view view;
    view_worker(stage.s, b, &view);
    assert_int_equal(view.actor_count, 1);
    stage_release(&stage, "me", "two");
    view_worker(stage.s, b, &view);
    assert_int_equal(view.actor_count, 0);
    stage_close(&stage);
}

/* Inputs larger than the memory of the worker: refused with a reason before the worker dies of it. */
static void test_inputs_too_large(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker_with(&stage, "a", (struct worker_info){.memory_limit = 1000});
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "x", "x");
    stage_finish_run(&stage, a, "x", stage_view(&stage, "x").run_id, 0.5, 2048);
    stage_forget_transcript(&stage);
    stage_graph(&stage, client, "y:x", "y");
    stage_expect(&stage, "erred me: y (memory of y)\nerred me: y (memory of y)\nmemory me: x\n");
    struct failure_view failure;
    view_failure(stage_view(&stage, "y").failure, &failure);
    static const char text[] =
        "Task 'y' has 2.00 kiB worth of input dependencies, but worker tcp://a:1 has "
        "memory_limit set to 0.98 kiB. It seems like you called client.compute() on a huge "
        "collection. Consider writing to distributed storage or slicing/reducing first.";
    assert_true(failure.text.size == sizeof text - 1);
    assert_memory_equal(failure.text.data, text, failure.text.size);
    stage_close(&stage);
}

/* ---- idle, saturated, durations ---- */

/* Measured run times become a moving average, and tell who is saturated. */
static void test_occupancy(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "inc-1", "inc-1");
    struct worker_view view;
    view_worker(stage.s, a, &view);
    assert_true(fabs(view.occupancy - 0.5) < 1e-9);
    assert_false(view.idle);
    stage_finish_run(&stage, a, "inc-1", stage_view(&stage, "inc-1").run_id, 4, 8);
    stage_graph(&stage, client, "inc-2", "inc-2");
    view_worker(stage.s, a, &view);
    assert_true(fabs(view.occupancy - 4) < 1e-6);
    stage_finish_run(&stage, a, "inc-2", stage_view(&stage, "inc-2").run_id, 2, 8);
    struct prefix_view prefix;
    assert_true(view_prefix(stage.s, 0, &prefix));
    assert_true(fabs(prefix.duration_average - 3) < 1e-6);
    assert_true(fabs(prefix.duration - 6) < 1e-6);
    view_worker(stage.s, a, &view);
    assert_true(view.idle && view.occupancy == 0);
    stage_close(&stage);
}

/* A task that runs much longer than its prefix's average makes that average unknown again. */
static void test_executing(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    stage_graph(&stage, client, "inc-1", "inc-1");
    stage_finish_run(&stage, a, "inc-1", stage_view(&stage, "inc-1").run_id, 1, 8);
    stage_graph(&stage, client, "inc-2", "inc-2");
    struct span key = stage_key(&stage, "inc-2");
    struct metrics_info metrics = {.executing_keys = &key,
                                   .executing_seconds = &(double){5},
                                   .executing_count = 1,
                                   .bandwidth = NAN};
    struct event event = {.kind = EVENT_WORKER_HEARTBEAT, .of.worker_heartbeat = {a, &metrics}};
    stage_step(&stage, &event);
    struct prefix_view prefix;
    view_prefix(stage.s, 0, &prefix);
    assert_true(prefix.duration_average == -1 && prefix.max_exec_time == 5);
    struct worker_view view;
    view_worker(stage.s, a, &view);
    assert_true(fabs(view.occupancy - 10) < 1e-6); /* twice the longest seen */
    double seconds;
    assert_ptr_equal(view_worker_executes(stage.s, a, 0, &seconds), stage_task(&stage, "inc-2"));
    assert_true(seconds == 5);
    stage_close(&stage);
}

/* A seceded task frees its slot and no longer counts as work. */
static void test_long_running(void **state)
{
    (void)state;
    struct stage stage;
    set_saturation(&stage, 1.0);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "me");
    int64_t priorities[] = {0, 1, 2};
    stage_graph_with(&stage, client, "r-1 r-2 r-3", "r-1 r-2 r-3",
                     (struct graph_info){.priorities = priorities});
    stage_expect(&stage, "compute r-1@a\n");
    struct event event = {
        .kind = EVENT_LONG_RUNNING,
        .of.long_running = {a, stage_key(&stage, "r-1"), stage_view(&stage, "r-1").run_id, 2.0}};
    stage_step(&stage, &event);
    stage_expect(&stage, "compute r-2@a\n");
    stage_step(&stage, &event); /* said twice: nothing more */
    stage_expect(&stage, "");
    struct worker_view view;
    view_worker(stage.s, a, &view);
    assert_int_equal(view.processing_count, 2);
    assert_int_equal(view.long_running_count, 1);
    assert_true(fabs(view.occupancy - 2) < 1e-6);
    stage_finish(&stage, a, "r-1");
    stage_expect(&stage, "memory me: r-1\n");
    stage_finish(&stage, a, "r-2");
    stage_expect(&stage, "memory me: r-2\ncompute r-3@a\n");
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_robin),
        cmocka_unit_test(test_many_workers),
        cmocka_unit_test(test_follows_data),
        cmocka_unit_test(test_holder_before_idle),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_reschedule_opens_slot),
        cmocka_unit_test(test_retry_opens_a_slot),
        cmocka_unit_test(test_saturation_rounds_up),
        cmocka_unit_test(test_short_tasks_go_ahead),
        cmocka_unit_test(test_queue_order),
        cmocka_unit_test(test_co_assignment),
        cmocka_unit_test(test_data_producer),
        cmocka_unit_test(test_worker_restriction),
        cmocka_unit_test(test_restrictions_change_before_it_runs),
        cmocka_unit_test(test_host_restriction),
        cmocka_unit_test(test_loose_restriction),
        cmocka_unit_test(test_loose_restriction_keeps_resources),
        cmocka_unit_test(test_bad_worker_name),
        cmocka_unit_test(test_resources),
        cmocka_unit_test(test_actors),
        cmocka_unit_test(test_inputs_too_large),
        cmocka_unit_test(test_occupancy),
        cmocka_unit_test(test_executing),
        cmocka_unit_test(test_long_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
