/* record.h: the records of records.def as structs.
 *
 * A record is a struct of whole slots and, behind it, its text. Structs are aligned to slots, so a record is
 * written by plain stores into one or more cache lines. */
#ifndef CASK_RECORD_RECORD_H
#define CASK_RECORD_RECORD_H

#include <stdint.h>

#include "base/assert.h"
#include "base/span.h"

#define RECORD_SLOT_BYTES 64u
/* Slots of a record, its text included: what a u8 holds. */
#define RECORD_SLOTS_MAX 255u
#define RECORD_BYTES_MAX (RECORD_SLOTS_MAX * RECORD_SLOT_BYTES)
/* The states of a task, in the order of core/scheduler/states.def. */
#define RECORD_STATES 8

/* Smaller graphs are not told by size. */
#define GRAPH_BYTES_TOLD (1u << 20)

enum record_flag {
    RECORD_CLIPPED = 1 << 15, /* the text was longer */
    RUN_ERRED = 1 << 0,
    REMOVED_EXPECTED = 1 << 0,
    CLIENT_CAME = 1 << 0,
    GRAPH_CANCELLED = 1 << 0,
    GRAPH_FAILED = 1 << 1,
};

enum record_kind {
#define RECORD(ID, name, slots, FIELDS) RECORD_##ID,
#include "record/records.def"
    RECORD_KIND_COUNT
};

struct record_head {
    uint8_t kind;
    uint8_t slots; /* all of it */
    uint16_t flags;
    uint32_t text_size; /* bytes */
};

#define RECORD_FIELD_u32(name) uint32_t name;
#define RECORD_FIELD_u64(name) uint64_t name;
#define RECORD_FIELD_i64(name) int64_t name;
#define RECORD_FIELD_f32(name) float name;
#define RECORD_FIELD_f64(name) double name;
#define RECORD_FIELD_states(name) uint32_t name[RECORD_STATES];
#define RECORD_FIELD_totals(name) uint64_t name[RECORD_STATES];
#define RECORD_FIELD(type, name) RECORD_FIELD_##type(name)

#define RECORD(ID, name, slots, FIELDS)                                                            \
    struct record_##name {                                                                         \
        _Alignas(RECORD_SLOT_BYTES) struct record_head head;                                       \
        FIELDS(RECORD_FIELD)                                                                       \
    };                                                                                             \
    static_assert(sizeof(struct record_##name) == (slots)*RECORD_SLOT_BYTES,                       \
                  "records.def says how many slots a record has");
#include "record/records.def"

/* Any record, text included. */
union any_record {
    struct record_head head;
#define RECORD(ID, name, slots, FIELDS) struct record_##name name;
#include "record/records.def"
    uint8_t bytes[RECORD_BYTES_MAX + RECORD_SLOT_BYTES];
};

/* Slots of the struct alone; 0: no such kind. */
uint32_t record_struct_slots(uint32_t kind);
/* "RUN", for people. */
const char *record_kind_name(uint32_t kind);
/* Bytes of text that a record of this kind can have. */
uint32_t record_text_max(enum record_kind kind);
/* The text of a record that is well-formed (record_check). */
struct span record_text(const union any_record *record);
/* A whole record of one of the kinds, whose text lies within its `slots`. */
bool record_check(const struct record_head *head);

#endif
