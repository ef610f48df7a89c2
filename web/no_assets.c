/* no_assets.c: the table of a program without the pages. */
#include "observer/assets.h"

const struct asset assets_table[1] = {{0}};
const size_t assets_count = 0;
