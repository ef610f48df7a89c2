/* fuzz_compress.c: any bytes to each decompressor. None gives more than it may, and what was
 * compressed comes back. The first byte chooses the method. */
#include "wire/compress.h"

enum { OUTPUT_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    enum compress_method method = (enum compress_method)(data[0] % (COMPRESS_SNAPPY + 1));
    struct span bytes = span_of(data + 1, size - 1);
    struct slice out = {0};
    struct slice back = {0};
    if (compress_decode(method, bytes, OUTPUT_MAX, &out) == OK) {
        ASSERT(out.size <= OUTPUT_MAX);
        if (compress_encode(method, slice_span(out), size, &back)) {
            struct slice again = {0};
            int code = compress_decode(method, slice_span(back), OUTPUT_MAX, &again);
            ASSERT(code == OK);
            ASSERT(span_equal(slice_span(again), slice_span(out)));
            slice_fini(&again);
            slice_fini(&back);
        }
        slice_fini(&out);
    }
    return 0;
}
