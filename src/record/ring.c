/* ring.c: the ring in shared memory.
 *
 *   0    magic "CASKRING"   8  version   12  slots (a power of two)
 *   64   head: slots ever written (u64)  72  dropped: records without room (u64)      the writer's line
 *   128  tail: slots ever read (u64)                                                 the reader's line
 *   192  number of the signal that is ending the writer (u32)
 *   4096 slots × 64 bytes
 *
 * head − tail ≤ slots. A record lies in slots that follow each other; before one that would wrap, a PAD fills
 * the end. The writer publishes with a release store of head, the reader frees with one of tail; each keeps the
 * other's counter in mind and looks again only when it must. The reader trusts nothing it reads: the writer may have
 * died in the middle of anything. */
#include "record/ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

#define VERSION 1u
#define HEADER_BYTES 4096u
#define SLOTS_MIN 512u
#define SLOTS_MAX (1u << 24)

static const char MAGIC[8] = "CASKRING";

struct ring_shared {
    char magic[8];
    uint32_t version;
    uint32_t slots;
    _Alignas(64) _Atomic uint64_t head;
    _Atomic uint64_t dropped;
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) _Atomic uint32_t signal_number;
};

static_assert(sizeof(struct ring_shared) <= HEADER_BYTES, "the header has a page of its own");

static size_t ring_bytes(uint32_t slot_count)
{
    return HEADER_BYTES + (size_t)slot_count * RECORD_SLOT_BYTES;
}

/* ---- the writer --------------------------------------------------------------------------------- */

int ring_create(uint32_t slot_count, struct ring_writer *out_writer, struct text *why)
{
    ASSERT(slot_count >= SLOTS_MIN);
    ASSERT((slot_count & (slot_count - 1)) == 0);
    size_t size = ring_bytes(slot_count);
    int fd = memfd_create("cask-records", MFD_CLOEXEC);
    void *memory = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, (off_t)size) == 0) {
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (memory == MAP_FAILED) {
        text_printf(why, "no shared memory for records: %s", strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return ERR_IO;
    }
    struct ring_shared *shared = memory;
    memcpy(shared->magic, MAGIC, sizeof MAGIC);
    shared->version = VERSION;
    shared->slots = slot_count;
    *out_writer = (struct ring_writer){.shared = shared,
                                       .slots = (uint8_t *)memory + HEADER_BYTES,
                                       .mask = slot_count - 1,
                                       .fd = fd};
    return OK;
}

void ring_destroy(struct ring_writer *writer)
{
    if (writer->shared != NULL) {
        munmap(writer->shared, ring_bytes((uint32_t)writer->mask + 1));
        close(writer->fd);
    }
    *writer = (struct ring_writer){.fd = -1};
}

static struct record_head *slot_at(const struct ring_writer *writer, uint64_t position)
{
    return (struct record_head *)(writer->slots + (position & writer->mask) * RECORD_SLOT_BYTES);
}

/* Whether `count` more slots are free. */
static bool has_room(struct ring_writer *writer, uint64_t count)
{
    uint64_t slot_count = writer->mask + 1;
    if (writer->head + count - writer->tail_seen <= slot_count) {
        return true;
    }
    writer->tail_seen = atomic_load_explicit(&writer->shared->tail, memory_order_acquire);
    /* A reader that went wrong may have written anything there. */
    return writer->tail_seen <= writer->head &&
           writer->head + count - writer->tail_seen <= slot_count;
}

/* Where a record of `slots` slots goes: behind a PAD if it would wrap. NULL: no room. */
static struct record_head *take(struct ring_writer *writer, uint32_t slots)
{
    uint64_t to_end = writer->mask + 1 - (writer->head & writer->mask);
    uint64_t pad = slots > to_end ? to_end : 0;
    if (!has_room(writer, pad + slots)) {
        return NULL;
    }
    if (pad > 0) {
        *slot_at(writer, writer->head) =
            (struct record_head){.kind = RECORD_PAD, .slots = (uint8_t)pad};
        writer->head += pad;
    }
    struct record_head *head = slot_at(writer, writer->head);
    writer->head += slots;
    return head;
}

void ring_publish(struct ring_writer *writer)
{
    atomic_store_explicit(&writer->shared->head, writer->head, memory_order_release);
}

static bool tell_gap(struct ring_writer *writer)
{
    if (writer->lost == 0) {
        return true;
    }
    struct record_head *head = take(writer, 1);
    if (head == NULL) {
        return false;
    }
    struct record_gap gap = {.head = {.kind = RECORD_GAP, .slots = 1}, .lost = writer->lost};
    memcpy(head, &gap, sizeof gap);
    writer->lost = 0;
    ring_publish(writer);
    return true;
}

void *ring_reserve(struct ring_writer *writer, enum record_kind kind, size_t text_size)
{
    uint32_t own = record_struct_slots(kind);
    uint32_t size_max = record_text_max(kind);
    uint32_t size = text_size < size_max ? (uint32_t)text_size : size_max;
    uint32_t slots = own + (size + RECORD_SLOT_BYTES - 1) / RECORD_SLOT_BYTES;
    struct record_head *head = tell_gap(writer) ? take(writer, slots) : NULL;
    if (head == NULL) {
        writer->lost++;
        atomic_fetch_add_explicit(&writer->shared->dropped, 1, memory_order_relaxed);
        return NULL;
    }
    *head = (struct record_head){.kind = (uint8_t)kind, .slots = (uint8_t)slots, .text_size = size};
    return head;
}

void ring_put_text(void *record, struct span text)
{
    struct record_head *head = record;
    uint8_t *place =
        (uint8_t *)record + (size_t)record_struct_slots(head->kind) * RECORD_SLOT_BYTES;
    if (text.size > head->text_size) {
        head->flags |= RECORD_CLIPPED;
        text.size = head->text_size;
    }
    if (text.size > 0) {
        memcpy(place, text.data, text.size);
    }
}

void ring_last_words(struct ring_shared *shared, int signal_number)
{
    atomic_store(&shared->signal_number, (uint32_t)signal_number);
}

/* ---- the reader --------------------------------------------------------------------------------- */

static int refuse(int fd, const char *reason, int code, struct text *why)
{
    text_printf(why, "the ring of records: %s", reason);
    close(fd);
    return code;
}

int ring_open(int fd, struct ring_reader *out_reader, struct text *why)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return refuse(fd, strerror(errno), ERR_IO, why);
    }
    size_t size = (size_t)status.st_size;
    if (status.st_size < (off_t)ring_bytes(SLOTS_MIN) || size > ring_bytes(SLOTS_MAX)) {
        return refuse(fd, "the memory has no possible size", ERR_MALFORMED, why);
    }
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return refuse(fd, strerror(errno), ERR_IO, why);
    }
    struct ring_shared *shared = memory;
    uint32_t slot_count = shared->slots;
    if (memcmp(shared->magic, MAGIC, sizeof MAGIC) != 0 || shared->version != VERSION ||
        ring_bytes(slot_count) != size || (slot_count & (slot_count - 1)) != 0) {
        munmap(memory, size);
        return refuse(fd, "the header is not this version's", ERR_MALFORMED, why);
    }
    close(fd);
    *out_reader = (struct ring_reader){.shared = shared,
                                       .slots = (const uint8_t *)memory + HEADER_BYTES,
                                       .tail = atomic_load(&shared->tail),
                                       .mask = slot_count - 1,
                                       .mapped = size};
    return OK;
}

void ring_close(struct ring_reader *reader)
{
    if (reader->shared != NULL) {
        munmap(reader->shared, reader->mapped);
    }
    *reader = (struct ring_reader){0};
}

uint64_t ring_waiting(const struct ring_reader *reader)
{
    uint64_t head = atomic_load_explicit(&reader->shared->head, memory_order_acquire);
    return head - reader->tail;
}

static bool skip_all(struct ring_reader *reader, uint64_t waiting)
{
    reader->tail += waiting;
    reader->malformed++;
    return false;
}

bool ring_next(struct ring_reader *reader, union any_record *out_record)
{
    for (;;) {
        uint64_t waiting = ring_waiting(reader);
        if (waiting == 0) {
            return false;
        }
        uint64_t index = reader->tail & reader->mask;
        uint64_t to_end = reader->mask + 1 - index;
        const uint8_t *at = reader->slots + index * RECORD_SLOT_BYTES;
        struct record_head head;
        memcpy(&head, at, sizeof head);
        if (waiting > reader->mask + 1 || !record_check(&head) || head.slots > waiting ||
            head.slots > to_end) {
            return skip_all(reader, waiting);
        }
        reader->tail += head.slots;
        if (head.kind == RECORD_PAD) {
            continue;
        }
        memcpy(out_record, at, (size_t)head.slots * RECORD_SLOT_BYTES);
        out_record->head = head; /* what was checked, whatever is written there by now */
        return true;
    }
}

void ring_release(struct ring_reader *reader)
{
    ring_release_before(reader, reader->tail);
}

void ring_release_before(struct ring_reader *reader, uint64_t tail)
{
    uint64_t released = atomic_load_explicit(&reader->shared->tail, memory_order_relaxed);
    if (tail > released && tail <= reader->tail) {
        atomic_store_explicit(&reader->shared->tail, tail, memory_order_release);
    }
}

uint64_t ring_held(const struct ring_reader *reader)
{
    uint64_t head = atomic_load_explicit(&reader->shared->head, memory_order_acquire);
    return head - atomic_load_explicit(&reader->shared->tail, memory_order_relaxed);
}

uint64_t ring_size(const struct ring_reader *reader)
{
    return reader->mask + 1;
}

void ring_seek(struct ring_reader *reader, uint64_t tail)
{
    if (tail > reader->tail && tail - reader->tail <= ring_waiting(reader)) {
        reader->tail = tail;
    }
}

uint64_t ring_dropped(const struct ring_reader *reader)
{
    return reader->shared == NULL
               ? 0
               : atomic_load_explicit(&reader->shared->dropped, memory_order_relaxed);
}

int ring_signal(const struct ring_reader *reader)
{
    return (int)atomic_load(&reader->shared->signal_number);
}
