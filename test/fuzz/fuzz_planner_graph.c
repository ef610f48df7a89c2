/* What a planner might send: messages of a graph, cut out of arbitrary bytes by the frame reader. The
 * last one is taken for the end of the graph, the others for its parts. */
#include "base/alloc.h"
#include "node/planner_graph.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_reader frames;
    struct planner_graph_reader graph;
    struct frames message = {0};
    frame_reader_init(&frames);
    planner_graph_init(&graph);
    size_t at = 0;
    int code = OK;
    while (code == OK && at < size) {
        at += frame_reader_feed(&frames, span_of(data + at, size - at));
        while (code == OK && frame_reader_next(&frames, &message) == 1) {
            bool is_last = at == size && frame_reader_idle(&frames);
            code = is_last ? planner_graph_finish(&graph, &message)
                           : planner_graph_add(&graph, &message);
        }
    }
    frames_fini(&message);
    planner_graph_fini(&graph);
    frame_reader_fini(&frames);
    return 0;
}
