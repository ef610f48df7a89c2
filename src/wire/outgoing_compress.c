/* outgoing_compress.c: the buffers behind pickles, compressed as the peer agreed to.
 *
 * As stock: what the scheduler itself pickles (ToPickle: a task's run_spec) is compressed, what passes through it
 * (Serialized) stays as its sender made it. The pickle itself stands in the sub-header and is never compressed.
 * Source: distributed protocol/core.py, create_pickled_sub_frames; compression.py, maybe_compress. */
#include "base/limits.h"
#include "wire/msgpack.h"
#include "wire/outgoing.h"
#include "wire/sub_header.h"

/* Compress frame `at` if it is not compressed yet, may be and should be; true if it was. */
static bool compress_frame(struct outgoing *message, uint32_t at, enum compress_method method)
{
    struct slice *frame = &message->frames.items[at];
    struct slice small;
    if (frame->size > LIMIT_COMPRESS_BYTES_MAX ||
        !compress_encode(method, slice_span(*frame), frame->size, &small)) {
        return false;
    }
    message->frames_size -= frame->size - small.size;
    slice_fini(frame);
    *frame = small;
    return true;
}

/* Frames first … first + count − 1, whose compressions so far are `names`; the new ones go to `out`. */
static bool compress_frames(struct outgoing *message, uint32_t first, struct span names,
                            enum compress_method method, struct text *out)
{
    struct msgpack_reader reader = msgpack_reader(names);
    uint32_t count;
    bool any = false;
    int code = msgpack_read_array(&reader, &count);
    msgpack_write_array(out, code == OK ? count : 0);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        struct span name;
        code = msgpack_read_value(&reader, &name);
        if (code == OK && msgpack_is_nil(name) && compress_frame(message, first + i, method)) {
            msgpack_write_cstr(out, compress_name(method));
            any = true;
        } else if (code == OK) {
            msgpack_write_raw(out, name);
        }
    }
    ASSERT(code == OK); /* is_ours has read it */
    return any;
}

/* A sub-header as before, but for its "compression". */
static void write_header(struct text *out, struct span header, struct span names)
{
    struct msgpack_reader reader = msgpack_reader(header);
    uint32_t count;
    int code = msgpack_read_map(&reader, &count);
    msgpack_write_map(out, count);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        struct span name = {0}, value = {0};
        code = msgpack_read_str(&reader, &name);
        code = code == OK ? msgpack_read_value(&reader, &value) : code;
        msgpack_write_str(out, name);
        msgpack_write_raw(out, span_equal(name, SPAN("compression")) ? names : value);
    }
    ASSERT(code == OK); /* sub_header_read has read it */
}

/* It is a pickle, and says of each of its buffers whether that is compressed. */
static bool is_ours(const struct sub_header *header)
{
    struct msgpack_reader reader = msgpack_reader(header->compression);
    uint32_t count;
    if (header->pickle.data == NULL || header->compression.data == NULL ||
        msgpack_read_array(&reader, &count) != OK || count != header->frame_count) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (msgpack_skip(&reader) != OK) {
            return false;
        }
    }
    return count > 0;
}

void outgoing_compress(struct outgoing *message, enum compress_method method)
{
    struct frames *frames = &message->frames;
    struct sub_header header;
    for (uint32_t i = 0; i < frames->count; i += 1 + (uint32_t)header.frame_count) {
        if (sub_header_read(slice_span(frames->items[i]), &header) != OK ||
            header.frame_count > frames->count - i - 1) {
            return; /* a peer's own frames, which pass as they are */
        }
        if (!is_ours(&header)) {
            continue;
        }
        struct text names = {0};
        if (compress_frames(message, i + 1, header.compression, method, &names)) {
            struct text head = {0};
            write_header(&head, slice_span(frames->items[i]), text_span(&names));
            message->frames_size += head.size;
            message->frames_size -= frames->items[i].size;
            slice_fini(&frames->items[i]);
            frames->items[i] = slice_copy(text_span(&head));
            text_fini(&head);
        }
        text_fini(&names);
    }
}
