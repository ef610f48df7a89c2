/* core_config.c: the settings of the core, read from Dask's configuration. */
#include "node/core_config.h"

#include <math.h>

#include "base/alloc.h"
#include "base/log.h"
#include "core/scheduler/view.h"

/* default-task-durations: {name: duration}; a malformed one is said and left out. */
static void read_durations(const struct config *config, struct scheduler_config *out)
{
    static const char *const name = "distributed.scheduler.default-task-durations";
    const char *key, *value;
    uint32_t count = 0;
    while (config_child(config, name, count, &key, &value)) {
        count++;
    }
    if (count == 0) {
        return; /* the core's own defaults stand */
    }
    struct prefix_number *items = mem_zalloc(count, sizeof *items);
    uint32_t kept = 0;
    for (uint32_t i = 0; config_child(config, name, i, &key, &value); i++) {
        items[kept].name = span_of_text(key);
        if (value != NULL && text_parse_seconds(span_of_text(value), &items[kept].number)) {
            kept++;
        } else {
            log_warning("distributed.config", "%s: '%s' has no duration", name, key);
        }
    }
    out->default_task_durations = items;
    out->default_task_duration_count = kept;
}

static int read_measure(const struct config *config, const char *name)
{
    static const struct {
        const char *name;
        enum memory_measure measure;
    } measures[] = {
        {"process", MEMORY_PROCESS},
        {"optimistic", MEMORY_OPTIMISTIC},
        {"managed", MEMORY_MANAGED},
        {"managed_in_memory", MEMORY_MANAGED_IN_MEMORY},
        {"unmanaged", MEMORY_UNMANAGED},
        {"unmanaged_old", MEMORY_UNMANAGED_OLD},
        {"unmanaged_recent", MEMORY_UNMANAGED_RECENT},
        {"spilled", MEMORY_SPILLED},
    };
    const char *text = config_text(config, name, "optimistic");
    for (size_t i = 0; i < sizeof measures / sizeof measures[0]; i++) {
        if (strcmp(text, measures[i].name) == 0) {
            return measures[i].measure;
        }
    }
    log_warning("distributed.config", "%s: '%s' is no measure of memory; optimistic is used", name,
                text);
    return MEMORY_OPTIMISTIC;
}

static uint32_t read_count(const struct config *config, const char *name, uint32_t absent)
{
    int64_t value = config_int(config, name, absent);
    return value < 0 ? 0 : value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static void read_amm(const struct config *config, struct scheduler_config *out)
{
    const char *policy;
    out->amm_start =
        config_bool(config, "distributed.scheduler.active-memory-manager.start", out->amm_start);
    out->amm_interval = config_seconds(
        config, "distributed.scheduler.active-memory-manager.interval", out->amm_interval);
    out->amm_measure = read_measure(config, "distributed.scheduler.active-memory-manager.measure");
    /* An explicitly empty list of policies leaves only what retiring needs. */
    if (config_text(config, "distributed.scheduler.active-memory-manager.policies", NULL) != NULL ||
        config_item(config, "distributed.scheduler.active-memory-manager.policies", 0, &policy)) {
        out->amm_reduce_replicas =
            config_item(config, "distributed.scheduler.active-memory-manager.policies", 0, &policy);
    }
}

void core_config_read(const struct config *config, struct scheduler_config *out)
{
    scheduler_config_init(out);
    out->bandwidth = config_bytes(config, "distributed.scheduler.bandwidth", out->bandwidth);
    out->default_data_size =
        config_bytes(config, "distributed.scheduler.default-data-size", out->default_data_size);
    out->unknown_task_duration = config_seconds(
        config, "distributed.scheduler.unknown-task-duration", out->unknown_task_duration);
    const char *saturation = config_text(config, "distributed.scheduler.worker-saturation", NULL);
    out->worker_saturation = saturation != NULL && strcmp(saturation, "inf") == 0
                                 ? INFINITY
                                 : config_float(config, "distributed.scheduler.worker-saturation",
                                                out->worker_saturation);
    out->rootish_taskgroup =
        read_count(config, "distributed.scheduler.rootish-taskgroup", out->rootish_taskgroup);
    out->rootish_taskgroup_dependencies =
        read_count(config, "distributed.scheduler.rootish-taskgroup-dependencies",
                   out->rootish_taskgroup_dependencies);
    out->allowed_failures =
        read_count(config, "distributed.scheduler.allowed-failures", out->allowed_failures);
    out->no_workers_timeout =
        config_seconds(config, "distributed.scheduler.no-workers-timeout", INFINITY);
    out->worker_ttl =
        config_is_null(config, "distributed.scheduler.worker-ttl")
            ? INFINITY
            : config_seconds(config, "distributed.scheduler.worker-ttl", out->worker_ttl);
    out->idle_timeout = config_seconds(config, "distributed.scheduler.idle-timeout", INFINITY);
    out->work_stealing =
        config_bool(config, "distributed.scheduler.work-stealing", out->work_stealing);
    out->work_stealing_interval = config_seconds(
        config, "distributed.scheduler.work-stealing-interval", out->work_stealing_interval);
    out->lease_validation_interval =
        config_seconds(config, "distributed.scheduler.locks.lease-validation-interval",
                       out->lease_validation_interval);
    out->memory_recent_to_old = config_seconds(
        config, "distributed.worker.memory.recent-to-old-time", out->memory_recent_to_old);
    out->rebalance_sender_min = config_float(
        config, "distributed.worker.memory.rebalance.sender-min", out->rebalance_sender_min);
    out->rebalance_recipient_max = config_float(
        config, "distributed.worker.memory.rebalance.recipient-max", out->rebalance_recipient_max);
    out->rebalance_half_gap =
        config_float(config, "distributed.worker.memory.rebalance.sender-recipient-gap",
                     2 * out->rebalance_half_gap) /
        2;
    out->rebalance_measure = read_measure(config, "distributed.worker.memory.rebalance.measure");
    const char *terminate = config_text(config, "distributed.worker.memory.terminate", "0.95");
    out->memory_terminate = strcmp(terminate, "false") != 0 && strcmp(terminate, "False") != 0;
    out->transition_log_length =
        read_count(config, "distributed.admin.low-level-log-length", out->transition_log_length);
    out->computations_max = read_count(config, "distributed.diagnostics.computations.max-history",
                                       out->computations_max);
    out->check = config_bool(config, "distributed.scheduler.validate", out->check);
    read_amm(config, out);
    read_durations(config, out);
}

void core_config_fini(struct scheduler_config *config)
{
    mem_free((void *)(uintptr_t)config->default_task_durations);
    config->default_task_durations = NULL;
}
