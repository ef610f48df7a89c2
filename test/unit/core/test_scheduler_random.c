/* test_scheduler_random.c: thousands of random events, late and stray ones among them, with every
 * invariant checked after each. At the end the workers behave: every wanted key must end in memory or
 * erred, and when all clients are gone nothing may be left. */
#include "base/prng.h"
#include "support/story.h"

#define WORKERS_MAX 6u
#define CLIENTS_MAX 3u
#define KEYS_MAX 60u
#define RUNS_MAX 4096u

/* A task that was sent to a worker and not answered yet. */
struct run {
    worker_id worker;
    char key[32];
    int64_t run_id;
};

struct play {
    struct stage stage;
    struct prng prng;
    worker_id workers[WORKERS_MAX]; /* WORKER_NONE: not there */
    client_id clients[CLIENTS_MAX];
    struct run runs[RUNS_MAX];
    uint32_t run_count;
    uint32_t graph_count, worker_count;
    bool calm;   /* no more trouble: everything is answered well */
    bool loud;   /* print what happens */
    bool slices; /* graphs come in, and much is let go, in pieces, other events between them */
};

static uint32_t roll(struct play *play, uint32_t bound)
{
    return prng_below(&play->prng, bound);
}

static const char *key_name(struct play *play, uint32_t number)
{
    static const char *const forms[] = {"%s-%u", "%s%u"};
    static const char *const names[] = {"inc", "add", "load"};
    char *name = arena_alloc(&play->stage.arena, 32);
    int size = snprintf(name, 32, forms[number % 5 == 0], names[number % 3], number);
    assert_true(size > 0 && size < 32);
    return name;
}

/* Remember what was sent, forget what its worker lost. */
static void note_actions(struct play *play)
{
    for (uint32_t i = 0; i < play->stage.step.action_count; i++) {
        const struct action *action = &play->stage.step.actions[i];
        if (action->kind != ACTION_COMPUTE || play->run_count == RUNS_MAX) {
            continue;
        }
        struct run *run = &play->runs[play->run_count++];
        struct span key = view_task_key(action->of.compute.task);
        run->worker = action->of.compute.worker;
        run->run_id = action->of.compute.run_id;
        assert_true(key.size - 1 < sizeof run->key);
        memcpy(run->key, key.data + 1, key.size - 1);
        run->key[key.size - 1] = '\0';
    }
    if (play->loud) {
        fprintf(stderr, "%.*s\n%s", (int)play->stage.step.stimulus.size,
                (const char *)play->stage.step.stimulus.data, text_cstr(&play->stage.transcript));
    }
    stage_forget_transcript(&play->stage);
}

static void play_event(struct play *play, struct event *event)
{
    stage_step(&play->stage, event);
    note_actions(play);
}

/* The next piece of a graph, or of what is let go. */
static void go_on(struct play *play)
{
    struct event event = {.kind = EVENT_GO_ON};
    play->stage.time -= 1; /* it takes no time */
    play_event(play, &event);
}

/* ---- workers ---- */

static void add_worker(struct play *play, uint32_t slot)
{
    char name[32];
    snprintf(name, sizeof name, "w%u", play->worker_count++);
    struct resource gpu = {SPAN("GPU"), 1 + roll(play, 2)};
    struct metrics_info metrics = {.memory = 1000000, .bandwidth = 1e8};
    struct worker_info info = {.nthreads = 1 + roll(play, 3),
                               .host = span_of_text(slot % 2 == 0 ? "even" : "odd"),
                               .resources = &gpu,
                               .resource_count = roll(play, 2),
                               .memory_limit = roll(play, 8) == 0 ? 2000 : 1000000000,
                               .metrics = &metrics};
    info.status = roll(play, 4) == 0 ? SPAN("init") : SPAN("running");
    play->workers[slot] = stage_worker_with(&play->stage, name, info);
    note_actions(play);
}

static void remove_worker(struct play *play, uint32_t slot)
{
    struct event event = {.kind = EVENT_WORKER_REMOVE,
                          .of.worker_remove = {.worker = play->workers[slot],
                                               .expected = roll(play, 3) == 0,
                                               .close = roll(play, 2) == 0,
                                               .cause = SPAN("connection lost")}};
    play_event(play, &event);
    play->workers[slot] = WORKER_NONE;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < play->run_count; i++) {
        if (play->runs[i].worker != event.of.worker_remove.worker) {
            play->runs[kept++] = play->runs[i];
        }
    }
    play->run_count = kept;
}

static void change_worker(struct play *play)
{
    uint32_t slot = roll(play, WORKERS_MAX);
    if (play->workers[slot] == WORKER_NONE) {
        add_worker(play, slot);
    } else if (roll(play, 3) == 0) {
        remove_worker(play, slot);
    } else {
        static const char *const statuses[] = {"running", "running", "paused",
                                               "closing_gracefully"};
        stage_worker_status(&play->stage, play->workers[slot], statuses[roll(play, 4)]);
        note_actions(play);
    }
}

/* ---- clients ---- */

static client_id some_client(struct play *play, uint32_t *out_slot)
{
    *out_slot = roll(play, CLIENTS_MAX);
    if (play->clients[*out_slot] == CLIENT_NONE) {
        char name[8];
        snprintf(name, sizeof name, "c%u", *out_slot);
        play->clients[*out_slot] = stage_client(&play->stage, name);
        note_actions(play);
    }
    return play->clients[*out_slot];
}

/* A random graph over neighbouring keys, old ones among them; the later depend on the earlier. */
static void add_graph(struct play *play)
{
    uint32_t slot;
    client_id client = some_client(play, &slot);
    uint32_t first = roll(play, KEYS_MAX - 12);
    uint32_t count = 1 + roll(play, 12);
    struct text words = {0};
    struct text wanted = {0};
    for (uint32_t i = 0; i < count; i++) {
        text_printf(&words, i == 0 ? "%s" : " %s", key_name(play, first + i));
        uint32_t inputs = roll(play, 4);
        const char *separator = ":";
        for (uint32_t j = 0; j < inputs && j < i; j++) {
            text_printf(&words, "%s%s", separator, key_name(play, first + i - 1 - j));
            separator = ",";
        }
        if (i + 1 == count || roll(play, 4) == 0) {
            text_printf(&wanted, " %s", key_name(play, first + i));
        }
    }
    struct arena *arena = &play->stage.arena; /* lent for as long as the graph comes in */
    struct resource *gpu = arena_new(arena, struct resource);
    struct span *host = arena_new(arena, struct span);
    struct annotation_info *annotation = arena_new(arena, struct annotation_info);
    *gpu = (struct resource){SPAN("GPU"), 1 + roll(play, 2)};
    *host = stage_key(&play->stage, roll(play, 2) == 0 ? "even" : "w1");
    *annotation = (struct annotation_info){.retries = roll(play, 3),
                                           .workers = {host, roll(play, 6) == 0},
                                           .allow_other_workers = roll(play, 2) == 0,
                                           .resources = gpu,
                                           .resource_count = roll(play, 6) == 0};
    struct graph_info graph = {.annotations = annotation,
                               .annotation_count = roll(play, 2),
                               .cull = roll(play, 2) == 0,
                               .all_actors = roll(play, 12) == 0,
                               .fifo_timeout = roll(play, 3),
                               .user_priority = roll(play, 2),
                               .slice = play->slices ? roll(play, 5) : 0};
    stage_graph_with(&play->stage, client, text_cstr(&words), text_cstr(&wanted), graph);
    note_actions(play);
    while (play->stage.step.graph_later) {
        go_on(play);
        play->stage.time -= 1;
        stage_graph_with(&play->stage, client, text_cstr(&words), text_cstr(&wanted), graph);
        note_actions(play);
    }
    text_fini(&words);
    text_fini(&wanted);
}

static void remove_client(struct play *play)
{
    uint32_t slot = roll(play, CLIENTS_MAX);
    if (play->clients[slot] != CLIENT_NONE) {
        struct event event = {.kind = EVENT_CLIENT_REMOVE,
                              .of.client_remove = {play->clients[slot]}};
        play_event(play, &event);
        play->clients[slot] = CLIENT_NONE;
    }
}

static void client_request(struct play *play)
{
    uint32_t slot;
    client_id client = some_client(play, &slot);
    struct span keys[3];
    for (uint32_t i = 0; i < 3; i++) {
        keys[i] = stage_key(&play->stage, key_name(play, roll(play, KEYS_MAX)));
    }
    char name[8];
    snprintf(name, sizeof name, "c%u", slot);
    struct event event = {.kind = EVENT_CLIENT_RELEASES,
                          .of.client_releases = {span_of_text(name), {keys, 3}}};
    switch (roll(play, 6)) {
    case 0:
        event = (struct event){
            .kind = EVENT_CANCEL,
            .of.cancel = {client, {keys, 1}, roll(play, 3) == 0, SPAN("by random"), SPAN("")}};
        break;
    case 1:
        event =
            (struct event){.kind = EVENT_RETRY, .of.retry = {client, {keys, 1 + roll(play, 3)}}};
        break;
    case 2:
        event = (struct event){.kind = EVENT_REPORT_KEY, .of.report_key = {client, keys[0]}};
        break;
    case 3:
        event = (struct event){.kind = EVENT_CLIENT_DESIRES,
                               .of.client_desires = {SPAN("fire-and-forget"), {keys, 1}}};
        break;
    default:
        break;
    }
    play_event(play, &event);
}

static void place_data(struct play *play)
{
    uint32_t slot;
    client_id client = some_client(play, &slot);
    struct span key = stage_key(&play->stage, key_name(play, roll(play, KEYS_MAX)));
    worker_id holder = play->workers[roll(play, WORKERS_MAX)];
    int64_t size = (int64_t)roll(play, 100) - 1;
    struct event event = {.kind = EVENT_DATA_PLACED,
                          .of.data_placed = {client, {&key, 1}, {&holder, 1}, {&size, 1}}};
    play_event(play, &event);
}

/* ---- what workers say ---- */

static void finish(struct play *play, const struct run *run)
{
    stage_finish_run(&play->stage, run->worker, run->key, run->run_id, 0.01 * roll(play, 300),
                     roll(play, 1000));
    note_actions(play);
}

static void answer_run(struct play *play)
{
    if (play->run_count == 0) {
        return;
    }
    uint32_t at = roll(play, play->run_count);
    struct run run = play->runs[at];
    uint32_t fate = play->calm ? 99 : roll(play, 100);
    if (fate > 2) { /* else it answers again later: a message twice is a stray one */
        play->runs[at] = play->runs[--play->run_count];
    }
    struct event event = {.kind = EVENT_RESCHEDULE,
                          .of.reschedule = {run.worker, stage_key(&play->stage, run.key)}};
    if (fate < 12) {
        stage_erred_run(&play->stage, run.worker, run.key, run.run_id);
        note_actions(play);
    } else if (fate < 14) {
        play_event(play, &event);
    } else if (fate < 16) {
        event = (struct event){.kind = EVENT_TASK_DIED,
                               .of.task_died = {run.worker, stage_key(&play->stage, run.key),
                                                run.run_id, SPAN("SIGSEGV")}};
        play_event(play, &event);
    } else if (fate < 20) {
        event = (struct event){.kind = EVENT_LONG_RUNNING,
                               .of.long_running = {run.worker, stage_key(&play->stage, run.key),
                                                   run.run_id, roll(play, 2) == 0 ? 1.0 : NAN}};
        play_event(play, &event);
        play->runs[play->run_count++] = run;
    } else {
        finish(play, &run);
    }
}

static void stray_message(struct play *play)
{
    worker_id worker = play->workers[roll(play, WORKERS_MAX)];
    struct span key = stage_key(&play->stage, key_name(play, roll(play, KEYS_MAX)));
    struct event event = {
        .kind = EVENT_TASK_FINISHED,
        .of.task_finished = {.worker = worker, .key = key, .run_id = roll(play, 500)}};
    struct metrics_info metrics = {.memory = roll(play, 1000000),
                                   .bandwidth = roll(play, 2) == 0 ? NAN : 5e7,
                                   .executing_keys = &key,
                                   .executing_seconds = &(double){roll(play, 10)},
                                   .executing_count = 1};
    switch (roll(play, 7)) {
    case 0:
        event = (struct event){.kind = EVENT_ADD_KEYS, .of.add_keys = {worker, {&key, 1}}};
        break;
    case 1:
        event = (struct event){.kind = EVENT_RELEASE_WORKER_DATA,
                               .of.release_worker_data = {worker, key}};
        break;
    case 2:
        event = (struct event){.kind = EVENT_REFRESH_WHO_HAS,
                               .of.refresh_who_has = {worker, {&key, 1}}};
        break;
    case 3:
        event = (struct event){.kind = EVENT_REPLICA_MISSING,
                               .of.replica_missing = {worker, {&key, 1}}};
        break;
    case 4:
        event = (struct event){.kind = EVENT_WORKER_HEARTBEAT,
                               .of.worker_heartbeat = {worker, &metrics}};
        break;
    case 5:
        event = (struct event){
            .kind = EVENT_STEAL_RESPONSE,
            .of.steal_response = {worker, key, roll(play, 2) == 0 ? SPAN("ready") : SPAN("")}};
        break;
    default:
        break;
    }
    play_event(play, &event);
}

static void play_one(struct play *play)
{
    uint32_t what = roll(play, 100);
    if (play->stage.step.pending && roll(play, 2) == 0) {
        go_on(play);
        return;
    }
    if (what < 12) {
        add_graph(play);
    } else if (what < 20) {
        change_worker(play);
    } else if (what < 22) {
        remove_client(play);
    } else if (what < 32) {
        client_request(play);
    } else if (what < 34) {
        place_data(play);
    } else if (what < 44) {
        stray_message(play);
    } else if (what < 48) {
        stage_tick(&play->stage, 0.5);
        note_actions(play);
    } else {
        answer_run(play);
    }
}

/* ---- the end ---- */

/* Workers are there, and answer all they are asked: what can be computed is. */
static void calm_down(struct play *play)
{
    play->calm = true;
    while (play->stage.step.pending) {
        go_on(play);
    }
    for (uint32_t slot = 0; slot < WORKERS_MAX; slot++) {
        if (play->workers[slot] == WORKER_NONE) {
            add_worker(play, slot);
        }
        stage_worker_status(&play->stage, play->workers[slot], "running");
        note_actions(play);
    }
    while (play->run_count > 0 || play->stage.step.pending) {
        answer_run(play);
        go_on(play);
    }
}

static void check_all_done(struct play *play)
{
    struct totals_view totals;
    view_totals(play->stage.s, &totals);
    assert_int_equal(totals.state_counts[TASK_PROCESSING], 0);
    assert_int_equal(totals.state_counts[TASK_QUEUED], 0);
    uint32_t count;
    const struct task *const *tasks = view_tasks(play->stage.s, &play->stage.arena, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct task_view view;
        view_task(play->stage.s, tasks[i], &view);
        bool restricted =
            view.host_restrictions.count + view.worker_restrictions.count + view.resources.count >
            0;
        bool done = view.state == TASK_MEMORY || view.state == TASK_ERRED;
        if (play->loud) {
            fprintf(stderr, "%.*s %s\n", (int)view.key.size, (const char *)view.key.data,
                    task_state_name(view.state));
        }
        /* Without a worker that its rules allow, a task and those that need it wait. */
        assert_true(view.wanter_count == 0 || done || totals.state_counts[TASK_NO_WORKER] > 0);
        assert_true(view.state != TASK_NO_WORKER || restricted);
    }
}

static void clear_all(struct play *play)
{
    for (uint32_t slot = 0; slot < CLIENTS_MAX; slot++) {
        if (play->clients[slot] != CLIENT_NONE) {
            struct event event = {.kind = EVENT_CLIENT_REMOVE,
                                  .of.client_remove = {play->clients[slot]}};
            play_event(play, &event);
        }
    }
    struct event restart = {.kind = EVENT_RESTART};
    play_event(play, &restart);
    assert_int_equal(view_task_count(play->stage.s), 0);
    struct totals_view totals;
    view_totals(play->stage.s, &totals);
    assert_int_equal(totals.group_count, 0);
    assert_true(totals.occupancy == 0);
}

static void play_seed(uint64_t seed, uint32_t events, bool stealing, bool loud)
{
    struct play *play = mem_zalloc(1, sizeof *play);
    play->loud = loud;
    stage_prepare(&play->stage);
    play->stage.config.work_stealing = stealing;
    play->stage.config.amm_start = stealing;
    play->stage.config.worker_saturation = seed % 3 == 0 ? INFINITY : 1.1;
    play->stage.config.allowed_failures = 1;
    play->stage.config.no_workers_timeout = seed % 5 == 0 ? 30 : INFINITY;
    play->stage.config.transition_notices = seed % 2 == 0;
    play->stage.config.transition_log_length = 50;
    play->stage.config.step_moves_max = seed % 4 == 1 ? 1 + (uint32_t)seed % 7 : 1024;
    stage_begin(&play->stage);
    prng_init(&play->prng, seed);
    play->slices = seed % 2 == 1;
    for (uint32_t i = 0; i < events; i++) {
        play_one(play);
    }
    calm_down(play);
    check_all_done(play);
    clear_all(play);
    stage_close(&play->stage);
    mem_free(play);
}

/* Many short plays: states that are hard to reach come up in the first hundred events as well. */
static void test_short_plays(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        play_seed(seed, 120, false, false);
    }
}

/* A few long ones, with stealing and the memory manager at work. */
static void test_long_plays(void **state)
{
    (void)state;
    for (uint64_t seed = 1000; seed < 1006; seed++) {
        play_seed(seed, 2500, true, false);
    }
}

int main(int argc, char **argv)
{
    if (argc >= 3) { /* a seed, a number of events and perhaps "steal": that play alone */
        play_seed(strtoull(argv[1], NULL, 10), (uint32_t)strtoul(argv[2], NULL, 10), argc > 3,
                  true);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_plays),
        cmocka_unit_test(test_long_plays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
