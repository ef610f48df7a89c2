/* amm.c: when the memory manager runs, its policies, and retiring workers.
 *
 * A retirement goes through the memory manager: its policy asks for a second replica of all that only this
 * worker holds, and the retirement ends when nothing is left or nobody can take it. If the manager does not
 * run by itself, retirements have runs of their own.
 * Must agree with: distributed active_memory_manager.py ReduceReplicas, RetireWorker; scheduler.py
 * retire_workers, _track_retire_worker. */
#include "core/scheduler/amm.h"

#include <math.h>

#include "core/scheduler/action.h"
#include "core/scheduler/amm_internal.h"
#include "core/scheduler/departure.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/step_events.h"

#define TEMPORARY_INTERVAL 2.0
#define WAITERS_COUNTED_MAX 20u /* a task with more waiters is taken to need a replica for each */
#define INFO 20
#define WARNING 30

struct amm *amm_create(const struct scheduler_config *config)
{
    struct amm *amm = mem_zalloc(1, sizeof *amm);
    amm->is_running = config->amm_start;
    return amm;
}

void amm_destroy(struct amm *amm)
{
    for (uint32_t i = 0; i < amm->retirements.count; i++) {
        span_disown(&amm->retirements.items[i].stimulus);
    }
    vec_fini(&amm->retirements);
    mem_free(amm);
}

/* ---- ReduceReplicas ---- */

/* Different workers that process tasks waiting for this one, and one for each that is nowhere yet. */
static uint32_t count_places(const struct scheduler *s, const struct task *task)
{
    worker_id places[WAITERS_COUNTED_MAX];
    uint32_t place_count = 0;
    uint32_t nowhere = 0;
    const struct link *links = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        const struct task *dependent = task_at(s, links[i].other);
        uint32_t flags = links_items(&dependent->dependencies)[links[i].slot & LINK_SLOT_MASK].slot;
        if ((flags & EDGE_WAITS) == 0) {
            continue;
        }
        uint32_t known = 0;
        while (known < place_count && places[known] != dependent->processing_on) {
            known++;
        }
        if (dependent->processing_on == WORKER_NONE) {
            nowhere++;
        } else if (known == place_count) {
            ASSERT(place_count < WAITERS_COUNTED_MAX);
            places[place_count++] = dependent->processing_on;
        }
    }
    return place_count + nowhere;
}

static void reduce_replicas(struct amm_run *run)
{
    struct scheduler *s = run->s;
    for (uint32_t i = 0; i < s->replicated.count; i++) {
        struct task *task = task_at(s, s->replicated.items[i]);
        uint32_t needed = task->waiter_count;
        if (needed > 1 && needed < WAITERS_COUNTED_MAX) {
            needed = count_places(s, task);
        }
        needed = needed < 1 ? 1 : needed;
        const struct amm_pending *pending = amm_pending_find(run, task);
        int64_t surplus = (int64_t)task->who_has.count - needed;
        if (pending != NULL) {
            surplus += (int64_t)pending->replicate_count - pending->drop_count;
        }
        while (surplus-- > 0 && amm_drop(run, task, WORKER_NONE) != WORKER_NONE) {
        }
    }
}

/* ---- RetireWorker ---- */

static bool has_running_holder(const struct scheduler *s, const struct task *task)
{
    for (uint32_t i = 0; i < task->who_has.count; i++) {
        if (worker_at(s, links_items(&task->who_has)[i].other)->status == WORKER_RUNNING) {
            return true;
        }
    }
    return false;
}

/* Suggest what one result on the worker needs. *out_moving: it must be (or is being) copied elsewhere;
 * *out_stuck: and cannot. */
static void retire_task(struct amm_run *run, struct task *task, const struct worker *worker,
                        uint32_t *out_moving, uint32_t *out_stuck)
{
    if ((task->flags & TASK_ACTOR) != 0) {
        return; /* a proxy: with the actor itself we would not be here */
    }
    if (task->who_has.count > 1) {
        bool dropped = amm_drop(run, task, worker->id) != WORKER_NONE;
        if (dropped || has_running_holder(run->s, task)) {
            return;
        }
    }
    (*out_moving)++;
    const struct amm_pending *pending = amm_pending_find(run, task);
    bool is_coming = pending != NULL && pending->replicate_count > 0;
    if (!is_coming && amm_replicate(run, task) == WORKER_NONE) {
        (*out_stuck)++;
    }
}

static void retire(struct amm_run *run, struct retirement *retirement, struct step *step)
{
    const struct worker *worker = worker_find(run->s, retirement->worker);
    if (worker == NULL || !worker->known) {
        retirement->is_active = false;
        return;
    }
    int address_size = (int)worker->address.size;
    const char *address = (const char *)worker->address.data;
    if (worker->actors.count > 0) {
        action_log(step, WARNING,
                   "Tried retiring worker %.*s, but it holds %u actor(s), which can't be moved. "
                   "The worker will not be retired.",
                   address_size, address, worker->actors.count);
        retirement->no_recipients = true;
        retirement->is_active = false;
        return;
    }
    uint32_t moving = 0;
    uint32_t stuck = 0;
    for (uint32_t i = 0; i < worker->has_what.count; i++) {
        retire_task(run, task_at(run->s, links_items(&worker->has_what)[i].other), worker, &moving,
                    &stuck);
    }
    if (stuck > 0) {
        action_log(
            step, WARNING,
            "Tried retiring worker %.*s, but %u tasks could not be moved as there are no suitable "
            "workers to receive them. The worker will not be retired.",
            address_size, address, stuck);
        retirement->no_recipients = true;
        retirement->is_active = false;
    } else if (moving > 0) {
        action_log(step, INFO, "Retiring worker %.*s; %u keys are being moved away.", address_size,
                   address, moving);
    } else {
        action_log(step, INFO, "Retiring worker %.*s; no unique keys need to be moved away.",
                   address_size, address);
        retirement->is_active = false;
    }
}

/* ---- running ---- */

/* `temporary`: only retirements that the manager itself does not look after. */
static void run_once(struct scheduler *s, bool temporary, struct step *step)
{
    struct amm *amm = s->amm;
    bool reduces = !temporary && s->config.amm_reduce_replicas && s->replicated.count > 0;
    if (!reduces && amm->retirements.count == 0) {
        return;
    }
    struct amm_run run;
    amm_run_init(&run, s, step);
    if (reduces) {
        reduce_replicas(&run);
    }
    for (uint32_t i = 0; i < amm->retirements.count; i++) {
        struct retirement *retirement = &amm->retirements.items[i];
        if (retirement->is_active && retirement->is_temporary == temporary) {
            retire(&run, retirement, step);
        }
    }
    amm_run_enact(&run);
    amm_run_fini(&run);
}

bool amm_running(const struct scheduler *s)
{
    return s->amm->is_running;
}

static bool has_temporary(const struct amm *amm)
{
    for (uint32_t i = 0; i < amm->retirements.count; i++) {
        if (amm->retirements.items[i].is_temporary) {
            return true;
        }
    }
    return false;
}

void amm_command(struct scheduler *s, const struct event *event, struct step *step)
{
    struct amm *amm = s->amm;
    struct span method = event->of.amm.method;
    departures_finish(s, step);
    if (span_equal_text(method, "start") && !amm->is_running) {
        amm->is_running = true;
        amm->due = s->now + s->config.amm_interval;
    } else if (span_equal_text(method, "stop") && amm->is_running) {
        amm->is_running = false;
        /* Retirements under way must not wait for somebody to start it again. */
        for (uint32_t i = 0; i < amm->retirements.count; i++) {
            amm->retirements.items[i].is_temporary = true;
        }
        amm->temporary_due = s->now + TEMPORARY_INTERVAL;
    } else if (span_equal_text(method, "run_once")) {
        run_once(s, false, step);
    }
}

void amm_suggest(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_amm_suggest *suggested = &event->of.amm_suggest;
    departures_finish(s, step);
    const struct worker *worker = worker_find(s, suggested->worker);
    if (worker == NULL || !worker->known) {
        return;
    }
    struct amm_run run;
    amm_run_init(&run, s, step);
    for (uint32_t i = 0; i < suggested->keys.count; i++) {
        struct task *task = task_find(s, suggested->keys.items[i]);
        if (task != NULL && suggested->drop) {
            amm_drop(&run, task, worker->id);
        } else if (task != NULL) {
            amm_replicate_on(&run, task, worker);
        }
    }
    amm_run_enact(&run);
    amm_run_fini(&run);
}

/* ---- retirements ---- */

static bool is_done(const struct scheduler *s, const struct retirement *retirement)
{
    const struct worker *worker = worker_find(s, retirement->worker);
    if (!retirement->is_active || worker == NULL || !worker->known) {
        return true;
    }
    for (uint32_t i = 0; i < worker->has_what.count; i++) {
        if (task_at(s, links_items(&worker->has_what)[i].other)->who_has.count < 2) {
            return false;
        }
    }
    return true;
}

/* When to look again: soon if it has little to give away. */
static double poll_interval(const struct scheduler *s, const struct retirement *retirement)
{
    const struct worker *worker = worker_at(s, retirement->worker);
    return fmax(0.01, fmin(0.5, worker->has_what.count / 400.0));
}

/* The worker goes on as before; the node says so to people. */
static void give_up(const struct retirement *retirement, struct step *step)
{
    action_add(step, ACTION_CHANGE_STATUS)->of.change_status = (struct action_change_status){
        .worker = retirement->worker,
        .status = span_of_text(worker_status_name(retirement->former_status)),
        .stimulus = arena_copy(&step->arena, retirement->stimulus),
    };
}

/* The retirement at `place` is over. */
static void end(struct scheduler *s, uint32_t place, struct step *step)
{
    struct amm *amm = s->amm;
    struct retirement retirement = amm->retirements.items[place];
    amm->retirements.count--;
    memmove(&amm->retirements.items[place], &amm->retirements.items[place + 1],
            (amm->retirements.count - place) * sizeof *amm->retirements.items);
    const struct worker *worker = worker_find(s, retirement.worker);
    bool is_here = worker != NULL && worker->known;
    bool retired = !(retirement.no_recipients && is_here);
    if (!retired) {
        give_up(&retirement, step);
    }
    struct notice *notice = action_notice(step, NOTICE_RETIRED);
    notice->worker = retirement.worker;
    notice->flag = retired;
    notice->stimulus = arena_copy(&step->arena, retirement.stimulus);
    action_add(step, ACTION_RETIRED)->of.retired = (struct action_retired){
        .request = retirement.request,
        .worker = retirement.worker,
        .retired = retired,
        .close = retirement.close,
        .remove = retirement.remove,
    };
    span_disown(&retirement.stimulus);
}

/* End what is done among those whose turn it is; the others are looked at again later. */
static void poll(struct scheduler *s, struct step *step)
{
    for (uint32_t i = 0; i < s->amm->retirements.count;) {
        struct retirement *retirement = &s->amm->retirements.items[i];
        if (retirement->poll_due > s->now) {
            i++;
        } else if (is_done(s, retirement)) {
            end(s, i, step);
        } else {
            retirement->poll_due = s->now + poll_interval(s, retirement);
            i++;
        }
    }
}

/* The worker takes nothing new from now on; its policy is set up. */
static void begin(struct scheduler *s, struct worker *worker,
                  const struct event_retire_begin *event, struct step *step)
{
    /* It may have been retired in vain before, and not have answered to that yet: stock would leave it closing for
     * ever then. */
    bool is_closing = worker->status == WORKER_CLOSING_GRACEFULLY;
    struct retirement retirement = {
        .worker = worker->id,
        .former_status = is_closing ? worker->status_before_closing : worker->status,
        .close = event->close,
        .remove = event->remove,
        .is_active = true,
        .is_temporary = !s->amm->is_running,
        .request = event->request,
        .stimulus = span_own(step->stimulus),
    };
    vec_push(&s->amm->retirements, retirement);
    worker_set_status(s, worker, WORKER_CLOSING_GRACEFULLY, step);
    action_add(step, ACTION_CHANGE_STATUS)->of.change_status = (struct action_change_status){
        .worker = worker->id,
        .status = span_of_text(worker_status_name(WORKER_CLOSING_GRACEFULLY)),
        .stimulus = step->stimulus,
    };
}

void amm_retire_begin(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_retire_begin *retire = &event->of.retire_begin;
    departures_finish(s, step);
    for (uint32_t i = 0; i < retire->workers.count; i++) {
        struct worker *worker = worker_find(s, retire->workers.items[i]);
        if (worker != NULL && worker->known) {
            begin(s, worker, retire, step);
        } else {
            action_add(step, ACTION_RETIRED)->of.retired = (struct action_retired){
                .request = retire->request,
                .worker = retire->workers.items[i],
                .retired = true,
                .close = retire->close,
                .remove = retire->remove,
            };
        }
    }
    if (!s->amm->is_running) {
        s->amm->temporary_due = s->now + TEMPORARY_INTERVAL;
    }
    run_once(s, !s->amm->is_running, step);
    poll(s, step);
}

void amm_worker_removed(struct scheduler *s, struct worker *worker, struct step *step)
{
    for (uint32_t i = 0; i < s->amm->retirements.count;) {
        if (s->amm->retirements.items[i].worker == worker->id) {
            end(s, i, step);
        } else {
            i++;
        }
    }
}

/* ---- time ---- */

void amm_tick(struct scheduler *s, struct step *step)
{
    struct amm *amm = s->amm;
    if (departures_pending(s)) {
        return; /* what looks like a second replica may be gone */
    }
    if (amm->is_running && s->now >= amm->due) {
        amm->due = s->now + s->config.amm_interval;
        run_once(s, false, step);
    }
    if (s->now >= amm->temporary_due && has_temporary(amm)) {
        amm->temporary_due = s->now + TEMPORARY_INTERVAL;
        run_once(s, true, step);
    }
    poll(s, step);
}

double amm_next_tick(const struct scheduler *s)
{
    const struct amm *amm = s->amm;
    double next = INFINITY;
    if (departures_pending(s)) {
        return next; /* the last piece will ask again */
    }
    if (amm->is_running && (s->task_count > 0 || amm->retirements.count > 0)) {
        next = amm->due;
    }
    if (has_temporary(amm)) {
        next = fmin(next, amm->temporary_due);
    }
    for (uint32_t i = 0; i < amm->retirements.count; i++) {
        next = fmin(next, amm->retirements.items[i].poll_due);
    }
    return next;
}
