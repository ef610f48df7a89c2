/* fuzz_frame.c: any bytes as a stream. However they are cut into reads, the same messages come out, or
 * the stream fails at the same message. The first byte chooses the cut. */
#include "wire/frame.h"

struct outcome {
    uint64_t hash;
    uint32_t messages;
    int code;
};

static void hash_add(struct outcome *outcome, struct span bytes)
{
    outcome->hash = (outcome->hash ^ span_hash(bytes)) * 0x9e3779b97f4a7c15u + bytes.size;
}

static struct outcome read_all(struct span bytes, size_t step)
{
    struct outcome outcome = {0};
    struct frame_reader reader;
    struct frames frames = {0};
    struct frames kept = {0}; /* some frames live on while the buffer is used again */
    frame_reader_init(&reader);
    while (bytes.size > 0 && outcome.code >= 0) {
        size_t fed =
            frame_reader_feed(&reader, span_of(bytes.data, bytes.size < step ? bytes.size : step));
        ASSERT(fed > 0);
        bytes = span_of(bytes.data + fed, bytes.size - fed);
        while ((outcome.code = frame_reader_next(&reader, &frames)) == 1) {
            ASSERT(frames.count > 0);
            outcome.messages++;
            for (uint32_t i = 0; i < frames.count; i++) {
                hash_add(&outcome, slice_span(frames.items[i]));
                if (outcome.messages % 4 == 0 && i < 8) {
                    frames_add(&kept, slice_ref(frames.items[i]));
                }
            }
        }
    }
    frame_reader_fini(&reader);
    frames_fini(&frames);
    frames_fini(&kept);
    return outcome;
}

/* What was read is written and read again. */
static void check_round_trip(struct span bytes)
{
    struct frame_reader reader;
    struct frames frames = {0};
    struct frames chunks = {0};
    frame_reader_init(&reader);
    frame_reader_feed(&reader, bytes);
    if (frame_reader_next(&reader, &frames) == 1) {
        frame_encode(&frames, &chunks);
        ASSERT(frames_size(&chunks) == 8 * (2 + (uint64_t)frames.count) + frames_size(&frames));
    }
    frame_reader_fini(&reader);
    frames_fini(&frames);
    frames_fini(&chunks);
}

/* The same bytes as websocket messages of the sizes that they name themselves. */
static void check_ws(struct span bytes)
{
    struct frame_ws_reader reader;
    struct frames frames = {0};
    int code = 0;
    frame_ws_reader_init(&reader);
    while (bytes.size > 0 && code >= 0) {
        size_t size = bytes.data[0] % 64;
        size = size < bytes.size - 1 ? size : bytes.size - 1;
        code = frame_ws_reader_take(&reader, slice_copy(span_of(bytes.data + 1, size)), &frames);
        bytes = span_of(bytes.data + 1 + size, bytes.size - 1 - size);
    }
    frame_ws_reader_fini(&reader);
    frames_fini(&frames);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct span bytes = span_of(data + 1, size - 1);
    struct outcome whole = read_all(bytes, SIZE_MAX);
    struct outcome cut = read_all(bytes, 1u + data[0]);
    ASSERT(whole.messages == cut.messages);
    ASSERT(whole.hash == cut.hash);
    ASSERT(whole.code == cut.code);
    check_round_trip(bytes);
    check_ws(bytes);
    return 0;
}
