/* worker_rpc.c: calls by name, for both servers of the process; what nobody knows is said to be so. */
#include "base/log.h"
#include "node/worker_internal.h"

#define LOGGER "distributed.core"

static worker_rpc_handler *const worker_handlers[MESSAGE_COUNT] = {
#define WORKER_RPC(ID, function) [MESSAGE_##ID] = function,
#include "node/worker_rpc.def"
};

static worker_rpc_handler *const nanny_handlers[MESSAGE_COUNT] = {
#define NANNY_RPC(ID, function) [MESSAGE_##ID] = function,
#include "node/worker_rpc.def"
};

/* As stock answers an op that it does not know, but one that stock knows is refused in words. */
static void refuse(struct request *request, const struct message *message, const char *who)
{
    log_warning(LOGGER, "No handler %.*s found in %s", (int)message->op.size,
                (const char *)message->op.data, who);
    if (message->id == MESSAGE_UNKNOWN) {
        request_reply_nil(request);
    } else {
        request_raise_builtin(request, "NotImplementedError", "%s of cask does not know '%.*s'",
                              who, (int)message->op.size, (const char *)message->op.data);
    }
}

static void dispatch_worker(void *user, struct request *request, const struct message *message)
{
    struct worker_node *worker = user;
    struct connection *connection = connection_of(request);
    bool is_share = connection != NULL && comm_is_share(connection_comm(connection));
    if (is_share && message->id != MESSAGE_GET_DATA) {
        request_raise_builtin(request, "PermissionError", "here only values are shared");
    } else if (worker_handlers[message->id] != NULL) {
        worker_handlers[message->id](worker, request, message);
    } else if (map_find(&worker->handlers, message->op) != NULL) {
        worker_rpc_to_plugin(worker, request, message);
    } else {
        refuse(request, message, "Worker");
    }
}

static void dispatch_nanny(void *user, struct request *request, const struct message *message)
{
    if (nanny_handlers[message->id] != NULL) {
        nanny_handlers[message->id](user, request, message);
    } else {
        refuse(request, message, "Nanny");
    }
}

const struct server_events worker_server_events = {.dispatch = dispatch_worker};
const struct server_events worker_nanny_events = {.dispatch = dispatch_nanny};
