/* states.c: names of states. */
#include "core/scheduler/states.h"

#include "base/assert.h"
#include "core/scheduler/step_events.h"

const char *task_state_name(unsigned state)
{
    static const char *const names[] = {
#define STATE(id, wire, meaning) wire,
#include "core/scheduler/states.def"
    };
    ASSERT(state < TASK_STATE_COUNT);
    return names[state];
}

static const char *const status_names[WORKER_STATUS_COUNT] = {
    [WORKER_INIT] = "init",       [WORKER_RUNNING] = "running",
    [WORKER_PAUSED] = "paused",   [WORKER_CLOSING_GRACEFULLY] = "closing_gracefully",
    [WORKER_CLOSING] = "closing", [WORKER_CLOSED] = "closed",
};

const char *worker_status_name(unsigned status)
{
    ASSERT(status < WORKER_STATUS_COUNT);
    return status_names[status];
}

enum worker_status worker_status_parse(struct span name)
{
    unsigned status = 0;
    while (status < WORKER_STATUS_COUNT && !span_equal_text(name, status_names[status])) {
        status++;
    }
    return (enum worker_status)status;
}
