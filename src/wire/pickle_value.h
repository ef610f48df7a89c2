/* pickle_value.h: pickles of plain data as msgpack, as in update-graph's annotations, span_metadata
 * and code. Source: protocol.md 4.1. */
#ifndef CASK_WIRE_PICKLE_VALUE_H
#define CASK_WIRE_PICKLE_VALUE_H

#include "base/text.h"
#include "wire/pickle.h"

/* Append the value of `pickle` to `out` as msgpack: None, bool, int, float, str, bytes, and list,
 * tuple (array), dict (map), set and frozenset ({"__Set__": true, "as-list": […]}) of them; a
 * SourceCode of distributed.client is an array of its fields.
 * ERR_UNSUPPORTED: anything else is in it. Nothing is appended on error. */
int pickle_value_decode(struct span pickle, struct text *out) MUST_USE;

/* As pickle_value_decode, for one node of a tree. */
int pickle_value_write(const struct pickle_tree *tree, pickle_id id, struct text *out) MUST_USE;

/* Append node `id` as a canonical key: str, int, float, or a tuple of keys; ERR_UNSUPPORTED if it is
 * none, or longer than LIMIT_KEY_BYTES_MAX. Nothing is appended on error. */
int pickle_key_write(const struct pickle_tree *tree, pickle_id id, struct text *out) MUST_USE;

#endif
