/* workload_graphs.c: graphs of many shapes: new ones, old ones again, shuffles, tasks that submit tasks, keys
 * that mean something else this time. */
#include <stdio.h>

#include "sim/client.h"
#include "sim/node_graph.h"
#include "sim/workload.h"

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

uint32_t make_key(struct sim *sim, uint32_t batch, uint32_t index)
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
        vec_fini(&sim->keys.items[i].other_inputs);
        vec_fini(&sim->keys.items[i].children);
        vec_fini(&sim->keys.items[i].shuffles);
    }
    vec_fini(&sim->keys);
    map_fini(&sim->key_numbers);
}

bool is_result(const struct sim *sim, uint32_t key)
{
    enum key_kind kind = sim->keys.items[key].kind;
    return kind == KEY_PLAIN || kind == KEY_OUTPUT;
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
    uint32_t earlier = first > 0 && percent(sim, 4) ? below(sim, first) : UINT32_MAX;
    if (earlier != UINT32_MAX && is_result(sim, earlier)) {
        set_add(inputs, earlier); /* somebody's */
    }
}

/* `from` on: what a task (in one of its definitions) needs that is a task as well. */
static void close_over(struct sim *sim, struct numbers *tasks, uint32_t from)
{
    for (uint32_t done = from; done < tasks->count; done++) {
        const struct numbers *inputs = graph_inputs(sim, tasks->items[done]);
        for (uint32_t i = 0; i < inputs->count; i++) {
            if (!sim->keys.items[inputs->items[i]].is_data &&
                !set_has(tasks, inputs->items[i] | OTHER_DEFINITION)) {
                set_add(tasks, inputs->items[i]);
            }
        }
    }
}

void add_closure(struct sim *sim, uint32_t key, struct numbers *tasks)
{
    uint32_t from = tasks->count;
    if (!sim->keys.items[key].is_data && !set_has(tasks, key | OTHER_DEFINITION) &&
        set_add(tasks, key)) {
        close_over(sim, tasks, from);
    }
}

static void plain_batch(struct sim *sim, struct sim_client *client)
{
    bool is_wide = has(sim, FEATURE_WIDE) && percent(sim, 15);
    uint32_t count = is_wide ? 20 + below(sim, 40) : 1 + below(sim, 20);
    uint32_t first = sim->keys.count, batch = sim->keys.count;
    enum shape shape = is_wide ? SHAPE_BAG : (enum shape)below(sim, SHAPE_COUNT);
    bool is_whole = percent(sim, 70);
    struct graph_ask ask = {0};
    if (first + count > KEYS_MAX) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = make_key(sim, batch, i);
        link_key(sim, shape, first, i, count);
        if (is_whole) {
            add_closure(sim, key, &ask.tasks);
        } else {
            set_add(&ask.tasks, key); /* refers to keys the scheduler may have forgotten */
        }
        if (i + 1 == count || is_wide || percent(sim, 15)) {
            set_add(&ask.wanted, key);
        }
    }
    client_submit(sim, client, ask);
}

/* ---- shuffles ---- */

/* A key without troubles that a shuffle does not know: restrictions, actors, secession. */
static uint32_t make_shuffle_key(struct sim *sim, uint32_t batch, uint32_t index,
                                 enum key_kind kind)
{
    uint32_t number = make_key(sim, batch, index);
    struct sim_key *key = &sim->keys.items[number];
    key->kind = kind;
    key->only_on = WORKERS_MAX;
    key->needs_gpu = key->is_actor = false;
    key->secede_percent = 0;
    return number;
}

/* One shuffle's transfers and barrier; the number of the shuffle. */
static uint32_t make_shuffle(struct sim *sim, uint32_t batch, uint32_t *index, uint32_t part_count)
{
    uint32_t number = sim->shuffles.count, inputs = 1 + below(sim, 5);
    char text[16];
    int size = snprintf(text, sizeof text, "shuffle%u", number);
    struct sim_shuffle shuffle = {.id = arena_copy(&sim->forever, span_of(text, (size_t)size)),
                                  .part_count = part_count,
                                  .is_array = batch % 3 == 0};
    for (uint32_t i = 0; i < inputs; i++) {
        uint32_t root = percent(sim, 50) ? make_key(sim, batch, (*index)++) : UINT32_MAX;
        uint32_t key = make_shuffle_key(sim, batch, (*index)++, KEY_TRANSFER);
        set_add(&sim->keys.items[key].shuffles, number);
        set_add(&shuffle.transfers, key);
        if (root != UINT32_MAX) {
            set_add(&sim->keys.items[key].inputs, root);
        }
    }
    shuffle.barrier = make_shuffle_key(sim, batch, (*index)++, KEY_BARRIER);
    set_add(&sim->keys.items[shuffle.barrier].shuffles, number);
    for (uint32_t i = 0; i < inputs; i++) {
        set_add(&sim->keys.items[shuffle.barrier].inputs, shuffle.transfers.items[i]);
    }
    vec_push(&sim->shuffles, shuffle);
    return number;
}

/* One shuffle, or two with the same outputs, as a hash join has them. */
static void shuffle_batch(struct sim *sim, struct sim_client *client)
{
    uint32_t batch = sim->keys.count, index = 0, part_count = 1 + below(sim, 6);
    uint32_t shuffle_count = percent(sim, 30) ? 2 : 1;
    struct graph_ask ask = {0};
    if (batch + 30 > KEYS_MAX) {
        return;
    }
    for (uint32_t i = 0; i < shuffle_count; i++) {
        make_shuffle(sim, batch, &index, part_count);
    }
    for (uint32_t part = 0; part < part_count; part++) {
        uint32_t key = make_shuffle_key(sim, batch, index++, KEY_OUTPUT);
        sim->keys.items[key].part = part;
        for (uint32_t i = sim->shuffles.count - shuffle_count; i < sim->shuffles.count; i++) {
            set_add(&sim->keys.items[key].shuffles, i);
            set_add(&sim->keys.items[key].inputs, sim->shuffles.items[i].barrier);
            set_add(&sim->shuffles.items[i].outputs, key);
        }
        add_closure(sim, key, &ask.tasks);
        if (part == 0 || percent(sim, 80)) {
            set_add(&ask.wanted, key);
        }
    }
    client_submit(sim, client, ask);
}

/* ---- tasks that submit tasks ---- */

static void nested_batch(struct sim *sim, struct sim_client *client)
{
    uint32_t batch = sim->keys.count, index = 0, depth = percent(sim, 25) ? 2 : 1;
    struct graph_ask ask = {0};
    uint32_t parent = UINT32_MAX;
    if (batch + 10 > KEYS_MAX) {
        return;
    }
    for (uint32_t level = 0; level < depth; level++) {
        struct numbers children = {0};
        for (uint32_t i = 0; i < 1 + below(sim, 3); i++) {
            uint32_t child = make_key(sim, batch, index++);
            if (children.count > 0 && percent(sim, 50)) {
                set_add(&sim->keys.items[child].inputs, children.items[children.count - 1]);
            }
            vec_push(&children, child);
        }
        if (parent != UINT32_MAX) {
            set_add(&children, parent);
        }
        parent = make_key(sim, batch, index++);
        /* What it waits for may need the resource that it holds. */
        sim->keys.items[parent].is_actor = sim->keys.items[parent].needs_gpu = false;
        sim->keys.items[parent].children = children;
    }
    add_closure(sim, parent, &ask.tasks);
    set_add(&ask.wanted, parent);
    client_submit(sim, client, ask);
}

void new_batch(struct sim *sim, struct sim_client *client)
{
    if (has(sim, FEATURE_SHUFFLE) && percent(sim, 25)) {
        shuffle_batch(sim, client);
    } else if (has(sim, FEATURE_NESTED) && percent(sim, 20)) {
        nested_batch(sim, client);
    } else {
        plain_batch(sim, client);
    }
}

/* ---- keys that were asked for before ---- */

/* The same key with other inputs, whatever it was before. */
static void redefine(struct sim *sim, uint32_t number, struct graph_ask *ask)
{
    struct sim_key *key = &sim->keys.items[number];
    for (uint32_t i = 0; !key->is_redefined && number > 0 && i < 1 + below(sim, 3); i++) {
        uint32_t input = below(sim, number);
        if (is_result(sim, input)) {
            set_add(&key->other_inputs, input);
        }
    }
    key->is_redefined = true;
    set_add(&ask->wanted, number);
    set_add(&ask->tasks, number | OTHER_DEFINITION);
    close_over(sim, &ask->tasks, 0);
}

void old_batch(struct sim *sim, struct sim_client *client)
{
    struct graph_ask ask = {0};
    for (uint32_t i = 0; i < 1 + below(sim, 4); i++) {
        uint32_t key = below(sim, sim->keys.count);
        bool is_plain = sim->keys.items[key].kind == KEY_PLAIN && !sim->keys.items[key].is_data;
        if (i == 0 && is_plain && has(sim, FEATURE_COLLIDE) && percent(sim, 30)) {
            redefine(sim, key, &ask);
        } else if (is_result(sim, key) && !sim->keys.items[key].is_data &&
                   !set_has(&ask.wanted, key)) {
            set_add(&ask.wanted, key);
            add_closure(sim, key, &ask.tasks);
        }
    }
    if (ask.wanted.count > 0) {
        client_submit(sim, client, ask);
    }
}
