/* actions.h: the actions of actions.def as structs, and the step that collects them. */
#ifndef CASK_CORE_WORKER_ACTIONS_H
#define CASK_CORE_WORKER_ACTIONS_H

#include "core/worker/events.h"

/* A value by its task: an input that is here, or one to be gathered. */
struct worker_value {
    task_id task;
    struct span key;
    int64_t nbytes;
};
struct worker_value_list {
    const struct worker_value *items;
    uint32_t count;
};

enum worker_action_kind {
#define ACTION(ID, name, FIELDS) WORKER_ACTION_##ID,
#include "core/worker/actions.def"
    WORKER_ACTION_KIND_COUNT
};

#define W_TYPE_values struct worker_value_list

#define ACTION(ID, name, FIELDS)                                                                   \
    struct worker_action_##name {                                                                  \
        FIELDS(W_FIELD)                                                                            \
    };
#include "core/worker/actions.def"

struct worker_action {
    enum worker_action_kind kind;
    union {
#define ACTION(ID, name, FIELDS) struct worker_action_##name name;
#include "core/worker/actions.def"
    } of;
};

/* What one step gives back. Reused from step to step: init once, the core clears it at each start. */
struct worker_step {
    struct arena arena;
    struct worker_action *actions;
    uint32_t action_count, action_capacity;
    double time;          /* of the event being applied */
    struct span stimulus; /* of the event being applied */
};

void worker_step_init(struct worker_step *step);
void worker_step_fini(struct worker_step *step);

#endif
