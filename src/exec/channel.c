/* channel.c: reading what an executor sends.
 *
 * A message is given out only when it is whole and its descriptors are there; then one walk over its
 * body checks every length against what is left. Descriptors are paired with messages in the order in
 * which they came, as the kernel keeps it. */
#include "exec/channel.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "exec/channel_internal.h"

#define SPACE_MIN (64u * 1024)
#define SPACE_KEPT (4u * 1024 * 1024)

const char *channel_op_name(enum executor_op op)
{
    switch (op) {
#define EXECUTOR_OP(id, number, direction, meaning)                                                \
    case EXECUTOR_##id:                                                                            \
        return #id;
#include "exec/executor_ops.def"
    }
    return "?";
}

/* ---- the buffer ---- */

void channel_reader_fini(struct channel_reader *reader)
{
    for (uint32_t i = 0; i < reader->waiting_count; i++) {
        close(reader->waiting[i].fd);
    }
    mem_free(reader->data);
    mem_free(reader->frames);
    text_fini(&reader->why);
    *reader = (struct channel_reader){0};
}

static uint32_t load32(const uint8_t *data)
{
    return (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 |
           (uint32_t)data[3] << 24;
}

static uint64_t load64(const uint8_t *data)
{
    return load32(data) | (uint64_t)load32(data + 4) << 32;
}

/* Bytes of the message at the front, as far as they are known. */
static size_t front_size(const struct channel_reader *reader)
{
    if (reader->end - reader->start < CHANNEL_HEADER_SIZE) {
        return CHANNEL_HEADER_SIZE;
    }
    uint32_t size = load32(reader->data + reader->start);
    return CHANNEL_HEADER_SIZE + (size <= CHANNEL_BODY_MAX ? size : 0);
}

void channel_reader_space(struct channel_reader *reader, uint8_t **out_data, size_t *out_size)
{
    size_t held = reader->end - reader->start;
    size_t need = front_size(reader);
    need = need > held ? need : held;
    need += SPACE_MIN;
    if (held == 0 && reader->capacity > SPACE_KEPT && need < SPACE_KEPT) {
        mem_free(reader->data); /* a large message is over */
        reader->data = NULL;
        reader->start = reader->end = reader->capacity = 0;
    }
    if (reader->capacity - reader->start < need) {
        if (reader->start > 0) {
            memmove(reader->data, reader->data + reader->start, held);
            reader->start = 0;
            reader->end = held;
        }
        if (reader->capacity < need) {
            reader->data = mem_resize(reader->data, need, 1);
            reader->capacity = need;
        }
    }
    *out_data = reader->data + reader->end;
    *out_size = reader->capacity - reader->end;
}

void channel_reader_advance(struct channel_reader *reader, size_t size)
{
    ASSERT(size <= reader->capacity - reader->end);
    reader->end += size;
}

bool channel_reader_descriptor(struct channel_reader *reader, int fd)
{
    if (reader->waiting_count == CHANNEL_FDS_WAITING_MAX) {
        close(fd);
        return false;
    }
    struct channel_descriptor *descriptor = &reader->waiting[reader->waiting_count++];
    *descriptor = (struct channel_descriptor){.fd = fd};
    /* Only what cannot shrink may be mapped. Seals exist on memfds alone. */
    int seals = fcntl(fd, F_GET_SEALS);
    int needed = F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat status;
    if (seals >= 0 && (seals & needed) == needed && fstat(fd, &status) == 0) {
        descriptor->size = (uint64_t)status.st_size;
        descriptor->is_sealed = (seals & F_SEAL_WRITE) != 0;
    }
    return true;
}

/* ---- walking a body ---- */

/* What is left of a body. A value that is not there turns `failed` on and reads as zero. */
struct cursor {
    const uint8_t *at;
    size_t left;
    bool failed;
};

static const uint8_t *take(struct cursor *cursor, uint64_t size)
{
    if (cursor->failed || size > cursor->left) {
        cursor->failed = true;
        return NULL;
    }
    const uint8_t *taken = cursor->at;
    cursor->at += size;
    cursor->left -= size;
    return taken;
}

static uint32_t take_u32(struct cursor *cursor)
{
    const uint8_t *data = take(cursor, 4);
    return data == NULL ? 0 : load32(data);
}

static uint64_t take_u64(struct cursor *cursor)
{
    const uint8_t *data = take(cursor, 8);
    return data == NULL ? 0 : load64(data);
}

/* A real that is no number would poison every sum it enters. */
static double take_f64(struct cursor *cursor)
{
    uint64_t bits = take_u64(cursor);
    double real;
    memcpy(&real, &bits, sizeof real);
    if (!(real > -1e18 && real < 1e18)) {
        cursor->failed = true;
        return 0;
    }
    return real;
}

static struct span take_bytes(struct cursor *cursor)
{
    uint32_t size = take_u32(cursor);
    const uint8_t *data = take(cursor, size);
    return span_of(data, data == NULL ? 0 : size);
}

static void take_ledger(struct cursor *cursor, struct executor_ledger *out)
{
    out->prepared = take_f64(cursor);
    out->start = take_f64(cursor);
    out->stop = take_f64(cursor);
    out->thread = take_u64(cursor);
    out->cpu_user = take_f64(cursor);
    out->cpu_system = take_f64(cursor);
    out->rss_peak = take_u64(cursor);
    out->rss_growth = take_u64(cursor);
    out->faults_minor = take_u64(cursor);
    out->faults_major = take_u64(cursor);
    out->read_bytes = take_u64(cursor);
    out->written_bytes = take_u64(cursor);
    out->metrics = take_bytes(cursor);
}

static void take_error(struct cursor *cursor, struct executor_error *out)
{
    out->exception = take_bytes(cursor);
    out->traceback = take_bytes(cursor);
    out->exception_text = take_bytes(cursor);
    out->traceback_text = take_bytes(cursor);
    out->typename = take_bytes(cursor);
}

static struct executor_frame *frame_space(struct channel_reader *reader, uint32_t count)
{
    if (count > reader->frame_capacity) {
        reader->frames = mem_resize(reader->frames, count, sizeof *reader->frames);
        reader->frame_capacity = count;
    }
    return reader->frames;
}

/* `message` has the op. `segment`: the message's descriptor, or NULL. */
static void take_payload(struct cursor *cursor, struct channel_reader *reader,
                         const struct channel_descriptor *segment, struct executor_message *message)
{
    struct executor_payload *out = &message->payload;
    bool may_be_lent = message->op == EXECUTOR_EXPORTED; /* whose the receiver has to find out */
    uint32_t value_size = take_u32(cursor);
    uint32_t frame_count = take_u32(cursor);
    const uint8_t *table = take(cursor, (uint64_t)frame_count * 16);
    const uint8_t *value = take(cursor, value_size);
    if (cursor->failed || (value_size == 0 && frame_count > 0)) {
        cursor->failed = true;
        return;
    }
    struct executor_frame *frames = frame_space(reader, frame_count);
    uint64_t segment_size = segment == NULL ? 0 : segment->size;
    if (segment != NULL && !segment->is_sealed && !may_be_lent) {
        segment_size = 0;
    }
    for (uint32_t i = 0; i < frame_count; i++) {
        struct executor_frame *frame = &frames[i];
        frame->size = load64(table + (size_t)i * 16);
        frame->offset = load64(table + (size_t)i * 16 + 8);
        frame->data = NULL;
        if (frame->offset == CHANNEL_INLINE) {
            frame->data = take(cursor, frame->size);
        } else if (frame->size > segment_size || frame->offset > segment_size - frame->size) {
            cursor->failed = true; /* beyond its end, or not sealed, or not there */
        }
    }
    out->value = span_of(value, value_size);
    out->frame_count = frame_count;
    out->frames = frames;
    if (segment != NULL && !cursor->failed) {
        out->segment = segment->fd;
        out->segment_size = segment->size;
        out->is_sealed = segment->is_sealed;
    }
}

/* ---- one message ---- */

static bool has_payload(enum executor_op op)
{
    return op == EXECUTOR_DONE || op == EXECUTOR_EXPORTED || op == EXECUTOR_REPLY ||
           op == EXECUTOR_ASK || op == EXECUTOR_TELL;
}

/* What comes before a payload, or all there is. False: no executor sends such a message. */
static bool take_fields(struct cursor *cursor, struct executor_message *out)
{
    switch (out->op) {
    case EXECUTOR_READY:
        out->map = take_bytes(cursor);
        return true;
    case EXECUTOR_WELCOME:
        out->text = take_bytes(cursor);
        out->map = take_bytes(cursor);
        return true;
    case EXECUTOR_DONE:
        take_ledger(cursor, &out->ledger);
        out->nbytes = take_u64(cursor);
        out->type = take_bytes(cursor);
        out->text = take_bytes(cursor);
        return true;
    case EXECUTOR_FAILED:
        take_ledger(cursor, &out->ledger);
        take_error(cursor, &out->error);
        return true;
    case EXECUTOR_EXPORT_FAILED:
        take_error(cursor, &out->error);
        return true;
    case EXECUTOR_SECEDED:
        out->seconds = take_f64(cursor);
        return true;
    case EXECUTOR_CANCELLED:
        out->number = take_u32(cursor);
        return true;
    case EXECUTOR_ASK:
    case EXECUTOR_TELL:
        out->text = take_bytes(cursor);
        return true;
    case EXECUTOR_FORKED:
        out->number = take_u32(cursor);
        out->text = take_bytes(cursor);
        return true;
    case EXECUTOR_OUTPUT:
        out->number = take_u32(cursor);
        out->nbytes = take_u64(cursor);
        out->text = take_bytes(cursor);
        return true;
    case EXECUTOR_RESCHEDULE:
    case EXECUTOR_EXPORTED:
    case EXECUTOR_REPLY:
        return true;
    default:
        return false;
    }
}

static void drop_descriptors(struct channel_reader *reader, uint32_t count)
{
    reader->waiting_count -= count;
    memmove(reader->waiting, reader->waiting + count,
            reader->waiting_count * sizeof reader->waiting[0]);
}

static int refuse(struct channel_reader *reader, const char *what, const uint8_t *header)
{
    text_clear(&reader->why);
    text_printf(&reader->why, "%s (op %u, %u bytes, handle %llu)", what,
                (unsigned)header[4] | (unsigned)header[5] << 8, load32(header),
                (unsigned long long)load64(header + 8));
    return ERR_MALFORMED;
}

static int decode(struct channel_reader *reader, const uint8_t *header, uint32_t fd_count,
                  struct executor_message *out)
{
    struct cursor cursor = {header + CHANNEL_HEADER_SIZE, load32(header), false};
    *out = (struct executor_message){
        .op = (enum executor_op)((uint32_t)header[4] | (uint32_t)header[5] << 8),
        .handle = load64(header + 8),
        .payload = EXECUTOR_NO_PAYLOAD,
    };
    if (!take_fields(&cursor, out)) {
        return refuse(reader, "a message that no executor sends", header);
    }
    if (has_payload(out->op) && fd_count <= 1) {
        take_payload(&cursor, reader, fd_count == 1 ? &reader->waiting[0] : NULL, out);
    } else if (fd_count > 0) {
        return refuse(reader, "descriptors where none belong", header);
    }
    if (cursor.failed || cursor.left > 0) {
        return refuse(reader, "a length that does not fit", header);
    }
    return OK;
}

int channel_reader_next(struct channel_reader *reader, struct executor_message *out)
{
    size_t held = reader->end - reader->start;
    if (held < CHANNEL_HEADER_SIZE) {
        return 0;
    }
    const uint8_t *header = reader->data + reader->start;
    uint32_t size = load32(header);
    uint32_t fd_count = (uint32_t)header[6] | (uint32_t)header[7] << 8;
    if (size > CHANNEL_BODY_MAX || fd_count > CHANNEL_FDS_MAX) {
        refuse(reader, "a message that is too large", header);
        return ERR_LIMIT;
    }
    if (held - CHANNEL_HEADER_SIZE < size) {
        return 0;
    }
    if (reader->waiting_count < fd_count) {
        return refuse(reader, "a message without its descriptors", header);
    }
    int code = decode(reader, header, fd_count, out);
    if (code != OK) {
        return code; /* what waits is closed by channel_reader_fini */
    }
    drop_descriptors(reader, fd_count);
    reader->start += CHANNEL_HEADER_SIZE + size;
    return 1;
}
