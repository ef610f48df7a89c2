/* lags.h: what the turns of the loop were for: by the kind of message, how often, how long in all, how long at most.
 *
 * A call is timed by itself. Messages of streams come by the thousand, and a look at the clock costs as much as some
 * of them: a batch is timed whole and counts for its first message, which is of the kind that most of it is. */
#ifndef CASK_NODE_LAGS_H
#define CASK_NODE_LAGS_H

#include "wire/message.h"

/* What was begun before and goes on turn after turn: large graphs, a lost worker's tasks, long answers. */
#define LAG_PIECES MESSAGE_COUNT
#define LAG_COUNT (MESSAGE_COUNT + 1)

struct lag {
    uint64_t count;       /* calls, batches, turns */
    double busy, longest; /* seconds */
};

struct lags {
    struct lag items[LAG_COUNT]; /* by enum message_id */
};

/* So much for `kind` from `began` (io_monotonic) until now. */
void lags_add(struct lags *lags, uint32_t kind, double began);
/* "task-finished"; of calls the op's name. */
const char *lags_name(uint32_t kind);

#endif
