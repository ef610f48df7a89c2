/* payload_open.c: the few payloads that cask must read itself: pickles of graphs and exceptions.
 *
 * Wire sub-frames become logical frames as stock does it: decompress each, then join the runs that
 * split-num-sub-frames and split-offsets describe (protocol.md 2.4). */
#include "base/limits.h"
#include "wire/compress.h"
#include "wire/msgpack.h"
#include "wire/payload.h"
#include "wire/sub_header.h"

/* Stock compresses no frame above this (and shards far below it). */
static const uint64_t decompressed_max = 1ull << 31;

/* The list in `raw`, or an empty one; *out_count items. */
static int list_open(struct span raw, struct msgpack_reader *out_reader, uint32_t *out_count)
{
    *out_reader = msgpack_reader(raw);
    *out_count = 0;
    if (raw.data == NULL) {
        return OK;
    }
    return msgpack_read_array(out_reader, out_count) == OK ? OK : ERR_MALFORMED;
}

/* Sub-frames 1 … of the blob, decompressed as the header says. */
static int frames_decompress(const struct blob *blob, const struct sub_header *header,
                             struct frames *out)
{
    struct msgpack_reader names;
    uint32_t name_count;
    int code = list_open(header->compression, &names, &name_count);
    for (uint32_t i = 1; code == OK && i < blob->frame_count; i++) {
        enum compress_method method = COMPRESS_NONE;
        struct span name;
        if (i <= name_count && msgpack_read_nil(&names) != OK) {
            code = msgpack_read_str(&names, &name);
            if (code == OK && !compress_find(name, &method)) {
                code = ERR_UNSUPPORTED;
            }
        }
        struct slice frame = {0};
        if (code == OK && method == COMPRESS_NONE) {
            frame = slice_ref(blob->frames[i]);
        } else if (code == OK) {
            code = compress_decode(method, slice_span(blob->frames[i]), decompressed_max, &frame);
        }
        if (code == OK) {
            frames_add(out, frame);
        }
    }
    return code == ERR_TYPE || code == ERR_TRUNCATED ? ERR_MALFORMED : code;
}

/* Frames [first, first + count) as one. */
static int frames_join(const struct frames *frames, uint64_t first, uint64_t count,
                       struct slice *out)
{
    if (first > frames->count || count > frames->count - first) {
        return ERR_MALFORMED;
    }
    if (count == 1) {
        *out = slice_ref(frames->items[first]);
        return OK;
    }
    uint64_t size = 0;
    for (uint64_t i = 0; i < count; i++) {
        size += frames->items[first + i].size;
    }
    if (size > LIMIT_FRAME_BYTES_MAX) {
        return ERR_LIMIT;
    }
    struct buf *buf = buf_create((size_t)size);
    for (uint64_t i = 0; i < count; i++) {
        struct slice frame = frames->items[first + i];
        if (frame.size > 0) {
            memcpy(buf->data + buf->size, frame.data, frame.size);
        }
        buf->size += frame.size;
    }
    *out = (struct slice){buf->data, buf->size, buf};
    return OK;
}

/* Turn sub-frames into logical frames; without split lists they are the same. */
static int frames_merge(const struct sub_header *header, const struct frames *subs,
                        struct frames *out)
{
    struct msgpack_reader counts;
    struct msgpack_reader offsets;
    uint32_t run_count;
    uint32_t offset_count;
    int code = list_open(header->split_counts, &counts, &run_count);
    if (code == OK) {
        code = list_open(header->split_offsets, &offsets, &offset_count);
    }
    if (code != OK || run_count != offset_count || run_count > subs->count + 1) {
        return ERR_MALFORMED;
    }
    if (header->split_counts.data == NULL) {
        for (uint32_t i = 0; i < subs->count; i++) {
            frames_add(out, slice_ref(subs->items[i]));
        }
        return OK;
    }
    uint64_t joined = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        uint64_t count;
        uint64_t first;
        struct slice frame;
        if (msgpack_read_uint(&counts, &count) != OK || msgpack_read_uint(&offsets, &first) != OK) {
            return ERR_MALFORMED;
        }
        joined += count < subs->count ? count : subs->count;
        if (joined > subs->count) {
            return ERR_MALFORMED; /* runs that overlap could multiply the bytes */
        }
        code = frames_join(subs, first, count, &frame);
        if (code != OK) {
            return code;
        }
        frames_add(out, frame);
    }
    return OK;
}

int payload_open(const struct blob *blob, struct payload_content *out_content)
{
    struct payload_content content = {0};
    struct sub_header header;
    uint32_t number;
    if (!payload_is_placeholder(slice_span(blob->value), &number, &content.is_pickled) ||
        number != 1 || blob->frame_count == 0) {
        return ERR_TYPE;
    }
    content.header = slice_span(blob->frames[0]);
    int code = sub_header_read(content.header, &header);
    if (code != OK) {
        return code;
    }
    content.serializer = content.is_pickled ? SPAN("pickle") : header.serializer;
    content.is_collection = header.is_collection;
    content.type = header.type;
    struct frames subs = {0};
    if (content.is_pickled) {
        frames_add(&content.parts, slice_copy(header.pickle));
        code = header.pickle.data == NULL ? ERR_MALFORMED : OK;
    }
    if (code == OK) {
        code = frames_decompress(blob, &header, &subs);
    }
    if (code == OK) {
        code = frames_merge(&header, &subs, &content.parts);
    }
    frames_fini(&subs);
    if (code != OK) {
        payload_content_fini(&content);
        return code;
    }
    *out_content = content;
    return OK;
}

void payload_content_fini(struct payload_content *content)
{
    frames_fini(&content->parts);
    *content = (struct payload_content){0};
}

int payload_bytes(const struct blob *blob, struct slice *out_bytes)
{
    struct msgpack_reader reader = msgpack_reader(slice_span(blob->value));
    struct span bytes;
    if (msgpack_read_bin(&reader, &bytes) == OK) {
        *out_bytes = slice_copy(bytes);
        return OK;
    }
    struct payload_content content;
    int code = payload_open(blob, &content);
    if (code != OK) {
        return code;
    }
    bool is_bytes =
        span_equal(content.serializer, SPAN("dask")) &&
        (span_equal(content.type, SPAN("bytes")) || span_equal(content.type, SPAN("bytearray")));
    bool is_pickle = span_equal(content.serializer, SPAN("pickle"));
    if (content.is_collection || content.parts.count != 1 || !(is_bytes || is_pickle)) {
        code = ERR_TYPE;
    } else {
        *out_bytes = slice_ref(content.parts.items[0]);
    }
    payload_content_fini(&content);
    return code;
}

/* ---- For people --------------------------------------------------------------------------------- */

/* The map is a placeholder for a frame that `context` (struct frames) has: say what it is. */
static bool print_placeholder(void *context, struct text *out, struct span map)
{
    const struct frames *message = context;
    uint32_t number;
    bool is_pickled;
    if (!payload_is_placeholder(map, &number, &is_pickled)) {
        return false;
    }
    struct sub_header header;
    if (number >= message->count ||
        sub_header_read(slice_span(message->items[number]), &header) != OK ||
        header.frame_count > message->count - number - 1) {
        text_printf(out, "<frame %u, which is missing or broken>", number);
        return true;
    }
    uint64_t size = header.pickle.size;
    for (uint32_t i = 0; i < header.frame_count; i++) {
        size += message->items[number + 1 + i].size;
    }
    struct span what = header.type.size > 0 ? header.type : header.serializer;
    text_add_char(out, '<');
    text_add_cstr(out, is_pickled ? "pickled" : "serialized ");
    text_add(out, is_pickled ? (struct span){0} : what);
    text_printf(out, ", %llu bytes>", (unsigned long long)size);
    return true;
}

void payload_print(struct text *out, const struct frames *message, struct span value,
                   size_t size_max)
{
    struct frames view = message != NULL ? *message : (struct frames){0};
    msgpack_print_hooked(out, value, size_max, message != NULL ? print_placeholder : NULL, &view);
}
