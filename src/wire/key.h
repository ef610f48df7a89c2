/* key.h: task keys on the wire. A key is a str, int, float or an array of keys (a Python tuple).
 *
 * Its canonical bytes are its msgpack in shortest form (floats as float64): equal keys have equal
 * bytes, so they can be hashed and compared without decoding. Stock senders write keys canonically,
 * so the usual case is a check and no copy. Names of locks, queues, datasets … are keys as well.
 * Source: protocol.md 2.2, dask.core.validate_key. */
#ifndef CASK_WIRE_KEY_H
#define CASK_WIRE_KEY_H

#include "base/arena.h"
#include "wire/msgpack.h"

/* Read one key. out_key: its canonical bytes, in the reader's bytes if they are canonical there, else
 * in `scratch`. ERR_TYPE: bytes, bool, nil, map …; ERR_LIMIT: over LIMIT_KEY_BYTES_MAX or too deep. */
int key_read(struct msgpack_reader *reader, struct arena *scratch, struct span *out_key) MUST_USE;
/* As key_read for `raw`, which must be exactly one key. */
int key_canonical(struct span raw, struct arena *scratch, struct span *out_key) MUST_USE;

/* The canonical bytes of a str key. */
struct span key_from_text(struct arena *scratch, struct span text);

/* str(key): the text itself for a str, else its repr. `key` must be canonical. */
void key_print(struct text *out, struct span key);
/* repr(key), as Python shows it: 'x', ('x', 0), 1.0. */
void key_repr(struct text *out, struct span key);
/* repr of a str and of a float, as Python shows them. */
void key_repr_text(struct text *out, struct span text);
void key_repr_float(struct text *out, double value);

/* A list of keys: canonical, one after the other. A cursor: copy it to read it twice. */
struct key_list {
    struct span keys; /* what is left */
    uint32_t count;   /* how many are left */
    bool given;       /* false: the field was absent or nil, which mostly means "all" */
};

/* Read a list of keys: an array, {"__Set__": true, "as-list": […]}, or nil (given: false). */
int key_list_read(struct msgpack_reader *reader, struct arena *scratch,
                  struct key_list *out_list) MUST_USE;
/* Take the first key off; false at the end. */
bool key_list_next(struct key_list *list, struct span *out_key);
/* As a msgpack array. */
void key_list_write(struct text *out, const struct key_list *list);

#endif
