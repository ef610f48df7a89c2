/* steal.c: what could be stolen, and moves under way; steal_balance.c decides who steals what.
 *
 * Each worker lists its tasks by level: how many times longer moving its inputs takes than running it. A task
 * knows its level and its place in the list, so it joins and leaves in O(1).
 * Must agree with: distributed stealing.py, WorkStealing. */
#include "core/scheduler/steal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/text.h"
#include "core/scheduler/action.h"
#include "core/scheduler/departure.h"
#include "core/scheduler/occupancy.h"
#include "core/scheduler/place.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/processing.h"
#include "core/scheduler/shuffle.h"
#include "core/scheduler/steal_internal.h"
#include "core/scheduler/transition.h"

#define LATENCY 0.1 /* seconds: stealing takes several bounces, so small tasks are not worth it */
#define GUESSES_MIN 64u
#define WARNING 30

struct steal *steal_create(const struct scheduler_config *config)
{
    struct steal *steal = mem_zalloc(1, sizeof *steal);
    steal->due = config->work_stealing ? 0 : INFINITY;
    return steal;
}

static void guesses_drop(struct steal *steal)
{
    for (uint32_t i = 0; i < steal->guesses.count; i++) {
        vec_fini(&steal->guesses.items[i]);
    }
    steal->guesses.count = 0;
}

void steal_destroy(struct steal *steal)
{
    guesses_drop(steal);
    vec_fini(&steal->guesses);
    vec_fini(&steal->flights);
    id_map_fini(&steal->flight_of);
    mem_free(steal);
}

void steal_restart(struct scheduler *s)
{
    guesses_drop(s->steal);
}

/* ---- lists ---- */

/* steal_time_ratio: the level in which to list the task; −1: not worth stealing. */
static int level_of(const struct scheduler *s, const struct task *task)
{
    const struct prefix *prefix = task->group->prefix;
    if (prefix->fast) {
        return -1;
    }
    if (task->dependencies.count == 0) {
        return 0;
    }
    double compute = prefix_duration(s, prefix);
    if (compute <= 0) {
        return -1;
    }
    double transfer = (double)task_inputs_nbytes(s, task) / s->bandwidth + LATENCY;
    double level = rint(log2(transfer / compute) + 6);
    if (level >= STEAL_LEVELS) {
        return -1;
    }
    return level < 1 ? 1 : (int)level;
}

static void list_remove(struct scheduler *s, struct task *task)
{
    if (task->steal_level == 0) {
        return;
    }
    uint32_t level = task->steal_level - 1u;
    struct worker *worker = worker_at(s, task->processing_on);
    uint32_t slot = task->steal_slot;
    ASSERT(worker->stealable[level].items[slot] == task->id);
    vec_swap_remove(&worker->stealable[level], slot);
    if (slot < worker->stealable[level].count) {
        task_at(s, worker->stealable[level].items[slot])->steal_slot = slot;
    }
    task->steal_level = 0;
}

/* Only those still in processing, each once. */
static void guesses_pack(struct scheduler *s, struct guess_list *list)
{
    uint32_t mark = traversal_begin(s);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        struct guess guess = list->items[i];
        struct task *task = task_at(s, guess.task);
        if (task->serial == guess.serial && task->state == TASK_PROCESSING && task->mark != mark) {
            task->mark = mark;
            list->items[kept++] = guess;
        }
    }
    list->count = kept;
}

static void guess_add(struct scheduler *s, const struct task *task)
{
    uint32_t prefix = task->group->prefix->id;
    while (s->steal->guesses.count <= prefix) {
        vec_push(&s->steal->guesses, (struct guess_list){0});
    }
    struct guess_list *list = &s->steal->guesses.items[prefix];
    if (list->count == list->capacity && list->count >= GUESSES_MIN) {
        guesses_pack(s, list);
        vec_reserve(list, list->count); /* so that packing again is as far away as it is long */
    }
    vec_push(list, (struct guess){.task = task->id, .serial = task->serial});
}

static void list_add(struct scheduler *s, struct task *task)
{
    ASSERT(task->steal_level == 0);
    int level = level_of(s, task);
    if (level < 0) {
        return;
    }
    struct worker *worker = worker_at(s, task->processing_on);
    task->steal_level = (uint8_t)(level + 1);
    task->steal_slot = worker->stealable[level].count;
    vec_push(&worker->stealable[level], task->id);
}

void steal_task_processing(struct scheduler *s, struct task *task)
{
    ASSERT(task->processing_on != WORKER_NONE);
    list_add(s, task);
    /* Without inputs it stays in level 0 whatever its duration. */
    if (task->steal_level > 1 && task->group->prefix->duration_average < 0) {
        guess_add(s, task);
    }
}

/* `done`, the first task of its prefix, finished: the duration is known now. */
static void guesses_resolve(struct scheduler *s, const struct task *done)
{
    const struct prefix *prefix = done->group->prefix;
    if (prefix->id >= s->steal->guesses.count || s->steal->guesses.items[prefix->id].count == 0) {
        return;
    }
    struct guess_list list = s->steal->guesses.items[prefix->id];
    s->steal->guesses.items[prefix->id] = (struct guess_list){0};
    guesses_pack(s, &list);
    for (uint32_t i = 0; i < list.count; i++) {
        struct task *task = task_at(s, list.items[i].task);
        /* One in flight is off the lists until its victim has answered; a long-running one for good. */
        if (task != done && steal_flight_find(s, task->id) == NULL &&
            (task->flags & TASK_LONG_RUNNING) == 0) {
            list_remove(s, task);
            steal_task_processing(s, task);
        }
    }
    vec_fini(&list);
}

/* ---- moves under way ---- */

struct flight *steal_flight_find(const struct scheduler *s, task_id task)
{
    uint32_t *place = id_map_find(&s->steal->flight_of, task);
    return place == NULL ? NULL : &s->steal->flights.items[*place];
}

static void load_add(struct scheduler *s, worker_id id, double occupancy, int32_t tasks)
{
    struct worker *worker = worker_find(s, id);
    if (worker != NULL) {
        worker->steal_in_flight_occupancy += occupancy;
        worker->steal_in_flight_tasks += tasks;
    }
}

static void flight_add(struct scheduler *s, struct flight flight)
{
    *id_map_put(&s->steal->flight_of, flight.task) = s->steal->flights.count;
    vec_push(&s->steal->flights, flight);
    load_add(s, flight.victim, -flight.victim_duration, -1);
    load_add(s, flight.thief, flight.thief_duration, 1);
}

static void flight_remove(struct scheduler *s, const struct flight *flight)
{
    struct steal *steal = s->steal;
    load_add(s, flight->thief, -flight->thief_duration, -1);
    load_add(s, flight->victim, flight->victim_duration, 1);
    uint32_t place = (uint32_t)(flight - steal->flights.items);
    id_map_remove(&steal->flight_of, flight->task);
    vec_swap_remove(&steal->flights, place);
    if (place < steal->flights.count) {
        *id_map_find(&steal->flight_of, steal->flights.items[place].task) = place;
    }
    if (steal->flights.count > 0) {
        return;
    }
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) { /* what rounding left behind */
        worker_at(s, s->workers_sorted.items[i])->steal_in_flight_occupancy = 0;
    }
}

static struct span stimulus_of(uint64_t number, struct arena *arena)
{
    struct text text = {0};
    text_printf(&text, "steal-%" PRIu64, number);
    struct span copy = arena_copy(arena, text_span(&text));
    text_fini(&text);
    return copy;
}

void steal_request(struct scheduler *s, struct task *task, struct worker *victim,
                   struct worker *thief, struct step *step)
{
    ASSERT(task->processing_on == victim->id && victim != thief);
    ASSERT(steal_flight_find(s, task->id) == NULL);
    list_remove(s, task);
    double compute = prefix_duration(s, task->group->prefix);
    struct flight flight = {
        .task = task->id,
        .victim = victim->id,
        .thief = thief->id,
        .victim_duration = compute + comm_cost(s, task, victim),
        .thief_duration = compute + comm_cost(s, task, thief),
        .number = s->steal->request_count++,
    };
    action_add(step, ACTION_STEAL_REQUEST)->of.steal_request = (struct action_steal_request){
        .worker = victim->id,
        .key = task->key,
        .stimulus = stimulus_of(flight.number, &step->arena),
    };
    flight_add(s, flight);
}

void steal_task_left(struct scheduler *s, struct task *task, enum task_state finish)
{
    list_remove(s, task);
    struct flight *flight = steal_flight_find(s, task->id);
    if (flight != NULL && finish != TASK_PROCESSING) {
        flight_remove(s, flight);
    }
    if (finish == TASK_MEMORY) {
        guesses_resolve(s, task);
    }
}

void steal_worker_removed(struct scheduler *s, struct worker *worker)
{
    for (uint32_t level = 0; level < STEAL_LEVELS; level++) {
        for (uint32_t i = 0; i < worker->stealable[level].count; i++) {
            task_at(s, worker->stealable[level].items[i])->steal_level = 0;
        }
        worker->stealable[level].count = 0;
    }
}

/* ---- answers ---- */

static bool is_one_of(struct span state, const char *const *names)
{
    while (*names != NULL && !span_equal_text(state, *names)) {
        names++;
    }
    return *names != NULL;
}

/* Given up by the victim: it had not begun. */
static bool is_confirmed(struct span state)
{
    return is_one_of(state, (const char *const[]){"ready", "constrained", "waiting", NULL});
}

/* The victim keeps it: begun, or done. */
static bool is_rejected(struct span state)
{
    return is_one_of(state, (const char *const[]){"memory", "executing", "long-running",
                                                  "cancelled", "resumed", NULL});
}

static struct notice *note(struct step *step, const char *what,
                           const struct event_steal_response *answer)
{
    struct notice *notice = action_notice(step, NOTICE_STEAL);
    notice->text = span_of_text(what);
    notice->text2 = answer->state;
    notice->keys = span_list_one(step, answer->key);
    notice->worker = answer->worker;
    return notice;
}

/* The flight that this answers; NULL: it is too late, or never was one. */
static struct flight *flight_answered(struct scheduler *s, const struct task *task,
                                      const struct event *event, struct step *step)
{
    const struct event_steal_response *answer = &event->of.steal_response;
    struct flight *flight = task == NULL ? NULL : steal_flight_find(s, task->id);
    if (task == NULL) {
        return NULL;
    }
    if (flight == NULL) {
        note(step, "already-aborted", answer);
        return NULL;
    }
    if (!span_equal(stimulus_of(flight->number, &step->arena), event->stimulus)) {
        note(step, "stale-response", answer);
        return NULL;
    }
    return flight;
}

/* move_task_confirm, once the answer (in the notice) is known to be about this flight. A thief that the task's
 * rules, changed meanwhile, exclude does not get it; stock's does. */
static void answer_applied(struct scheduler *s, struct task *task, struct worker *thief,
                           struct notice *notice, struct step *step)
{
    struct span state = notice->text2;
    bool confirmed = is_confirmed(state);
    bool undefined = state.size == 0 || span_equal_text(state, "released");
    bool thief_may = thief != NULL && worker_is_allowed(s, task, thief) &&
                     !(confirmed && departure_takes_inputs(s, task, step));
    if (undefined || (confirmed && !thief_may)) {
        notice->text = SPAN("reschedule");
        notice->flag = thief == NULL;
        want(s, task, TASK_RELEASED);
        shuffles_barrier_again(s, task, step);
        transitions_run(s, step);
    } else if (is_rejected(state)) {
        notice->text = SPAN("already-computing");
    } else if (confirmed) {
        notice->text = SPAN("confirm");
        list_remove(s, task);
        processing_move(s, task, thief, step);
        steal_task_processing(s, task);
    } else {
        notice->text = SPAN("unexpected-state");
        action_log(step, WARNING,
                   "A worker answered a steal request with an unexpected state: %.*s",
                   (int)state.size, (const char *)state.data);
    }
}

void steal_response(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_steal_response *answer = &event->of.steal_response;
    struct task *task = task_find(s, answer->key);
    struct flight *found = flight_answered(s, task, event, step);
    if (found == NULL) {
        return;
    }
    struct flight flight = *found;
    flight_remove(s, found);
    ASSERT(task->state == TASK_PROCESSING && task->processing_on == flight.victim);
    struct worker *thief = worker_find(s, flight.thief);
    struct worker *victim = worker_find(s, flight.victim);
    thief = thief != NULL && thief->known ? thief : NULL;
    struct notice *notice = note(step, "", answer);
    notice->worker = flight.victim;
    notice->worker2 = flight.thief;
    answer_applied(s, task, thief, notice, step);
    if (thief != NULL) {
        check_idle_saturated(s, thief, -1);
    }
    if (victim != NULL && victim->known) {
        check_idle_saturated(s, victim, -1);
    }
}

/* ---- time ---- */

/* Somebody is idle, and somebody is not. */
static bool is_uneven(const struct scheduler *s)
{
    return s->idle.count > 0 && s->idle.count < s->workers_sorted.count;
}

void steal_tick(struct scheduler *s, struct step *step)
{
    if (s->now < s->steal->due || !is_uneven(s)) {
        return;
    }
    s->steal->due = s->now + s->config.work_stealing_interval;
    steal_balance(s, step);
}

double steal_next_tick(const struct scheduler *s)
{
    return is_uneven(s) ? s->steal->due : INFINITY;
}

void steal_totals(const struct scheduler *s, uint64_t *out_count, double *out_cost)
{
    memcpy(out_count, s->steal->count, sizeof s->steal->count);
    memcpy(out_cost, s->steal->cost, sizeof s->steal->cost);
}

/* ---- check ---- */

static uint64_t check_worker(const struct scheduler *s, const struct worker *worker)
{
    uint64_t listed = 0;
    for (uint32_t level = 0; level < STEAL_LEVELS; level++) {
        for (uint32_t i = 0; i < worker->stealable[level].count; i++) {
            const struct task *task = task_at(s, worker->stealable[level].items[i]);
            ASSERT(task->state == TASK_PROCESSING && task->processing_on == worker->id);
            ASSERT(task->steal_level == level + 1 && task->steal_slot == i);
            ASSERT(steal_flight_find(s, task->id) == NULL);
        }
        listed += worker->stealable[level].count;
    }
    return listed;
}

void steal_check(const struct scheduler *s)
{
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        const struct worker *worker = worker_at(s, s->workers_sorted.items[i]);
        ASSERT(check_worker(s, worker) <= worker->processing.count);
    }
    ASSERT(s->steal->flights.count == s->steal->flight_of.count);
    for (uint32_t i = 0; i < s->steal->flights.count; i++) {
        const struct flight *flight = &s->steal->flights.items[i];
        const struct task *task = task_at(s, flight->task);
        ASSERT(*id_map_find(&s->steal->flight_of, flight->task) == i);
        ASSERT(task->state == TASK_PROCESSING && task->processing_on == flight->victim);
        ASSERT(task->steal_level == 0);
    }
}
