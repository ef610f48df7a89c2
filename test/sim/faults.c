/* faults.c: what goes wrong in a cluster, and what operators do to it. */
#include "sim/client.h"
#include "sim/network.h"
#include "sim/node.h"
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
    if (has(sim, FEATURE_PAUSE) && worker->alive && worker->registered) {
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
    if (client->connected) {
        client_disconnect(sim, client);
    } else {
        client_connect(sim, client);
    }
}

static void restart(struct sim *sim)
{
    if (!has(sim, FEATURE_RESTART)) {
        return;
    }
    struct event event = {.kind = EVENT_RESTART};
    apply(sim, &event);
    for (uint32_t slot = 0; slot < sim->worker_count; slot++) {
        worker_id id = worker_id_now(sim, slot);
        if (id != WORKER_NONE) {
            post(sim, (struct letter){.kind = LETTER_RESTART_WORKER, .number = id}, 0);
        }
    }
}

static void adjust(struct sim *sim)
{
    static const char *const methods[] = {"stop", "run_once", "start"};
    struct event event = {.kind = EVENT_AMM};
    if (has(sim, FEATURE_AMM)) {
        event.of.amm.method = span_of_text(methods[below(sim, 3)]);
        apply(sim, &event);
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
        restart(sim);
    } else {
        adjust(sim);
    }
}

void heal(struct sim *sim)
{
    for (uint32_t slot = 0; slot < sim->worker_count; slot++) {
        struct sim_worker *worker = &sim->workers[slot];
        if (worker->alive && worker->registered && !machine_is_running(worker)) {
            machine_pause(sim, worker, true);
            worker_say_status(sim, worker, "running");
        }
    }
}
