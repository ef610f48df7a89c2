/* states.h: the states of a worker's task, from states.def, and the names stock gives them. */
#ifndef CASK_CORE_WORKER_STATES_H
#define CASK_CORE_WORKER_STATES_H

enum wtask_state {
#define STATE(id, wire, meaning) WTASK_##id,
#include "core/worker/states.def"
    WTASK_STATE_COUNT
};

/* "released", "long-running", … */
const char *wtask_state_name(unsigned state);

#endif
