/* policy.c: stock's four thresholds.
 *
 * Spilling starts above `spill` and goes on until memory is below `target` (without one: below `spill`). What is
 * on its way to disk still is in memory, so it is not asked for twice; and when the last of it has gone,
 * one interval passes before more is, since executors free what they are told to a moment later.
 *
 * Above `terminate` stock ends the whole worker. Here it is one executor: of those whose end would be enough the
 * one that grew most since it began what it runs, else the largest. But values that are only there would be lost with it, so
 * while what can be spilled is more than the excess, the disk is given a moment for it, up to the limit itself. */
#include "store/policy.h"

#include <math.h>
#include <stddef.h>

/* Ending an executor that has less than this part of the limit would change nothing. */
static const double blame_min = 0.05;
/* Intervals above `terminate` for which the disk may work. */
static const uint32_t patience = 10;

static uint64_t bytes_of(const struct policy_settings *settings, double fraction)
{
    double bytes = (double)settings->limit * fraction;
    return bytes < (double)UINT64_MAX ? (uint64_t)bytes : UINT64_MAX;
}

static bool is_on(double threshold)
{
    return threshold >= 0;
}

static bool is_above(const struct policy_settings *settings, double threshold, uint64_t memory)
{
    return is_on(threshold) && memory > bytes_of(settings, threshold);
}

bool policy_spills(const struct policy_settings *settings, uint64_t *out_target)
{
    /* As stock, where a threshold of 0 is false, too. */
    bool has_target = settings->limit > 0 && settings->target > 0;
    *out_target = has_target ? bytes_of(settings, settings->target) : 0;
    return has_target || (settings->limit > 0 && settings->spill > 0);
}

static void decide_spill(const struct policy_settings *settings, struct policy_state *state,
                         const struct policy_view *view, struct policy_decision *out)
{
    if (!is_on(settings->spill)) {
        return;
    }
    double until = settings->target > 0 ? settings->target : settings->spill;
    uint64_t target = bytes_of(settings, fmin(until, settings->spill));
    if (is_above(settings, settings->spill, view->memory)) {
        state->is_spilling = true;
    } else if (view->memory <= target) {
        state->is_spilling = false;
    }
    bool has_just_left = state->was_leaving && view->leaving == 0;
    state->was_leaving = view->leaving > 0;
    if (!state->is_spilling || has_just_left) {
        return;
    }
    uint64_t need = view->memory - target;
    out->evict_bytes = need > view->leaving ? need - view->leaving : 0;
    out->is_unmanaged_high = view->leaving == 0 && view->evictable == 0;
}

static void decide_run(const struct policy_settings *settings, const struct policy_view *view,
                       struct policy_decision *out)
{
    if (!is_on(settings->pause)) {
        return;
    }
    bool is_high = is_above(settings, settings->pause, view->memory);
    if (is_high && !view->is_paused) {
        out->run = POLICY_PAUSE;
    } else if (!is_high && view->is_paused) {
        out->run = POLICY_RESUME;
    }
}

static uint64_t growth(const struct policy_executor *executor)
{
    return executor->bytes > executor->baseline ? executor->bytes - executor->baseline : 0;
}

/* `a` is the one to end rather than `b`, if `excess` has to go. */
static bool is_worse(const struct policy_executor *a, const struct policy_executor *b,
                     uint64_t excess)
{
    bool a_is_enough = a->bytes >= excess, b_is_enough = b->bytes >= excess;
    if (a_is_enough != b_is_enough) {
        return a_is_enough;
    }
    if (a_is_enough && growth(a) != growth(b)) {
        return growth(a) > growth(b);
    }
    return a->bytes > b->bytes;
}

/* Spilling may still be enough. */
static bool may_wait(const struct policy_settings *settings, struct policy_state *state,
                     const struct policy_view *view, uint64_t excess)
{
    return view->memory <= settings->limit && view->leaving + view->evictable > excess &&
           state->waited++ < patience;
}

static void decide_blame(const struct policy_settings *settings, struct policy_state *state,
                         const struct policy_view *view, struct policy_decision *out)
{
    if (!is_above(settings, settings->terminate, view->memory)) {
        state->waited = 0;
        return;
    }
    uint64_t excess = view->memory - bytes_of(settings, settings->terminate);
    if (may_wait(settings, state, view, excess)) {
        return;
    }
    uint32_t worst = POLICY_NOBODY;
    for (uint32_t i = 0; i < view->executor_count; i++) {
        const struct policy_executor *executor = &view->executors[i];
        if (executor->is_dying) {
            return; /* first see what that gives */
        }
        if (executor->bytes >= bytes_of(settings, blame_min) &&
            (worst == POLICY_NOBODY || is_worse(executor, &view->executors[worst], excess))) {
            worst = i;
        }
    }
    out->blame = worst;
}

void policy_decide(const struct policy_settings *settings, struct policy_state *state,
                   const struct policy_view *view, struct policy_decision *out_decision)
{
    *out_decision = (struct policy_decision){.blame = POLICY_NOBODY};
    if (settings->limit > 0) {
        decide_spill(settings, state, view, out_decision);
        decide_run(settings, view, out_decision);
        decide_blame(settings, state, view, out_decision);
    }
}
