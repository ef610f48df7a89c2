/* order_probe: runs core/order and core/cull on graphs from stdin, for test/interop/test_order.py.
 *
 * In, any number of graphs, 32-bit little-endian words:
 *   task_count key_count dep_count wanted_count
 *   dep_start[task_count + 1] deps[dep_count] is_data[task_count] wanted[wanted_count]
 *   name_size[key_count]  then the names' bytes, padded with zeros to a multiple of 4
 * Out, for each: how many words follow, then what the first argument asks for:
 *   order     a priority for each task; or, if there is a cycle, the keys on it (task_count + 1 marks
 *             that case: it comes first)
 *   rough     the same without knowing which roots nodes need (the budget is 0)
 *   cull      1 or 0 for each task
 * With a second argument N, the work is done N times and the shortest time goes to stderr. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "core/cull.h"
#include "core/order_internal.h"

struct input {
    struct order_graph graph;
    uint32_t *words; /* all of it but the names */
    uint8_t *flags;
    struct span *names;
    uint8_t *bytes; /* of the names */
    uint32_t *wanted;
    uint32_t wanted_count;
};

static uint32_t *read_words(size_t count)
{
    uint32_t *words = mem_alloc((count + 1) * sizeof *words);
    if (fread(words, sizeof *words, count, stdin) != count) {
        fprintf(stderr, "order_probe: the input ends in the middle of a graph\n");
        exit(1);
    }
    return words;
}

static void read_names(struct input *input)
{
    uint32_t key_count = input->graph.key_count;
    uint32_t *sizes = read_words(key_count);
    size_t total = 0;
    for (uint32_t i = 0; i < key_count; i++) {
        total += sizes[i];
    }
    input->bytes = (uint8_t *)read_words((total + 3) / 4);
    input->names = mem_alloc((key_count + 1) * sizeof *input->names);
    total = 0;
    for (uint32_t i = 0; i < key_count; i++) {
        input->names[i] = span_of(input->bytes + total, sizes[i]);
        total += sizes[i];
    }
    mem_free(sizes);
}

static bool read_input(struct input *input)
{
    uint32_t counts[4];
    if (fread(counts, sizeof counts, 1, stdin) != 1) {
        return false;
    }
    size_t task_count = counts[0];
    input->words = read_words(task_count + 1 + counts[2] + task_count + counts[3]);
    input->flags = mem_alloc(task_count + 1);
    const uint32_t *is_data = input->words + task_count + 1 + counts[2];
    for (uint32_t i = 0; i < task_count; i++) {
        input->flags[i] = is_data[i] != 0;
    }
    input->graph = (struct order_graph){
        .task_count = counts[0],
        .key_count = counts[1],
        .dep_start = input->words,
        .deps = input->words + task_count + 1,
        .flags = input->flags,
        .data_mask = 1,
    };
    input->wanted = input->words + task_count + 1 + counts[2] + task_count;
    input->wanted_count = counts[3];
    read_names(input);
    input->graph.names = input->names;
    return true;
}

static void free_input(struct input *input)
{
    mem_free(input->words);
    mem_free(input->flags);
    mem_free(input->names);
    mem_free(input->bytes);
}

/* Fills out_words (task_count + 2); returns how many. */
static uint32_t answer(const struct input *input, const char *question, uint32_t *out_words)
{
    const struct order_graph *graph = &input->graph;
    if (strcmp(question, "cull") == 0) {
        struct cull_graph cull = {graph->task_count, graph->dep_start, graph->deps};
        uint8_t *keep = mem_alloc(graph->task_count + 1);
        (void)cull_mark(&cull, input->wanted, input->wanted_count, keep);
        for (uint32_t i = 0; i < graph->task_count; i++) {
            out_words[i] = keep[i];
        }
        mem_free(keep);
        return graph->task_count;
    }
    struct order_budget none = {0};
    bool acyclic = strcmp(question, "rough") == 0 ? order_compute_within(graph, &none, out_words)
                                                  : order_compute(graph, out_words);
    if (acyclic) {
        return graph->task_count;
    }
    out_words[0] = graph->task_count + 1;
    return order_find_cycle(graph, out_words + 1) + 1;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    const char *question = argc > 1 ? argv[1] : "order";
    int repeats = argc > 2 ? atoi(argv[2]) : 1;
    struct input input;
    while (read_input(&input)) {
        uint32_t *words = mem_alloc((input.graph.task_count + 2) * sizeof *words);
        uint32_t count = 0;
        double best_s = 1e9;
        for (int i = 0; i < repeats; i++) {
            double start_s = now_s();
            count = answer(&input, question, words);
            double taken_s = now_s() - start_s;
            best_s = taken_s < best_s ? taken_s : best_s;
        }
        if (argc > 2) {
            fprintf(stderr, "%.6f\n", best_s);
        }
        fwrite(&count, sizeof count, 1, stdout);
        fwrite(words, sizeof *words, count, stdout);
        mem_free(words);
        free_input(&input);
    }
    return 0;
}
