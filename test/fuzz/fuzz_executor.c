/* What a hostile executor might send: messages cut out of arbitrary bytes, with descriptors that are
 * sealed memfds, unsealed ones and none. The first byte says which come. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "exec/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int make_segment(bool sealed)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int seals = sealed ? F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE : F_SEAL_GROW;
    if (fd >= 0 && (ftruncate(fd, 4096) != 0 || fcntl(fd, F_ADD_SEALS, seals) != 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Where what was read goes, so that reading is not optimised away. */
static volatile uint8_t sink;

static uint8_t touch(struct span bytes)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        sum ^= bytes.data[i];
    }
    return sum;
}

/* Every span must be readable, every frame of a segment inside it. */
static void use(struct executor_message *message)
{
    struct span spans[] = {
        message->text,
        message->map,
        message->type,
        message->ledger.metrics,
        message->error.exception,
        message->error.traceback,
        message->error.exception_text,
        message->error.traceback_text,
        message->error.typename,
        message->payload.value,
    };
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        sink ^= touch(spans[i]);
    }
    for (uint32_t i = 0; i < message->payload.frame_count; i++) {
        const struct executor_frame *frame = &message->payload.frames[i];
        if (frame->data != NULL || frame->size == 0) {
            sink ^= touch(span_of(frame->data, frame->size));
        } else {
            uint8_t byte;
            ASSERT(pread(message->payload.segment, &byte, 1,
                         (off_t)(frame->offset + frame->size - 1)) == 1);
        }
    }
    if (message->payload.segment >= 0) {
        close(message->payload.segment);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct channel_reader reader = {0};
    for (uint32_t i = 0; i < (data[0] & 3u); i++) {
        int fd = make_segment((data[0] & (4u << i)) != 0);
        if (fd >= 0 && !channel_reader_descriptor(&reader, fd)) {
            break;
        }
    }
    size_t at = 1, piece = (data[0] & 0x80) != 0 ? 7 : size;
    int got = 0;
    while (got >= 0 && at < size) {
        uint8_t *space;
        size_t room;
        channel_reader_space(&reader, &space, &room);
        size_t taken = size - at < piece ? size - at : piece;
        taken = taken < room ? taken : room;
        memcpy(space, data + at, taken);
        channel_reader_advance(&reader, taken);
        at += taken;
        struct executor_message message;
        while ((got = channel_reader_next(&reader, &message)) == 1) {
            use(&message);
        }
    }
    channel_reader_fini(&reader);
    return 0;
}
