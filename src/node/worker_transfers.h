/* worker_transfers.h: the last transfers of values, each way, for people who debug (they stand in a worker's dump).
 * Source: distributed worker.py, transfer_incoming_log and transfer_outgoing_log. */
#ifndef CASK_NODE_WORKER_TRANSFERS_H
#define CASK_NODE_WORKER_TRANSFERS_H

#include "base/span.h"
#include "base/text.h"

#include <stdint.h>

enum transfer_way { TRANSFER_INCOMING, TRANSFER_OUTGOING, TRANSFER_WAY_COUNT };

/* One that is over. */
struct transfer {
    struct span peer;   /* its address */
    struct span sizes;  /* msgpack pairs: a key as it is printed, its bytes */
    uint32_t key_count; /* of these pairs */
    int64_t bytes;      /* their sum */
    int64_t sent;       /* bytes of the message; outgoing only */
    double start, stop; /* of the scheduler's clock */
};

struct worker_transfers;

struct worker_transfers *worker_transfers_create(void);
void worker_transfers_destroy(struct worker_transfers *transfers);
/* Add the key and its bytes to such pairs. */
void transfer_add_size(struct text *sizes, struct span key, int64_t bytes);
/* Remember it; the oldest are forgotten. What it points to is copied. */
void worker_transfers_add(struct worker_transfers *transfers, enum transfer_way way,
                          const struct transfer *transfer);
/* All of one way, as a msgpack list of stock's maps, oldest first. */
void worker_transfers_write(const struct worker_transfers *transfers, enum transfer_way way,
                            struct text *out);

#endif
