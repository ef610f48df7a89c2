/* graph_queue.h: graphs that are ready for the core. Small ones are applied at once; the core takes one large
 * graph at a time, in pieces, and others wait for it if they must. What they were made of is taken apart in
 * pieces as well. A client whose graph is here has its stream held until it is done. */
#ifndef CASK_NODE_GRAPH_QUEUE_H
#define CASK_NODE_GRAPH_QUEUE_H

#include "node/intake.h"

struct graph_queue;

struct graph_queue *graph_queue_create(struct node *node);
void graph_queue_destroy(struct graph_queue *queue);
/* Apply it, or say why it cannot be; now or when its turn comes. Takes the intake. */
void graph_queue_submit(struct graph_queue *queue, struct intake *intake);
/* Its keys err. `failure` is borrowed for the call. Takes the intake. */
void graph_queue_fail(struct graph_queue *queue, struct intake *intake,
                      const struct failure_info *failure);
/* Nobody waits for it any more. Takes the intake. */
void graph_queue_discard(struct graph_queue *queue, struct intake *intake);
/* Some of what waits, between the core's pieces. True: there is more. */
bool graph_queue_run(struct graph_queue *queue);
/* The core takes a graph of ours. */
bool graph_queue_is_building(const struct graph_queue *queue);

#endif
