/* cluster.c: a run: trouble and work, calm, everything released, the end. */
#include "sim/cluster.h"

#include <math.h>

#include "sim/checkers.h"
#include "sim/client.h"
#include "sim/machine.h"
#include "sim/nested.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/node_graph.h"
#include "sim/p2p.h"
#include "sim/replicas.h"
#include "sim/requests.h"
#include "sim/watch.h"
#include "sim/worker.h"
#include "sim/workload.h"

#define CALM_LETTERS_MAX 60000u

static const struct sim *now_running;

const struct sim *cluster_now(void)
{
    return now_running;
}

/* ---- set up ---- */

static void draw_config(struct sim *sim)
{
    struct scheduler_config *config = &sim->config;
    static const double saturations[] = {1.1, 1.0, 2.0, 0.3, INFINITY};
    scheduler_config_init(config);
    config->seed = sim->options.seed;
    config->check = true;
    config->worker_saturation = saturations[below(sim, 5)];
    config->ahead_seconds = percent(sim, 50) ? 0 : percent(sim, 50) ? 0.02 : 4;
    config->work_stealing = has(sim, FEATURE_STEAL);
    config->work_stealing_interval = percent(sim, 50) ? 0.1 : 1;
    config->amm_start = has(sim, FEATURE_AMM);
    config->amm_interval = percent(sim, 50) ? 0.2 : 2;
    config->worker_ttl = has(sim, FEATURE_HANG) ? 5 : 300;
    config->allowed_failures = percent(sim, 50) ? 3 : below(sim, 3);
    config->unknown_task_duration = percent(sim, 50) ? 0.5 : 5;
    config->transition_notices = percent(sim, 20);
    config->transition_log_length = percent(sim, 50) ? 1000 : 10;
    config->lease_validation_interval = percent(sim, 50) ? 1 : 10;
    config->step_moves_max = has(sim, FEATURE_SLICES) ? 1 + below(sim, 8) : 1024;
    config->no_workers_timeout = percent(sim, 10) ? 20 : INFINITY;
    if (has(sim, FEATURE_TIGHT) && percent(sim, 50)) {
        config->no_workers_timeout = 0.2 + 2 * prng_unit(&sim->prng);
    }
}

/* 0: no limit. The little there may be holds one large result, but not two. */
static int64_t draw_memory(struct sim *sim)
{
    bool is_tight = has(sim, FEATURE_TIGHT) && percent(sim, 60);
    return !percent(sim, 80) ? 0 : is_tight ? 80000000 : 4000000000;
}

static void draw_workers(struct sim *sim)
{
    sim->worker_count = 1 + below(sim, sim->options.workers);
    for (uint32_t slot = 0; slot < sim->worker_count; slot++) {
        struct sim_worker *worker = &sim->workers[slot];
        *worker = (struct sim_worker){
            .slot = slot,
            .nthreads = 1 + below(sim, 3),
            .gpus = slot == 0 || percent(sim, 20),
            .memory_limit = draw_memory(sim),
            .speed = percent(sim, 20) ? 0.2 : 1,
            .has_nanny = percent(sim, 70),
            .keeps_address = percent(sim, 30),
            .starts_in_init = percent(sim, 50),
        };
        worker_plan_start(sim, worker, prng_unit(&sim->prng));
    }
}

static void sim_init(struct sim *sim, const struct options *options)
{
    static const double delays[] = {0.0005, 0.01, 0.1};
    *sim = (struct sim){.options = *options, .tick_at = INFINITY};
    prng_init(&sim->prng, options->seed);
    arena_init(&sim->scratch);
    arena_init(&sim->forever);
    step_init(&sim->step);
    sim->features = options->features & machine_features();
    if (percent(sim, 60)) { /* fewer things at a time find other faults */
        sim->features &= prng_next(&sim->prng) | prng_next(&sim->prng);
    }
    sim->delay_typical = delays[below(sim, 3)];
    sim->delay_spread = percent(sim, 50) ? 3 : 50;
    sim->run_specs[0] = blob_create(slice_copy(SPAN("\xa3"
                                                    "1st")),
                                    0);
    sim->run_specs[1] = blob_create(slice_copy(SPAN("\xa3"
                                                    "2nd")),
                                    0);
    sim->exception = blob_create(slice_copy(SPAN("\xa4oops")), 0);
    sim->texts[0] = blob_create(slice_copy(SPAN("\x91\xa5"
                                                "f(x)\n")),
                                0);
    sim->texts[1] = blob_create(slice_copy(SPAN("\x91\xa5"
                                                "g(x)\n")),
                                0);
    draw_config(sim);
    sim->s = scheduler_create(&sim->config);
    draw_workers(sim);
    sim->client_count = 1 + below(sim, options->clients);
    for (uint32_t slot = 0; slot < PEERS_MAX; slot++) {
        sim->clients[slot].slot = slot;
    }
    for (uint32_t slot = 0; slot < sim->client_count; slot++) {
        client_connect(sim, &sim->clients[slot]);
    }
    post(sim, (struct letter){.kind = LETTER_WORK}, 0.1);
    post(sim, (struct letter){.kind = LETTER_TROUBLE}, 1);
}

static void sim_fini(struct sim *sim)
{
    scheduler_destroy(sim->s);
    network_fini(sim);
    for (uint32_t slot = 0; slot < sim->worker_count; slot++) {
        machine_fini(&sim->workers[slot]);
        p2p_fini(&sim->workers[slot]);
        vec_fini(&sim->workers[slot].nests);
        vec_fini(&sim->workers[slot].results);
        vec_fini(&sim->workers[slot].ids);
    }
    for (uint32_t slot = 0; slot < PEERS_MAX; slot++) {
        client_fini(&sim->clients[slot]);
    }
    for (uint32_t i = 0; i < sim->incarnations.count; i++) {
        vec_fini(&sim->incarnations.items[i].asked);
    }
    vec_fini(&sim->incarnations);
    graphs_fini(sim);
    requests_fini(sim);
    replicas_fini(sim);
    p2p_node_fini(sim);
    keys_fini(sim);
    blob_unref(sim->run_specs[0]);
    blob_unref(sim->run_specs[1]);
    blob_unref(sim->exception);
    blob_unref(sim->texts[0]);
    blob_unref(sim->texts[1]);
    text_fini(&sim->line);
    step_fini(&sim->step);
    arena_fini(&sim->scratch);
    arena_fini(&sim->forever);
}

/* ---- the run ---- */

static void plan(struct sim *sim, struct letter *letter)
{
    bool is_work = letter->kind == LETTER_WORK;
    if (sim->calm) {
        return;
    }
    if (is_work) {
        work(sim);
        if (has(sim, FEATURE_WATCH)) {
            watch(sim);
        }
    } else {
        trouble(sim);
    }
    post(sim, (struct letter){.kind = letter->kind}, (is_work ? 0.6 : 1.2) * prng_unit(&sim->prng));
}

static void deliver_one(struct sim *sim)
{
    struct letter letter;
    bool is_more = take(sim, &letter);
    ASSERT(is_more);
    arena_reset(&sim->scratch);
    sim->delivered++;
    if (letter.kind == LETTER_WORK || letter.kind == LETTER_TROUBLE) {
        plan(sim, &letter);
    } else if (!node_receive(sim, &letter) && !worker_receive(sim, &letter) &&
               !client_receive(sim, &letter)) {
        fail(sim, "nobody takes a letter: %s", letter_name(letter.kind));
    }
    letter_fini(&letter);
}

static void come_to_rest(struct sim *sim)
{
    uint64_t first = sim->delivered;
    sim->busy_at = sim->now;
    while (!has_settled(sim)) {
        heal(sim);
        deliver_one(sim);
        if (sim->delivered - first > CALM_LETTERS_MAX) {
            fail(sim, "it never comes to rest");
        }
    }
}

static void release_futures(struct sim *sim, struct sim_client *client)
{
    struct numbers keys = {0};
    for (uint32_t key = 0; client->connected && key < client->futures.count; key++) {
        if (client->futures.items[key] != FUTURE_NONE) {
            vec_push(&keys, key);
        }
    }
    if (client->connected) {
        client_release(sim, client, &keys);
    }
    if (client->slot >= CLIENTS_MAX) {
        nests_look(sim, &sim->workers[client->slot - CLIENTS_MAX]); /* who waited gives up */
    }
    vec_fini(&keys);
}

/* All clients let everything go. */
static void release_all(struct sim *sim)
{
    for (uint32_t slot = 0; slot < PEERS_MAX; slot++) {
        struct sim_client *client = &sim->clients[slot];
        if (client->connected && slot < CLIENTS_MAX && percent(sim, 50)) {
            client_disconnect(sim, client);
        } else {
            release_futures(sim, client);
        }
    }
    struct event event = {.kind = EVENT_CLIENT_RELEASES,
                          .of.client_releases.client_name = SPAN("fire-and-forget")};
    struct numbers all = {0};
    for (uint32_t key = 0; key < sim->keys.count; key++) {
        vec_push(&all, key);
    }
    event.of.client_releases.keys = key_list(sim, all.items, all.count);
    apply(sim, &event);
    vec_fini(&all);
    requests_let_go(sim);
}

/* Runs that were under way when everything was released may have submitted tasks since, and wait for them:
 * perhaps for ever, if none may run them. They give up as well. False: there are none (left). */
static bool end_nests(struct sim *sim)
{
    bool is_any = false;
    for (uint32_t slot = 0; slot < sim->worker_count; slot++) {
        is_any = is_any || sim->workers[slot].nests.count > 0;
        release_futures(sim, &sim->clients[CLIENTS_MAX + slot]);
    }
    return is_any;
}

uint64_t cluster_run(const struct options *options, uint64_t *out_steps)
{
    struct sim *sim = mem_zalloc(1, sizeof *sim);
    now_running = sim;
    sim_init(sim, options);
    while (sim->delivered < options->steps) {
        deliver_one(sim);
    }
    sim->calm = true;
    say(sim, "calm");
    come_to_rest(sim);
    check_at_rest(sim);
    say(sim, "release all");
    release_all(sim);
    do {
        come_to_rest(sim);
    } while (end_nests(sim));
    check_empty(sim);
    uint64_t hash = sim->hash;
    *out_steps += sim->steps;
    sim_fini(sim);
    now_running = NULL;
    mem_free(sim);
    return hash;
}
