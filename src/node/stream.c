/* stream.c: batches of messages to one peer, sent as one message at the end of the loop's turn. */
#include "base/alloc.h"
#include "node/turn.h"

struct stream *stream_create(struct node *node, struct comm *comm)
{
    struct stream *stream = mem_zalloc(1, sizeof *stream);
    stream->node = node;
    stream->comm = comm;
    outgoing_init(&stream->batch);
    outgoing_start_batch(&stream->batch);
    return stream;
}

void stream_destroy(struct stream *stream)
{
    struct node *node = stream->node;
    for (uint32_t i = 0; stream->is_dirty && i < node->dirty_streams.count; i++) {
        if (node->dirty_streams.items[i] == stream) {
            node->dirty_streams.items[i] = NULL;
        }
    }
    turn_forget(node->turn, stream);
    batch_forget(stream);
    outgoing_fini(&stream->batch);
    frames_fini(&stream->held);
    mem_free(stream);
}

struct outgoing *stream_batch(struct stream *stream)
{
    if (!stream->is_dirty) {
        stream->is_dirty = true;
        vec_push(&stream->node->dirty_streams, stream);
    }
    return &stream->batch;
}

void stream_flush(struct stream *stream)
{
    if (stream->batch.item_count > 0) {
        comm_send(stream->comm, &stream->batch);
    }
}

void streams_flush(struct node *node)
{
    for (uint32_t i = 0; i < node->dirty_streams.count; i++) {
        struct stream *stream = node->dirty_streams.items[i];
        if (stream != NULL) {
            stream->is_dirty = false;
            stream_flush(stream);
        }
    }
    node->dirty_streams.count = 0;
}

void stream_hold(struct stream *stream)
{
    ASSERT(!stream->is_held);
    stream->is_held = true;
    comm_hold(stream->comm);
}

struct stream *stream_of_worker(struct node *node, worker_id worker)
{
    return worker < node->worker_streams.count ? node->worker_streams.items[worker] : NULL;
}

struct stream *stream_of_client(struct node *node, client_id client)
{
    return client < node->client_streams.count ? node->client_streams.items[client] : NULL;
}
