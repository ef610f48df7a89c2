/* rpc_lifecycle.c: nannies that start, and clusters that watch workers come and go.
 * Source: distributed scheduler.py add_nanny, subscribe_worker_status; protocol.md 3.1, 3.8. */
#include "base/log.h"
#include "node/connection.h"
#include "node/identity.h"
#include "node/lifecycle.h"

#define LOGGER "distributed.scheduler"

/* The second message, or NULL if the nanny is gone: either way it starts no longer. */
static void nanny_started(void *user, const struct frames *message)
{
    struct span status;
    if (message == NULL) {
        log_info(LOGGER, "A nanny left while it was starting");
    } else if (msgpack_find(frames_head(message), "status", &status) == OK &&
               span_equal(status, SPAN("\xa5"
                                       "error"))) {
        log_warning(LOGGER, "A nanny could not start its worker");
    }
    lifecycle_nanny_started(user);
}

/* Answered with the plugins; the nanny says a second time, on the same connection, when it has started. */
void rpc_register_nanny(struct node *node, struct request *request, const struct message *message)
{
    struct connection *connection = connection_of(request);
    (void)message;
    if (connection == NULL) {
        request_raise_builtin(request, "RuntimeError", "a nanny registers over its own connection");
        return;
    }
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, 2);
    msgpack_write_cstr(&answer.head, "status");
    msgpack_write_cstr(&answer.head, "OK");
    msgpack_write_cstr(&answer.head, "nanny-plugins");
    msgpack_write_map(&answer.head, node->nanny_plugins.count);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&node->nanny_plugins, &cursor)) != NULL;) {
        msgpack_write_raw(&answer.head, entry->name);
        payload_put(&answer, entry->value.pointer);
    }
    node->nannies_starting++;
    request->wants_reply = true;
    request_reply(request, &answer);
    outgoing_fini(&answer);
    connection_expect(connection, nanny_started, node);
}

void rpc_subscribe_worker_status(struct node *node, struct request *request,
                                 const struct message *message)
{
    struct connection *connection = connection_of(request);
    (void)message;
    if (connection == NULL) {
        request_raise_builtin(request, "RuntimeError",
                              "workers are watched over a connection of one's own");
        return;
    }
    struct outgoing answer;
    outgoing_init(&answer);
    identity_write(node, &answer, -1, true);
    comm_send(connection_comm(connection), &answer);
    outgoing_fini(&answer);
    connection_become_watcher(node, request);
}
