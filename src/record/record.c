/* record.c: what records.def says, as tables. */
#include "record/record.h"

static const uint8_t slots_of[RECORD_KIND_COUNT] = {
#define RECORD(ID, name, slots, FIELDS) [RECORD_##ID] = (slots),
#include "record/records.def"
};

static const char *const names[RECORD_KIND_COUNT] = {
#define RECORD(ID, name, slots, FIELDS) [RECORD_##ID] = #ID,
#include "record/records.def"
};

uint32_t record_struct_slots(uint32_t kind)
{
    return kind < RECORD_KIND_COUNT ? slots_of[kind] : 0;
}

const char *record_kind_name(uint32_t kind)
{
    return kind < RECORD_KIND_COUNT ? names[kind] : "unknown";
}

uint32_t record_text_max(enum record_kind kind)
{
    return (RECORD_SLOTS_MAX - slots_of[kind]) * RECORD_SLOT_BYTES;
}

struct span record_text(const union any_record *record)
{
    size_t offset = (size_t)slots_of[record->head.kind] * RECORD_SLOT_BYTES;
    return span_of(record->bytes + offset, record->head.text_size);
}

bool record_check(const struct record_head *head)
{
    uint32_t own = record_struct_slots(head->kind);
    return own > 0 && head->slots >= own &&
           head->text_size <= (uint32_t)(head->slots - own) * RECORD_SLOT_BYTES;
}
