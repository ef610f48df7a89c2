/* lags.c: see lags.h. */
#include "node/lags.h"

#include "base/assert.h"
#include "io/io.h"

void lags_add(struct lags *lags, uint32_t kind, double began)
{
    ASSERT(kind < LAG_COUNT);
    struct lag *lag = &lags->items[kind];
    double seconds = io_monotonic() - began;
    lag->count++;
    lag->busy += seconds;
    lag->longest = seconds > lag->longest ? seconds : lag->longest;
}

const char *lags_name(uint32_t kind)
{
    return kind == LAG_PIECES        ? "(in pieces)"
           : kind == MESSAGE_UNKNOWN ? "(unknown)"
                                     : message_info((enum message_id)kind)->op;
}
