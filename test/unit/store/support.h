/* support.h: values for the tests of store/. */
#ifndef CASK_TEST_UNIT_STORE_SUPPORT_H
#define CASK_TEST_UNIT_STORE_SUPPORT_H

/* cmocka wants these first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/error.h"
#include "store/store.h"

/* {"__Serialized__": 1}, as executors export. */
#define SERIALIZED SPAN("\x81\xae__Serialized__\x01")

/* A value of `count` frames, frame i a copy of parts[i]. */
static inline struct store_value *make_value(const struct span *parts, uint32_t count)
{
    struct blob *blob = blob_create(slice_copy(SERIALIZED), count);
    for (uint32_t i = 0; i < count; i++) {
        blob->frames[i] = slice_copy(parts[i]);
    }
    return store_value_create(blob);
}

/* One frame that holds `number`. */
static inline struct store_value *number_value(uint64_t number)
{
    return make_value(&(struct span){(const uint8_t *)&number, sizeof number}, 1);
}

static inline uint64_t value_number(const struct store_value *value)
{
    uint64_t number;
    assert_int_equal(value->blob->frame_count, 1);
    assert_int_equal(value->blob->frames[0].size, sizeof number);
    memcpy(&number, value->blob->frames[0].data, sizeof number);
    return number;
}

#endif
