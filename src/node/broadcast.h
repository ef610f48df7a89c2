/* broadcast.h: one call to many workers or nannies, as stock's Scheduler.broadcast.
 * Source: distributed scheduler.py broadcast; protocol.md 3.1. */
#ifndef CASK_NODE_BROADCAST_H
#define CASK_NODE_BROADCAST_H

#include "node/node.h"

struct fanout;

/* Call every worker (or its nanny; workers without one are left out) with `map`, a call's op and arguments as
 * a blob. `serializers`: raw list, or empty. fanout_go is still to be said, so more calls may follow. */
void broadcast_to_all(struct fanout *fanout, const struct blob *map, bool nanny,
                      struct span serializers);
/* fanout->done for who just passes on what came: user is the request's number (by broadcast_user).
 * {worker: answer}, or the first failure raised. */
void broadcast_reply(struct fanout *fanout);
void *broadcast_user(const struct request *request);
/* One call: `map` with reply (and the serializers, if there are any) added. */
void broadcast_call(struct fanout *fanout, struct span address, struct span worker,
                    const struct blob *map, struct span serializers);

#endif
