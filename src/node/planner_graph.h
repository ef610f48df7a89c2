/* planner_graph.h: puts a flat graph together from the parts in which the planner streams it. */
#ifndef CASK_NODE_PLANNER_GRAPH_H
#define CASK_NODE_PLANNER_GRAPH_H

#include "base/vec.h"
#include "wire/flat_graph.h"
#include "wire/frame.h"

/* What has come so far. All zero, then planner_graph_init. */
struct planner_graph_reader {
    struct flat_graph graph; /* its arena and what is in it; the arrays follow at the end */
    struct VEC(struct span) keys;
    struct VEC(uint32_t) dep_start;
    struct VEC(uint32_t) deps;
    struct VEC(struct blob *) run_specs;
    struct VEC(uint8_t) flags;
    struct VEC(uint32_t) annotation_of;
    struct VEC(struct slice) buffers;
};

void planner_graph_init(struct planner_graph_reader *reader);
/* Also on a graph half read. */
void planner_graph_fini(struct planner_graph_reader *reader);
/* Take a "graph-part". ERR_MALFORMED, ERR_LIMIT: it is not what docs/planner.md says. */
MUST_USE int planner_graph_add(struct planner_graph_reader *reader, const struct frames *message);
/* Take the closing "graph" (status OK): reader->graph is complete and may be moved out. ERR_UNSUPPORTED: the graph
 * came as a pickle that the reader in C does not know; the planner can send it as parts. */
MUST_USE int planner_graph_finish(struct planner_graph_reader *reader,
                                  const struct frames *message);

#endif
