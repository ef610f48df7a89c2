/* profile.h: trees of statistical profiles, as workers send them:
 * {count, children: {ident: tree}, identifier, description}. Source: distributed profile.py. */
#ifndef CASK_NODE_PROFILE_H
#define CASK_NODE_PROFILE_H

#include "base/span.h"
#include "base/text.h"

/* `value` is such a tree, all the way down. */
bool profile_is_tree(struct span value);
/* Append the sum of `count` trees: counts add up, children of one identifier become one. None: an empty tree.
 * Must agree with: profile.merge, profile.create. */
void profile_merge(struct text *out, const struct span *trees, uint32_t count);

#endif
