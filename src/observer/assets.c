/* assets.c: looks the pages' files up. They are few: a walk through the table is as fast as anything. */
#include "observer/assets.h"

#include "base/assert.h"

static const char *const pages[] = {"shell-0.html", "shell-1.html", "shell-2.html"};
enum { DEPTH_MAX = sizeof pages / sizeof pages[0] };

const struct asset *asset_find(struct span path)
{
    for (size_t i = 0; i < assets_count; i++) {
        if (span_equal_text(path, assets_table[i].path)) {
            return &assets_table[i];
        }
    }
    return NULL;
}

const struct asset *asset_page(unsigned depth)
{
    ASSERT(depth < DEPTH_MAX);
    return asset_find(span_of_text(pages[depth]));
}
