/* channel_write.c: what a worker says to an executor, as bytes and descriptors.
 *
 * Inline frames over CHANNEL_INLINE_MAX go into a memfd: one copy, into pages that the executor maps,
 * where a socket would cost two and a megabyte at a time. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "exec/channel.h"
#include "exec/channel_internal.h"

void channel_writer_fini(struct channel_writer *writer)
{
    for (uint32_t i = 0; i < writer->attached.count; i++) {
        close(writer->attached.items[i].fd);
    }
    vec_fini(&writer->attached);
    text_fini(&writer->bytes);
    *writer = (struct channel_writer){0};
}

/* ---- parts ---- */

static void store(uint8_t *out, uint64_t value, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static void add_number(struct channel_writer *writer, uint64_t value, uint32_t size)
{
    uint8_t bytes[8];
    store(bytes, value, size);
    text_add(&writer->bytes, span_of(bytes, size));
}

static void add_u32(struct channel_writer *writer, uint32_t value)
{
    add_number(writer, value, 4);
}

static void add_u64(struct channel_writer *writer, uint64_t value)
{
    add_number(writer, value, 8);
}

static void add_bytes(struct channel_writer *writer, struct span bytes)
{
    ASSERT(bytes.size <= CHANNEL_BODY_MAX);
    add_u32(writer, (uint32_t)bytes.size);
    text_add(&writer->bytes, bytes);
}

static void begin(struct channel_writer *writer, enum executor_op op, uint64_t handle)
{
    writer->message = writer->bytes.size;
    add_u32(writer, 0); /* the size, known at the end */
    add_number(writer, op, 2);
    add_number(writer, 0, 2); /* descriptors, known at the end */
    add_u64(writer, handle);
}

static void attach(struct channel_writer *writer, int fd)
{
    vec_push(&writer->attached, (struct channel_attached){writer->message, fd});
}

/* Forget the message that is being added. */
static int abandon(struct channel_writer *writer, int code)
{
    while (writer->attached.count > 0 &&
           writer->attached.items[writer->attached.count - 1].at == writer->message) {
        close(vec_pop(&writer->attached).fd);
    }
    writer->bytes.size = writer->message;
    if (writer->bytes.data != NULL) {
        writer->bytes.data[writer->message] = '\0';
    }
    return code;
}

static int end(struct channel_writer *writer)
{
    size_t size = writer->bytes.size - writer->message - CHANNEL_HEADER_SIZE;
    if (size > CHANNEL_BODY_MAX) {
        return abandon(writer, ERR_LIMIT);
    }
    uint32_t fd_count = 0;
    while (fd_count < writer->attached.count &&
           writer->attached.items[writer->attached.count - 1 - fd_count].at == writer->message) {
        fd_count++;
    }
    ASSERT(fd_count <= CHANNEL_FDS_MAX);
    uint8_t *header = (uint8_t *)writer->bytes.data + writer->message;
    store(header, size, 4);
    store(header + 6, fd_count, 2);
    return OK;
}

/* The end of a message that cannot be too long. */
static void end_small(struct channel_writer *writer)
{
    int code = end(writer);
    ASSERT(code == OK);
}

/* ---- segments ---- */

static uint64_t inline_size(const struct executor_payload *payload)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < payload->frame_count; i++) {
        size += payload->frames[i].data == NULL ? 0 : payload->frames[i].size;
    }
    return size;
}

static bool write_at(int fd, const uint8_t *data, uint64_t size, uint64_t offset)
{
    while (size > 0) {
        ssize_t written = pwrite(fd, data, size, (off_t)offset);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        data += written;
        offset += (uint64_t)written;
        size -= (uint64_t)written;
    }
    return true;
}

/* A frame of 64 bytes' multiple is followed without a gap, so shards of one buffer stay one. */
static uint64_t aligned(uint64_t offset)
{
    return (offset + CHANNEL_ALIGNMENT - 1) & ~(uint64_t)(CHANNEL_ALIGNMENT - 1);
}

/* A sealed memfd with all frames of `payload`, which are inline; -1 if the system refuses. */
static int make_segment(const struct executor_payload *payload)
{
    int fd = memfd_create("cask-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    uint64_t offset = 0;
    bool good = fd >= 0;
    for (uint32_t i = 0; good && i < payload->frame_count; i++) {
        const struct executor_frame *frame = &payload->frames[i];
        offset = aligned(offset);
        good = write_at(fd, frame->data, frame->size, offset);
        offset += frame->size;
    }
    good = good && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0;
    if (!good && fd >= 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* ---- payloads ---- */

static bool is_all_inline(const struct executor_payload *payload)
{
    for (uint32_t i = 0; i < payload->frame_count; i++) {
        if (payload->frames[i].data == NULL) {
            return false;
        }
    }
    return true;
}

/* The table, the value, the inline frames. `moved`: all frames were put into a segment in order. */
static void add_frames(struct channel_writer *writer, const struct executor_payload *payload,
                       bool moved)
{
    add_u32(writer, (uint32_t)payload->value.size);
    add_u32(writer, payload->frame_count);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < payload->frame_count; i++) {
        const struct executor_frame *frame = &payload->frames[i];
        offset = aligned(offset);
        add_u64(writer, frame->size);
        add_u64(writer, moved ? offset : frame->data != NULL ? CHANNEL_INLINE : frame->offset);
        offset += frame->size;
    }
    text_add(&writer->bytes, payload->value);
    for (uint32_t i = 0; !moved && i < payload->frame_count; i++) {
        const struct executor_frame *frame = &payload->frames[i];
        if (frame->data != NULL) {
            text_add(&writer->bytes, span_of(frame->data, frame->size));
        }
    }
}

/* Add `payload`, and end the message. */
static int end_payload(struct channel_writer *writer, const struct executor_payload *payload)
{
    if (payload->value.size > CHANNEL_BODY_MAX || payload->frame_count > CHANNEL_BODY_MAX / 16) {
        return abandon(writer, ERR_LIMIT);
    }
    bool all_inline = is_all_inline(payload);
    bool moved = all_inline && inline_size(payload) > CHANNEL_INLINE_MAX;
    if (!all_inline && inline_size(payload) > CHANNEL_BODY_MAX) {
        return abandon(writer, ERR_LIMIT);
    }
    if (moved || !all_inline) {
        int segment = moved ? make_segment(payload) : fcntl(payload->segment, F_DUPFD_CLOEXEC, 0);
        if (segment < 0) {
            return abandon(writer, ERR_IO);
        }
        attach(writer, segment);
    }
    add_frames(writer, payload, moved);
    return end(writer);
}

/* ---- messages ---- */

void channel_add_start(struct channel_writer *writer, uint32_t slot_count, int board, int crash_log)
{
    begin(writer, EXECUTOR_START, 0);
    attach(writer, board);
    attach(writer, crash_log);
    add_u32(writer, slot_count);
    end_small(writer);
}

void channel_add_settings(struct channel_writer *writer, enum executor_op op, struct span map)
{
    ASSERT(op == EXECUTOR_HELLO || op == EXECUTOR_UPDATE);
    ASSERT(map.size < CHANNEL_BODY_MAX / 2);
    begin(writer, op, 0);
    add_bytes(writer, map);
    end_small(writer);
}

int channel_add_put(struct channel_writer *writer, uint64_t handle, struct span key,
                    const struct executor_payload *payload)
{
    if (key.size > CHANNEL_BODY_MAX / 2) {
        return ERR_LIMIT;
    }
    begin(writer, EXECUTOR_PUT, handle);
    add_bytes(writer, key);
    return end_payload(writer, payload);
}

int channel_add_run(struct channel_writer *writer, const struct executor_run *run)
{
    if (run->key.size > CHANNEL_BODY_MAX / 4 || run->annotations.size > CHANNEL_BODY_MAX / 4 ||
        run->input_count > CHANNEL_BODY_MAX / 16) {
        return ERR_LIMIT;
    }
    begin(writer, EXECUTOR_RUN, run->handle);
    add_u32(writer, (run->is_actor ? 1u : 0u) | (run->wants_small ? 2u : 0u));
    add_u32(writer, run->input_count);
    for (uint32_t i = 0; i < run->input_count; i++) {
        add_u64(writer, run->inputs[i]);
    }
    add_bytes(writer, run->key);
    add_bytes(writer, run->annotations);
    return end_payload(writer, &run->run_spec);
}

void channel_add_export(struct channel_writer *writer, uint64_t handle, int take_segment)
{
    begin(writer, EXECUTOR_EXPORT, handle);
    if (take_segment >= 0) {
        attach(writer, take_segment);
    }
    end_small(writer);
}

/* Handles in one DROP; more go into the next. */
#define DROP_MAX (1u << 20)

void channel_add_drop(struct channel_writer *writer, const uint64_t *handles, uint32_t count)
{
    while (count > 0) {
        uint32_t now = count < DROP_MAX ? count : DROP_MAX;
        begin(writer, EXECUTOR_DROP, 0);
        add_u32(writer, now);
        for (uint32_t i = 0; i < now; i++) {
            add_u64(writer, handles[i]);
        }
        end_small(writer);
        handles += now;
        count -= now;
    }
}

void channel_add_cancel(struct channel_writer *writer, uint64_t handle, enum executor_cancel how,
                        struct span reason)
{
    ASSERT(reason.size < CHANNEL_BODY_MAX / 2);
    begin(writer, EXECUTOR_CANCEL, handle);
    add_u32(writer, how);
    add_bytes(writer, reason);
    end_small(writer);
}

int channel_add_call(struct channel_writer *writer, uint64_t id, bool wants_reply, struct span op,
                     const struct executor_payload *payload)
{
    if (op.size > CHANNEL_BODY_MAX / 2) {
        return ERR_LIMIT;
    }
    begin(writer, EXECUTOR_CALL, id);
    add_u32(writer, !wants_reply);
    add_bytes(writer, op);
    return end_payload(writer, payload);
}

int channel_add_answer(struct channel_writer *writer, uint64_t id, bool ok,
                       const struct executor_payload *payload)
{
    begin(writer, EXECUTOR_ANSWER, id);
    add_u32(writer, !ok);
    return end_payload(writer, payload);
}

void channel_add_exit(struct channel_writer *writer)
{
    begin(writer, EXECUTOR_EXIT, 0);
    end_small(writer);
}

void channel_add_fork(struct channel_writer *writer, uint64_t number, const int fds[3])
{
    begin(writer, EXECUTOR_FORK, number);
    for (int i = 0; i < 3; i++) {
        attach(writer, fds[i]);
    }
    end_small(writer);
}
