/* edge.h: what a task's link to one of its dependencies knows besides: Dask's waiting_on and waiters without
 * sets. The marks stand on the dependent's side; each task counts those that concern it. */
#ifndef CASK_CORE_EDGE_H
#define CASK_CORE_EDGE_H

#include "base/assert.h"
#include "core/links.h"

#define EDGE_MISSING LINK_FLAG_A /* the dependent waits for the dependency's data */
#define EDGE_WAITS LINK_FLAG_B   /* the dependent is among the dependency's waiters */

/* Mark the edge; false: it was. `count`: of the edges so marked. */
static inline bool edge_mark(struct link *edge, uint32_t mark, uint32_t *count)
{
    if ((edge->slot & mark) != 0) {
        return false;
    }
    edge->slot |= mark;
    ++*count;
    return true;
}

/* Take the mark away; false: there was none. */
static inline bool edge_unmark(struct link *edge, uint32_t mark, uint32_t *count)
{
    if ((edge->slot & mark) == 0) {
        return false;
    }
    edge->slot &= ~mark;
    ASSERT(*count > 0);
    --*count;
    return true;
}

#endif
