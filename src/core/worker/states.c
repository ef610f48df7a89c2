/* states.c: names of states. */
#include "core/worker/states.h"

#include "base/assert.h"

const char *wtask_state_name(unsigned state)
{
    static const char *const names[] = {
#define STATE(id, wire, meaning) wire,
#include "core/worker/states.def"
    };
    ASSERT(state < WTASK_STATE_COUNT);
    return names[state];
}
