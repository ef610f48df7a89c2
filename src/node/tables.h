/* tables.h: the tables that cask is made of, for people and programs (`cask internals`). */
#ifndef CASK_NODE_TABLES_H
#define CASK_NODE_TABLES_H

#include <stdbool.h>

#include "base/text.h"

/* Append the table of this name as msgpack, a list of maps: "states" (name, meaning, moves), "messages" (op,
 * port, fields), "events" and "actions" (name, fields), "errors" (name, number, meaning, advice); of a worker's
 * machine "worker-states", "worker-events", "worker-actions". False: there is no such table. */
bool tables_write(const char *name, struct text *out_msgpack);
/* States and moves as a drawing for Graphviz. False: this is no table of states. */
bool tables_dot(const char *name, struct text *out);

#endif
