/* failed.h: what tasks that failed were given, as the scheduler tells it (node/failed_inputs.c). See docs/failures.md. */
#ifndef CASK_OBSERVER_FAILED_H
#define CASK_OBSERVER_FAILED_H

#include "base/assert.h"
#include "base/text.h"
#include "base/vec.h"

#define FAILED_ROWS_MAX 1000u
#define FAILED_DESCRIPTION_BYTES_MAX (1u << 20)
#define FAILED_INPUTS_MAX 128u
#define FAILED_ATTEMPTS_MAX 32u

/* Of one task; the bytes are in the history only. */
struct failed_row {
    struct text key; /* as people write it */
    double time;
    struct text description; /* a JSON object: docs/observer.md, "inputs" of a task */
};

/* All zero is empty. The oldest go. */
struct failed_rows VEC(struct failed_row);

void failed_rows_fini(struct failed_rows *rows);
/* NULL: nothing is known of it. */
const struct failed_row *failed_rows_find(const struct failed_rows *rows, struct span key);
/* Takes the description over; of the same key, what was before is forgotten. */
void failed_rows_put(struct failed_rows *rows, struct span key, double time,
                     struct text *take_description);

/* What was told, taken apart; spans are of `told`. */
struct failed_told {
    struct span key;
    double time;
    struct text description; /* owned */
    struct span spec;        /* pickle of the task; data NULL: none */
    struct failed_value {
        uint32_t place;   /* among the inputs */
        struct span data; /* pickle of (key, value) */
    } values[FAILED_INPUTS_MAX];
    uint32_t value_count;
};

/* ERR_MALFORMED: it is not what the scheduler tells; what a worker answered may be anything, and is left out then. */
int failed_read(struct span told, struct failed_told *out) MUST_USE;

#endif
