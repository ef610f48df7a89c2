/* vec.h: growing arrays by macro. `struct VEC(T)` is {T *items; uint32_t count, capacity}; all zero
 * is an empty one. Items move when it grows: keep indices, not pointers. */
#ifndef CASK_BASE_VEC_H
#define CASK_BASE_VEC_H

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

/* Usage: struct names VEC(struct span);  or inside a struct:  struct VEC(int) lengths; */
#define VEC(type)                                                                                  \
    {                                                                                              \
        type *items;                                                                               \
        uint32_t count;                                                                            \
        uint32_t capacity;                                                                         \
    }

/* Make room for `extra` more items. */
#define vec_reserve(vec, extra)                                                                    \
    do {                                                                                           \
        uint64_t vec_need_ = (uint64_t)(vec)->count + (extra);                                     \
        if (vec_need_ > (vec)->capacity) {                                                         \
            uint64_t vec_grown_ = (vec)->capacity < 8 ? 8 : (uint64_t)(vec)->capacity * 2;         \
            if (vec_grown_ < vec_need_) {                                                          \
                vec_grown_ = vec_need_;                                                            \
            }                                                                                      \
            ASSERT(vec_grown_ <= UINT32_MAX);                                                      \
            (vec)->items = mem_resize((vec)->items, (size_t)vec_grown_, sizeof *(vec)->items);     \
            (vec)->capacity = (uint32_t)vec_grown_;                                                \
        }                                                                                          \
    } while (0)

/* Append one item. */
#define vec_push(vec, ...)                                                                         \
    do {                                                                                           \
        vec_reserve((vec), 1);                                                                     \
        (vec)->items[(vec)->count++] = (__VA_ARGS__);                                              \
    } while (0)

/* Take the last item off and give it. */
#define vec_pop(vec) ((vec)->items[--(vec)->count])

/* Put the last item in the place of item `index`. */
#define vec_swap_remove(vec, index)                                                                \
    do {                                                                                           \
        ASSERT((index) < (vec)->count);                                                            \
        (vec)->items[(index)] = (vec)->items[--(vec)->count];                                      \
    } while (0)

/* Free the items and empty the vector. */
#define vec_fini(vec)                                                                              \
    do {                                                                                           \
        mem_free((vec)->items);                                                                    \
        memset((vec), 0, sizeof *(vec));                                                           \
    } while (0)

#endif
