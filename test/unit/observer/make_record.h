/* make_record.h: records as the ring gives them, made by tests. */
#ifndef CASK_TEST_MAKE_RECORD_H
#define CASK_TEST_MAKE_RECORD_H

#include <string.h>

#include "record/record.h"

/* Into `record`: zeroed, of this kind, with a text. Gives it back, to be filled in. */
static inline void *make_record(union any_record *record, enum record_kind kind, struct span text)
{
    uint32_t own = record_struct_slots(kind);
    memset(record, 0, (size_t)own * RECORD_SLOT_BYTES);
    record->head = (struct record_head){
        .kind = (uint8_t)kind,
        .slots = (uint8_t)(own + (text.size + RECORD_SLOT_BYTES - 1) / RECORD_SLOT_BYTES),
        .text_size = (uint32_t)text.size};
    if (text.size > 0) {
        memcpy(record->bytes + (size_t)own * RECORD_SLOT_BYTES, text.data, text.size);
    }
    return record;
}

#endif
