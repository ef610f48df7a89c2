/* blob.c: one allocation for the blob and its array of frames. */
#include "base/blob.h"

#include "base/alloc.h"
#include "base/assert.h"

struct blob *blob_create(struct slice value, uint32_t frame_count)
{
    struct blob *blob = mem_zalloc(1, sizeof *blob + (size_t)frame_count * sizeof(struct slice));
    blob->refs = 1;
    blob->frame_count = frame_count;
    blob->value = value;
    return blob;
}

struct blob *blob_ref(struct blob *blob)
{
    ASSERT(blob->refs > 0);
    ASSERT(blob->refs < UINT32_MAX);
    blob->refs++;
    return blob;
}

void blob_unref(struct blob *blob)
{
    if (blob == NULL) {
        return;
    }
    ASSERT(blob->refs > 0);
    if (--blob->refs > 0) {
        return;
    }
    slice_fini(&blob->value);
    for (uint32_t i = 0; i < blob->frame_count; i++) {
        slice_fini(&blob->frames[i]);
    }
    mem_free(blob);
}

size_t blob_size(const struct blob *blob)
{
    size_t size = blob->value.size;
    for (uint32_t i = 0; i < blob->frame_count; i++) {
        size += blob->frames[i].size;
    }
    return size;
}
