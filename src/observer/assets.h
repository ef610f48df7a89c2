/* assets.h: the pages' files, held in the program. web/build.mjs makes the table. */
#ifndef CASK_OBSERVER_ASSETS_H
#define CASK_OBSERVER_ASSETS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

struct asset {
    const char *path; /* below the prefix, without a slash in front: "static/main-….js" */
    const char *type; /* Content-Type */
    const char *etag; /* with its quotes */
    const unsigned char *data;
    size_t size;
    bool is_gzip; /* Content-Encoding; else as it is */
};

extern const struct asset assets_table[];
extern const size_t assets_count; /* 0: built without the pages */

/* The file at `path`; NULL: there is none. Its name has a hash of what it holds: it may be cached for ever. */
const struct asset *asset_find(struct span path);
/* The page for an address with `depth` (0…2) folders in it, which finds its files and data however far up they are;
 * NULL: built without the pages. */
const struct asset *asset_page(unsigned depth);

#endif
