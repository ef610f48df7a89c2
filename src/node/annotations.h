/* annotations.h: annotation maps as the core wants them.
 * Source: distributed scheduler.py _apply_annotations; protocol.md 4.2 step 9. */
#ifndef CASK_NODE_ANNOTATIONS_H
#define CASK_NODE_ANNOTATIONS_H

#include "core/scheduler/events.h"
#include "wire/payload.h"

/* Merge the graph's own annotations (`global`: raw map or empty) with those of a task (`own` may be NULL;
 * they win) and read what the scheduler understands. Lists are in the arena and borrow from both; out->wire
 * is owned by the caller (NULL: no annotation). ERR_TYPE: `why` names the annotation. */
int annotations_read(struct span global, const struct blob *own, struct arena *arena,
                     struct annotation_info *out, struct text *why) MUST_USE;

#endif
