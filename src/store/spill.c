/* spill.c: the writing side of the spill files.
 *
 * Records of up to STAGED_MAX bytes are put together in memory and written when the next one does not follow,
 * or a megabyte is full: a batch of 10 KiB values is a few system calls. A larger one is written block by
 * block into room for its uncompressed size, what compression saved is given back, and its header
 * comes last. */
#include "store/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "store/spill_internal.h"
#include "store/spill_system.h"

enum {
    STAGED_MAX = 256 * 1024,
    STAGE_SIZE = 1024 * 1024,
    SHARED_FILE_MAX = 256 * 1024 * 1024,
    OWN_FILE_MIN = 16 * 1024 * 1024,
    TRIES_SKIPPED_MAX = 64,
};

static const struct {
    uint64_t size_min, align;
} classes[] = {{0, 64}, {32 * 1024, 4096}, {OWN_FILE_MIN, 4096}};

struct stage {
    struct spill_file *file; /* NULL: empty */
    uint64_t offset;
    size_t size;
    uint32_t first; /* the first write that is in it */
    uint8_t *bytes;
};

struct spill {
    char *directory;
    uint64_t bytes_max;
    uint64_t bytes; /* of all records, rounded up as they lie */
    enum compress_method compression;
    const struct spill_system *system;
    struct VEC(struct spill_file *) files;
    uint32_t file_next;
    struct stage stage;
    uint8_t *record; /* a record that is put together */
};

/* ---- files ---- */

static void file_path(const struct spill *spill, const struct spill_file *file, struct text *out)
{
    text_printf(out, "%s/%u.spill", spill->directory, file->number);
}

int spill_file_open(const struct spill *spill, const struct spill_file *file, int flags,
                    int *out_fd, struct text *why)
{
    struct text path = {0};
    file_path(spill, file, &path);
    const struct spill_system *system = spill->system;
    int code = OK;
    int fd = system->open(system->user, text_cstr(&path), flags);
    if (fd < 0 && errno == ENOENT && (flags & O_CREAT) != 0 &&
        (mkdir(spill->directory, 0700) == 0 || errno == EEXIST)) {
        fd = system->open(system->user, text_cstr(&path), flags);
    }
    if (fd < 0) {
        code = spill_refuse((flags & O_CREAT) != 0 ? "make" : "open", text_cstr(&path), why);
    } else {
        *out_fd = fd;
    }
    text_fini(&path);
    return code;
}

const struct spill_system *spill_system_of(const struct spill *spill)
{
    return spill->system;
}

static int add_file(struct spill *spill, enum spill_class class, struct spill_file **out_file,
                    struct text *why)
{
    struct spill_file *file = mem_zalloc(1, sizeof *file);
    file->number = spill->file_next++;
    file->class = class;
    file->space.end_max = class == CLASS_OWN ? UINT64_MAX : SHARED_FILE_MAX;
    int code = spill_file_open(spill, file, O_RDWR | O_CREAT | O_EXCL, &file->fd, why);
    if (code != OK) {
        mem_free(file);
        return code;
    }
    vec_push(&spill->files, file);
    *out_file = file;
    return OK;
}

static void remove_file(struct spill *spill, uint32_t index)
{
    struct spill_file *file = spill->files.items[index];
    struct text path = {0};
    file_path(spill, file, &path);
    unlink(text_cstr(&path)); /* if somebody else was quicker, it is gone as well */
    text_fini(&path);
    if (file->fd >= 0) {
        close(file->fd);
    }
    spill_space_fini(&file->space);
    mem_free(file);
    vec_swap_remove(&spill->files, index);
}

/* An empty file of records that share it is kept for the next ones: one of each class. */
static bool is_spare(const struct spill *spill, const struct spill_file *file)
{
    for (uint32_t i = 0; i < spill->files.count; i++) {
        const struct spill_file *other = spill->files.items[i];
        if (other != file && other->class == file->class && other->space.used == 0) {
            return false;
        }
    }
    return file->class != CLASS_OWN;
}

static void remove_if_empty(struct spill *spill, struct spill_file *file)
{
    if (file->space.used > 0 || is_spare(spill, file)) {
        return;
    }
    uint32_t index = 0;
    while (spill->files.items[index] != file) {
        index++;
    }
    remove_file(spill, index);
}

struct spill *spill_create(const struct spill_options *options)
{
    /* Beyond RLIMIT_FSIZE a write shall fail, not end the process. */
    signal(SIGXFSZ, SIG_IGN);
    struct spill *spill = mem_zalloc(1, sizeof *spill);
    spill->directory = mem_copy(options->directory, strlen(options->directory) + 1);
    spill->bytes_max = options->bytes_max > 0 ? options->bytes_max : UINT64_MAX;
    spill->compression = options->compression;
    spill->system = options->system != NULL ? options->system : &spill_real_system;
    return spill;
}

void spill_destroy(struct spill *spill)
{
    if (spill == NULL) {
        return;
    }
    while (spill->files.count > 0) {
        remove_file(spill, spill->files.count - 1);
    }
    vec_fini(&spill->files);
    rmdir(spill->directory); /* fails if there is something that is not ours, which then stays */
    mem_free(spill->stage.bytes);
    mem_free(spill->record);
    mem_free(spill->directory);
    mem_free(spill);
}

/* ---- room ---- */

static enum spill_class class_of(uint64_t size)
{
    return size >= OWN_FILE_MIN                    ? CLASS_OWN
           : size >= classes[CLASS_PAGED].size_min ? CLASS_PAGED
                                                   : CLASS_SMALL;
}

static uint64_t rounded(const struct spill_file *file, uint64_t size)
{
    uint64_t align = classes[file->class].align;
    return (size + align - 1) / align * align;
}

/* Room for `size` bytes. The files that were there first fill up first, so that later ones get empty. */
static int take_room(struct spill *spill, uint64_t size, struct spill_place *out_place,
                     struct text *why)
{
    enum spill_class class = class_of(size);
    struct spill_file *found = NULL;
    uint64_t offset;
    for (uint32_t i = 0; i < spill->files.count && class != CLASS_OWN && found == NULL; i++) {
        struct spill_file *file = spill->files.items[i];
        if (file->class == class && spill_space_take(&file->space, rounded(file, size), &offset)) {
            found = file;
        }
    }
    if (found == NULL) {
        int code = add_file(spill, class, &found, why);
        if (code != OK) {
            return code;
        }
        bool taken = spill_space_take(&found->space, rounded(found, size), &offset);
        ASSERT(taken);
    }
    spill->bytes += rounded(found, size);
    *out_place = (struct spill_place){.file = found, .offset = offset, .size = size};
    return OK;
}

void spill_free(struct spill *spill, const struct spill_place *place)
{
    struct spill_file *file = place->file;
    uint64_t size = rounded(file, place->size);
    ASSERT(size <= spill->bytes);
    spill->bytes -= size;
    spill_space_give(&file->space, place->offset, size);
    remove_if_empty(spill, file);
}

/* The record took less than was taken for it. */
static void trim_room(struct spill *spill, struct spill_place *place, uint64_t size)
{
    uint64_t had = rounded(place->file, place->size), needs = rounded(place->file, size);
    if (needs < had) {
        spill->bytes -= had - needs;
        spill_space_give(&place->file->space, place->offset + needs, had - needs);
    }
    place->size = size;
}

static int check_room(const struct spill *spill, uint64_t size, struct text *why)
{
    if (size <= spill->bytes_max && spill->bytes <= spill->bytes_max - size) {
        return OK;
    }
    text_add_cstr(why, "spilled data would take more than distributed.worker.memory.max-spill: ");
    text_add_bytes_size(why, (double)spill->bytes_max);
    return ERR_NO_SPACE;
}

/* ---- blocks ---- */

/* Whether it pays to try: after each failure more blocks are left alone. */
struct trial {
    uint32_t skip, skip_next;
};

/* The block as it is to be stored; *out_packed is its owner if it was compressed, else empty. */
static struct span pack(const struct spill *spill, struct span block, struct trial *trial,
                        struct slice *out_packed)
{
    *out_packed = (struct slice){0};
    if (trial->skip > 0) {
        trial->skip--;
        return block;
    }
    if (compress_encode(spill->compression, block, block.size, out_packed)) {
        trial->skip_next = 0;
        return slice_span(*out_packed);
    }
    trial->skip_next =
        trial->skip_next < TRIES_SKIPPED_MAX ? trial->skip_next * 2 + 1 : TRIES_SKIPPED_MAX;
    trial->skip = trial->skip_next;
    return block;
}

static void add_row(struct spill_header *header, struct span stored)
{
    spill_header_block(
        header, (struct spill_block){.stored = (uint32_t)stored.size, .check = span_hash(stored)});
}

/* ---- small records: through the stage ---- */

/* Write what is staged. If that fails, all that is in it has failed. */
static void flush(struct spill *spill, struct spill_write *writes, uint32_t count, struct text *why)
{
    struct stage *stage = &spill->stage;
    if (stage->file == NULL) {
        return;
    }
    if (spill_write_at(spill->system, stage->file->fd, span_of(stage->bytes, stage->size),
                       stage->offset) != 0) {
        int code = spill_refuse("write to", spill->directory, why);
        for (uint32_t i = stage->first; i < count; i++) {
            if (writes[i].code == OK) {
                spill_free(spill, &writes[i].place);
                writes[i].place = (struct spill_place){0};
                writes[i].code = code;
            }
        }
    }
    stage->file = NULL;
    stage->size = 0;
}

/* Put a record where it belongs in the stage; false: it does not follow what is in there, or is too much. */
static bool stage_record(struct stage *stage, const struct spill_place *place, struct span record)
{
    uint64_t end = stage->offset + stage->size;
    uint64_t align = classes[place->file->class].align;
    if (place->file != stage->file || place->offset < end || place->offset - end >= align ||
        place->offset + record.size - stage->offset > STAGE_SIZE) {
        return false;
    }
    memset(stage->bytes + stage->size, 0, place->offset - end); /* the rest of the one before */
    stage->size = place->offset - stage->offset;
    memcpy(stage->bytes + stage->size, record.data, record.size);
    stage->size += record.size;
    return true;
}

/* The whole record of a value, in spill->record. */
static struct span make_record(struct spill *spill, const struct spill_write *write,
                               struct spill_header *header)
{
    const struct blob *blob = write->value->blob;
    uint8_t *at = spill->record + header->size;
    for (uint32_t i = 0; i < blob->frame_count; i++) {
        struct span frame = slice_span(blob->frames[i]);
        ASSERT(frame.size <= SPILL_BLOCK_MAX);
        if (frame.size > 0) {
            struct trial trial = {0};
            struct slice packed;
            struct span stored = pack(spill, frame, &trial, &packed);
            add_row(header, stored);
            memcpy(at, stored.data, stored.size);
            at += stored.size;
            slice_fini(&packed);
        }
    }
    size_t size = (size_t)(at - spill->record);
    spill_header_end(header, write->serial, size, spill->compression);
    memcpy(spill->record, header->bytes, header->size);
    return span_of(spill->record, size);
}

static void write_small(struct spill *spill, struct spill_write *writes, uint32_t index,
                        struct spill_header *header, struct text *why)
{
    struct spill_write *write = &writes[index];
    if (spill->record == NULL) {
        spill->record = mem_alloc(STAGED_MAX);
        spill->stage.bytes = mem_alloc(STAGE_SIZE);
    }
    struct span record = make_record(spill, write, header);
    write->code = check_room(spill, record.size, why);
    if (write->code == OK) {
        write->code = take_room(spill, record.size, &write->place, why);
    }
    if (write->code != OK) {
        return;
    }
    write->place.header_size = header->size;
    struct stage *stage = &spill->stage;
    if (!stage_record(stage, &write->place, record)) {
        flush(spill, writes, index, why);
        stage->file = write->place.file;
        stage->offset = write->place.offset;
        stage->first = index;
        bool staged = stage_record(stage, &write->place, record);
        ASSERT(staged);
    }
}

/* ---- large records ---- */

static int write_block(struct spill *spill, struct spill_write *write, struct span stored,
                       uint64_t *at)
{
    int code =
        spill_write_at(spill->system, write->place.file->fd, stored, write->place.offset + *at);
    *at += stored.size;
    return code;
}

/* Blocks, then the header in front of them; *out_size is the record's. 0, or -1 and errno. */
static int write_record(struct spill *spill, struct spill_write *write, struct spill_header *header,
                        uint64_t *out_size)
{
    const struct blob *blob = write->value->blob;
    uint64_t size = header->size;
    int failed = 0;
    for (uint32_t i = 0; i < blob->frame_count && failed == 0; i++) {
        struct span frame = slice_span(blob->frames[i]);
        struct trial trial = {0};
        for (uint64_t at = 0; at < frame.size && failed == 0; at += SPILL_BLOCK_MAX) {
            struct span block = span_of(frame.data + at, spill_block_size(frame.size, at));
            struct slice packed;
            struct span stored = pack(spill, block, &trial, &packed);
            add_row(header, stored);
            failed = write_block(spill, write, stored, &size);
            slice_fini(&packed);
        }
    }
    if (failed == 0) {
        spill_header_end(header, write->serial, size, spill->compression);
        uint64_t begin = 0;
        failed = write_block(spill, write, span_of(header->bytes, header->size), &begin);
    }
    *out_size = size;
    return failed;
}

static void write_large(struct spill *spill, struct spill_write *write, struct spill_header *header,
                        uint64_t size_max, struct text *why)
{
    write->code = check_room(spill, size_max, why);
    if (write->code == OK) {
        write->code = take_room(spill, size_max, &write->place, why);
    }
    if (write->code != OK) {
        return;
    }
    write->place.header_size = header->size;
    uint64_t size;
    if (write_record(spill, write, header, &size) != 0) {
        write->code = spill_refuse("write to", spill->directory, why);
        spill_free(spill, &write->place);
        write->place = (struct spill_place){0};
        return;
    }
    trim_room(spill, &write->place, size);
    if (write->place.file->class == CLASS_OWN) {
        close(write->place.file->fd); /* there may be thousands: opened again to be read */
        write->place.file->fd = -1;
    }
}

static void write_one(struct spill *spill, struct spill_write *writes, uint32_t index,
                      struct text *why)
{
    struct spill_write *write = &writes[index];
    const struct blob *blob = write->value->blob;
    uint32_t header_size;
    write->place = (struct spill_place){0};
    write->code = spill_header_measure(blob, &header_size);
    if (write->code != OK) {
        text_add_cstr(why, "it has more frames, or larger ones, than a spill file can hold");
        return;
    }
    struct spill_header header;
    spill_header_begin(&header, blob, header_size);
    uint64_t size_max = header_size + write->value->size - blob->value.size;
    if (size_max <= STAGED_MAX) {
        write_small(spill, writes, index, &header, why);
    } else {
        flush(spill, writes, index, why);
        write_large(spill, write, &header, size_max, why);
    }
    spill_header_fini(&header);
}

void spill_write_all(struct spill *spill, struct spill_write *writes, uint32_t count,
                     struct text *why)
{
    for (uint32_t i = 0; i <= count; i++) {
        struct text problem = {0};
        if (i < count) {
            write_one(spill, writes, i, &problem);
        } else {
            flush(spill, writes, count, &problem);
        }
        if (why->size == 0 && problem.size > 0) {
            text_add(why, text_span(&problem));
        }
        text_fini(&problem);
    }
}
