/* workload.c: what clients ask of a scheduler. */
#include "sim/workload.h"

#include "sim/client.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/replicas.h"
#include "sim/requests.h"

/* ---- on what there is ---- */

/* Some of the client's futures in a state (FUTURE_NONE: in any). */
static struct numbers some_futures(struct sim *sim, const struct sim_client *client,
                                   enum future_state state, uint32_t chance)
{
    struct numbers keys = {0};
    for (uint32_t i = 0; i < client->futures.count; i++) {
        bool fits = client->futures.items[i] != FUTURE_NONE &&
                    (state == FUTURE_NONE || client->futures.items[i] == state);
        if (fits && percent(sim, chance)) {
            vec_push(&keys, i);
        }
    }
    return keys;
}

static void release_some(struct sim *sim, struct sim_client *client)
{
    struct numbers keys = some_futures(sim, client, FUTURE_NONE, percent(sim, 20) ? 100 : 30);
    if (keys.count > 0) {
        client_release(sim, client, &keys);
    }
    vec_fini(&keys);
}

static void cancel_some(struct sim *sim, struct sim_client *client)
{
    struct numbers keys = some_futures(sim, client, FUTURE_NONE, 20);
    if (keys.count > 0 && has(sim, FEATURE_CANCEL)) {
        client_send(sim, client, LETTER_CANCEL, &keys, percent(sim, 30));
    }
    vec_fini(&keys);
}

static void retry_some(struct sim *sim, struct sim_client *client)
{
    struct numbers keys =
        some_futures(sim, client, percent(sim, 90) ? FUTURE_ERRED : FUTURE_NONE, 50);
    if (keys.count > 0 && has(sim, FEATURE_CANCEL)) {
        client_send(sim, client, LETTER_RETRY, &keys, 0);
    }
    vec_fini(&keys);
}

/* Somebody else's result, as passed on through a queue or by name. */
static void desire_one(struct sim *sim, struct sim_client *client, bool fire_and_forget)
{
    struct numbers keys = {0};
    uint32_t key = below(sim, sim->keys.count);
    if (!is_result(sim, key)) {
        return;
    }
    vec_push(&keys, key);
    if (!fire_and_forget) {
        client_want(client, key, true);
    } else if (client_future(client, key) == FUTURE_NONE) {
        keys.count = 0;
    }
    if (keys.count > 0) {
        client_send(sim, client, LETTER_DESIRES, &keys, fire_and_forget);
    }
    vec_fini(&keys);
}

static void report_one(struct sim *sim, struct sim_client *client)
{
    struct numbers keys = {0};
    vec_push(&keys, below(sim, sim->keys.count));
    client_send(sim, client, LETTER_REPORT_KEY, &keys, 0);
    vec_fini(&keys);
}

static uint32_t make_data(struct sim *sim, uint32_t batch, uint32_t index)
{
    uint32_t key = make_key(sim, batch, index);
    struct sim_key *made = &sim->keys.items[key];
    *made = (struct sim_key){
        .bytes = made->bytes, .nbytes = made->nbytes, .is_data = true, .only_on = WORKERS_MAX};
    return key;
}

/* Values for one worker, or dealt out to several; perhaps copied to all then. Some have
 * been scattered before (scatter names a value by its hash). */
static void scatter(struct sim *sim, struct sim_client *client)
{
    struct numbers slots = {0};
    bool is_wide = has(sim, FEATURE_BROADCAST) && percent(sim, 50);
    for (uint32_t i = 0; i < (is_wide ? sim->worker_count : 1); i++) {
        uint32_t slot = is_wide ? i : below(sim, sim->worker_count);
        if (worker_id_now(sim, slot) != WORKER_NONE) {
            set_add(&slots, slot);
        }
    }
    if (slots.count > 0 && sim->keys.count + 8 <= KEYS_MAX && has(sim, FEATURE_SCATTER)) {
        struct numbers keys = {0};
        uint32_t batch = sim->keys.count;
        for (uint32_t i = 0; i < 1 + below(sim, is_wide ? 8 : 3); i++) {
            uint32_t known = batch > 0 ? below(sim, batch) : 0;
            bool is_again = batch > 0 && sim->keys.items[known].is_data && percent(sim, 30);
            set_add(&keys, is_again ? known : make_data(sim, batch, i));
        }
        scatter_begin(sim, client, &keys, &slots, is_wide && percent(sim, 60));
        vec_fini(&keys);
    }
    vec_fini(&slots);
}

static void use_data(struct sim *sim, struct sim_client *client, uint32_t chance)
{
    if (chance < 88) {
        desire_one(sim, client, false);
    } else if (chance < 91) {
        desire_one(sim, client, true);
    } else if (chance < 92) {
        report_one(sim, client);
    } else if (chance < 93) {
        client_send(sim, client, LETTER_CLIENT_BEAT, &(struct numbers){0}, 0);
    } else if (has(sim, FEATURE_SCATTER)) {
        move_replicas(sim, chance < 96 ? 1 + below(sim, 4) : chance < 98 ? 1 : 0);
    }
}

void work(struct sim *sim)
{
    struct sim_client *client = &sim->clients[below(sim, sim->client_count)];
    uint32_t chance = below(sim, 100);
    if (!client->connected) {
        return;
    }
    if (sim->keys.count == 0 || chance < 30) {
        new_batch(sim, client);
    } else if (chance < 40) {
        old_batch(sim, client);
    } else if (chance < 60) {
        release_some(sim, client);
    } else if (chance < 64) {
        cancel_some(sim, client);
    } else if (chance < 68) {
        retry_some(sim, client);
    } else if (chance < 74) {
        scatter(sim, client);
    } else if (chance < 86) {
        requests_plan(sim, client->slot);
    } else {
        use_data(sim, client, chance);
    }
}
