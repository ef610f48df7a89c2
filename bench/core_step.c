/* core_step.c: nanoseconds a task in the scheduler core alone: no sockets, no messages, no Python.
 *
 *     core_step [merge|tree|random] [tasks] [workers]
 *
 * One client sends one graph; workers answer each compute at once, in the order in which they were asked.
 * Told: planning the graph (order, hashes: a node may leave that to a thread), taking it in slices (tasks,
 * edges, the first messages), running it (finished → next computes), releasing it, each per task; and the
 * bytes a task takes, its key and edges included. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/prng.h"
#include "core/scheduler/graph_plan.h"
#include "core/scheduler/scheduler.h"
#include "core/scheduler/view.h"

#define KEY_BYTES 24
#define LAYERS 50u
#define SLICE 2048u /* tasks a step while a graph comes in */

struct shape {
    struct graph_info graph;
    struct span wanted;
    uint8_t *key_bytes;
    uint32_t *dep_start, *deps;
    struct span *keys;
    struct blob **run_specs;
};

struct sent {
    const struct task *task;
    int64_t run_id;
    worker_id worker;
};

struct run {
    struct scheduler *s;
    struct step step;
    struct sent *queue; /* a ring: at most all tasks are out */
    uint64_t first, next, capacity;
    uint64_t computes;
    double time;
};

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- graphs ---- */

static void shape_begin(struct shape *shape, uint32_t tasks, uint64_t deps)
{
    *shape = (struct shape){0};
    shape->key_bytes = mem_alloc((size_t)tasks * KEY_BYTES);
    shape->keys = mem_zalloc(tasks, sizeof *shape->keys);
    shape->dep_start = mem_zalloc((size_t)tasks + 1, sizeof *shape->dep_start);
    shape->deps = mem_zalloc(deps, sizeof *shape->deps);
    shape->run_specs = mem_zalloc(tasks, sizeof *shape->run_specs);
}

/* "<prefix>-<hex of the number>": one group a prefix. */
static void add_task(struct shape *shape, const char *prefix, const uint32_t *inputs,
                     uint32_t count)
{
    uint32_t number = shape->graph.task_count++;
    uint8_t *key = shape->key_bytes + (size_t)number * KEY_BYTES;
    int size = snprintf((char *)key + 1, KEY_BYTES - 1, "%s-%08x", prefix, number);
    key[0] = (uint8_t)(0xa0 | size);
    shape->keys[number] = span_of(key, (size_t)size + 1);
    uint32_t at = shape->dep_start[number];
    for (uint32_t i = 0; i < count; i++) {
        shape->deps[at++] = inputs[i];
    }
    shape->dep_start[number + 1] = at;
}

static void shape_end(struct shape *shape)
{
    shape->graph.key_count = shape->graph.task_count;
    shape->graph.keys = shape->keys;
    shape->graph.dep_start = shape->dep_start;
    shape->graph.deps = shape->deps;
    shape->graph.run_specs = shape->run_specs;
    shape->wanted = shape->keys[shape->graph.task_count - 1];
    shape->graph.wanted = (struct span_list){&shape->wanted, 1};
}

/* n − 1 leaves into one. */
static void make_merge(struct shape *shape, uint32_t tasks)
{
    shape_begin(shape, tasks, tasks);
    uint32_t *leaves = mem_alloc(sizeof *leaves * tasks);
    for (uint32_t i = 0; i + 1 < tasks; i++) {
        leaves[i] = i;
        add_task(shape, "leaf", NULL, 0);
    }
    add_task(shape, "merge", leaves, tasks - 1);
    mem_free(leaves);
    shape_end(shape);
}

/* A binary tree, level by level. */
static void make_tree(struct shape *shape, uint32_t tasks)
{
    uint32_t leaves = (tasks + 1) / 2;
    shape_begin(shape, 2 * leaves, 2 * (uint64_t)leaves);
    for (uint32_t i = 0; i < leaves; i++) {
        add_task(shape, "leaf", NULL, 0);
    }
    uint32_t next = 0;
    while (next + 1 < shape->graph.task_count) {
        add_task(shape, "node", (uint32_t[]){next, next + 1}, 2);
        next += 2;
    }
    shape_end(shape);
}

/* Layers; each task has two or three inputs near its own place in the layer before; one task ends it. */
static void make_random(struct shape *shape, uint32_t tasks)
{
    uint32_t width = tasks / LAYERS;
    struct prng prng;
    prng_init(&prng, 1);
    shape_begin(shape, width * LAYERS + 1, (uint64_t)width * LAYERS * 3 + width);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        char prefix[16];
        snprintf(prefix, sizeof prefix, "layer%c", 'a' + (int)(layer % 26));
        for (uint32_t i = 0; i < width; i++) {
            uint32_t inputs[3];
            uint32_t count = layer == 0 ? 0 : 2 + prng_below(&prng, 2);
            for (uint32_t j = 0; j < count; j++) {
                inputs[j] =
                    (layer - 1) * width + (i + j * (1 + prng_below(&prng, 4)) * (j > 0)) % width;
            }
            count -= count == 3 && (inputs[2] == inputs[1] || inputs[2] == inputs[0]);
            count -= count >= 2 && inputs[1] == inputs[0];
            add_task(shape, prefix, inputs, count);
        }
    }
    uint32_t *last = mem_alloc(sizeof *last * width);
    for (uint32_t i = 0; i < width; i++) {
        last[i] = (LAYERS - 1) * width + i;
    }
    add_task(shape, "last", last, width);
    mem_free(last);
    shape_end(shape);
}

static void shape_free(struct shape *shape)
{
    mem_free(shape->key_bytes);
    mem_free(shape->keys);
    mem_free(shape->dep_start);
    mem_free(shape->deps);
    mem_free(shape->run_specs);
}

/* ---- running ---- */

static void apply(struct run *run, struct event *event)
{
    event->time = run->time += 1e-6;
    scheduler_step(run->s, event, &run->step);
    for (uint32_t i = 0; i < run->step.action_count; i++) {
        const struct action *action = &run->step.actions[i];
        if (action->kind == ACTION_COMPUTE) {
            run->queue[run->next++ % run->capacity] = (struct sent){
                action->of.compute.task, action->of.compute.run_id, action->of.compute.worker};
            run->computes++;
        }
    }
}

static void add_workers(struct run *run, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char address[40];
        uint8_t name[8];
        int size = snprintf(address, sizeof address, "tcp://10.0.%u.%u:40000", i / 250, i % 250);
        int digits = snprintf((char *)name + 1, sizeof name - 1, "w%u", i);
        name[0] = (uint8_t)(0xa0 | digits);
        struct metrics_info metrics = {.memory = 100000000, .bandwidth = 1e8};
        struct worker_info info = {.address = span_of(address, (size_t)size),
                                   .name = span_of(name, (size_t)digits + 1),
                                   .host = span_of(address + 6, (size_t)size - 12),
                                   .status = SPAN("running"),
                                   .nthreads = 2,
                                   .memory_limit = 8000000000,
                                   .metrics = &metrics};
        struct event event = {.kind = EVENT_WORKER_ADD, .of.worker_add = {&info}};
        apply(run, &event);
    }
}

/* What a node does with a batch of messages: it looks ahead. */
static void look_ahead(const struct run *run)
{
    if (run->first + 4 < run->next) {
        view_run_prefetch(run->s, run->queue[(run->first + 4) % run->capacity].run_id);
    }
    if (run->first + 2 < run->next) {
        view_run_prefetch_more(run->s, run->queue[(run->first + 2) % run->capacity].run_id);
    }
}

/* Each worker answers what it was asked, all in turn. */
static void run_all(struct run *run)
{
    while (run->first < run->next) {
        look_ahead(run);
        struct sent sent = run->queue[run->first++ % run->capacity];
        struct span key = view_task_key(sent.task);
        struct startstop span = {SPAN("compute"), run->time - 0.001, run->time, {0}};
        struct event event = {.kind = EVENT_TASK_FINISHED,
                              .stimulus = SPAN("task-finished-1763771245.123456"),
                              .of.task_finished = {.worker = sent.worker,
                                                   .key = key,
                                                   .run_id = sent.run_id,
                                                   .nbytes = 28,
                                                   .type = SPAN("\x80\x05int"),
                                                   .typename_ = SPAN("int"),
                                                   .startstops = {&span, 1},
                                                   .thread = 1}};
        apply(run, &event);
    }
}

/* The graph in slices, as a node takes a large one. The longest step, in seconds. */
static double build(struct run *run, struct graph_info *info, uint32_t slice)
{
    info->slice = slice;
    struct event graph = {.kind = EVENT_GRAPH, .of.graph = {info}};
    struct event more = {.kind = EVENT_GO_ON};
    double longest = 0;
    for (struct event *event = &graph;; event = &more) {
        double begin = seconds_now();
        apply(run, event);
        double took = seconds_now() - begin;
        longest = took > longest ? took : longest;
        if (!run->step.graph_pending) {
            return longest;
        }
    }
}

static void measure(const char *kind, uint32_t tasks, uint32_t workers)
{
    struct shape shape;
    void (*make)(struct shape *, uint32_t) = strcmp(kind, "merge") == 0  ? make_merge
                                             : strcmp(kind, "tree") == 0 ? make_tree
                                                                         : make_random;
    make(&shape, tasks);
    tasks = shape.graph.task_count;
    struct scheduler_config config;
    scheduler_config_init(&config);
    struct run run = {.s = scheduler_create(&config), .capacity = tasks, .time = 1.7e9};
    run.queue = mem_zalloc(tasks, sizeof *run.queue);
    step_init(&run.step);
    add_workers(&run, workers);
    struct event client = {.kind = EVENT_CLIENT_ADD, .of.client_add = {SPAN("Client-1")}};
    apply(&run, &client);
    shape.graph.client = run.step.client;
    shape.graph.started = run.time;
    struct mallinfo2 before = mallinfo2();
    double begin = seconds_now();
    struct graph_plan *plan = graph_plan_create(&shape.graph);
    double planned = seconds_now();
    shape.graph.plan = plan;
    double longest = build(&run, &shape.graph, SLICE);
    double built = seconds_now();
    graph_plan_destroy(plan);
    struct event tick = {.kind = EVENT_TICK};
    apply(&run, &tick); /* the step's arena of the graph is given back */
    struct mallinfo2 after = mallinfo2();
    double bytes =
        (double)(after.uordblks + after.hblkhd) - (double)(before.uordblks + before.hblkhd);
    double start = seconds_now();
    run_all(&run);
    double stop = seconds_now();
    if (run.computes != tasks) {
        fprintf(stderr, "%" PRIu64 " of %u tasks ran\n", run.computes, tasks);
        exit(1);
    }
    struct event release = {.kind = EVENT_CLIENT_RELEASES,
                            .of.client_releases = {SPAN("Client-1"), {&shape.wanted, 1}}};
    apply(&run, &release);
    struct event more = {.kind = EVENT_GO_ON};
    while (run.step.pending) {
        apply(&run, &more);
    }
    double released = seconds_now();
    printf("%-6s %8u tasks %5u workers: plan %5.0f ns, graph %5.0f ns (longest step %5.1f ms), "
           "run %5.0f ns, release %5.0f ns, %4.0f bytes a task\n",
           kind, tasks, workers, (planned - begin) / tasks * 1e9, (built - planned) / tasks * 1e9,
           longest * 1e3, (stop - start) / tasks * 1e9, (released - stop) / tasks * 1e9,
           bytes / tasks);
    step_fini(&run.step);
    scheduler_destroy(run.s);
    mem_free(run.queue);
    shape_free(&shape);
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"merge", "tree", "random"};
    static const uint32_t sizes[] = {10000, 100000, 1000000};
    static const uint32_t worker_counts[] = {1, 64, 1000};
    if (argc == 4) {
        measure(argv[1], (uint32_t)strtoul(argv[2], NULL, 10),
                (uint32_t)strtoul(argv[3], NULL, 10));
        return 0;
    }
    for (uint32_t kind = 0; kind < 3; kind++) {
        for (uint32_t size = 0; size < 3; size++) {
            for (uint32_t count = 0; count < 3; count++) {
                measure(kinds[kind], sizes[size], worker_counts[count]);
            }
        }
    }
    return 0;
}
