/* segment.c: memfds: mapped, counted, and used again.
 *
 * Who still has a segment that was handed out? Its keeper writes through an open file of its own; everybody else
 * is given one that can only be read (opened by way of /proc). Every descriptor, mapping and message on its way
 * holds that file. The system grants a write lease on a file only while nobody else has it open: so
 * asking for a lease, and giving it back, tells whether all of them are gone, however they ended.
 * Where the system cannot tell (no /proc, no leases), nothing is used again. */
#include "store/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/vec.h"
#include "io/io.h"

enum {
    CAPACITY_STEP = 64 * 1024,
    ASKED_MAX =
        8, /* segments that are looked at for one that is free, from either end: a lease takes 0.3 µs */
    IDLE_TICKS =
        2, /* ticks that a segment waits to be used again, the first of which may be short */
};

struct segment {
    int reader; /* the descriptor for others; of segments that wait -1 */
    int writer; /* -1: not ours to write */
    struct span mapping;
    struct store_segments *segments; /* NULL: not counted */
    uint32_t ticks;                  /* since it began to wait */
};

struct store_segments {
    uint32_t refs;
    struct store_segments_options options;
    uint64_t bytes, idle_bytes;
    uint32_t writable_count;           /* segments with a writer */
    struct VEC(struct segment *) idle; /* the one that waits longest first */
    struct io_timer *timer;            /* NULL: closed */
};

/* ---- memory ---- */

static int refuse(const char *what, struct text *why)
{
    text_printf(why, "cannot %s a segment of shared memory: %s", what, strerrordesc_np(errno));
    return ERR_IO;
}

static void unmap(struct span mapping)
{
    if (mapping.size > 0) {
        int code = munmap((void *)(uintptr_t)mapping.data, mapping.size);
        ASSERT(code == 0);
    }
}

static void close_if_open(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

int store_segment_map(int fd, size_t size, struct span *out_mapping, struct text *why)
{
    void *bytes = NULL;
    if (size > 0) {
        bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (bytes == MAP_FAILED) {
            return refuse("map", why);
        }
    }
    *out_mapping = span_of(bytes, size);
    return OK;
}

/* Another open file of the same memory; -1: the system refuses. */
static int open_again(int fd, int how)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, how | O_CLOEXEC);
}

/* Nobody but its writer has it open. */
static bool is_alone(const struct segment *segment)
{
    if (fcntl(segment->writer, F_SETLEASE, F_WRLCK) != 0) {
        return false;
    }
    int code = fcntl(segment->writer, F_SETLEASE, F_UNLCK);
    ASSERT(code == 0);
    return true;
}

/* ---- their sum ---- */

static void segment_free(struct segment *segment)
{
    struct store_segments *segments = segment->segments;
    unmap(segment->mapping);
    close_if_open(segment->reader);
    close_if_open(segment->writer);
    if (segments != NULL) {
        ASSERT(segments->bytes >= segment->mapping.size);
        segments->bytes -= segment->mapping.size;
        segments->writable_count -= segment->writer >= 0;
    }
    mem_free(segment);
}

static void remove_idle(struct store_segments *segments, uint32_t at, uint32_t count)
{
    struct segment **items = segments->idle.items;
    segments->idle.count -= count;
    memmove(items + at, items + at + count, (segments->idle.count - at) * sizeof *items);
}

/* Give back those that have waited for so long, and the oldest of the others until so many bytes are left. */
static void free_idle(struct store_segments *segments, uint32_t ticks_min, uint64_t bytes_max)
{
    uint32_t count = 0;
    for (; count < segments->idle.count; count++) {
        struct segment *segment = segments->idle.items[count];
        if (segment->ticks < ticks_min && segments->idle_bytes <= bytes_max) {
            break;
        }
        segments->idle_bytes -= segment->mapping.size;
        segment_free(segment);
    }
    if (count > 0) {
        remove_idle(segments, 0, count);
    }
}

static void tick(void *user)
{
    struct store_segments *segments = user;
    for (uint32_t i = 0; i < segments->idle.count; i++) {
        segments->idle.items[i]->ticks++;
    }
    free_idle(segments, IDLE_TICKS, UINT64_MAX);
    if (segments->idle.count == 0) {
        io_timer_stop(segments->timer);
    }
}

struct store_segments *store_segments_create(const struct store_segments_options *options)
{
    struct store_segments *segments = mem_zalloc(1, sizeof *segments);
    segments->refs = 1;
    segments->options = *options;
    if (options->loop != NULL) {
        segments->timer = io_timer_create(options->loop, tick, segments);
    }
    return segments;
}

struct store_segments *store_segments_ref(struct store_segments *segments)
{
    ASSERT(segments->refs > 0);
    segments->refs++;
    return segments;
}

void store_segments_unref(struct store_segments *segments)
{
    ASSERT(segments->refs > 0);
    if (--segments->refs == 0) {
        store_segments_close(segments);
        ASSERT(segments->bytes == 0);
        vec_fini(&segments->idle);
        mem_free(segments);
    }
}

void store_segments_close(struct store_segments *segments)
{
    io_timer_destroy(segments->timer);
    segments->timer = NULL;
    free_idle(segments, 0, 0);
}

void store_segments_trim(struct store_segments *segments)
{
    free_idle(segments, 0, 0);
}

uint64_t store_segments_bytes(const struct store_segments *segments)
{
    return segments->bytes;
}

/* ---- segments ---- */

/* The last reference is gone: it is ours again, as soon as others have let go. Those that wait longer make room for it, as what
 * is sent now is more like what will be sent next. */
static void release_segment(void *user)
{
    struct segment *segment = user;
    struct store_segments *segments = segment->segments;
    bool is_kept = segment->writer >= 0 && segments->timer != NULL &&
                   segment->mapping.size <= segments->options.idle_bytes_max;
    if (!is_kept) {
        segment_free(segment);
    } else {
        free_idle(segments, UINT32_MAX, segments->options.idle_bytes_max - segment->mapping.size);
        close(segment->reader);
        segment->reader = -1;
        segment->ticks = 0;
        if (segments->idle.count == 0) {
            io_timer_start(segments->timer, segments->options.idle_seconds,
                           segments->options.idle_seconds);
        }
        segments->idle_bytes += segment->mapping.size;
        vec_push(&segments->idle, segment);
    }
    if (segments != NULL) {
        store_segments_unref(segments);
    }
}

static struct buf *buf_of(struct segment *segment)
{
    if (segment->segments != NULL) {
        store_segments_ref(segment->segments);
    }
    return buf_foreign(segment->mapping, release_segment, segment);
}

struct buf *store_segment_buf(int take_fd, struct span take_mapping,
                              struct store_segments *segments)
{
    struct segment *segment = mem_alloc(sizeof *segment);
    *segment = (struct segment){
        .reader = take_fd, .writer = -1, .mapping = take_mapping, .segments = segments};
    if (segments != NULL) {
        segments->bytes += take_mapping.size;
    }
    return buf_of(segment);
}

/* One that is large enough, but not far too large, and that nobody has any more; idle.count: none. */
static uint32_t find_idle(const struct store_segments *segments, size_t size, bool newest_first)
{
    uint32_t asked = 0, count = segments->idle.count;
    for (uint32_t i = 0; i < count && asked < ASKED_MAX; i++) {
        uint32_t at = newest_first ? count - 1 - i : i;
        const struct segment *segment = segments->idle.items[at];
        size_t capacity = segment->mapping.size;
        if (capacity >= size && capacity - size <= size / 2) {
            asked++;
            if (is_alone(segment)) {
                return at;
            }
        }
    }
    return count;
}

/* The newest, so that what is not needed any more grows old. If others still have those, as of the many values of one message,
 * the oldest. NULL: none. */
static struct segment *take_idle(struct store_segments *segments, size_t size)
{
    uint32_t at = find_idle(segments, size, true);
    if (at == segments->idle.count) {
        at = find_idle(segments, size, false);
    }
    if (at == segments->idle.count) {
        return NULL;
    }
    struct segment *segment = segments->idle.items[at];
    segment->reader = open_again(segment->writer, O_RDONLY);
    if (segment->reader < 0) {
        return NULL;
    }
    remove_idle(segments, at, 1);
    segments->idle_bytes -= segment->mapping.size;
    return segment;
}

/* The file that memfd_create opens does not count as one that writes; one that is opened again does. */
static bool open_writable(size_t size, struct segment *segment)
{
    int fd = memfd_create("cask-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool good = fd >= 0 && ftruncate(fd, (off_t)size) == 0 &&
                fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
    segment->writer = good ? open_again(fd, O_RDWR) : -1;
    close_if_open(fd);
    if (segment->writer < 0 || !is_alone(segment)) {
        return false;
    }
    segment->reader = open_again(segment->writer, O_RDONLY);
    void *bytes = segment->reader < 0
                      ? MAP_FAILED
                      : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, segment->writer, 0);
    if (bytes != MAP_FAILED) {
        segment->mapping = span_of(bytes, size);
    }
    return bytes != MAP_FAILED;
}

/* A quarter of the next power of two at most is too much, so that sizes that differ a little fit. */
static size_t capacity_for(size_t size)
{
    size_t step = CAPACITY_STEP;
    while (step < size / 8) {
        step *= 2;
    }
    return (size + step - 1) / step * step;
}

static struct segment *create_writable(struct store_segments *segments, size_t size)
{
    if (segments->writable_count >= segments->options.count_max) {
        return NULL;
    }
    struct segment *segment = mem_alloc(sizeof *segment);
    *segment = (struct segment){.reader = -1, .writer = -1};
    if (!open_writable(capacity_for(size), segment)) {
        segment_free(segment);
        return NULL;
    }
    segment->segments = segments;
    segments->bytes += segment->mapping.size;
    segments->writable_count++;
    return segment;
}

struct buf *store_segment_take(struct store_segments *segments, size_t size, uint8_t **out_data)
{
    ASSERT(size > 0);
    if (segments->timer == NULL || size > SIZE_MAX / 2) {
        return NULL;
    }
    struct segment *segment = take_idle(segments, size);
    if (segment == NULL) {
        segment = create_writable(segments, size);
    }
    if (segment == NULL) {
        return NULL;
    }
    *out_data = (uint8_t *)(uintptr_t)segment->mapping.data;
    return buf_of(segment);
}

static const struct segment *segment_of(const struct buf *buf)
{
    return buf == NULL ? NULL : buf_foreign_user(buf, release_segment);
}

int store_segment_writer(const struct buf *segment)
{
    const struct segment *ours = segment_of(segment);
    ASSERT(ours != NULL);
    ASSERT(ours->writer >= 0);
    return open_again(ours->writer, O_RDWR);
}

bool store_segment_is(const struct buf *segment, int fd)
{
    const struct segment *ours = segment_of(segment);
    struct stat mine, theirs;
    return ours != NULL && fstat(ours->reader, &mine) == 0 && fstat(fd, &theirs) == 0 &&
           mine.st_dev == theirs.st_dev && mine.st_ino == theirs.st_ino;
}

bool store_segment_look(const struct buf *buf, int *out_fd, struct span *out_mapping)
{
    const struct segment *segment = segment_of(buf);
    if (segment == NULL) {
        return false;
    }
    *out_fd = segment->reader;
    *out_mapping = segment->mapping;
    return true;
}

/* ---- drafts ---- */

int store_segment_create(size_t size, struct store_segment_draft *out_draft, struct text *why)
{
    int fd = memfd_create("cask-value", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return refuse("make", why);
    }
    if (ftruncate(fd, (off_t)size) != 0) {
        int code = refuse("size", why);
        close(fd);
        return code;
    }
    *out_draft = (struct store_segment_draft){fd, size};
    return OK;
}

int store_segment_write(const struct store_segment_draft *draft, uint64_t at, struct span bytes,
                        struct text *why)
{
    ASSERT(bytes.size <= draft->size);
    ASSERT(at <= draft->size - bytes.size);
    while (bytes.size > 0) {
        ssize_t put = pwrite(draft->fd, bytes.data, bytes.size, (off_t)at);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return refuse("fill", why);
        }
        bytes = span_of(bytes.data + put, bytes.size - (size_t)put);
        at += (uint64_t)put;
    }
    return OK;
}

void store_segment_discard(struct store_segment_draft *draft)
{
    close(draft->fd);
}

int store_segment_seal(struct store_segment_draft *draft, struct span *out_mapping, int *out_fd,
                       struct text *why)
{
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
    int code = fcntl(draft->fd, F_ADD_SEALS, seals) == 0 ? OK : refuse("seal", why);
    if (code == OK) {
        code = store_segment_map(draft->fd, draft->size, out_mapping, why);
    }
    if (code != OK) {
        close(draft->fd);
        return code;
    }
    *out_fd = draft->fd;
    return OK;
}
