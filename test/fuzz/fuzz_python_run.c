/* A RUN as the extension of Python executors reads it: arbitrary bytes, and all that is found in them is touched. */
#include "exec/python_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where what was read goes, so that reading is not optimised away. */
static volatile uint8_t sink;

static void touch(struct python_bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        sink ^= bytes.data[i];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct python_run run;
    if (!python_run_read((struct python_bytes){data, size}, &run)) {
        return 0;
    }
    touch((struct python_bytes){run.inputs, (size_t)run.input_count * 8});
    touch(run.key);
    touch(run.annotations);
    touch(run.spec);
    struct python_key_part part;
    for (size_t at = 0; python_key_next(run.key, &at, &part);) {
        touch(part.string);
    }
    return 0;
}
