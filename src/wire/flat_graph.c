/* flat_graph.c: life and death of a flat graph. */
#include "wire/flat_graph.h"

void flat_graph_init(struct flat_graph *graph)
{
    memset(graph, 0, sizeof *graph);
    arena_init(&graph->arena);
}

void flat_graph_fini(struct flat_graph *graph)
{
    for (uint32_t i = 0; graph->run_specs != NULL && i < graph->task_count; i++) {
        blob_unref(graph->run_specs[i]);
    }
    for (uint32_t i = 0; i < graph->annotation_set_count; i++) {
        blob_unref(graph->annotation_sets[i]);
    }
    arena_fini(&graph->arena);
    memset(graph, 0, sizeof *graph);
}
