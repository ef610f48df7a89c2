/* spill_read.c: the reading side of the spill files: one record into one value.
 *
 * Every block is checked before it is used. Values up to CHANNEL_INLINE_MAX come back in the heap; larger ones
 * in a segment, as executors would have to be given them in one, with frames at multiples of 64. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "store/spill_internal.h"
#include "store/spill_system.h"

enum {
    WHOLE_MAX = 512 * 1024, /* records up to this are read at once */
    FRAME_ALIGN = 64,
};

struct load {
    const struct spill_source *source;
    struct text *why;
    uint8_t *bytes; /* the header, or the whole record */
    bool is_whole;
    struct spill_record record;
    uint8_t *block;      /* room for one, if the record is not whole */
    uint64_t block_from; /* where in the record the next one begins */
    uint32_t block_index;
};

static int read_part(const struct load *load, uint64_t from, uint8_t *data, size_t size)
{
    const struct spill_source *source = load->source;
    int failed = spill_read_at(source->system, source->fd, data, size, source->place.offset + from);
    if (failed > 0) {
        text_add_cstr(load->why, "its spill file ends before its record does");
        return ERR_TRUNCATED;
    }
    return failed == 0 ? OK : spill_refuse("read", "its spill file", load->why);
}

static int read_header(struct load *load)
{
    const struct spill_place *place = &load->source->place;
    load->is_whole = place->size <= WHOLE_MAX;
    size_t size = load->is_whole ? place->size : place->header_size;
    load->bytes = mem_alloc(size);
    int code = read_part(load, 0, load->bytes, size);
    if (code == OK) {
        code = spill_record_read(span_of(load->bytes, place->header_size), load->source->serial,
                                 place->size, &load->record, load->why);
    }
    load->block_from = place->header_size;
    return code;
}

/* The next block, checked and decompressed: *out_bytes, which *out_unpacked owns if it is not empty. */
static int next_block(struct load *load, uint32_t size, struct span *out_bytes,
                      struct slice *out_unpacked)
{
    struct spill_block row = spill_record_block(&load->record, load->block_index++);
    struct span stored = span_of(load->bytes + load->block_from, row.stored);
    if (!load->is_whole) {
        if (load->block == NULL) {
            load->block = mem_alloc(SPILL_BLOCK_MAX);
        }
        int code = read_part(load, load->block_from, load->block, row.stored);
        if (code != OK) {
            return code;
        }
        stored.data = load->block;
    }
    load->block_from += row.stored;
    *out_unpacked = (struct slice){0};
    *out_bytes = stored;
    bool good = span_hash(stored) == row.check;
    if (good && row.stored < size) {
        good = compress_decode(load->record.method, stored, size, out_unpacked) == OK &&
               out_unpacked->size == size;
        *out_bytes = slice_span(*out_unpacked);
    }
    if (!good) {
        slice_fini(out_unpacked);
        text_add_cstr(load->why, "a block of its record is not what was written");
        return ERR_CORRUPT;
    }
    return OK;
}

/* Where a frame goes: memory, or a segment. */
struct target {
    uint8_t *bytes; /* NULL: into the segment, at `at` */
    const struct store_segment_draft *segment;
    uint64_t at;
};

static int put_block(const struct load *load, const struct target *target, uint64_t from,
                     struct span bytes)
{
    if (target->bytes != NULL) {
        memcpy(target->bytes + from, bytes.data, bytes.size);
        return OK;
    }
    int code = store_segment_write(target->segment, target->at + from, bytes, load->why);
    return code == OK ? OK : ERR_BUSY;
}

static int read_frame(struct load *load, uint32_t index, const struct target *target)
{
    uint64_t size = spill_record_frame(&load->record, index);
    for (uint64_t done = 0; done < size; done += SPILL_BLOCK_MAX) {
        struct span bytes;
        struct slice unpacked;
        int code = next_block(load, spill_block_size(size, done), &bytes, &unpacked);
        if (code == OK) {
            code = put_block(load, target, done, bytes);
            slice_fini(&unpacked);
        }
        if (code != OK) {
            return code;
        }
    }
    return OK;
}

static uint64_t aligned(uint64_t offset)
{
    return (offset + FRAME_ALIGN - 1) / FRAME_ALIGN * FRAME_ALIGN;
}

static struct blob *new_blob(const struct spill_record *record)
{
    return blob_create(slice_copy(record->value), record->frame_count);
}

static int load_into_heap(struct load *load, struct spill_loaded *out_loaded)
{
    const struct spill_record *record = &load->record;
    struct blob *blob = new_blob(record);
    struct buf *buf = buf_create(record->frames_size);
    int code = OK;
    for (uint32_t i = 0; i < record->frame_count && code == OK; i++) {
        uint64_t size = spill_record_frame(record, i);
        uint8_t *at = buf->data + buf->size;
        code = read_frame(load, i, &(struct target){.bytes = at});
        buf->size += size;
        blob->frames[i] = slice_create(buf, span_of(at, size));
    }
    buf_unref(buf);
    if (code != OK) {
        blob_unref(blob);
        return code;
    }
    *out_loaded = (struct spill_loaded){.blob = blob, .segment = -1};
    return OK;
}

/* Point the frames into the mapping; their owner comes with spill_value(). */
static struct blob *blob_of_mapping(const struct spill_record *record, struct span mapping)
{
    struct blob *blob = new_blob(record);
    uint64_t at = 0;
    for (uint32_t i = 0; i < record->frame_count; i++) {
        uint64_t size = spill_record_frame(record, i);
        at = aligned(at);
        blob->frames[i] = (struct slice){mapping.data + at, size, NULL};
        at += size;
    }
    return blob;
}

static int load_into_segment(struct load *load, struct spill_loaded *out_loaded)
{
    const struct spill_record *record = &load->record;
    uint64_t size = 0;
    for (uint32_t i = 0; i < record->frame_count; i++) {
        size = aligned(size) + spill_record_frame(record, i);
    }
    struct store_segment_draft draft;
    if (store_segment_create(size, &draft, load->why) != OK) {
        return ERR_BUSY;
    }
    int code = OK;
    uint64_t at = 0;
    for (uint32_t i = 0; i < record->frame_count && code == OK; i++) {
        at = aligned(at);
        code = read_frame(load, i, &(struct target){.segment = &draft, .at = at});
        at += spill_record_frame(record, i);
    }
    if (code != OK) {
        store_segment_discard(&draft);
        return code;
    }
    struct spill_loaded loaded;
    if (store_segment_seal(&draft, &loaded.mapping, &loaded.segment, load->why) != OK) {
        return ERR_BUSY;
    }
    loaded.blob = blob_of_mapping(record, loaded.mapping);
    *out_loaded = loaded;
    return OK;
}

int spill_load(const struct spill_source *source, struct spill_loaded *out_loaded, struct text *why)
{
    ASSERT(source->place.header_size <= source->place.size);
    struct load load = {.source = source, .why = why};
    int code = read_header(&load);
    if (code == OK && load.record.frames_size <= CHANNEL_INLINE_MAX) {
        code = load_into_heap(&load, out_loaded);
    } else if (code == OK) {
        code = load_into_segment(&load, out_loaded);
    }
    mem_free(load.bytes);
    mem_free(load.block);
    return code;
}

int spill_read(const struct spill *spill, const struct spill_place *place, uint64_t serial,
               struct spill_loaded *out_loaded, struct text *why)
{
    struct spill_source source = {spill_system_of(spill), place->file->fd, *place, serial};
    if (source.fd >= 0) {
        return spill_load(&source, out_loaded, why);
    }
    int code = spill_file_open(spill, place->file, O_RDONLY, &source.fd, why);
    if (code == OK) {
        code = spill_load(&source, out_loaded, why);
        close(source.fd);
    }
    return code;
}

struct store_value *spill_value(struct spill_loaded *loaded, struct store_segments *segments)
{
    struct blob *blob = loaded->blob;
    if (loaded->segment >= 0) {
        struct buf *segment = store_segment_buf(loaded->segment, loaded->mapping, segments);
        for (uint32_t i = 0; i < blob->frame_count; i++) {
            blob->frames[i].owner = buf_ref(segment);
        }
        buf_unref(segment);
    }
    return store_value_in_segment(blob, loaded->segment, loaded->mapping);
}
