/* json.h: msgpack values as JSON, for files and --json output. */
#ifndef CASK_WIRE_JSON_H
#define CASK_WIRE_JSON_H

#include "base/span.h"
#include "base/text.h"

/* Append `value` as JSON; indent 0: one line. Keys that are no strings are shown as Python's str; bytes as
 * their size; NaN and infinity as null. Malformed bytes end the output where they stand: false. */
bool json_from_msgpack(struct text *out, struct span value, int indent);

#endif
