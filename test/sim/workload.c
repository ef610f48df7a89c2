/* workload.c: graphs of many shapes, and all else clients ask of a scheduler. */
#include "sim/workload.h"

#include <stdio.h>

#include "sim/client.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/requests.h"

#define KEYS_MAX 160u

/* ---- keys ---- */

/* Every other batch has tuple keys, which make one group: ("t3", 7); the rest is of strings: "p3-7". */
static struct span name_key(struct sim *sim, uint32_t batch, uint32_t index)
{
    uint8_t bytes[32];
    int size = snprintf((char *)bytes + 2, sizeof bytes - 2, batch % 2 == 0 ? "t%u" : "p%u-%u",
                        batch, index);
    if (batch % 2 != 0) {
        bytes[1] = (uint8_t)(0xa0 | size);
        return arena_copy(&sim->forever, span_of(bytes + 1, (size_t)size + 1));
    }
    bytes[0] = 0x92;
    bytes[1] = (uint8_t)(0xa0 | size);
    bytes[2 + size] = (uint8_t)index;
    return arena_copy(&sim->forever, span_of(bytes, (size_t)size + 3));
}

static void draw_trouble(struct sim *sim, struct sim_key *key)
{
    if (has(sim, FEATURE_ERRORS)) {
        key->failure_percent = percent(sim, 10) ? 20 + below(sim, 80) : 0;
        key->reschedule_percent = percent(sim, 5) ? 50 : 0;
        key->secede_percent = percent(sim, 8) ? 80 : 0;
        key->is_deadly = has(sim, FEATURE_CRASH) && percent(sim, 2);
    }
    if (has(sim, FEATURE_RESTRICT)) {
        key->retries = percent(sim, 15) ? below(sim, 4) : 0;
        key->priority = percent(sim, 15) ? (double)below(sim, 5) - 2 : 0;
        key->only_on = percent(sim, 8) ? below(sim, sim->worker_count) : WORKERS_MAX;
        key->is_loose = percent(sim, 50);
        key->needs_gpu = percent(sim, 6);
    }
    key->is_actor = has(sim, FEATURE_ACTORS) && percent(sim, 4);
}

static uint32_t make_key(struct sim *sim, uint32_t batch, uint32_t index)
{
    struct sim_key key = {.bytes = name_key(sim, batch, index), .only_on = WORKERS_MAX};
    key.seconds = percent(sim, 20) ? 2 * prng_unit(&sim->prng) : 0.1 * prng_unit(&sim->prng);
    key.nbytes = percent(sim, 10) ? 50000000 : 1 + (int64_t)below(sim, 100000);
    draw_trouble(sim, &key);
    map_put(&sim->key_numbers, key.bytes, NULL)->value.number = sim->keys.count;
    vec_push(&sim->keys, key);
    return sim->keys.count - 1;
}

void keys_fini(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->keys.count; i++) {
        vec_fini(&sim->keys.items[i].inputs);
    }
    vec_fini(&sim->keys);
    map_fini(&sim->key_numbers);
}

/* ---- shapes ---- */

enum shape { SHAPE_CHAIN, SHAPE_TREE, SHAPE_LAYERS, SHAPE_MAP_REDUCE, SHAPE_BAG, SHAPE_COUNT };

/* The inputs of task `index` of `count`, among those before it. */
static void link_key(struct sim *sim, enum shape shape, uint32_t first, uint32_t index,
                     uint32_t count)
{
    struct numbers *inputs = &sim->keys.items[first + index].inputs;
    uint32_t leaves = count / 2 + 1, width = 4;
    switch (shape) {
    case SHAPE_CHAIN:
        if (index > 0) {
            set_add(inputs, first + index - 1);
        }
        break;
    case SHAPE_TREE:
        if (index >= leaves) {
            set_add(inputs, first + 2 * (index - leaves));
            set_add(inputs, first + 2 * (index - leaves) + 1);
        }
        break;
    case SHAPE_LAYERS:
        for (uint32_t i = 0; index >= width && i < 1 + index % 3; i++) {
            set_add(inputs, first + (index / width - 1) * width + below(sim, width));
        }
        break;
    case SHAPE_MAP_REDUCE:
        for (uint32_t i = 0; index >= leaves && i < leaves; i++) {
            set_add(inputs, first + i);
        }
        break;
    default:
        break;
    }
    if (first > 0 && percent(sim, 4)) {
        set_add(inputs, below(sim, first)); /* somebody's earlier result */
    }
}

static void add_closure(struct sim *sim, uint32_t key, struct numbers *tasks)
{
    uint32_t done = tasks->count;
    if (sim->keys.items[key].is_data || !set_add(tasks, key)) {
        return;
    }
    for (; done < tasks->count; done++) {
        const struct numbers *inputs = &sim->keys.items[tasks->items[done]].inputs;
        for (uint32_t i = 0; i < inputs->count; i++) {
            if (!sim->keys.items[inputs->items[i]].is_data) {
                set_add(tasks, inputs->items[i]);
            }
        }
    }
}

static void new_batch(struct sim *sim, struct sim_client *client)
{
    uint32_t count = 1 + below(sim, 20), first = sim->keys.count, batch = sim->keys.count;
    struct numbers wanted = {0}, tasks = {0};
    enum shape shape = (enum shape)below(sim, SHAPE_COUNT);
    bool is_whole = percent(sim, 70);
    if (first + count > KEYS_MAX) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = make_key(sim, batch, i);
        link_key(sim, shape, first, i, count);
        if (is_whole) {
            add_closure(sim, key, &tasks);
        } else {
            set_add(&tasks, key); /* refers to keys the scheduler may have forgotten */
        }
        if (i + 1 == count || percent(sim, 15)) {
            set_add(&wanted, key);
        }
    }
    client_submit(sim, client, &wanted, &tasks);
    vec_fini(&wanted);
    vec_fini(&tasks);
}

static void old_batch(struct sim *sim, struct sim_client *client)
{
    struct numbers wanted = {0}, tasks = {0};
    for (uint32_t i = 0; i < 1 + below(sim, 4); i++) {
        uint32_t key = below(sim, sim->keys.count);
        if (!sim->keys.items[key].is_data) {
            set_add(&wanted, key);
            add_closure(sim, key, &tasks);
        }
    }
    if (wanted.count > 0) {
        client_submit(sim, client, &wanted, &tasks);
    }
    vec_fini(&wanted);
    vec_fini(&tasks);
}

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

static void scatter(struct sim *sim, struct sim_client *client)
{
    uint32_t slot = below(sim, sim->worker_count);
    worker_id id = worker_id_now(sim, slot);
    if (id == WORKER_NONE || sim->keys.count + 3 > KEYS_MAX || !has(sim, FEATURE_SCATTER)) {
        return;
    }
    const struct incarnation *who = &sim->incarnations.items[id];
    struct letter letter = {
        .kind = LETTER_RPC_STORE, .to = slot, .life = who->life, .number = id, .key = client->slot};
    uint32_t batch = sim->keys.count;
    for (uint32_t i = 0; i < 1 + below(sim, 3); i++) {
        uint32_t key = make_key(sim, batch, i);
        struct sim_key *made = &sim->keys.items[key];
        *made = (struct sim_key){
            .bytes = made->bytes, .nbytes = made->nbytes, .is_data = true, .only_on = WORKERS_MAX};
        letter_add(&letter, key);
    }
    post(sim, letter, delay_draw(sim));
}

static void use_data(struct sim *sim, struct sim_client *client, uint32_t chance)
{
    if (chance < 88) {
        desire_one(sim, client, false);
    } else if (chance < 91) {
        desire_one(sim, client, true);
    } else if (chance < 93) {
        report_one(sim, client);
    } else if (has(sim, FEATURE_SCATTER)) {
        move_replicas(sim, chance < 96 ? 2 : chance < 98 ? 1 : 0);
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
