/* worker_cgroups.c: a limit of the kernel's for each executor, behind the one that is measured
 * (worker_pressure.c).
 *
 * Measuring comes first, as it can tell who grew, and evict and pause before anybody has to end: so the
 * kernel's limit is above `terminate`, and catches what grows faster than that is looked at. It is that of
 * the whole worker for each executor, not a part of it, and not less what is stored: lowering a limit below
 * what is held ends who holds it, and what an executor has exported is counted as its own as long as it is
 * stored. Where the worker's limit is not enforced (no limit, no `terminate`, no nanny), nor is this. */
#include <math.h>

#include "base/log.h"
#include "node/worker_internal.h"

#define LOGGER "distributed.worker.memory"
#define SETTING "cask.worker.executor-cgroups"
#define ABOVE 0.05 /* of the limit, above `terminate` */

/* Why not; 0: nothing is to be enforced. */
static uint64_t hard_limit(const struct worker_node *worker, const char **out_why)
{
    struct policy_settings settings = worker_memory_settings(worker);
    *out_why = settings.limit == 0                ? "the worker has no memory limit"
               : settings.terminate == POLICY_OFF ? "no executor is to be ended for memory"
                                                  : NULL;
    return *out_why != NULL
               ? 0
               : (uint64_t)((double)settings.limit * fmax(1, settings.terminate + ABOVE));
}

static void say_where(const struct worker_node *worker, uint64_t limit)
{
    struct text size = {0};
    text_add_bytes_size(&size, (double)limit);
    log_info(LOGGER, "Each executor has a cgroup of its own in '%s', with a limit of %s",
             cgroup_home_path(worker->cgroups), text_cstr(&size));
    text_fini(&size);
}

static void say_why_not(bool is_told, const char *why)
{
    log_write(is_told ? LOG_WARNING : LOG_DEBUG, LOGGER,
              "Executors have no cgroups of their own: %s", why);
}

void worker_cgroups_open(struct worker_node *worker)
{
    const char *set = config_text(worker->config, SETTING, "auto");
    bool is_auto = strcmp(set, "auto") == 0;
    if (!is_auto && !config_bool(worker->config, SETTING, true)) {
        return;
    }
    struct cgroup_system system;
    cgroup_system_of_machine(&system);
    const char *reason;
    struct cgroup_options options = {
        .system = &system, .limit = hard_limit(worker, &reason), .is_told = !is_auto};
    struct text why = {0};
    if (reason != NULL) {
        say_why_not(options.is_told, reason);
    } else if (cgroup_home_open(&options, &worker->cgroups, &why) == OK) {
        say_where(worker, options.limit);
    } else {
        say_why_not(options.is_told, text_cstr(&why));
    }
    text_fini(&why);
}

void worker_cgroups_close(struct worker_node *worker)
{
    cgroup_home_close(worker->cgroups);
    worker->cgroups = NULL;
}
