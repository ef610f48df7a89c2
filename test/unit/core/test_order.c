/* The static order on small graphs whose order is plain to see, and what must hold for any graph.
 * Equality with stock Dask is tested in test/interop/test_order.py. */
#include "core/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "base/vec.h"
#include "core/order_internal.h"

/* A graph made task by task. */
struct builder {
    struct VEC(uint32_t) starts;
    struct VEC(uint32_t) deps;
    struct VEC(uint8_t) flags;
    struct VEC(struct span) names;
    struct VEC(char *) texts;
    uint32_t key_count;
};

/* The next task's number; `dep_count` dependencies follow. */
static uint32_t add_task(struct builder *builder, const uint32_t *deps, uint32_t dep_count)
{
    uint32_t number = builder->flags.count;
    vec_push(&builder->starts, builder->deps.count);
    for (uint32_t i = 0; i < dep_count; i++) {
        vec_push(&builder->deps, deps[i]);
        builder->key_count = deps[i] >= builder->key_count ? deps[i] + 1 : builder->key_count;
    }
    vec_push(&builder->flags, 0);
    builder->key_count = number >= builder->key_count ? number + 1 : builder->key_count;
    return number;
}

#define TASK(builder, ...)                                                                         \
    add_task((builder), (const uint32_t[]){__VA_ARGS__},                                           \
             sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))
#define ROOT(builder) add_task((builder), NULL, 0)

static struct order_graph view_graph(struct builder *builder)
{
    vec_push(&builder->starts, builder->deps.count);
    while (builder->names.count < builder->key_count) {
        char *text = mem_alloc(16);
        int size = snprintf(text, 16, "key-%07u", builder->names.count);
        vec_push(&builder->texts, text);
        vec_push(&builder->names, span_of(text, (size_t)size));
    }
    return (struct order_graph){
        .task_count = builder->flags.count,
        .key_count = builder->key_count,
        .dep_start = builder->starts.items,
        .deps = builder->deps.items,
        .flags = builder->flags.items,
        .data_mask = 1,
        .names = builder->names.items,
    };
}

static void builder_fini(struct builder *builder)
{
    for (uint32_t i = 0; i < builder->texts.count; i++) {
        mem_free(builder->texts.items[i]);
    }
    vec_fini(&builder->starts);
    vec_fini(&builder->deps);
    vec_fini(&builder->flags);
    vec_fini(&builder->names);
    vec_fini(&builder->texts);
}

static void check_order(struct builder *builder, const uint32_t *expected)
{
    struct order_graph graph = view_graph(builder);
    uint32_t *priority = mem_zalloc(graph.task_count + 1, sizeof *priority);
    assert_true(order_compute(&graph, priority));
    for (uint32_t i = 0; i < graph.task_count; i++) {
        assert_int_equal(priority[i], expected[i]);
    }
    mem_free(priority);
    builder_fini(builder);
}

/* A client submits an empty graph: nothing to do, nothing touched. */
static void test_empty(void **state)
{
    (void)state;
    const uint32_t start = 0;
    struct order_graph graph = {.dep_start = &start};
    assert_true(order_compute(&graph, NULL));
    assert_int_equal(order_find_cycle(&graph, &(uint32_t){0}), 0);
}

/* The example in the docstring of dask.order.order: {a: 0, c: 1, b: 2, d: 3}. */
static void test_docstring(void **state)
{
    (void)state;
    struct builder builder = {0};
    uint32_t a = ROOT(&builder);
    uint32_t b = ROOT(&builder);
    uint32_t c = TASK(&builder, a);
    TASK(&builder, b, c);
    check_order(&builder, (const uint32_t[]){0, 2, 1, 3});
}

/* Two chains, their tasks interleaved in the graph: one is finished before the other begins. */
static void test_chains(void **state)
{
    (void)state;
    struct builder builder = {0};
    ROOT(&builder);
    ROOT(&builder);
    TASK(&builder, 0);
    TASK(&builder, 1);
    TASK(&builder, 2);
    TASK(&builder, 3);
    check_order(&builder, (const uint32_t[]){3, 0, 4, 1, 5, 2});
}

/* A piece of data that two tasks share is no step of its own: it goes right before its first user. */
static void test_data_set_aside(void **state)
{
    (void)state;
    struct builder builder = {0};
    uint32_t data = ROOT(&builder);
    uint32_t a = ROOT(&builder);
    uint32_t b = ROOT(&builder);
    TASK(&builder, a, data);
    TASK(&builder, b, data);
    builder.flags.items[data] = 1;
    check_order(&builder, (const uint32_t[]){1, 3, 0, 4, 2});
}

/* Keys that are only depended on (futures of an earlier graph) take no number. */
static void test_external_keys(void **state)
{
    (void)state;
    struct builder builder = {0};
    TASK(&builder, 3);
    TASK(&builder, 3, 4);
    TASK(&builder, 0, 1, 4);
    check_order(&builder, (const uint32_t[]){1, 0, 2});
}

/* Equal tasks run by name as text, the greatest first, whatever their numbers. */
static void test_names_break_ties(void **state)
{
    (void)state;
    struct builder builder = {0};
    ROOT(&builder);
    ROOT(&builder);
    ROOT(&builder);
    vec_push(&builder.names, SPAN("('x', 10)"));
    vec_push(&builder.names, SPAN("('x', 2)"));
    vec_push(&builder.names, SPAN("('x', 1)"));
    check_order(&builder, (const uint32_t[]){1, 0, 2});
}

/* Random edges to earlier tasks and to a few external keys; some roots are data. */
static void build_random(struct builder *builder, struct prng *prng)
{
    uint32_t task_count = 1 + prng_below(prng, 120);
    uint32_t reach = 1 + prng_below(prng, 40);
    for (uint32_t task = 0; task < task_count; task++) {
        uint32_t deps[8];
        uint32_t dep_count = 0;
        uint32_t wish = prng_below(prng, 5);
        for (uint32_t i = 0; i < wish; i++) {
            uint32_t back = 1 + prng_below(prng, reach);
            uint32_t dep =
                prng_below(prng, 12) == 0 ? task_count + prng_below(prng, 3) : task - back;
            bool known = dep >= task && dep < task_count;
            for (uint32_t j = 0; j < dep_count; j++) {
                known |= deps[j] == dep;
            }
            if (!known && dep < task_count + 3) {
                deps[dep_count++] = dep;
            }
        }
        add_task(builder, deps, dep_count);
        builder->flags.items[task] = dep_count == 0 && prng_below(prng, 2) == 0;
    }
}

static void check_is_order(const struct order_graph *graph, const uint32_t *priority)
{
    uint8_t *seen = mem_zalloc(graph->task_count, 1);
    for (uint32_t task = 0; task < graph->task_count; task++) {
        assert_true(priority[task] < graph->task_count);
        assert_int_equal(seen[priority[task]]++, 0);
        for (uint32_t d = graph->dep_start[task]; d < graph->dep_start[task + 1]; d++) {
            if (graph->deps[d] < graph->task_count) {
                assert_true(priority[graph->deps[d]] < priority[task]);
            }
        }
    }
    mem_free(seen);
}

/* Any graph: every place is given once, what is needed comes first, and twice gives the same; also
 * when nothing may be spent on finding roots, and when that runs out on the way. */
static void test_random_graphs(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 7);
    const struct order_budget budgets[] = {
        {0}, {20, 1 << 20, 1 << 20}, {1 << 20, 200, 1 << 20}, {1 << 20, 1 << 20, 15}};
    for (int round = 0; round < 400; round++) {
        struct builder builder = {0};
        build_random(&builder, &prng);
        struct order_graph graph = view_graph(&builder);
        uint32_t first[128];
        uint32_t second[128];
        assert_true(order_compute(&graph, first));
        assert_true(order_compute(&graph, second));
        assert_memory_equal(first, second, graph.task_count * sizeof *first);
        check_is_order(&graph, first);
        assert_int_equal(order_find_cycle(&graph, second), 0);
        assert_true(order_compute_within(&graph, &budgets[round % 4], second));
        check_is_order(&graph, second);
        builder_fini(&builder);
    }
}

/* A graph that waits for itself: order refuses it, and the keys of the cycle can be named. */
static void test_cycle(void **state)
{
    (void)state;
    struct builder builder = {0};
    ROOT(&builder);
    TASK(&builder, 0, 3);
    TASK(&builder, 1);
    TASK(&builder, 2);
    TASK(&builder, 3);
    struct order_graph graph = view_graph(&builder);
    uint32_t keys[6];
    assert_false(order_compute(&graph, keys));
    assert_int_equal(order_find_cycle(&graph, keys), 4);
    assert_memory_equal(keys, ((const uint32_t[]){1, 3, 2, 1}), 4 * sizeof *keys);
    builder_fini(&builder);
}

static void test_task_that_needs_itself(void **state)
{
    (void)state;
    struct builder builder = {0};
    TASK(&builder, 0);
    struct order_graph graph = view_graph(&builder);
    uint32_t keys[2];
    assert_false(order_compute(&graph, keys));
    assert_int_equal(order_find_cycle(&graph, keys), 2);
    assert_int_equal(keys[0], 0);
    assert_int_equal(keys[1], 0);
    builder_fini(&builder);
}

/* A long line of cells, many steps: the numbers of paths need hundreds of bits, and the widest sets
 * of roots are runs of bits, not lists. */
static void test_stencil(void **state)
{
    (void)state;
    enum { WIDTH = 300, STEPS = 300 };
    struct builder builder = {0};
    for (uint32_t step = 0; step < STEPS; step++) {
        for (uint32_t cell = 0; cell < WIDTH; cell++) {
            uint32_t deps[3];
            uint32_t dep_count = 0;
            for (uint32_t near = cell == 0 ? 0 : cell - 1; near <= cell + 1 && near < WIDTH;
                 near++) {
                deps[dep_count++] = (step - 1) * WIDTH + near;
            }
            add_task(&builder, deps, step == 0 ? 0 : dep_count);
        }
    }
    struct order_graph graph = view_graph(&builder);
    uint32_t *priority = mem_alloc(graph.task_count * sizeof *priority);
    assert_true(order_compute(&graph, priority));
    check_is_order(&graph, priority);
    mem_free(priority);
    builder_fini(&builder);
}

/* A long chain between two splitters: the way to each of the many ends leads over all of it, and must
 * not be walked once for each. Takes minutes and gigabytes if it is. */
static void test_long_way_to_many_ends(void **state)
{
    (void)state;
    enum { LENGTH = 30000 };
    struct builder builder = {0};
    struct VEC(uint32_t) ends = {0};
    uint32_t root = ROOT(&builder);
    uint32_t node = TASK(&builder, root);
    TASK(&builder, root);
    for (uint32_t i = 0; i < LENGTH; i++) {
        node = TASK(&builder, node);
    }
    for (uint32_t i = 0; i < LENGTH; i++) {
        uint32_t branch = TASK(&builder, node);
        uint32_t other = ROOT(&builder);
        vec_push(&ends, TASK(&builder, branch, other));
    }
    add_task(&builder, ends.items, ends.count);
    struct order_graph graph = view_graph(&builder);
    uint32_t *priority = mem_alloc(graph.task_count * sizeof *priority);
    assert_true(order_compute(&graph, priority));
    check_is_order(&graph, priority);
    mem_free(priority);
    vec_fini(&ends);
    builder_fini(&builder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_docstring),
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_data_set_aside),
        cmocka_unit_test(test_external_keys),
        cmocka_unit_test(test_names_break_ties),
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_cycle),
        cmocka_unit_test(test_task_that_needs_itself),
        cmocka_unit_test(test_stencil),
        cmocka_unit_test(test_long_way_to_many_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
