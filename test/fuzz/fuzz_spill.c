/* A spill file with arbitrary bytes, as a broken disk might give them back. The first byte says how much of the
 * record's sums is put right, so that what they guard is reached as well; the second where the header ends. */
#include <errno.h>

#include "base/error.h"
#include "store/spill.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD_SIZE = 48, RIGHT_HEAD = 1, RIGHT_CHECK = 2 };

static ssize_t read_memory(void *user, int fd, void *into, size_t size, uint64_t offset)
{
    (void)fd;
    const struct text *file = user;
    if (offset >= file->size) {
        return 0;
    }
    size_t left = file->size - offset;
    size_t part = size < left ? size : left;
    part = part > 1000 ? part - part / 3 : part; /* less than asked for */
    memcpy(into, file->data + offset, part);
    return (ssize_t)part;
}

static void put(struct text *file, size_t at, uint64_t number, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        file->data[at + i] = (char)(number >> (8 * i));
    }
}

static void put_right(struct text *file, uint32_t header_size, uint8_t how)
{
    if (file->size < HEAD_SIZE || header_size < HEAD_SIZE) {
        return;
    }
    if ((how & RIGHT_HEAD) != 0) {
        put(file, 0, 0x726b7363, 4);
        put(file, 4, 1, 2);
        put(file, 8, file->size, 8);
        put(file, 24, 1, 8);
        put(file, 32, header_size, 4);
    }
    if ((how & RIGHT_CHECK) != 0) {
        put(file, 16, span_hash(span_of(file->data + 24, header_size - 24)), 8);
    }
}

/* Where what was read goes, so that reading is not optimised away. */
static volatile uint8_t sink;

/* All that came back must be readable. */
static void use(struct spill_loaded *loaded)
{
    struct store_value *value = spill_value(loaded, NULL);
    for (uint32_t i = 0; i < value->blob->frame_count; i++) {
        struct slice frame = value->blob->frames[i];
        for (size_t k = 0; k < frame.size; k += 64) {
            sink ^= frame.data[k];
        }
    }
    store_value_unref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }
    struct text file = {0};
    text_add(&file, span_of(data + 2, size - 2));
    uint32_t header_size = HEAD_SIZE + data[1];
    header_size = header_size < file.size ? header_size : (uint32_t)file.size;
    put_right(&file, header_size, data[0]);
    struct spill_system system = {.read = read_memory, .user = &file};
    struct spill_place place = {.size = file.size, .header_size = header_size};
    if ((data[0] & 4) != 0) {
        place.size += 600 * 1024; /* so that it is read block by block, and ends too early */
    }
    struct spill_loaded loaded;
    struct text why = {0};
    int code = spill_load(&(struct spill_source){&system, -1, place, 1}, &loaded, &why);
    if (code == OK) {
        use(&loaded);
    } else {
        ASSERT(code == ERR_CORRUPT || code == ERR_TRUNCATED || code == ERR_BUSY);
        ASSERT(why.size > 0);
    }
    text_fini(&why);
    text_fini(&file);
    return 0;
}
