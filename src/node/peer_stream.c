/* peer_stream.c: what connections of a scheduler turn into: streams of clients and workers, and those who
 * watch workers. */
#include "base/log.h"
#include "node/connection.h"
#include "node/node.h"
#include "node/turn.h"

#define LOGGER "distributed.core"

/* What a batch meant for the connection. */
static void obey(struct stream *stream, enum inbound_result result, const struct text *why)
{
    if (result == INBOUND_REFUSED) {
        log_error(LOGGER, "Closing stream of %s: %s", comm_peer(stream->comm), text_cstr(why));
        comm_abort(stream->comm, text_cstr(why));
    } else if (result == INBOUND_ENDED) {
        stream_flush(stream);
        comm_close(stream->comm);
    }
}

static void take_batch(void *user, const struct frames *message)
{
    struct stream *stream = user;
    struct text why = {0};
    arena_reset(&stream->node->scratch);
    obey(stream, inbound_stream(stream->node, stream, message, &why), &why);
    text_fini(&why);
}

void stream_release(struct stream *stream)
{
    struct text why = {0};
    arena_reset(&stream->node->scratch);
    obey(stream, inbound_go_on(stream->node, stream, &why), &why);
    text_fini(&why);
    if (!stream->is_held) {
        comm_release(stream->comm);
    }
}

/* ---- clients and workers: the core must know when they are gone ------------------------------- */

static void end_client(struct stream *stream)
{
    client_id client = stream->client;
    stream->client = CLIENT_NONE;
    stream->node->client_streams.items[client] = NULL;
    client_stream_ended(stream->node, client);
}

void client_stream_replaced(struct stream *stream)
{
    turn_forget(stream->node->turn, stream);
    batch_forget(stream);
    end_client(stream);
    comm_abort(stream->comm, "its client registered again, over another connection");
}

static void client_closed(void *user)
{
    struct stream *stream = user;
    if (stream->client != CLIENT_NONE) { /* else it was replaced */
        arena_reset(&stream->node->scratch);
        end_client(stream);
    }
    stream_destroy(stream);
}

static void worker_closed(void *user)
{
    struct stream *stream = user;
    struct node *node = stream->node;
    arena_reset(&node->scratch);
    node->worker_streams.items[stream->worker] = NULL;
    worker_stream_ended(node, stream->worker);
    stream_destroy(stream);
}

static const struct connection_role client_role = {take_batch, client_closed};
static const struct connection_role worker_role = {take_batch, worker_closed};

void connection_become_client(struct node *node, struct request *request, client_id client)
{
    struct stream *stream = stream_create(node, connection_comm(connection_of(request)));
    while (node->client_streams.count <= client) {
        vec_push(&node->client_streams, NULL);
    }
    stream->client = client;
    node->client_streams.items[client] = stream;
    connection_take(request, &client_role, stream);
}

void connection_become_worker(struct node *node, struct request *request, worker_id worker)
{
    struct stream *stream = stream_create(node, connection_comm(connection_of(request)));
    while (node->worker_streams.count <= worker) {
        vec_push(&node->worker_streams, NULL);
    }
    stream->worker = worker;
    node->worker_streams.items[worker] = stream;
    comm_trust(stream->comm);
    connection_take(request, &worker_role, stream);
}

/* ---- watchers --------------------------------------------------------------------------------- */

/* Nothing is expected of it; what comes is dropped, as stock does. */
static void watcher_spoke(void *user, const struct frames *message)
{
    (void)user;
    (void)message;
}

static void watcher_closed(void *user)
{
    struct stream *stream = user;
    struct node *node = stream->node;
    for (uint32_t i = 0; i < node->status_watchers.count; i++) {
        if (node->status_watchers.items[i] == stream) {
            vec_swap_remove(&node->status_watchers, i);
            break;
        }
    }
    stream_destroy(stream);
}

static const struct connection_role watcher_role = {watcher_spoke, watcher_closed};

void connection_become_watcher(struct node *node, struct request *request)
{
    struct stream *stream = stream_create(node, connection_comm(connection_of(request)));
    vec_push(&node->status_watchers, stream);
    connection_take(request, &watcher_role, stream);
}
