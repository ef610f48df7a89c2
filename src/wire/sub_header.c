/* sub_header.c: one pass over the map; fields that only the type's own decoder needs are skipped. */
#include "wire/sub_header.h"

#include "base/error.h"
#include "wire/msgpack.h"

static int sub_header_field(struct sub_header *header, struct span name, struct span value)
{
    struct msgpack_reader reader = msgpack_reader(value);
    if (span_equal(name, SPAN("num-sub-frames"))) {
        return msgpack_read_uint(&reader, &header->frame_count);
    }
    if (span_equal(name, SPAN("serializer"))) {
        return msgpack_read_str(&reader, &header->serializer);
    }
    if (span_equal(name, SPAN("pickled-obj"))) {
        return msgpack_read_bin(&reader, &header->pickle);
    }
    if (span_equal(name, SPAN("is-collection"))) {
        return msgpack_read_bool(&reader, &header->is_collection);
    }
    if (span_equal(name, SPAN("type")) && msgpack_peek(&reader) == MSGPACK_STR) {
        return msgpack_read_str(&reader, &header->type);
    }
    struct span *list = span_equal(name, SPAN("split-num-sub-frames")) ? &header->split_counts
                        : span_equal(name, SPAN("split-offsets"))      ? &header->split_offsets
                        : span_equal(name, SPAN("compression"))        ? &header->compression
                                                                       : NULL;
    if (list != NULL && !msgpack_is_nil(value)) {
        *list = value;
    }
    return OK;
}

int sub_header_read(struct span bytes, struct sub_header *out_header)
{
    struct sub_header header = {.frame_count = UINT64_MAX};
    struct msgpack_reader reader = msgpack_reader(bytes);
    uint32_t count;
    int code = msgpack_read_map(&reader, &count);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        struct span name = {0};
        struct span value = {0};
        code = msgpack_read_str(&reader, &name);
        if (code == OK) {
            code = msgpack_read_value(&reader, &value);
        }
        if (code == OK) {
            code = sub_header_field(&header, name, value);
        }
    }
    if (code == OK && (header.frame_count == UINT64_MAX || !msgpack_at_end(&reader))) {
        code = ERR_MALFORMED;
    }
    if (code == OK) {
        *out_header = header;
    }
    return code == ERR_TRUNCATED || code == ERR_TYPE ? ERR_MALFORMED : code;
}
