/* rpc_python.c: calls that only Python can answer go to the planner. */
#include "node/node.h"
#include "node/planner.h"
#include "node/topics.h"
#include "node/values.h"

void rpc_run_function(struct node *node, struct request *request, const struct message *message)
{
    struct span function = message->body.run_function.function.raw;
    struct msgpack_reader reader = msgpack_reader(function);
    struct text event = {0};
    msgpack_write_map(&event, 2);
    msgpack_write_cstr(&event, "action");
    msgpack_write_cstr(&event, "run-function");
    msgpack_write_cstr(&event, "function");
    if (msgpack_peek(&reader) == MSGPACK_BIN) {
        msgpack_write_raw(&event, function);
    } else {
        msgpack_write_nil(&event);
    }
    topics_log_value(node->topics, "all", text_span(&event));
    text_fini(&event);
    planner_forward(node->planner, request);
}

void rpc_register_scheduler_plugin(struct node *node, struct request *request,
                                   const struct message *message)
{
    (void)message;
    planner_forward(node->planner, request);
}

void rpc_unregister_scheduler_plugin(struct node *node, struct request *request,
                                     const struct message *message)
{
    (void)message;
    planner_forward(node->planner, request);
}

void rpc_planner_replicas(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_planner_replicas *m = &message->body.planner_replicas;
    struct event event = event_of(EVENT_AMM_SUGGEST);
    event.of.amm_suggest.worker = view_worker_by_address(node->core, m->worker);
    event.of.amm_suggest.keys = values_keys(&node->scratch, m->keys);
    event.of.amm_suggest.drop = m->drop;
    if (event.of.amm_suggest.worker != WORKER_NONE) { /* else it has just gone */
        node_apply(node, &event);
    }
    request_reply_nil(request);
}

void rpc_planner_status(struct node *node, struct request *request, const struct message *message)
{
    (void)message;
    struct outgoing answer;
    outgoing_init(&answer);
    planner_write_status(node->planner, &answer.head);
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

void rpc_performance_report(struct node *node, struct request *request,
                            const struct message *message)
{
    (void)message;
    planner_forward(node->planner, request);
}

void rpc_dump_cluster_state_to_url(struct node *node, struct request *request,
                                   const struct message *message)
{
    (void)message;
    planner_forward(node->planner, request);
}
