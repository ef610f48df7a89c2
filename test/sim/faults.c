/* faults.c: what goes wrong in a cluster, and what operators do to it. */
#include "sim/client.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/p2p.h"
#include "sim/requests.h"
#include "sim/worker.h"
#include "sim/workload.h"

static void crash(struct sim *sim, struct sim_worker *worker)
{
    if (has(sim, FEATURE_CRASH) && worker->alive) {
        worker_die(sim, worker, "crash");
    }
}

static void drop(struct sim *sim, struct sim_worker *worker)
{
    if (has(sim, FEATURE_DROP) && worker->alive && worker->registered) {
        say(sim, "worker %u loses its connection", worker->slot);
        worker_disconnect(sim, worker);
        post(sim, (struct letter){.kind = LETTER_KILL, .to = worker->slot, .life = worker->life},
             delay_draw(sim));
    }
}

static void pause(struct sim *sim, struct sim_worker *worker)
{
    if (has(sim, FEATURE_PAUSE) && worker->alive && worker->registered && !worker->is_retiring) {
        bool running = percent(sim, 50);
        machine_pause(sim, worker, running);
        worker_say_status(sim, worker, running ? "running" : "paused");
    }
}

static void hang(struct sim *sim, struct sim_worker *worker)
{
    if (has(sim, FEATURE_HANG) && worker->alive && worker->hung_until <= sim->now) {
        say(sim, "worker %u hangs", worker->slot);
        worker->hung_until = sim->now + 10 * prng_unit(&sim->prng);
    }
}

static void retire(struct sim *sim, uint32_t slot)
{
    worker_id id = worker_id_now(sim, slot);
    if (has(sim, FEATURE_RETIRE) && id != WORKER_NONE) {
        requests_retire(sim, &id, 1);
    }
}

static void client_comes_or_goes(struct sim *sim)
{
    struct sim_client *client = &sim->clients[below(sim, sim->client_count)];
    if (!has(sim, FEATURE_CLIENTS)) {
        return;
    }
    bool is_known = client_id_now(sim, client->slot) != CLIENT_NONE;
    if (client->connected && is_known && has(sim, FEATURE_RECONNECT) && percent(sim, 40)) {
        client_reconnect(sim, client);
    } else if (client->connected) {
        client_disconnect(sim, client);
    } else {
        client_connect(sim, client);
    }
}

static void restart_workers(struct sim *sim, uint32_t chance)
{
    for (uint32_t slot = 0; slot < sim->worker_count; slot++) {
        worker_id id = worker_id_now(sim, slot);
        if (id != WORKER_NONE && percent(sim, chance)) {
            post(sim, (struct letter){.kind = LETTER_RESTART_WORKER, .number = id}, 0);
        }
    }
}

/* Client.restart: all is forgotten at once, and everybody is told. */
static void restart(struct sim *sim)
{
    struct event event = {.kind = EVENT_RESTART};
    uint32_t told = 0, cursor = 0;
    struct client_view client;
    apply(sim, &event);
    for (uint32_t i = 0; i < sim->step.action_count; i++) {
        told += sim->step.actions[i].kind == ACTION_CLIENT_RESTART;
    }
    if (view_task_count(sim->s) > 0 || told != 1) {
        fail(sim, "after a restart, %u tasks are left; clients were told %u times",
             view_task_count(sim->s), told);
    }
    while (view_client_next(sim->s, &cursor, &client)) {
        if (client.wants_count > 0) {
            fail(sim, "after a restart, client id %u still wants %u keys", client.id,
                 client.wants_count);
        }
    }
    restart_workers(sim, 100);
}

/* A policy outside the core suggests what it saw a moment ago. */
static void suggest(struct sim *sim)
{
    struct numbers keys = {0};
    worker_id id = worker_id_now(sim, below(sim, sim->worker_count));
    for (uint32_t i = 0; i < 1 + below(sim, 5); i++) {
        vec_push(&keys, below(sim, sim->keys.count));
    }
    struct event event = {
        .kind = EVENT_AMM_SUGGEST,
        .of.amm_suggest = {id, key_list(sim, keys.items, keys.count), percent(sim, 50)}};
    apply(sim, &event);
    vec_fini(&keys);
}

static void adjust(struct sim *sim)
{
    static const char *const methods[] = {"stop", "run_once", "start"};
    struct event event = {.kind = EVENT_AMM};
    if (has(sim, FEATURE_AMM) && percent(sim, 60)) {
        event.of.amm.method = span_of_text(methods[below(sim, 3)]);
        apply(sim, &event);
    } else if (has(sim, FEATURE_AMM) && sim->keys.count > 0) {
        suggest(sim);
    }
    if (has(sim, FEATURE_RUDE) && sim->shuffles.count > 0 && percent(sim, 30)) {
        p2p_ask_oddly(sim);
    }
    if (has(sim, FEATURE_RUDE) &&
        sim->keys.count > 0) { /* a gather did not find it where it should be */
        uint32_t key = below(sim, sim->keys.count);
        uint32_t slot = below(sim, sim->worker_count);
        worker_id id = worker_id_now(sim, slot);
        event = (struct event){.kind = EVENT_REPLICA_MISSING,
                               .of.replica_missing = {id, key_list(sim, &key, 1)}};
        if (id != WORKER_NONE && machine_state(sim, &sim->workers[slot], key) != WTASK_MEMORY) {
            apply(sim, &event);
        }
    }
}

/* set_restrictions of some known key: to workers that are there or are gone, or to none. */
static void restrict_key(struct sim *sim)
{
    uint32_t number = below(sim, sim->keys.count);
    const struct sim_key *key = &sim->keys.items[number];
    struct span *workers = arena_array(&sim->scratch, struct span, WORKERS_MAX);
    struct event event = {.kind = EVENT_SET_RESTRICTIONS, .of.set_restrictions.key = key->bytes};
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < sim->worker_count && percent(sim, 80); slot++) {
        if (percent(sim, 50)) {
            workers[count++] = worker_address(sim, slot, sim->workers[slot].address);
        }
    }
    event.of.set_restrictions.workers = (struct span_list){workers, count};
    if (key->kind != KEY_PLAIN) {
        return; /* shuffles restrict their own */
    }
    apply(sim, &event);
    const struct task *task = view_task_find(sim->s, key->bytes);
    struct task_view view;
    if (task == NULL) {
        return;
    }
    view_task(sim->s, task, &view);
    for (uint32_t i = 0; i < count || i < view.worker_restrictions.count; i++) {
        if (view.worker_restrictions.count != count ||
            !span_equal(view.worker_restrictions.items[i], workers[i])) {
            fail(sim, "key %u was restricted to %u workers, and is to %u", number, count,
                 view.worker_restrictions.count);
        }
    }
}

/* Worker.set_resources. */
static void change_resources(struct sim *sim, const struct sim_worker *worker)
{
    worker_id id = worker_id_now(sim, worker->slot);
    struct resource spare = {SPAN("SPARE"), below(sim, 3)};
    struct event event = {.kind = EVENT_WORKER_RESOURCES, .of.worker_resources = {id, {&spare, 1}}};
    if (id != WORKER_NONE) {
        apply(sim, &event);
    }
}

static void reassign(struct sim *sim, const struct sim_worker *worker)
{
    if (has(sim, FEATURE_MOVE) && percent(sim, 70) && sim->keys.count > 0) {
        restrict_key(sim);
    } else if (has(sim, FEATURE_MOVE)) {
        change_resources(sim, worker);
    }
}

void trouble(struct sim *sim)
{
    struct sim_worker *worker = &sim->workers[below(sim, sim->worker_count)];
    uint32_t chance = below(sim, 100);
    if (chance < 25) {
        crash(sim, worker);
    } else if (chance < 35) {
        drop(sim, worker);
    } else if (chance < 55) {
        pause(sim, worker);
    } else if (chance < 65) {
        hang(sim, worker);
    } else if (chance < 80) {
        retire(sim, worker->slot);
    } else if (chance < 90) {
        client_comes_or_goes(sim);
    } else if (chance < 92) {
        if (has(sim, FEATURE_RESTART)) {
            restart(sim);
        }
    } else if (chance < 94) {
        if (has(sim, FEATURE_RESTART)) {
            restart_workers(sim, 40);
        }
    } else if (chance < 97) {
        reassign(sim, worker);
    } else {
        adjust(sim);
    }
}

void heal(struct sim *sim)
{
    for (uint32_t slot = 0; slot < sim->worker_count; slot++) {
        struct sim_worker *worker = &sim->workers[slot];
        bool is_paused = worker->alive && worker->registered && !worker->is_retiring &&
                         !machine_is_running(worker);
        if (is_paused) {
            machine_pause(sim, worker, true);
            worker_say_status(sim, worker, "running");
        }
    }
}
