/* alloc.c: malloc that never fails: the process ends with a report instead. */
#include "base/alloc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Uses no memory itself: stderr is unbuffered, %zu needs no heap. */
static _Noreturn void out_of_memory(size_t size)
{
    fprintf(stderr, "cask: out of memory: %zu bytes were wanted. Give the process more memory.\n",
            size);
    abort();
}

static size_t product(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        out_of_memory(SIZE_MAX);
    }
    return bytes;
}

void *mem_alloc(size_t size)
{
    void *memory = malloc(size == 0 ? 1 : size);
    if (memory == NULL) {
        out_of_memory(size);
    }
    return memory;
}

void *mem_zalloc(size_t count, size_t size)
{
    size_t bytes = product(count, size);
    void *memory = calloc(1, bytes == 0 ? 1 : bytes);
    if (memory == NULL) {
        out_of_memory(bytes);
    }
    return memory;
}

void *mem_resize(void *memory, size_t count, size_t size)
{
    size_t bytes = product(count, size);
    void *resized = realloc(memory, bytes == 0 ? 1 : bytes);
    if (resized == NULL) {
        out_of_memory(bytes);
    }
    return resized;
}

void *mem_copy(const void *data, size_t size)
{
    void *copy = mem_alloc(size);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

void mem_free(void *memory)
{
    free(memory);
}
