/* core_config.c: the settings of the core, read from Dask's configuration. */
#include "node/core_config.h"
#include "node/policies.h"

#include <math.h>
#include <stdlib.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/log.h"
#include "core/scheduler/view.h"
#include "wire/msgpack.h"

#define LOGGER "distributed.config"

/* distributed.yaml's own; a user's mapping is merged with it. */
static const struct prefix_number DURATIONS[] = {
    {{(const uint8_t *)"rechunk-split", 13}, 1e-6},
    {{(const uint8_t *)"split-shuffle", 13}, 1e-6},
    {{(const uint8_t *)"split-taskshuffle", 17}, 1e-6},
    {{(const uint8_t *)"split-stage", 11}, 1e-6},
};

enum { DURATION_COUNT = sizeof DURATIONS / sizeof DURATIONS[0] };

static void put_duration(struct prefix_number *items, uint32_t *count, struct prefix_number item)
{
    uint32_t i = 0;
    while (i < *count && !span_equal(items[i].name, item.name)) {
        i++;
    }
    items[i] = item;
    *count += i == *count;
}

/* default-task-durations: {name: duration}; a malformed one is said and left out. */
static void read_durations(const struct config *config, struct scheduler_config *out)
{
    static const char *const name = "distributed.scheduler.default-task-durations";
    const char *key, *value;
    uint32_t count = 0, kept = 0;
    while (config_child(config, name, count, &key, &value)) {
        count++;
    }
    struct prefix_number *items = mem_zalloc(DURATION_COUNT + count, sizeof *items);
    for (; kept < DURATION_COUNT; kept++) {
        items[kept] = DURATIONS[kept];
    }
    for (uint32_t i = 0; config_child(config, name, i, &key, &value); i++) {
        struct prefix_number item = {.name = span_of_text(key)};
        if (value != NULL && text_parse_seconds(span_of_text(value), &item.number)) {
            put_duration(items, &kept, item);
        } else {
            log_warning(LOGGER, "%s: '%s' has no duration", name, key);
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
    log_warning(LOGGER, "%s: '%s' is no measure of memory; optimistic is used", name, text);
    return MEMORY_OPTIMISTIC;
}

static uint32_t read_count(const struct config *config, const char *name, uint32_t absent)
{
    int64_t value = config_int(config, name, absent);
    return value < 0 ? 0 : value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* A duration that null, false or 0 switches off. */
static double read_optional_seconds(const struct config *config, const char *name, double absent)
{
    const char *text = config_text(config, name, NULL);
    if (config_is_null(config, name) || (text != NULL && strcasecmp(text, "false") == 0)) {
        return INFINITY;
    }
    double seconds = config_seconds(config, name, absent);
    return seconds > 0 ? seconds : INFINITY;
}

static void read_amm(const struct config *config, struct scheduler_config *out)
{
    out->amm_start =
        config_bool(config, "distributed.scheduler.active-memory-manager.start", out->amm_start);
    out->amm_interval = config_seconds(
        config, "distributed.scheduler.active-memory-manager.interval", out->amm_interval);
    out->amm_measure = read_measure(config, "distributed.scheduler.active-memory-manager.measure");
    out->amm_reduce_replicas = policies_have_reduce_replicas(config);
}

/* worker-saturation: a number above 0, or "inf": no queuing. */
static double read_saturation(const struct config *config, double absent)
{
    double value = config_float(config, "distributed.scheduler.worker-saturation", absent);
    if (!(value > 0)) {
        log_warning(LOGGER, "distributed.scheduler.worker-saturation must be above 0; %g is used",
                    absent);
        return absent;
    }
    return value;
}

/* worker.memory.terminate: a fraction; null, false or 0: workers are never ended for their memory. */
static bool read_terminate(const struct config *config)
{
    const char *name = "distributed.worker.memory.terminate";
    const char *text = config_text(config, name, "0.95");
    return !config_is_null(config, name) && strcasecmp(text, "false") != 0 &&
           strtod(text, NULL) != 0;
}

void core_config_read(const struct config *config, struct scheduler_config *out)
{
    scheduler_config_init(out);
    out->bandwidth = config_bytes(config, "distributed.scheduler.bandwidth", out->bandwidth);
    out->default_data_size =
        config_bytes(config, "distributed.scheduler.default-data-size", out->default_data_size);
    out->unknown_task_duration = config_seconds(
        config, "distributed.scheduler.unknown-task-duration", out->unknown_task_duration);
    out->worker_saturation = read_saturation(config, out->worker_saturation);
    out->ahead_seconds = config_seconds(config, "cask.scheduler.run-ahead", out->ahead_seconds);
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
        read_optional_seconds(config, "distributed.scheduler.worker-ttl", out->worker_ttl);
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
    out->memory_terminate = read_terminate(config);
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
