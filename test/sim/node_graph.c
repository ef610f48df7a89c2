/* node_graph.c: an update-graph as the events the core knows. A graph may need the planner, whose answer
 * comes later or not at all; the core may take it in slices, and then all that is lent to it stays for that
 * time, and not a step longer. */
#include "sim/node_graph.h"

#include <stdio.h>

#include "core/scheduler/graph_plan.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/p2p.h"

/* A graph in the form in which the core borrows it. */
struct sim_graph {
    struct arena arena;
    struct VEC(struct span) keys;
    struct map numbers; /* key → place in keys */
    uint32_t *start, *deps;
    struct graph_info info;
    struct graph_plan *plan;
    uint32_t slot, life; /* whose stream is held until it is in */
};

/* ---- definitions ---- */

static const struct sim_key *key_of(const struct sim *sim, uint32_t task)
{
    return &sim->keys.items[task & ~OTHER_DEFINITION];
}

const struct numbers *graph_inputs(const struct sim *sim, uint32_t task)
{
    const struct sim_key *key = key_of(sim, task);
    return (task & OTHER_DEFINITION) != 0 ? &key->other_inputs : &key->inputs;
}

/* The annotations of a task, alike for all tasks of the key's kind. */
static struct annotation_info annotation_of(struct sim_graph *graph, const struct sim_key *key)
{
    static const struct resource gpu = {{(const uint8_t *)"GPU", 3}, 1};
    struct annotation_info info = {.retries = key->retries};
    if (key->priority != 0) {
        info.has_priority = true;
        info.priority = -key->priority;
    }
    if (key->only_on < WORKERS_MAX) {
        struct span *names = arena_array(&graph->arena, struct span, 1);
        char text[16];
        int size = key->only_on % 2 == 0
                       ? snprintf(text, sizeof text, "%cw%02u", 0xa3, key->only_on)
                       : snprintf(text, sizeof text, "%ch%u", 0xa2, key->only_on / 2);
        names[0] = arena_copy(&graph->arena, span_of(text, (size_t)size));
        info.has_workers = true;
        info.workers = (struct span_list){names, 1};
        info.allow_other_workers = key->is_loose;
    }
    info.resources = key->needs_gpu ? &gpu : NULL;
    info.resource_count = key->needs_gpu;
    return info;
}

/* One of a few spans, one of them inside another. Their ids are theirs for good. */
static void add_span(struct sim_graph *graph, struct annotation_info *info, uint32_t mark)
{
    struct span *names = arena_array(&graph->arena, struct span, 4);
    uint32_t count = mark % 3 == 2 ? 2 : 1;
    names[0] = mark % 3 == 0 ? SPAN("load") : SPAN("train");
    names[1] = SPAN("step");
    names[2] = mark % 3 == 0 ? SPAN("11111111-0000-4000-8000-000000000000")
                             : SPAN("22222222-0000-4000-8000-000000000000");
    names[3] = SPAN("33333333-0000-4000-8000-000000000000");
    info->span_name = (struct span_list){names, count};
    info->span_ids = (struct span_list){names + 2, count};
}

static void annotate(struct sim *sim, struct sim_graph *graph, const struct graph_ask *ask)
{
    uint32_t count = ask->tasks.count;
    struct annotation_info *all = arena_array(&graph->arena, struct annotation_info, count + 1);
    uint32_t *of = arena_array(&graph->arena, uint32_t, count + 1);
    memset(all, 0, (count + 1) * sizeof *all);
    for (uint32_t i = 0; i < count; i++) {
        of[i] = i + 1;
        all[i + 1] = annotation_of(graph, key_of(sim, ask->tasks.items[i]));
    }
    for (uint32_t i = 0; ask->has_spans && i <= count; i++) {
        add_span(graph, &all[i], ask->marks >> i % 4);
    }
    if (ask->is_senseless && ask->marks % 2 == 0) {
        static const struct span no_worker = {(const uint8_t *)"\x07", 1};
        all[count].has_workers = true;
        all[count].workers = (struct span_list){&no_worker, 1};
    }
    graph->info.annotations = all;
    graph->info.annotation_count = count + 1;
    graph->info.annotation_of = of;
}

/* ---- making it ---- */

static uint32_t number_in_graph(struct sim_graph *graph, struct span key)
{
    bool added;
    struct map_entry *entry = map_put(&graph->numbers, key, &added);
    if (added) {
        entry->value.number = graph->keys.count;
        vec_push(&graph->keys, key);
    }
    return (uint32_t)entry->value.number;
}

static void link_tasks(struct sim *sim, struct sim_graph *graph, const struct numbers *tasks)
{
    uint32_t edges = 0;
    for (uint32_t i = 0; i < tasks->count; i++) {
        edges += graph_inputs(sim, tasks->items[i])->count;
        uint32_t number = number_in_graph(graph, key_of(sim, tasks->items[i])->bytes);
        ASSERT(number == i);
    }
    graph->start = arena_array(&graph->arena, uint32_t, tasks->count + 1);
    graph->deps = arena_array(&graph->arena, uint32_t, edges + 1);
    edges = 0;
    for (uint32_t i = 0; i < tasks->count; i++) {
        const struct numbers *inputs = graph_inputs(sim, tasks->items[i]);
        graph->start[i] = edges;
        for (uint32_t j = 0; j < inputs->count; j++) {
            graph->deps[edges++] = number_in_graph(graph, sim->keys.items[inputs->items[j]].bytes);
        }
    }
    graph->start[tasks->count] = edges;
}

static void define_tasks(struct sim *sim, struct sim_graph *graph, const struct numbers *tasks)
{
    struct blob **specs = arena_array(&graph->arena, struct blob *, tasks->count + 1);
    uint8_t *flags = arena_array(&graph->arena, uint8_t, tasks->count + 1);
    struct span *actors = arena_array(&graph->arena, struct span, tasks->count + 1);
    for (uint32_t i = 0; i < tasks->count; i++) {
        const struct sim_key *key = key_of(sim, tasks->items[i]);
        specs[i] = sim->run_specs[(tasks->items[i] & OTHER_DEFINITION) != 0];
        flags[i] = key->kind == KEY_BARRIER ? GRAPH_P2P_BARRIER : 0;
        if (key->is_actor) {
            actors[graph->info.actors.count++] = key->bytes;
        }
    }
    graph->info.actors.items = actors;
    graph->info.run_specs = specs;
    graph->info.flags = flags;
}

static struct span_list spans_of(struct sim *sim, struct arena *arena, const struct numbers *keys)
{
    struct span *spans = arena_array(arena, struct span, keys->count + 1);
    for (uint32_t i = 0; i < keys->count; i++) {
        spans[i] = sim->keys.items[keys->items[i]].bytes;
    }
    return (struct span_list){spans, keys->count};
}

/* The last task that has inputs has itself instead of the first of them. */
static void need_itself(struct sim_graph *graph, uint32_t task_count)
{
    uint32_t task = task_count - 1;
    while (graph->start[task] == graph->start[task + 1]) {
        task--;
    }
    graph->deps[graph->start[task]] = task;
}

static const int64_t *order_of(struct sim_graph *graph, const struct numbers *tasks)
{
    int64_t *order = arena_array(&graph->arena, int64_t, tasks->count + 1);
    for (uint32_t i = 0; i < tasks->count; i++) {
        order[i] = tasks->items[i] & ~OTHER_DEFINITION;
    }
    return order;
}

static struct sim_graph *graph_make(struct sim *sim, client_id client, const struct graph_ask *ask)
{
    struct sim_graph *graph = mem_zalloc(1, sizeof *graph);
    struct graph_info *info = &graph->info;
    arena_init(&graph->arena);
    link_tasks(sim, graph, &ask->tasks);
    *info = (struct graph_info){.client = client,
                                .task_count = ask->tasks.count,
                                .key_count = graph->keys.count,
                                .keys = graph->keys.items,
                                .dep_start = graph->start,
                                .deps = graph->deps,
                                .cull = ask->cull,
                                .fifo_timeout = 0.1,
                                .user_priority = ask->user_priority,
                                .started = EPOCH + sim->now,
                                .slice = ask->slice};
    define_tasks(sim, graph, &ask->tasks);
    info->wanted = spans_of(sim, &graph->arena, &ask->wanted);
    info->shuffles = p2p_rows(sim, &graph->arena, &ask->tasks, &info->shuffle_count);
    if (ask->submitter != 0) {
        info->submitting_task = sim->keys.items[ask->submitter - 1].bytes;
    }
    if (has(sim, FEATURE_RESTRICT) || ask->is_annotated || ask->has_spans || ask->is_senseless) {
        annotate(sim, graph, ask);
    }
    if (ask->is_senseless && ask->marks % 2 == 1 && graph->start[ask->tasks.count] > 0) {
        need_itself(graph, ask->tasks.count);
    }
    if (ask->has_order) {
        info->priorities = order_of(graph, &ask->tasks);
    }
    if (ask->has_spans) {
        info->code = sim->texts[ask->marks % 2];
        info->span_metadata = sim->texts[ask->marks / 2 % 2];
    }
    if (ask->planning_seconds > 0) {
        graph->plan = graph_plan_create(info);
        info->plan = graph->plan;
    }
    return graph;
}

static void graph_free(struct sim_graph *graph)
{
    graph_plan_destroy(graph->plan);
    vec_fini(&graph->keys);
    map_fini(&graph->numbers);
    arena_fini(&graph->arena);
    mem_free(graph);
}

void graphs_fini(struct sim *sim)
{
    if (sim->building != NULL) {
        graph_free(sim->building);
    }
    for (uint32_t i = 0; i < sim->asks.count; i++) {
        vec_fini(&sim->asks.items[i].wanted);
        vec_fini(&sim->asks.items[i].tasks);
    }
    vec_fini(&sim->asks);
    vec_fini(&sim->graphs_waiting);
}

/* ---- streams that are held ---- */

static void hold(struct sim *sim, uint32_t slot, uint32_t life)
{
    set_add(&sim->clients[slot].held, life);
}

static void read_on(struct sim *sim, uint32_t slot, uint32_t life)
{
    post(sim, (struct letter){.kind = LETTER_READ_ON, .from = slot, .life = life}, 0);
}

bool graphs_hold(struct sim *sim, struct letter *letter)
{
    struct sim_client *client = &sim->clients[letter->from];
    if (!set_has(&client->held, letter->life)) {
        return false;
    }
    vec_push(&client->unread, *letter);
    letter->words = NULL;
    return true;
}

bool graphs_unread(struct sim *sim, const struct letter *letter, struct letter *out)
{
    struct sim_client *client = &sim->clients[letter->from];
    for (uint32_t i = 0; i < client->unread.count; i++) {
        if (client->unread.items[i].life == letter->life) {
            *out = client->unread.items[i];
            memmove(&client->unread.items[i], &client->unread.items[i + 1],
                    (client->unread.count - i - 1) * sizeof *client->unread.items);
            client->unread.count--;
            return true;
        }
    }
    return false;
}

void graphs_drop_unread(struct sim *sim, uint32_t slot, uint32_t life)
{
    const struct letter of_life = {.from = slot, .life = life};
    struct letter dropped;
    while (graphs_unread(sim, &of_life, &dropped)) {
        letter_fini(&dropped);
    }
}

/* ---- into the core ---- */

/* The core is done with what was lent to it. */
static void give_back(struct sim *sim, struct sim_graph *graph)
{
    if (graph != NULL) {
        read_on(sim, graph->slot, graph->life);
        graph_free(graph);
    }
}

void graphs_stepped(struct sim *sim)
{
    if (!sim->step.graph_pending) {
        give_back(sim, sim->building);
        sim->building = NULL;
    }
    if (sim->step.pending && !sim->is_more_due) {
        sim->is_more_due = true;
        post(sim, (struct letter){.kind = LETTER_GRAPH_MORE},
             percent(sim, 50) ? 0 : delay_draw(sim));
    }
}

static void more(struct sim *sim)
{
    struct event event = {.kind = EVENT_GO_ON};
    sim->is_more_due = false;
    apply(sim, &event);
    for (uint32_t i = 0; i < sim->graphs_waiting.count; i++) {
        post(sim, sim->graphs_waiting.items[i], 0);
    }
    sim->graphs_waiting.count = 0;
}

/* The graph of a held stream comes to the core. */
static struct letter planned(const struct letter *letter, client_id client)
{
    return (struct letter){.kind = LETTER_PLANNED,
                           .from = letter->from,
                           .life = letter->life,
                           .number = letter->number,
                           .key = client};
}

/* Clients were told that what they want of it erred; the keys stay as they are. */
static void note_refused(struct sim *sim, const struct graph_ask *ask)
{
    bool is_refused = false;
    for (uint32_t i = 0; i < sim->step.action_count; i++) {
        const struct action *action = &sim->step.actions[i];
        is_refused = is_refused || (action->kind == ACTION_NOTICE &&
                                    action->of.notice.notice->kind == NOTICE_GRAPH_FAILED);
    }
    for (uint32_t i = 0; is_refused && i < ask->wanted.count; i++) {
        sim->keys.items[ask->wanted.items[i]].has_failed_graph = true;
    }
    if (is_refused && !ask->is_senseless) {
        fail(sim, "a graph was refused that makes sense");
    }
}

static void take_graph(struct sim *sim, const struct letter *letter, client_id client,
                       const struct graph_ask *ask)
{
    struct sim_graph *graph = graph_make(sim, client, ask);
    struct event event = {.kind = EVENT_GRAPH, .of.graph.graph = &graph->info};
    hold(sim, letter->from, letter->life); /* what the client says after it is read after it */
    graph->slot = letter->from;
    graph->life = letter->life;
    apply(sim, &event);
    note_refused(sim, ask);
    if (sim->step.graph_later) {
        graph_free(graph);
        vec_push(&sim->graphs_waiting, planned(letter, client));
    } else if (sim->step.graph_pending && sim->building == NULL) {
        sim->building = graph;
    } else {
        give_back(sim, graph);
    }
}

/* Who wanted it, or any key of it, is told; the keys stay as they are. */
static void graph_failed(struct sim *sim, client_id client, const struct graph_ask *ask)
{
    struct failure_info failure = {.kind = FAILURE_USER,
                                   .exception = sim->exception,
                                   .exception_text = SPAN("the graph cannot be read")};
    struct event event = {.kind = EVENT_GRAPH_FAILED,
                          .of.graph_failed = {client, {0}, &failure, false}};
    struct client_view view;
    uint32_t told = 0;
    event.of.graph_failed.keys = spans_of(sim, &sim->scratch, &ask->wanted);
    for (uint32_t i = 0; i < ask->wanted.count; i++) {
        sim->keys.items[ask->wanted.items[i]].has_failed_graph = true;
    }
    apply(sim, &event);
    for (uint32_t i = 0; i < sim->step.action_count; i++) {
        const struct action *action = &sim->step.actions[i];
        told += action->kind == ACTION_KEY_ERRED && action->of.key_erred.client == client;
    }
    bool is_here =
        view_client(sim->s, client, &view) && !view.is_pseudo; /* and not on its way out */
    if (is_here && told != ask->wanted.count) {
        fail(sim, "a graph of %u wanted keys failed, and its client was told of %u",
             ask->wanted.count, told);
    }
}

static void graph_read(struct sim *sim, const struct letter *letter, client_id client)
{
    const struct graph_ask *ask = &sim->asks.items[letter->number];
    if (ask->is_bad) {
        graph_failed(sim, client, ask);
    } else {
        take_graph(sim, letter, client, ask);
    }
}

void graphs_receive(struct sim *sim, const struct letter *letter, client_id client)
{
    const struct graph_ask *ask = &sim->asks.items[letter->number];
    if (ask->planning_seconds == 0) {
        graph_read(sim, letter, client);
        return;
    }
    hold(sim, letter->from, letter->life);
    post(sim, planned(letter, client), ask->planning_seconds);
}

bool graphs_go_on(struct sim *sim, const struct letter *letter)
{
    switch (letter->kind) {
    case LETTER_PLANNED:
        set_remove(&sim->clients[letter->from].held, letter->life);
        graph_read(sim, letter, (client_id)letter->key);
        if (sim->asks.items[letter->number].is_bad) {
            hold(sim, letter->from, letter->life); /* what came meanwhile is read first */
            read_on(sim, letter->from, letter->life);
        }
        return true;
    case LETTER_GRAPH_MORE:
        more(sim);
        return true;
    default:
        return false;
    }
}
