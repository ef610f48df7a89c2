/* versions.h: versions of packages, ours and the peers', and the warning when they differ.
 * Source: distributed versions.py; protocol.md 3.6, 7. */
#ifndef CASK_NODE_VERSIONS_H
#define CASK_NODE_VERSIONS_H

#include "node/node.h"

/* Compare a newcomer's versions (raw msgpack) with those of the peers already here and append the warning,
 * nothing if they agree. The scheduler has no Python of its own: it takes the first peer's versions as
 * those to agree with, so that a cluster of equal environments stays quiet. */
void versions_compare_client(struct node *node, struct span versions, struct text *warning);
void versions_compare_worker(struct node *node, struct span versions, struct span address,
                             struct text *warning);
/* {host: …, packages: …} as get_versions shows the scheduler: what all have agreed with. Packages of the list
 * `more` (raw, or nil) that are not among them are there as nil. */
void versions_write(struct node *node, struct span more, struct text *out);

#endif
