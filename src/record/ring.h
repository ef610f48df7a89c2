/* ring.h: records from one process to another through shared memory: one writer, one reader, no lock, no
 * system call.
 *
 * The writer never waits: what finds no room is dropped and counted, and the next record that is written is
 * preceded by a GAP. A reader that starts anew goes on where the former one stopped. Layout: ring.c. */
#ifndef CASK_RECORD_RING_H
#define CASK_RECORD_RING_H

#include "base/text.h"
#include "record/record.h"

#define RING_SLOTS_DEFAULT (1u << 18)

struct ring_shared;

/* The writer's end. */
struct ring_writer {
    struct ring_shared *shared; /* NULL: closed */
    uint8_t *slots;
    uint64_t head;      /* slots written, published or not */
    uint64_t tail_seen; /* how far the reader was when it was last looked at */
    uint64_t lost;      /* records since the last GAP that found no room */
    uint64_t mask;
    int fd; /* of the memory, for the reader's process */
};

/* New shared memory for `slot_count` slots (a power of two, at least 512). ERR_IO and why. */
int ring_create(uint32_t slot_count, struct ring_writer *out_writer, struct text *why) MUST_USE;
void ring_destroy(struct ring_writer *writer);
/* Room for a record, its head filled in (flags 0); the caller sets every field, copies at most record_text_max() bytes of
 * text behind the struct (ring_put_text) and calls ring_publish. NULL: there is none, and it is counted. Nothing may
 * come in between. */
void *ring_reserve(struct ring_writer *writer, enum record_kind kind, size_t text_size);
/* Copy the text that was reserved for; what does not fit is cut off, and RECORD_CLIPPED set. */
void ring_put_text(void *record, struct span text);
/* The reader may see it. */
void ring_publish(struct ring_writer *writer);
/* This process is being ended by a signal; safe inside its handler. */
void ring_last_words(struct ring_shared *shared, int signal_number);

/* The reader's end. */
struct ring_reader {
    struct ring_shared *shared; /* NULL: closed */
    const uint8_t *slots;
    uint64_t tail;      /* slots read */
    uint64_t malformed; /* times that everything up to the head had to be skipped */
    uint64_t mask;
    size_t mapped; /* bytes */
};

/* Map the writer's memory; `fd` is taken. ERR_MALFORMED, ERR_IO and why. */
int ring_open(int fd, struct ring_reader *out_reader, struct text *why) MUST_USE;
void ring_close(struct ring_reader *reader);
/* Copy out the next record (PADs are skipped). False: there is none. What is not well-formed is skipped together with
 * all that was written until now, and counted. */
bool ring_next(struct ring_reader *reader, union any_record *out_record);
/* Slots that wait. */
uint64_t ring_waiting(const struct ring_reader *reader);
/* The writer may use again what was read. */
void ring_release(struct ring_reader *reader);
/* The same, but only before place `tail`, one that was read (reader->tail then). */
void ring_release_before(struct ring_reader *reader, uint64_t tail);
/* Slots that are not released: read or not; and all there are. */
uint64_t ring_held(const struct ring_reader *reader);
uint64_t ring_size(const struct ring_reader *reader);
/* Go on at place `tail` instead, which a former reader left, if the writer has it still. */
void ring_seek(struct ring_reader *reader, uint64_t tail);
/* Records dropped so far. */
uint64_t ring_dropped(const struct ring_reader *reader);
/* The number of the signal that is ending the writer's process, or 0. */
int ring_signal(const struct ring_reader *reader);

#endif
