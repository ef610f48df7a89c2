/* pickle_graph.h: cuts the graphs that clients send for submit, map, get, actors and delayed into tasks,
 * without Python. What is not known to the last detail is ERR_UNSUPPORTED and goes to the planner.
 * Source: dask/_expr.py LLGExpr, distributed/client.py _MapExpr, dask/_task_spec.py; protocol.md 8.4. */
#ifndef CASK_WIRE_PICKLE_GRAPH_H
#define CASK_WIRE_PICKLE_GRAPH_H

#include "base/assert.h"
#include "base/error.h"
#include "wire/flat_graph.h"

/* Cut the pickle of an LLGExpr, a _MapExpr, an HLGExpr of layers that are all there, or an empty dict. `buffers` are its `buffer_count`
 * out-of-band buffers; run_specs take references to those they use, and copy the rest.
 * out: initialised and filled on success (the caller gives it to flat_graph_fini), untouched on error.
 * *out_reason (static text) says why not. ERR_UNSUPPORTED: Python must do it; ERR_TRUNCATED,
 * ERR_MALFORMED, ERR_LIMIT: no pickle that Python would read either.
 * Before its tasks go to a worker, the caller asks pickle_trust_covers(…, out->foreign), and sends the
 * graph to the planner if the answer is no (pickle_trust.h says why).
 * Cost: linear in what is read and written; 1 to 2 µs a task. */
int pickle_graph_cut(struct span pickle, const struct slice *buffers, uint32_t buffer_count,
                     struct flat_graph *out, const char **out_reason) MUST_USE;

#endif
