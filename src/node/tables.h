/* tables.h: the tables that cask is made of, for people and programs (`cask internals`). */
#ifndef CASK_NODE_TABLES_H
#define CASK_NODE_TABLES_H

#include <stdbool.h>

#include "base/text.h"

/* Append the table of this name as msgpack, a list of maps: "states" (name, meaning, moves), "messages" (op,
 * port, fields), "events" and "actions" (name, fields), "errors" (name, number, meaning, advice). False: there
 * is no such table. */
bool tables_write(const char *name, struct text *out_msgpack);
/* The names that tables_write knows, with commas. */
const char *tables_names(void);
/* States and moves as a drawing for Graphviz. */
void tables_dot(struct text *out);

#endif
