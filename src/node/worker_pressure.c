/* worker_pressure.c: memory is measured each monitor interval, and what store/policy.h decides is done.
 *
 * Measured are the worker and its executors together: with stock they are one process.
 * Source: distributed worker_memory.py; nanny.py for what happens above `terminate`. */
#include <unistd.h>

#include "base/log.h"
#include "node/worker_internal.h"
#include "store/memory.h"

#define LOGGER "distributed.worker.memory"
#define WARN_SECONDS 300
/* Without a value that left memory, nothing waits for the disk any longer: user code may keep an executor from answering. */
#define STALL_SECONDS 10

struct worker_pressure {
    struct io_timer *timer;
    struct policy_settings settings;
    struct policy_state state;
    struct VEC(uint64_t) baselines; /* by seat: private bytes when it last had nothing to do */
    double warned;                  /* monotonic: of unmanaged memory */
    bool gives_back;                /* the C library is giving memory back to the system */
    uint64_t written;               /* values that were on disk when it did so last */
    double progress;           /* monotonic: when a value left memory last, while many are to */
    uint64_t progress_written; /* values that were on disk then */
    bool is_stalled;           /* none does */
};

/* ---- measuring --------------------------------------------------------------------------------- */

static uint64_t private_bytes(const struct memory_process *process)
{
    return process->anonymous + process->file;
}

/* The worker, then its executors, in `processes`, with room for them all; one that has none has zeros. */
static uint64_t measure(struct worker_node *worker, struct memory_process *processes)
{
    struct store_totals totals;
    store_totals(worker->store, &totals);
    memory_of_process(getpid(), &processes[0]);
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        const struct executor *executor = worker->seats.items[i].executor;
        processes[i + 1] = (struct memory_process){0};
        if (executor != NULL) {
            memory_of_process(executor_process_id(executor), &processes[i + 1]);
        }
    }
    return memory_together(processes, worker->seats.count + 1, totals.segment_bytes);
}

uint64_t worker_memory(struct worker_node *worker)
{
    struct memory_process *processes =
        mem_zalloc(worker->seats.count + 1, sizeof(struct memory_process));
    uint64_t bytes = measure(worker, processes);
    mem_free(processes);
    return bytes;
}

/* ---- doing ------------------------------------------------------------------------------------- */

static void describe(const struct worker_pressure *pressure, uint64_t memory, struct text *out)
{
    text_add_cstr(out, "Process memory: ");
    text_add_bytes_size(out, (double)memory);
    text_add_cstr(out, " -- Worker memory limit: ");
    text_add_bytes_size(out, (double)pressure->settings.limit);
}

static void change_run(struct worker_node *worker, enum policy_run run, uint64_t memory)
{
    const struct worker_pressure *pressure = worker->pressure;
    if (run == POLICY_AS_IT_IS ||
        (run == POLICY_PAUSE && worker->status != WORKER_STATUS_RUNNING)) {
        return;
    }
    struct text numbers = {0};
    describe(pressure, memory, &numbers);
    log_warning(LOGGER, "Worker is at %d%% memory usage. %s worker.  %s",
                (int)(100 * (double)memory / (double)pressure->settings.limit),
                run == POLICY_PAUSE ? "Pausing" : "Resuming", text_cstr(&numbers));
    text_fini(&numbers);
    worker_change_status(worker, run == POLICY_PAUSE ? WORKER_STATUS_PAUSED : WORKER_STATUS_RUNNING,
                         (struct span){0});
}

static void warn_unmanaged(struct worker_pressure *pressure, uint64_t memory)
{
    double now = io_monotonic();
    if (pressure->warned > 0 && now - pressure->warned < WARN_SECONDS) {
        return;
    }
    pressure->warned = now;
    struct text numbers = {0};
    describe(pressure, memory, &numbers);
    log_warning(
        LOGGER,
        "Unmanaged memory use is high. This may indicate a memory leak or the memory may not "
        "be released to the OS; see "
        "https://distributed.dask.org/en/latest/"
        "worker-memory.html#memory-not-released-back-to-the-os "
        "for more information. -- %s",
        text_cstr(&numbers));
    text_fini(&numbers);
}

static void end_executor(struct worker_node *worker, uint32_t seat, uint64_t memory)
{
    struct text why = {0};
    describe(worker->pressure, memory, &why);
    text_printf(&why, "; above %.0f%% of it the executor that grew most is ended",
                100 * worker->pressure->settings.terminate);
    log_warning(LOGGER, "Ending an executor. %s", text_cstr(&why));
    executor_kill(worker->seats.items[seat].executor, EXECUTOR_END_MEMORY, text_cstr(&why));
    text_fini(&why);
}

static void give_back(void *user)
{
    (void)user;
    memory_give_back();
}

static void gave_back(void *user)
{
    struct worker_node *worker = user;
    if (worker->pressure != NULL) {
        worker->pressure->gives_back = false;
    }
}

/* What went to disk was freed here, but the C library may keep it for later. */
static void give_memory_back(struct worker_node *worker, const struct store_totals *totals)
{
    struct worker_pressure *pressure = worker->pressure;
    if (!pressure->gives_back && totals->leaving_bytes == 0 &&
        totals->disk_write.count != pressure->written) {
        pressure->written = totals->disk_write.count;
        pressure->gives_back = true;
        io_work(worker->loop, give_back, gave_back, worker);
    }
}

/* ---- backpressure ------------------------------------------------------------------------------ */

static void watch_progress(struct worker_node *worker, const struct store_totals *totals)
{
    struct worker_pressure *pressure = worker->pressure;
    double now = io_monotonic();
    if (!store_is_behind(worker->store) || totals->disk_write.count != pressure->progress_written) {
        pressure->progress = now;
        pressure->progress_written = totals->disk_write.count;
        pressure->is_stalled = false;
    } else if (!pressure->is_stalled && now - pressure->progress > STALL_SECONDS) {
        pressure->is_stalled = true;
        log_warning(LOGGER, "Values have to leave memory, but none did for %d s; tasks go on",
                    STALL_SECONDS);
    }
}

void worker_pressure_turn(struct worker_node *worker)
{
    bool on = store_is_behind(worker->store) && !worker->pressure->is_stalled;
    if (on != worker_has_backpressure(worker->core)) {
        struct worker_event event = worker_event_of(WORKER_EVENT_BACKPRESSURE);
        event.of.backpressure.on = on;
        worker_apply(worker, &event);
    }
}

/* ---- each interval ----------------------------------------------------------------------------- */

static void look_at_executors(struct worker_node *worker, const struct memory_process *processes,
                              struct policy_executor *out)
{
    struct worker_pressure *pressure = worker->pressure;
    while (pressure->baselines.count < worker->seats.count) {
        vec_push(&pressure->baselines, 0);
    }
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        const struct seat *seat = &worker->seats.items[i];
        uint64_t bytes = private_bytes(&processes[i + 1]);
        if (seat->running == 0 || bytes < pressure->baselines.items[i]) {
            pressure->baselines.items[i] = bytes;
        }
        out[i] = (struct policy_executor){
            .bytes = bytes,
            .baseline = pressure->baselines.items[i],
            .is_dying = seat->executor != NULL && executor_is_dying(seat->executor),
        };
    }
}

static void on_interval(void *user)
{
    struct worker_node *worker = user;
    struct worker_pressure *pressure = worker->pressure;
    if (worker->is_closing || worker->status == WORKER_STATUS_INIT) {
        return;
    }
    arena_reset(&worker->scratch);
    uint32_t count = worker->seats.count;
    struct memory_process *processes =
        arena_array(&worker->scratch, struct memory_process, count + 1);
    struct policy_executor *executors =
        arena_array(&worker->scratch, struct policy_executor, count);
    struct store_totals totals;
    uint64_t memory = measure(worker, processes);
    double target = pressure->settings.target * (double)pressure->settings.limit;
    if (target > 0 && (double)memory > target) {
        store_trim(worker->store); /* before anything has to go to disk */
        memory = measure(worker, processes);
    }
    store_totals(worker->store, &totals);
    struct policy_view view = {
        .memory = memory,
        .leaving = totals.leaving_bytes,
        .evictable = totals.evictable_bytes,
        .is_paused = worker->status == WORKER_STATUS_PAUSED,
        .executors = executors,
        .executor_count = count,
    };
    look_at_executors(worker, processes, executors);
    struct policy_decision decision;
    policy_decide(&pressure->settings, &pressure->state, &view, &decision);
    store_evict(worker->store, decision.evict_bytes);
    watch_progress(worker, &totals);
    give_memory_back(worker, &totals);
    change_run(worker, decision.run, view.memory);
    if (decision.is_unmanaged_high) {
        warn_unmanaged(pressure, view.memory);
    }
    if (decision.blame != POLICY_NOBODY && worker->seats.items[decision.blame].executor != NULL) {
        end_executor(worker, decision.blame, view.memory);
    }
}

/* ---- the settings ------------------------------------------------------------------------------ */

static double threshold(const struct config *config, const char *name, double absent)
{
    return config_is_false(config, name) ? POLICY_OFF : config_float(config, name, absent);
}

struct policy_settings worker_memory_settings(const struct worker_node *worker)
{
    const struct config *config = worker->config;
    return (struct policy_settings){
        .limit = worker->options.memory_limit,
        .target = threshold(config, "distributed.worker.memory.target", 0.6),
        .spill = threshold(config, "distributed.worker.memory.spill", 0.7),
        .pause = threshold(config, "distributed.worker.memory.pause", 0.8),
        .terminate = worker->options.has_nanny /* whose part it is */
                         ? threshold(config, "distributed.worker.memory.terminate", 0.95)
                         : POLICY_OFF,
    };
}

static void take_threshold(struct span told, const char *name, double *threshold)
{
    struct span value;
    double fraction;
    if (msgpack_find(told, name, &value) != OK) {
        return;
    }
    struct msgpack_reader reader = msgpack_reader(value);
    if (span_equal(value, SPAN("\xc2"))) {
        *threshold = POLICY_OFF;
    } else if (msgpack_read_float(&reader, &fraction) == OK && fraction > 0) {
        *threshold = fraction;
    }
}

void worker_pressure_told(struct worker_node *worker, struct span told)
{
    struct policy_settings *settings = &worker->pressure->settings;
    take_threshold(told, "target", &settings->target);
    take_threshold(told, "spill", &settings->spill);
    take_threshold(told, "pause", &settings->pause);
}

void worker_pressure_create(struct worker_node *worker)
{
    struct worker_pressure *pressure = mem_zalloc(1, sizeof *pressure);
    pressure->settings = worker_memory_settings(worker);
    pressure->timer = io_timer_create(worker->loop, on_interval, worker);
    worker->pressure = pressure;
    if (pressure->settings.limit > 0) {
        double interval =
            config_seconds(worker->config, "distributed.worker.memory.monitor-interval", 0.1);
        io_timer_start(pressure->timer, interval, interval);
    }
}

void worker_pressure_destroy(struct worker_node *worker)
{
    struct worker_pressure *pressure = worker->pressure;
    if (pressure == NULL) {
        return;
    }
    worker->pressure = NULL;
    io_timer_destroy(pressure->timer);
    vec_fini(&pressure->baselines);
    mem_free(pressure);
}
