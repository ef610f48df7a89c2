/* python_run.h: a RUN (docs/executor.md) as the extension of Python executors reads it, without Python.
 *
 * It comes from the worker, which is trusted with the process, yet nothing is read beyond the message. Needs no other file
 * of cask: executors load it with a library of their own. */
#ifndef CASK_EXEC_PYTHON_RUN_H
#define CASK_EXEC_PYTHON_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct python_bytes {
    const uint8_t *data;
    size_t size;
};

struct python_run {
    uint32_t flags;
    uint32_t input_count;
    const uint8_t *inputs; /* input_count × u64, not aligned */
    struct python_bytes key, annotations;
    size_t payload_at;        /* in the body */
    struct python_bytes spec; /* the pickle, if that is all there is to it; else data is NULL */
};

/* False: the body is cut short or says what cannot be; *out is untouched. What it points to lies in the body. */
bool python_run_read(struct python_bytes body, struct python_run *out);

/* A task's key as msgpack: a string, a number, or a tuple of keys, whose count of items comes before them. */
enum python_key_kind { PYTHON_KEY_STRING, PYTHON_KEY_NUMBER, PYTHON_KEY_TUPLE };
struct python_key_part {
    enum python_key_kind kind;
    struct python_bytes string;
    int64_t number;
    uint32_t count;
};
/* The part at *at, which moves behind it. False: it is cut short or something else. */
bool python_key_next(struct python_bytes key, size_t *at, struct python_key_part *out);

#endif
