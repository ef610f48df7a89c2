/* pack.c: see pack.h. */
#include "observer/pack.h"

#include <zlib.h>

#include "base/alloc.h"

#define GZIP_WINDOW (15 + 16) /* as zlib asks for a gzip header */
#define MEMORY_LEVEL 8

bool pack_gzip(struct span data, int level, struct text *out)
{
    z_stream stream = {0};
    if (data.size > UINT32_MAX / 2 || deflateInit2(&stream, level, Z_DEFLATED, GZIP_WINDOW,
                                                   MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
        return false;
    }
    size_t bound = deflateBound(&stream, data.size);
    uint8_t *packed = mem_alloc(bound);
    stream.next_in = (uint8_t *)(uintptr_t)data.data;
    stream.avail_in = (uInt)data.size;
    stream.next_out = packed;
    stream.avail_out = (uInt)bound;
    int code = deflate(&stream, Z_FINISH);
    ASSERT(code == Z_STREAM_END); /* there is room for all of it */
    text_add(out, span_of(packed, bound - stream.avail_out));
    deflateEnd(&stream);
    mem_free(packed);
    return true;
}
