/* answer.h: reading answers and printing them, for the commands that ask a scheduler. */
#ifndef CASK_CLI_ANSWER_H
#define CASK_CLI_ANSWER_H

#include "base/span.h"
#include "wire/msgpack.h"

/* A field of a map; absent or of another type: the value given. */
struct span answer_text(struct span map, const char *name, struct span absent);
double answer_number(struct span map, const char *name, double absent);
bool answer_bool(struct span map, const char *name);
/* A raw field: an empty span if absent. */
struct span answer_field(struct span map, const char *name);
/* A reader before the first item (or pair) of an array (or map), and their number; 0 if it is none. */
uint32_t answer_items(struct span value, struct msgpack_reader *out_reader);
/* The next value; an empty span at the end. */
struct span answer_next(struct msgpack_reader *reader);

/* Print a key as str(key). */
void answer_print_key(struct span key);
/* Print words from column `indent` on, broken before column 80; the caller stands at that column. */
void answer_print_wrapped(struct span words, int indent);
/* "1.5 GiB" into `out`. */
void answer_bytes(double bytes, char out[24]);
/* Print the value as JSON and a newline. */
void answer_print_json(struct span value);

/* A key as people write it: a Python tuple if it begins with "(", else the text itself. Its canonical
 * msgpack is appended; false: a tuple that cannot be read. */
bool answer_parse_key(const char *text, struct text *out_key);

#endif
