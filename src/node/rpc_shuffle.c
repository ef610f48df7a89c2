/* rpc_shuffle.c: the scheduler's RPCs of P2P shuffles: who has which output partition, barriers.
 * Source: distributed shuffle/_scheduler_plugin.py; protocol.md 8.5. */
#include "node/node.h"

/* The worker that asks; WORKER_NONE with the exception raised if it is not known (any more). */
static worker_id asking_worker(struct node *node, struct request *request, struct span address)
{
    worker_id worker = view_worker_by_address(node->core, address);
    if (worker == WORKER_NONE) {
        request_raise(request, "distributed.shuffle._exceptions", "P2PConsistencyError",
                      "worker %.*s is not part of the cluster", (int)address.size,
                      (const char *)address.data);
    }
    return worker;
}

/* The rest of the event is filled in. */
static void shuffle_get(struct node *node, struct request *request, struct event *event,
                        struct span address)
{
    event->of.shuffle_get.request = request->number;
    event->of.shuffle_get.worker = asking_worker(node, request, address);
    if (event->of.shuffle_get.worker != WORKER_NONE) {
        node_apply(node, event);
    }
}

void rpc_shuffle_get(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_shuffle_get *m = &message->body.shuffle_get;
    struct event event = event_of(EVENT_SHUFFLE_GET);
    event.of.shuffle_get.id = m->id;
    shuffle_get(node, request, &event, m->worker);
}

void rpc_shuffle_get_or_create(struct node *node, struct request *request,
                               const struct message *message)
{
    const struct msg_shuffle_get_or_create *m = &message->body.shuffle_get_or_create;
    struct event event = event_of(EVENT_SHUFFLE_GET);
    event.of.shuffle_get.id = m->shuffle_id;
    event.of.shuffle_get.key = m->key;
    event.of.shuffle_get.create = true;
    shuffle_get(node, request, &event, m->worker);
}

void rpc_shuffle_barrier(struct node *node, struct request *request, const struct message *message)
{
    struct event event = event_of(EVENT_SHUFFLE_BARRIER);
    event.of.shuffle_barrier.request = request->number;
    event.of.shuffle_barrier.id = message->body.shuffle_barrier.id;
    event.of.shuffle_barrier.run_id = message->body.shuffle_barrier.run_id;
    event.of.shuffle_barrier.consistent = message->body.shuffle_barrier.consistent;
    event.stimulus = node_stimulus(node, "shuffle-barrier");
    node_apply(node, &event);
}

void rpc_shuffle_restrict_task(struct node *node, struct request *request,
                               const struct message *message)
{
    const struct msg_shuffle_restrict_task *m = &message->body.shuffle_restrict_task;
    struct event event = event_of(EVENT_SHUFFLE_RESTRICT);
    event.of.shuffle_restrict.request = request->number;
    event.of.shuffle_restrict.id = m->id;
    event.of.shuffle_restrict.run_id = m->run_id;
    event.of.shuffle_restrict.key = m->key;
    event.of.shuffle_restrict.worker = asking_worker(node, request, m->worker);
    if (event.of.shuffle_restrict.worker != WORKER_NONE) {
        node_apply(node, &event);
    }
}
