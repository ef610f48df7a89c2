/* metadata.h: the tree of metadata behind get_metadata and set_metadata. */
#ifndef CASK_NODE_METADATA_H
#define CASK_NODE_METADATA_H

#include "node/node.h"

struct metadata;

/* An empty tree. */
struct metadata *metadata_create(void);
void metadata_destroy(struct metadata *node);
/* Append the tree as nested maps. */
void metadata_write(const struct metadata *node, struct outgoing *out);

#endif
