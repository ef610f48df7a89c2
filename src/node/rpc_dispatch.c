/* rpc_dispatch.c: every RPC of a scheduler by name, and what happens to the others. */
#include "base/log.h"
#include "node/connection.h"
#include "node/node.h"
#include "node/planner.h"

#define LOGGER "distributed.core"

/* distributed.scheduler.blocked-handlers names what peers may not call; the planner, which is ours, may.
 * Source: distributed core.py, Server.handle_comm. */
static bool is_blocked(const struct node *node, struct request *request, struct span op)
{
    const char *name;
    for (uint32_t i = 0;
         config_item(node->config, "distributed.scheduler.blocked-handlers", i, &name); i++) {
        if (span_equal_text(op, name) && connection_of(request) != NULL) {
            return true;
        }
    }
    return false;
}

void rpc_dispatch(struct node *node, struct request *request, const struct message *message)
{
    static rpc_handler *const handlers[MESSAGE_COUNT] = {
#define RPC(ID, function) [MESSAGE_##ID] = function,
#include "node/rpc.def"
    };
    if (is_blocked(node, request, message->op)) {
        request_raise_builtin(request, "ValueError",
                              "The '%.*s' handler has been explicitly disallowed in Scheduler, "
                              "possibly due to security concerns.",
                              (int)message->op.size, (const char *)message->op.data);
    } else if (handlers[message->id] != NULL) {
        handlers[message->id](node, request, message);
    } else if (planner_has_handler(node->planner, message->op)) {
        planner_forward(node->planner, request);
    } else {
        log_warning(LOGGER, "No handler %.*s found in Scheduler", (int)message->op.size,
                    (const char *)message->op.data);
        request_reply_nil(request);
    }
}

void rpc_request_gone(struct node *node, struct request *request)
{
    struct event event = event_of(EVENT_REQUEST_GONE);
    event.of.request_gone.request = request->number;
    node_apply(node, &event);
}
