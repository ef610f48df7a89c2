/* What the observer reads that others wrote: records of a scheduler that may be dying, texts of users, keys in URLs. */
#include <stdlib.h>

#include "observer/failures.h"
#include "observer/routes.h"
#include "observer/tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As many records as the bytes make: kind, slots, text's size, then the rest. */
static void apply_records(struct tables *tables, union any_record *record, const uint8_t *data,
                          size_t size)
{
    while (size > 3) {
        uint32_t kind = data[0] % RECORD_KIND_COUNT, text_slots = data[1] % 8;
        uint32_t own = record_struct_slots(kind);
        size_t bytes = (size_t)(own + text_slots) * RECORD_SLOT_BYTES, given = size - 3;
        given = given < bytes ? given : bytes;
        memset(record->bytes, 0, bytes);
        memcpy(record->bytes, data + 3, given);
        record->head.kind = (uint8_t)kind;
        record->head.slots = (uint8_t)(own + text_slots);
        record->head.text_size = text_slots * RECORD_SLOT_BYTES * data[2] / 255;
        if (!record_check(&record->head)) {
            abort();
        }
        tables_apply(tables, record);
        data += 3 + given;
        size -= 3 + given;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tables *tables = tables_create(1 << 20);
    union any_record *record = calloc(1, sizeof *record);
    struct text a = {0}, b = {0};
    struct span text = span_of(data, size);
    apply_records(tables, record, data, size);
    (void)ask_parse_tuple(text, &a);
    text_clear(&a);
    failure_read_exception(text, &a, &b);
    failure_read_place(text, &b);
    free(record);
    tables_destroy(tables);
    text_fini(&a);
    text_fini(&b);
    return 0;
}
