/* node_actions.c: the core's actions as letters, with what must hold for each of them. */
#include "sim/checkers.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/p2p.h"
#include "sim/requests.h"

static const struct incarnation *who_is(struct sim *sim, worker_id id)
{
    if (id == WORKER_NONE || id >= sim->incarnations.count ||
        sim->incarnations.items[id].connection == 0) {
        fail(sim, "an action for worker id %u, which never was", id);
    }
    return &sim->incarnations.items[id];
}

void to_worker(struct sim *sim, worker_id id, struct letter letter)
{
    const struct incarnation *who = who_is(sim, id);
    letter.to = who->slot;
    letter.life = who->connection;
    post_in(sim, &sim->workers[who->slot].down, letter);
}

static void add_inputs(struct sim *sim, struct letter *letter, struct input_list inputs)
{
    for (uint32_t i = 0; i < inputs.count; i++) {
        letter_add(letter, key_number(sim, inputs.items[i].key));
        letter_add(letter, inputs.items[i].holder_count);
        for (uint32_t j = 0; j < inputs.items[i].holder_count; j++) {
            letter_add(letter, who_is(sim, inputs.items[i].holders[j])->address);
        }
    }
}

static void compute(struct sim *sim, const struct action_compute *action)
{
    struct task_view view;
    view_task(sim->s, action->task, &view);
    uint32_t key = key_number(sim, view.key);
    struct numbers *asked = &sim->incarnations.items[action->worker].asked;
    if (action->run_id <= sim->run_id_last) {
        fail(sim, "run_id %lld after %lld", (long long)action->run_id, (long long)sim->run_id_last);
    }
    sim->run_id_last = action->run_id;
    check_compute(sim, action);
    if (!set_add(asked, key)) {
        fail(sim, "worker id %u is told a second time to compute key %u", action->worker, key);
    }
    struct letter letter = {.kind = LETTER_COMPUTE,
                            .key = key,
                            .number = action->run_id,
                            .real = view.priority_generation,
                            .ahead = action->ahead};
    add_inputs(sim, &letter, action->inputs);
    to_worker(sim, action->worker, letter);
}

static void send_keys(struct sim *sim, enum letter_kind kind, worker_id id, struct span_list keys)
{
    struct letter letter = {.kind = kind};
    for (uint32_t i = 0; i < keys.count; i++) {
        uint32_t key = key_number(sim, keys.items[i]);
        letter_add(&letter, key);
        if (kind == LETTER_FREE_KEYS) {
            who_is(sim, id);
            set_remove(&sim->incarnations.items[id].asked, key);
        }
    }
    to_worker(sim, id, letter);
}

static void send_inputs(struct sim *sim, enum letter_kind kind, worker_id id,
                        struct input_list inputs)
{
    struct letter letter = {.kind = kind};
    add_inputs(sim, &letter, inputs);
    to_worker(sim, id, letter);
}

static void forget_worker(struct sim *sim, const struct action_forget_worker *action)
{
    uint32_t address = who_is(sim, action->gone)->address;
    for (uint32_t slot = 0; slot < sim->worker_count; slot++) {
        worker_id id = worker_id_now(sim, slot);
        if (id != WORKER_NONE && id != action->gone &&
            (action->worker == WORKER_NONE || action->worker == id)) {
            to_worker(sim, id, (struct letter){.kind = LETTER_FORGET_WORKER, .key = address});
        }
    }
}

static void to_clients(struct sim *sim, client_id id, struct letter letter)
{
    for (uint32_t slot = 0; slot < PEERS_MAX; slot++) {
        struct sim_client *client = &sim->clients[slot];
        client_id now = client_id_now(sim, slot);
        if (now == CLIENT_NONE || (id != CLIENT_NONE && id != now)) {
            continue;
        }
        struct letter copy = letter;
        copy.words = NULL;
        copy.word_count = 0;
        for (uint32_t i = 0; i < letter.word_count; i++) {
            letter_add(&copy, letter.words[i]);
        }
        copy.to = slot;
        copy.life = client->life;
        post_in(sim, &client->down, copy);
    }
}

static void client_keys(struct sim *sim, enum letter_kind kind, client_id id, struct span_list keys)
{
    struct letter letter = {.kind = kind};
    for (uint32_t i = 0; i < keys.count; i++) {
        letter_add(&letter, key_number(sim, keys.items[i]));
    }
    to_clients(sim, id, letter);
    letter_fini(&letter);
}

static bool carry_out_for_worker(struct sim *sim, const struct action *action)
{
    struct letter letter = {0};
    switch (action->kind) {
    case ACTION_COMPUTE:
        compute(sim, &action->of.compute);
        return true;
    case ACTION_FREE_KEYS:
        send_keys(sim, LETTER_FREE_KEYS, action->of.free_keys.worker, action->of.free_keys.keys);
        return true;
    case ACTION_REMOVE_REPLICAS:
        send_keys(sim, LETTER_REMOVE_REPLICAS, action->of.remove_replicas.worker,
                  action->of.remove_replicas.keys);
        return true;
    case ACTION_ACQUIRE_REPLICAS:
        send_inputs(sim, LETTER_ACQUIRE_REPLICAS, action->of.acquire_replicas.worker,
                    action->of.acquire_replicas.inputs);
        return true;
    case ACTION_REFRESH_WHO_HAS:
        send_inputs(sim, LETTER_REFRESH, action->of.refresh_who_has.worker,
                    action->of.refresh_who_has.inputs);
        return true;
    case ACTION_STEAL_REQUEST:
        letter.kind = LETTER_STEAL_REQUEST;
        letter.key = key_number(sim, action->of.steal_request.key);
        letter_set_text(&letter, action->of.steal_request.stimulus);
        to_worker(sim, action->of.steal_request.worker, letter);
        return true;
    case ACTION_CHANGE_STATUS:
        letter.kind = LETTER_SET_STATUS;
        letter_set_text(&letter, action->of.change_status.status);
        to_worker(sim, action->of.change_status.worker, letter);
        return true;
    case ACTION_FORGET_WORKER:
        forget_worker(sim, &action->of.forget_worker);
        return true;
    case ACTION_CLOSE_WORKER:
        letter.kind = LETTER_CLOSE;
        to_worker(sim, action->of.close_worker.worker, letter);
        return true;
    case ACTION_RESTART_WORKER:
        letter.kind = LETTER_RESTART_WORKER;
        letter.number = action->of.restart_worker.worker;
        post(sim, letter, 0);
        return true;
    default:
        return false;
    }
}

static void carry_out_one(struct sim *sim, const struct action *action)
{
    if (carry_out_for_worker(sim, action)) {
        return;
    }
    switch (action->kind) {
    case ACTION_KEY_IN_MEMORY:
        client_keys(sim, LETTER_IN_MEMORY, action->of.key_in_memory.client,
                    (struct span_list){&action->of.key_in_memory.key, 1});
        break;
    case ACTION_KEY_ERRED:
        if (action->of.key_erred.failure == NULL) {
            fail(sim, "a key erred without a failure");
        }
        client_keys(sim, LETTER_KEY_ERRED, action->of.key_erred.client,
                    (struct span_list){&action->of.key_erred.key, 1});
        break;
    case ACTION_LOST_DATA:
        client_keys(sim, LETTER_LOST, action->of.lost_data.client,
                    (struct span_list){&action->of.lost_data.key, 1});
        break;
    case ACTION_KEY_RETRIED:
        client_keys(sim, LETTER_RETRIED, action->of.key_retried.client,
                    (struct span_list){&action->of.key_retried.key, 1});
        break;
    case ACTION_KEYS_CANCELLED:
        client_keys(sim, LETTER_CANCELLED, action->of.keys_cancelled.client,
                    action->of.keys_cancelled.keys);
        break;
    case ACTION_CLIENT_RESTART:
        client_keys(sim, LETTER_CLIENT_RESTART, action->of.client_restart.client,
                    (struct span_list){0});
        break;
    case ACTION_SHUFFLE_DONE:
        p2p_done(sim, &action->of.shuffle_done);
        break;
    case ACTION_SHUFFLE_FAIL:
        p2p_failed(sim, &action->of.shuffle_fail);
        break;
    case ACTION_REPLY:
        requests_answered(sim, &action->of.reply);
        break;
    case ACTION_RETIRED: {
        struct letter letter = {.kind = LETTER_RETIRED,
                                .number = action->of.retired.worker,
                                .key = action->of.retired.retired && action->of.retired.remove};
        requests_retired(sim, &action->of.retired);
        post(sim, letter, 0);
        break;
    }
    default:
        break; /* notices and log lines */
    }
}

void carry_out(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->step.action_count; i++) {
        carry_out_one(sim, &sim->step.actions[i]);
    }
}
