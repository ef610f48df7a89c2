/* crash_record.h: what a crashing executor writes to the crash line. docs/executor.md, "Crashes". */
#ifndef CASK_EXEC_CRASH_RECORD_H
#define CASK_EXEC_CRASH_RECORD_H

#include <assert.h>
#include <stdint.h>

#define CRASH_MAGIC 0x43524153u
/* How long it waits for the worker to look. */
#define CRASH_WAIT_MS 5000

struct crash_record {
    uint32_t magic;
    uint32_t signal_number;
    int32_t code;     /* si_code */
    uint32_t thread;  /* Linux id */
    uint64_t address; /* si_addr */
    uint64_t reserved;
};

static_assert(sizeof(struct crash_record) == 32, "docs/executor.md says so");

#endif
