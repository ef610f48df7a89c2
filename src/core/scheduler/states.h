/* states.h: the states of a task, from states.def, and the names stock gives them. */
#ifndef CASK_CORE_SCHEDULER_STATES_H
#define CASK_CORE_SCHEDULER_STATES_H

enum task_state {
#define STATE(id, wire, meaning) TASK_##id,
#include "core/scheduler/states.def"
    TASK_STATE_COUNT
};

enum worker_status {
    WORKER_INIT,
    WORKER_RUNNING,
    WORKER_PAUSED,
    WORKER_CLOSING_GRACEFULLY,
    WORKER_CLOSING,
    WORKER_CLOSED,
    WORKER_STATUS_COUNT
};

/* "released", "no-worker", … */
const char *task_state_name(unsigned state);
/* "running", "closing_gracefully", … */
const char *worker_status_name(unsigned status);

#endif
