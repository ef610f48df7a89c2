/* test_worker_random.c: thousands of random events, such as no sane scheduler, peer or executor would say, with
 * every invariant checked after each. Two workers that hear the same do the same. What is begun is ended
 * once, what is kept is dropped once, and when all is freed and ended nothing is left. */
#include "base/blob.h"
#include "base/prng.h"
#include "support/worker_story.h"

#define KEYS 12u
#define PEERS 5u
#define EVENTS 400u

struct play {
    struct wstage stage;
    struct wstage twin;
    struct prng prng;
    struct blob *blob; /* stands for every payload */
    struct worker_failure failure;
    struct span keys[KEYS];
    struct span peers[PEERS + 1]; /* the last is the worker itself */
    bool kept[KEYS];
    bool asked[PEERS + 1];
    bool runs[KEYS];
    task_id run_of[KEYS];
    int64_t run_id;
    bool cycles; /* tasks may depend on each other in circles: such are never forgotten */
};

static uint32_t roll(struct play *play, uint32_t bound)
{
    return prng_below(&play->prng, bound);
}

static uint32_t number_of(const struct span *list, uint32_t count, struct span item)
{
    uint32_t i = 0;
    while (i < count && !span_equal(list[i], item)) {
        i++;
    }
    assert_true(i < count);
    return i;
}

/* ---- what is asked for ---- */

static void note_value(struct play *play, const struct worker_action *action)
{
    struct span key = action->of.keep.key;
    if (action->kind == WORKER_ACTION_REFUSE) {
        return;
    }
    uint32_t number = number_of(play->keys, KEYS, key);
    assert_true(play->kept[number] == (action->kind == WORKER_ACTION_DROP));
    play->kept[number] = action->kind == WORKER_ACTION_KEEP;
}

static void note_actions(struct play *play)
{
    for (uint32_t i = 0; i < play->stage.step.action_count; i++) {
        const struct worker_action *action = &play->stage.step.actions[i];
        switch (action->kind) {
        case WORKER_ACTION_KEEP:
        case WORKER_ACTION_DROP:
        case WORKER_ACTION_REFUSE:
            note_value(play, action);
            break;
        case WORKER_ACTION_EXECUTE: {
            uint32_t number = number_of(play->keys, KEYS, action->of.execute.key);
            assert_false(play->runs[number]);
            play->runs[number] = true;
            play->run_of[number] = action->of.execute.task;
            assert_ptr_equal(action->of.execute.run_spec, play->blob);
            break;
        }
        case WORKER_ACTION_GATHER: {
            uint32_t peer = number_of(play->peers, PEERS, action->of.gather.worker);
            assert_false(play->asked[peer]);
            play->asked[peer] = true;
            assert_true(action->of.gather.wanted.count > 0);
            break;
        }
        default:
            break;
        }
    }
}

static void say(struct play *play, struct worker_event event)
{
    for (uint32_t i = 0; i < KEYS && event.kind == WORKER_EVENT_DATA_LOST; i++) {
        for (uint32_t j = 0; j < event.of.data_lost.keys.count; j++) {
            if (span_equal(play->keys[i], event.of.data_lost.keys.items[j])) {
                play->kept[i] = false;
            }
        }
    }
    wstage_step(&play->twin, event);
    wstage_step(&play->stage, event);
    assert_true(span_equal(text_span(&play->stage.transcript), text_span(&play->twin.transcript)));
    note_actions(play);
    text_fini(&play->stage.transcript);
    text_fini(&play->twin.transcript);
}

/* ---- what is said ---- */

static struct span random_key(struct play *play)
{
    return play->keys[roll(play, KEYS)];
}

static struct span_list random_keys(struct play *play)
{
    uint32_t count = roll(play, 4);
    struct span *keys = arena_array(&play->stage.arena, struct span, 4);
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = random_key(play);
    }
    return (struct span_list){keys, count};
}

/* Of keys below `end`. */
static struct worker_holding_list random_holdings(struct play *play, uint32_t end)
{
    uint32_t count = end == 0 ? 0 : roll(play, 4);
    struct worker_holding *rows = arena_array(&play->stage.arena, struct worker_holding, 4);
    for (uint32_t i = 0; i < count; i++) {
        struct span *holders = arena_array(&play->stage.arena, struct span, 4);
        rows[i] = (struct worker_holding){
            play->keys[roll(play, end)], (int64_t)roll(play, 1000) - 10, {holders, roll(play, 4)}};
        for (uint32_t j = 0; j < rows[i].holders.count; j++) {
            holders[j] = play->peers[roll(play, PEERS + 1)];
        }
    }
    return (struct worker_holding_list){rows, count};
}

static struct worker_offer_list random_offers(struct play *play)
{
    struct span_list keys = random_keys(play);
    struct worker_offer *offers = arena_array(&play->stage.arena, struct worker_offer, 4);
    for (uint32_t i = 0; i < keys.count; i++) {
        offers[i] = (struct worker_offer){keys.items[i], roll(play, 1000), play->blob};
    }
    return (struct worker_offer_list){offers, keys.count};
}

static struct resource_list random_resources(struct play *play)
{
    static const struct span names[] = {{(const uint8_t *)"A", 1}, {(const uint8_t *)"B", 1}};
    struct resource *resources = arena_array(&play->stage.arena, struct resource, 2);
    uint32_t count = roll(play, 6) / 2;
    for (uint32_t i = 0; i < count; i++) {
        resources[i] = (struct resource){names[i], roll(play, 3)};
    }
    return (struct resource_list){resources, count};
}

static void say_compute(struct play *play)
{
    uint32_t number = roll(play, KEYS);
    say(play, (struct worker_event){
                  .kind = WORKER_EVENT_COMPUTE_TASK,
                  .of.compute_task = {
                      .key = play->keys[number],
                      .run_id = ++play->run_id,
                      .priority = {roll(play, 3), roll(play, 3), roll(play, 9)},
                      .inputs = random_holdings(play, play->cycles ? KEYS : number),
                      .run_spec = play->blob,
                      .resources = random_resources(play),
                      .actor = roll(play, 9) == 0,
                      .annotations = roll(play, 2) == 0 ? play->blob : NULL,
                      .span_id = roll(play, 2) == 0 ? play->keys[roll(play, 2)] : (struct span){0},
                  }});
}

/* The run of that number has ended somehow; one that does not run may be said to have as well. */
static void say_end_of_run(struct play *play, uint32_t number, uint32_t how)
{
    task_id task = play->runs[number] ? play->run_of[number] : roll(play, 64);
    struct worker_event event = {.kind = WORKER_EVENT_EXECUTE_RESCHEDULE,
                                 .of.execute_reschedule.task = task};
    if (how == 0) {
        event = (struct worker_event){
            .kind = WORKER_EVENT_EXECUTE_FAILURE,
            .of.execute_failure = {task, play->run_id, &play->failure, play->blob}};
    } else if (how < 4) {
        event = (struct worker_event){.kind = WORKER_EVENT_EXECUTE_SUCCESS,
                                      .of.execute_success = {task, play->run_id, roll(play, 1000),
                                                             play->blob, roll(play, 4) * 0.0005}};
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        play->runs[i] = play->runs[i] && play->run_of[i] != task;
    }
    say(play, event);
}

static void say_end_of_gather(struct play *play, uint32_t peer, uint32_t how)
{
    struct worker_event event = {.kind = WORKER_EVENT_GATHER_BUSY,
                                 .of.gather_busy.worker = play->peers[peer]};
    if (how == 0) {
        event.kind = WORKER_EVENT_GATHER_NETWORK_FAILURE;
    } else if (how == 1) {
        event = (struct worker_event){.kind = WORKER_EVENT_GATHER_FAILURE,
                                      .of.gather_failure = {play->peers[peer], &play->failure}};
    } else if (how < 5) {
        event =
            (struct worker_event){.kind = WORKER_EVENT_GATHER_SUCCESS,
                                  .of.gather_success = {play->peers[peer], random_offers(play)}};
    }
    play->asked[peer] = false;
    say(play, event);
}

static void say_about_tasks(struct play *play, uint32_t what)
{
    struct worker_event event = {.kind = WORKER_EVENT_FREE_KEYS};
    switch (what) {
    case 0:
        event.of.free_keys.keys = random_keys(play);
        break;
    case 1:
        event.kind = WORKER_EVENT_REMOVE_REPLICAS;
        event.of.remove_replicas.keys = random_keys(play);
        break;
    case 2:
        event.kind = WORKER_EVENT_DATA_LOST;
        event.of.data_lost.keys = random_keys(play);
        break;
    case 3:
        event.kind = WORKER_EVENT_ACQUIRE_REPLICAS;
        event.of.acquire_replicas.holdings = random_holdings(play, KEYS);
        break;
    case 4:
        event.kind = WORKER_EVENT_REFRESH_WHO_HAS;
        event.of.refresh_who_has.holdings = random_holdings(play, KEYS);
        break;
    case 5:
        event.kind = WORKER_EVENT_STEAL_REQUEST;
        event.of.steal_request.key = random_key(play);
        break;
    case 6:
        event.kind = WORKER_EVENT_CANCEL_COMPUTE;
        event.of.cancel_compute.key = random_key(play);
        break;
    default:
        event.kind = WORKER_EVENT_UPDATE_DATA;
        event.of.update_data.offers = random_offers(play);
        break;
    }
    say(play, event);
}

static void say_about_peers(struct play *play, uint32_t what)
{
    static const enum worker_event_kind kinds[] = {
        WORKER_EVENT_REMOVE_WORKER, WORKER_EVENT_RETRY_BUSY_WORKER, WORKER_EVENT_FIND_MISSING,
        WORKER_EVENT_PAUSE,         WORKER_EVENT_UNPAUSE,           WORKER_EVENT_UNPAUSE,
        WORKER_EVENT_BACKPRESSURE};
    struct worker_event event = {.kind = kinds[what]};
    if (what < 2) {
        event.of.remove_worker.worker = play->peers[roll(play, PEERS + 1)];
    } else if (event.kind == WORKER_EVENT_BACKPRESSURE) {
        event.of.backpressure.on = roll(play, 3) == 0;
    }
    say(play, event);
}

static void say_something(struct play *play)
{
    uint32_t what = roll(play, 33);
    if (what < 8) {
        say_compute(play);
    } else if (what < 16) {
        say_about_tasks(play, what - 8);
    } else if (what < 23) {
        say_about_peers(play, what - 16);
    } else if (what < 27) {
        say_end_of_run(play, roll(play, KEYS), roll(play, 6));
    } else if (what < 31) {
        say_end_of_gather(play, roll(play, PEERS), roll(play, 7));
    } else if (what == 31) {
        say(play, (struct worker_event){.kind = WORKER_EVENT_SET_RESOURCES,
                                        .of.set_resources.resources = random_resources(play)});
    } else {
        say(play,
            (struct worker_event){.kind = WORKER_EVENT_SECEDE, .of.secede = {roll(play, 64), 1}});
    }
}

/* ---- a play ---- */

static void open_twin(struct wstage *stage, uint64_t seed)
{
    struct worker_config config;
    worker_config_init(&config);
    config.seed = seed;
    config.nthreads = 1 + (uint32_t)seed % 3;
    config.ahead_max = (uint32_t)seed % 4;
    config.message_limit = seed % 2 == 0 ? 500 : WORKER_NO_LIMIT;
    config.incoming_limit = seed % 5 == 0 ? 1500 : WORKER_NO_LIMIT;
    config.throttle_floor = 100;
    config.incoming_count_limit = seed % 3 == 0 ? 2 : 9999;
    config.story_length = 20;
    wstage_open(stage, &config);
}

static void open_play(struct play *play, uint64_t seed)
{
    *play = (struct play){0};
    open_twin(&play->stage, seed);
    open_twin(&play->twin, seed);
    prng_init(&play->prng, seed);
    play->blob = blob_create(slice_copy(SPAN("payload")), 0);
    play->failure = (struct worker_failure){.exception = play->blob};
    for (uint32_t i = 0; i < KEYS; i++) {
        char name[16];
        int size = snprintf(name, sizeof name, "key-%u", i);
        play->keys[i] = wstage_key(&play->stage, name, (size_t)size);
    }
    for (uint32_t i = 0; i < PEERS; i++) {
        char name[16];
        int size = snprintf(name, sizeof name, i % 2 == 0 ? "r%u" : "l%u", i + 2);
        play->peers[i] = wstage_peer(&play->stage, name, (size_t)size);
    }
    play->peers[PEERS] = wstage_peer(&play->stage, "l1", 2);
}

static void end_all(struct play *play)
{
    say(play, (struct worker_event){.kind = WORKER_EVENT_PAUSE});
    for (uint32_t i = 0; i < 2; i++) {
        say(play, (struct worker_event){.kind = WORKER_EVENT_FREE_KEYS,
                                        .of.free_keys.keys = {play->keys, KEYS}});
        for (uint32_t j = 0; j < KEYS; j++) {
            if (play->runs[j]) {
                say_end_of_run(play, j, roll(play, 6));
            }
        }
        for (uint32_t j = 0; j < PEERS; j++) {
            if (play->asked[j]) {
                say_end_of_gather(play, j, roll(play, 7));
            }
        }
    }
    struct worker_summary all = wstage_summary(&play->stage);
    assert_true(all.task_count == 0 || play->cycles);
    assert_int_equal(all.executing_count + all.long_running_count, 0);
    assert_int_equal(all.incoming_bytes + all.incoming_count, 0);
    assert_int_equal(all.nbytes, 0);
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_false(play->kept[i]);
    }
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct play play;
        open_play(&play, seed);
        play.cycles = seed % 4 == 3;
        for (uint32_t i = 0; i < EVENTS; i++) {
            say_something(&play);
        }
        end_all(&play);
        wstage_close(&play.twin);
        wstage_close(&play.stage);
        assert_int_equal(play.blob->refs, 1);
        blob_unref(play.blob);
    }
}

/* Equal peers are asked in an order that depends on the seed, and on nothing else. */
static void test_lots(void **state)
{
    (void)state;
    uint32_t firsts[2] = {0};
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct worker_config config;
        worker_config_init(&config);
        config.address = SPAN("tcp://127.0.0.1:1");
        config.seed = seed;
        config.check = true;
        struct wstage stage = {.w = worker_create(&config), .time = 1000};
        arena_init(&stage.arena);
        worker_step_init(&stage.step);
        wstage_acquire(&stage, "x@r2,r3");
        assert_int_equal(stage.step.action_count, 1);
        struct span asked = stage.step.actions[0].of.gather.worker;
        firsts[span_equal_text(asked, "tcp://127.0.0.3:1")]++;
        wstage_close(&stage);
    }
    assert_int_equal(firsts[0] + firsts[1], 40);
    assert_true(firsts[0] > 5 && firsts[1] > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_lots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
