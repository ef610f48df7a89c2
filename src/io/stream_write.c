/* stream_write.c: a stream's queue: what waits to be sent, and when its user is told to slow down.
 *
 * Every write becomes an entry of the queue and is tried at once, together with what is before it;
 * the kernel gets many small parts in one call. Bytes are lent by the user until `done`. */
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/limits.h"
#include "io/internal.h"

#define WRITE_BYTES_MAX (8u * 1024 * 1024)
/* Parts for one sendmsg: few enough for the stack, enough for a batch of frames. */
#define PARTS_MAX 128
#define LINGER_SECONDS 1.0

/* Sent, or never to be sent. */
static void close_descriptors(struct io_write *write)
{
    for (uint32_t i = 0; i < write->descriptor_count; i++) {
        close(write->descriptors[i]);
    }
    write->descriptor_count = 0;
    mem_free(write->descriptors);
    write->descriptors = NULL;
}

static void drop_writes(struct io_write_queue *queue)
{
    struct io_write *write = queue->first;
    *queue = (struct io_write_queue){0};
    while (write != NULL) {
        struct io_write *next = write->next;
        if (write->done != NULL) {
            write->done(write->owner);
        }
        close_descriptors(write);
        mem_free(write);
        write = next;
    }
}

void io_stream_drop_queue(struct io_stream *stream)
{
    stream->queued = 0;
    drop_writes(&stream->queue);
    drop_writes(&stream->early);
}

static void tell_pressure(struct io_stream *stream)
{
    bool on = stream->pressed ? stream->queued >= LIMIT_SEND_QUEUE_HIGH / 2
                              : stream->queued > LIMIT_SEND_QUEUE_HIGH;
    if (on == stream->pressed || stream->phase != IO_PHASE_OPEN) {
        return;
    }
    stream->pressed = on;
    if (stream->events->pressure != NULL) {
        stream->events->pressure(stream->user, on);
    }
}

/* Lend the head of the queue as parts for one call. Descriptors go with the first byte of a call, so
 * a write that has some begins one. */
static int gather(const struct io_stream *stream, struct iovec parts[PARTS_MAX])
{
    int count = 0;
    for (struct io_write *write = stream->queue.first; write != NULL && count < PARTS_MAX;
         write = write->next) {
        if (write->descriptor_count > 0 && write != stream->queue.first) {
            break;
        }
        for (uint32_t i = write->first; i < write->count && count < PARTS_MAX; i++) {
            memcpy(&parts[count].iov_base, &write->parts[i].data, sizeof(void *));
            parts[count].iov_len = write->parts[i].size;
            count++;
        }
    }
    return count;
}

/* Take `size` sent bytes off the queue. */
static void consume(struct io_stream *stream, size_t size)
{
    ASSERT(size <= stream->queued);
    stream->queued -= size;
    while (stream->queue.first != NULL) {
        struct io_write *write = stream->queue.first;
        while (write->first < write->count && size >= write->parts[write->first].size) {
            size -= write->parts[write->first].size;
            write->first++;
        }
        if (write->first < write->count) {
            struct span *part = &write->parts[write->first];
            part->data += size;
            part->size -= size;
            return;
        }
        stream->queue.first = write->next;
        if (write->next == NULL) {
            stream->queue.last = NULL;
        }
        if (write->done != NULL) {
            write->done(write->owner);
        }
        close_descriptors(write);
        mem_free(write);
    }
    ASSERT(size == 0);
}

static enum io_flow send_parts(struct io_stream *stream, const struct iovec *parts, int count,
                               size_t *out_written)
{
    if (stream->tls != NULL) {
        return io_tls_session_write(stream, parts, count, out_written);
    }
    enum io_flow flow = io_socket_send(stream, parts, count, stream->queue.first, out_written);
    if (*out_written > 0) {
        close_descriptors(stream->queue.first);
    }
    return flow;
}

/* Send until the queue is empty or the system takes no more. */
static enum io_flow send_queue(struct io_stream *stream)
{
    enum io_flow flow = IO_FLOW_ON;
    size_t total = 0;
    while (flow == IO_FLOW_ON && stream->queue.first != NULL && total < WRITE_BYTES_MAX) {
        struct iovec parts[PARTS_MAX];
        size_t written = 0;
        int count = gather(stream, parts);
        flow = send_parts(stream, parts, count, &written);
        consume(stream, written);
        total += written;
    }
    if (flow == IO_FLOW_ON && stream->tls != NULL) {
        flow = io_tls_session_flush(stream);
    }
    return flow;
}

/* The peer takes no more. What it sent before it went may still be waiting to be read. */
static void break_off(struct io_stream *stream)
{
    stream->broken = true;
    io_stream_drop_queue(stream);
    if (stream->phase > IO_PHASE_OPEN) {
        io_stream_dispose(stream);
    } else if (stream->phase != IO_PHASE_READY) {
        io_loop_ready(stream->loop, stream);
    } /* else its user does not have it yet, and learns of it at the start */
    io_stream_watch(stream);
}

/* All is sent: end our side, wait for the peer's end. */
static void linger(struct io_stream *stream)
{
    stream->phase = IO_PHASE_LINGERING;
    if (stream->peer_ended || shutdown(stream->fd, SHUT_WR) != 0) {
        io_stream_dispose(stream);
        return;
    }
    io_stream_deadline(stream, LINGER_SECONDS);
    io_stream_watch(stream);
}

void io_stream_flush(struct io_stream *stream)
{
    ASSERT(stream->phase >= IO_PHASE_TLS);
    ASSERT(stream->phase <= IO_PHASE_FLUSHING);
    if (stream->broken) {
        return;
    }
    enum io_flow flow = send_queue(stream);
    if (flow == IO_FLOW_ON && stream->phase == IO_PHASE_FLUSHING && stream->queue.first == NULL) {
        if (stream->tls != NULL) {
            io_tls_session_end(stream);
            flow = io_tls_session_flush(stream);
        }
        if (flow == IO_FLOW_ON) {
            linger(stream);
            return;
        }
    }
    if (flow == IO_FLOW_FAILED) {
        break_off(stream);
        return;
    }
    io_stream_watch(stream);
    tell_pressure(stream);
}

static void append(struct io_write_queue *queue, struct io_write *write)
{
    write->next = NULL;
    if (queue->last == NULL) {
        queue->first = write;
    } else {
        queue->last->next = write;
    }
    queue->last = write;
}

static size_t write_size(const struct io_write *write)
{
    size_t size = 0;
    for (uint32_t i = 0; i < write->count; i++) {
        size += write->parts[i].size;
    }
    return size;
}

void io_stream_enqueue(struct io_stream *stream, struct io_write *write)
{
    if (write->count == 0) {
        if (write->done != NULL) {
            write->done(write->owner);
        }
        mem_free(write);
        return;
    }
    stream->queued += write_size(write);
    append(&stream->queue, write);
    io_stream_flush(stream);
}

/* A write of `parts`, without the empty ones; copies the bytes if nobody keeps them. */
static struct io_write *write_create(const struct span *parts, uint32_t count, void *owner,
                                     void (*done)(void *owner))
{
    size_t copied = 0;
    for (uint32_t i = 0; done == NULL && i < count; i++) {
        copied += parts[i].size;
    }
    struct io_write *write =
        mem_alloc(sizeof *write + (size_t)count * sizeof write->parts[0] + copied);
    *write = (struct io_write){.owner = owner, .done = done};
    uint8_t *copy = (uint8_t *)&write->parts[count];
    for (uint32_t i = 0; i < count; i++) {
        if (parts[i].size == 0) {
            continue;
        }
        struct span part = parts[i];
        if (done == NULL) {
            memcpy(copy, part.data, part.size);
            part.data = copy;
            copy += part.size;
        }
        write->parts[write->count++] = part;
    }
    return write;
}

void io_stream_send(struct io_stream *stream, struct span bytes)
{
    io_stream_enqueue(stream, write_create(&bytes, 1, NULL, NULL));
}

void io_stream_write(struct io_stream *stream, const struct span *parts, uint32_t count,
                     void *owner, void (*done)(void *owner))
{
    ASSERT(stream->phase != IO_PHASE_READY);
    bool taken = stream->phase <= IO_PHASE_OPEN && !stream->broken;
    if (taken && stream->queued > LIMIT_SEND_QUEUE_MAX) {
        io_stream_fail(stream, ERR_LIMIT, "the peer does not read: %zu bytes wait for it",
                       stream->queued);
        taken = false;
    }
    if (!taken) {
        if (done != NULL) {
            done(owner);
        }
        return;
    }
    struct io_write *write = stream->ws != NULL ? io_ws_frame(stream, parts, count, owner, done)
                                                : write_create(parts, count, owner, done);
    if (stream->phase == IO_PHASE_OPEN || write->count == 0) {
        io_stream_enqueue(stream, write);
    } else {
        stream->queued += write_size(write);
        append(&stream->early, write);
    }
}

void io_stream_write_descriptors(struct io_stream *stream, struct span bytes,
                                 const int *descriptors, uint32_t count)
{
    ASSERT(stream->phase != IO_PHASE_READY);
    ASSERT(bytes.size > 0);
    ASSERT(count > 0);
    ASSERT(count <= IO_DESCRIPTORS_MAX);
    ASSERT(stream->tls == NULL);
    struct io_write *write = write_create(&bytes, 1, NULL, NULL);
    write->descriptors = mem_copy(descriptors, count * sizeof *descriptors);
    write->descriptor_count = count;
    if (stream->phase == IO_PHASE_OPEN && !stream->broken) {
        io_stream_enqueue(stream, write);
    } else {
        close_descriptors(write);
        mem_free(write);
    }
}

size_t io_stream_queued(const struct io_stream *stream)
{
    return stream->queued;
}
