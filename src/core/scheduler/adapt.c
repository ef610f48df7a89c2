/* adapt.c: see adapt.h. */
#include "core/scheduler/adapt.h"

#include <math.h>

#include "core/scheduler/balance.h"
#include "core/scheduler/internal.h"
#include "core/scheduler/occupancy.h"
#include "core/scheduler/queue.h"

#define SAMPLE 100u         /* waiting tasks looked at; the others are taken to be alike */
#define MEMORY_FRACTION 0.6 /* of all workers' memory; with more in use, twice as many are wanted */
#define TARGET_MAX 1e9

/* Seconds of work that waits without a worker. */
static double waiting_occupancy(const struct scheduler *s, uint64_t ready)
{
    double sum = 0;
    uint32_t seen = 0;
    uint32_t cursor = 0;
    for (const struct task *task; seen < SAMPLE && (task = queue_next(s, &cursor)) != NULL;
         seen++) {
        sum += prefix_duration(s, task->group->prefix);
    }
    for (uint32_t i = 0; seen < SAMPLE && i < s->unrunnable.count; i++) {
        if (s->unrunnable.items[i].task != TASK_NONE) {
            sum += prefix_duration(s, task_at(s, s->unrunnable.items[i].task)->group->prefix);
            seen++;
        }
    }
    return ready > SAMPLE ? sum * (double)ready / SAMPLE : sum;
}

/* No more threads than tasks: a few long ones must not ask for many. */
static double limit_by_tasks(const struct scheduler *s, double threads, uint64_t tasks)
{
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        if ((double)tasks > threads) {
            return threads;
        }
        tasks += worker_at(s, s->workers_sorted.items[i])->processing.count;
    }
    return fmin((double)tasks, threads);
}

/* Workers for the work that is there. */
static double target_by_work(const struct scheduler *s, double target_duration)
{
    uint64_t ready = (uint64_t)queue_count(s) + s->unrunnable_live;
    double work = total_occupancy(s) + waiting_occupancy(s, ready);
    double threads = ceil(fmin(work / target_duration, TARGET_MAX));
    threads = limit_by_tasks(s, threads, ready);
    if (s->workers_sorted.count == 0) {
        return ready > 0 ? fmax(1, threads) : threads;
    }
    return ceil(threads / fmax(1, (double)s->total_nthreads) * s->workers_sorted.count);
}

static bool is_memory_short(const struct scheduler *s)
{
    double limit = 0;
    double used = 0;
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        const struct worker *worker = worker_at(s, s->workers_sorted.items[i]);
        limit += (double)worker->memory_limit;
        used += (double)worker->nbytes;
    }
    return limit > 0 && used > MEMORY_FRACTION * limit;
}

int64_t adapt_wanted(const struct scheduler *s, double target_duration)
{
    int64_t workers = s->workers_sorted.count;
    int64_t target = (int64_t)target_by_work(s, target_duration > 0 ? target_duration : 1e-9);
    return is_memory_short(s) && target < 2 * workers ? 2 * workers : target;
}

int64_t adapt_target(const struct scheduler *s, double target_duration)
{
    int64_t workers = s->workers_sorted.count;
    int64_t target = adapt_wanted(s, target_duration);
    if (target >= workers) {
        return target;
    }
    struct arena arena;
    arena_init(&arena);
    uint32_t closing;
    balance_workers_to_close(s, &CLOSE_REQUEST_DEFAULT, &arena, &closing);
    arena_fini(&arena);
    return workers - (int64_t)closing;
}
