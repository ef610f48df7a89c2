/* node_graph.c: an update-graph letter as the event the core knows. Words: how many keys are wanted, those
 * keys, then the tasks. */
#include <stdio.h>

#include "sim/node.h"

/* The annotations of a task, alike for all tasks of the key's kind. */
static struct annotation_info annotation_of(struct sim *sim, const struct sim_key *key)
{
    static const struct resource gpu = {{(const uint8_t *)"GPU", 3}, 1};
    struct annotation_info info = {.retries = key->retries};
    if (key->priority != 0) {
        info.has_priority = true;
        info.priority = -key->priority;
    }
    if (key->only_on < WORKERS_MAX) {
        struct span *names = arena_array(&sim->scratch, struct span, 1);
        char text[16];
        int size = key->only_on % 2 == 0
                       ? snprintf(text, sizeof text, "%cw%02u", 0xa3, key->only_on)
                       : snprintf(text, sizeof text, "%ch%u", 0xa2, key->only_on / 2);
        names[0] = arena_copy(&sim->scratch, span_of(text, (size_t)size));
        info.has_workers = true;
        info.workers = (struct span_list){names, 1};
        info.allow_other_workers = key->is_loose;
    }
    info.resources = key->needs_gpu ? &gpu : NULL;
    info.resource_count = key->needs_gpu;
    return info;
}

struct links_made {
    uint32_t *start, *deps;
    struct VEC(struct span) keys;
    struct map numbers;
};

static uint32_t number_in_graph(struct links_made *made, struct span key)
{
    bool added;
    struct map_entry *entry = map_put(&made->numbers, key, &added);
    if (added) {
        entry->value.number = made->keys.count;
        vec_push(&made->keys, key);
    }
    return (uint32_t)entry->value.number;
}

static void link_tasks(struct sim *sim, const uint32_t *tasks, uint32_t count,
                       struct links_made *made)
{
    uint32_t edges = 0;
    for (uint32_t i = 0; i < count; i++) {
        edges += sim->keys.items[tasks[i]].inputs.count;
        uint32_t number = number_in_graph(made, sim->keys.items[tasks[i]].bytes);
        ASSERT(number == i);
    }
    made->start = arena_array(&sim->scratch, uint32_t, count + 1);
    made->deps = arena_array(&sim->scratch, uint32_t, edges + 1);
    edges = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct numbers *inputs = &sim->keys.items[tasks[i]].inputs;
        made->start[i] = edges;
        for (uint32_t j = 0; j < inputs->count; j++) {
            made->deps[edges++] = number_in_graph(made, sim->keys.items[inputs->items[j]].bytes);
        }
    }
    made->start[count] = edges;
}

static void annotate(struct sim *sim, const uint32_t *tasks, uint32_t count,
                     struct graph_info *graph)
{
    struct annotation_info *all = arena_array(&sim->scratch, struct annotation_info, count + 1);
    uint32_t *of = arena_array(&sim->scratch, uint32_t, count + 1);
    memset(all, 0, sizeof *all);
    for (uint32_t i = 0; i < count; i++) {
        of[i] = i + 1;
        all[i + 1] = annotation_of(sim, &sim->keys.items[tasks[i]]);
    }
    graph->annotations = all;
    graph->annotation_count = count + 1;
    graph->annotation_of = of;
}

void apply_graph(struct sim *sim, client_id client, const struct letter *letter)
{
    uint32_t wanted = letter->words[0];
    const uint32_t *tasks = letter->words + 1 + wanted;
    uint32_t count = letter->word_count - 1 - wanted;
    struct links_made made = {0};
    struct graph_info graph = {.client = client, .task_count = count};
    link_tasks(sim, tasks, count, &made);
    graph.key_count = made.keys.count;
    graph.keys = made.keys.items;
    graph.dep_start = made.start;
    graph.deps = made.deps;
    struct blob **specs = arena_array(&sim->scratch, struct blob *, count + 1);
    uint8_t *flags = arena_array(&sim->scratch, uint8_t, count + 1);
    struct span *actors = arena_array(&sim->scratch, struct span, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        specs[i] = sim->run_spec;
        flags[i] = 0;
        if (sim->keys.items[tasks[i]].is_actor) {
            actors[graph.actors.count++] = sim->keys.items[tasks[i]].bytes;
        }
    }
    graph.actors.items = actors;
    graph.run_specs = specs;
    graph.flags = flags;
    graph.wanted = key_list(sim, letter->words + 1, wanted);
    graph.cull = letter->number == 1;
    graph.fifo_timeout = 0.1;
    graph.user_priority = letter->real;
    graph.started = EPOCH + sim->now;
    if (has(sim, FEATURE_RESTRICT) || letter->key == 1) {
        annotate(sim, tasks, count, &graph);
    }
    struct event event = {.kind = EVENT_GRAPH, .of.graph.graph = &graph};
    apply(sim, &event);
    vec_fini(&made.keys);
    map_fini(&made.numbers);
}
