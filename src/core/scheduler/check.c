/* check.c: every invariant of the whole state. Called after each step in tests, simulation and fuzzing.
 * Must agree with: scheduler.py validate_state, validate_key, validate_task_state, where our own steps are
 * concerned; what stock asserts but lets happen (an unneeded result in memory) is not asserted here. */
#include "core/scheduler/action.h"
#include "core/scheduler/departure.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/forward.h"
#include "core/scheduler/groups.h"
#include "core/scheduler/occupancy.h"
#include "core/scheduler/place.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/replicas.h"
#include "core/scheduler/steal.h"

/* waiting, queued, no-worker, processing: it needs its inputs. */
static bool is_in_play(const struct task *task)
{
    return task->state == TASK_WAITING || task->state == TASK_QUEUED ||
           task->state == TASK_NO_WORKER || task->state == TASK_PROCESSING;
}

/* ---- edges ---- */

static void check_dependencies(const struct scheduler *s, const struct task *task)
{
    uint32_t missing = 0;
    const struct link *links = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        const struct task *input = task_at(s, links[i].other);
        ASSERT(input->state != TASK_FORGOTTEN);
        const struct link *back = &links_items(&input->dependents)[links[i].slot & LINK_SLOT_MASK];
        ASSERT(back->other == task->id);
        ASSERT((back->slot & LINK_SLOT_MASK) == i);
        bool is_missing = (links[i].slot & EDGE_MISSING) != 0;
        bool waits = (links[i].slot & EDGE_WAITS) != 0;
        missing += is_missing;
        ASSERT(!is_missing || task->state == TASK_WAITING);
        ASSERT(waits == is_in_play(task));
        if (is_in_play(task)) {
            ASSERT(is_missing == (input->who_has.count == 0));
            ASSERT(!is_missing || input->state != TASK_RELEASED);
        }
    }
    ASSERT(missing == task->missing_count);
}

static void check_dependents(const struct scheduler *s, const struct task *task)
{
    uint32_t waiters = 0;
    const struct link *links = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        const struct task *user = task_at(s, links[i].other);
        ASSERT(user->state != TASK_FORGOTTEN);
        ASSERT((links[i].slot & ~LINK_SLOT_MASK) == 0);
        const struct link *edge = &links_items(&user->dependencies)[links[i].slot];
        ASSERT(edge->other == task->id && (edge->slot & LINK_SLOT_MASK) == i);
        waiters += (edge->slot & EDGE_WAITS) != 0;
    }
    ASSERT(waiters == task->waiter_count);
    ASSERT(waiters == 0 || task->state != TASK_RELEASED);
}

/* ---- states ---- */

static void check_ready(const struct task *task)
{
    ASSERT(task->missing_count == 0);
    ASSERT(task_failure(task) == NULL);
    ASSERT((task->flags & TASK_LOST_DEPENDENCIES) == 0);
}

/* Known, or gone, and this is what is left of it. */
static void check_is_there(const struct scheduler *s, const struct worker *worker)
{
    ASSERT(worker->known || departure_has(s, worker->id));
}

static void check_processing(const struct scheduler *s, const struct task *task)
{
    check_ready(task);
    const struct worker *worker = worker_at(s, task->processing_on);
    check_is_there(s, worker);
    ASSERT(worker->processing.items[task->processing_slot] == task->id);
    ASSERT(task->run_id > 0);
}

static void check_erred(const struct task *task)
{
    ASSERT(task_failure(task) != NULL);
    ASSERT(task_failure(task)->refs > 0);
}

static void check_state(const struct scheduler *s, const struct task *task)
{
    ASSERT((task->processing_on != WORKER_NONE) == (task->state == TASK_PROCESSING));
    ASSERT((task->who_has.count > 0) == (task->state == TASK_MEMORY));
    ASSERT((task->flags & TASK_LONG_RUNNING) == 0 || task->state == TASK_PROCESSING);
    if ((task->flags & TASK_FORWARDED) != 0) { /* forward_check() looks at the rest */
        ASSERT(forward_worker(s, task)->forwarded.items[task->ready_place] == task->id);
    }
    switch (task->state) {
    case TASK_WAITING:
        ASSERT(task->missing_count > 0);
        break;
    case TASK_NO_WORKER:
        check_ready(task);
        ASSERT(s->unrunnable.items[task->ready_place].task == task->id);
        break;
    case TASK_QUEUED:
        check_ready(task);
        break;
    case TASK_PROCESSING:
        check_processing(s, task);
        break;
    case TASK_MEMORY:
        ASSERT(task->missing_count == 0);
        ASSERT((task->flags & TASK_HAS_RUN_SPEC) != 0 || task->nbytes >= -1);
        ASSERT(task->who_has.count < 2 || s->replicated.items[task->ready_place] == task->id);
        break;
    case TASK_ERRED:
        check_erred(task);
        break;
    default:
        ASSERT(task->state == TASK_RELEASED);
        break;
    }
}

static void check_relations(const struct scheduler *s, const struct task *task)
{
    for (uint32_t i = 0; i < task->who_has.count; i++) {
        const struct link *link = &links_items(&task->who_has)[i];
        const struct worker *worker = worker_at(s, link->other);
        check_is_there(s, worker);
        ASSERT(links_items(&worker->has_what)[link->slot].other == task->id);
        ASSERT(links_items(&worker->has_what)[link->slot].slot == i);
    }
    for (uint32_t i = 0; i < task->who_wants.count; i++) {
        const struct link *link = &links_items(&task->who_wants)[i];
        const struct client *client = client_at(s, link->other);
        ASSERT(client->known || client->is_pseudo);
        ASSERT(links_items(&client->wants_what)[link->slot].other == task->id);
        ASSERT(links_items(&client->wants_what)[link->slot].slot == i);
    }
}

/* ---- workers ---- */

static void check_worker(const struct scheduler *s, const struct worker *worker)
{
    int64_t nbytes = 0;
    for (uint32_t i = 0; i < worker->has_what.count; i++) {
        const struct task *task = task_at(s, links_items(&worker->has_what)[i].other);
        ASSERT(task->state == TASK_MEMORY);
        nbytes += task_nbytes(s, task);
        ASSERT(id_map_find(&worker->needs_what, task->id) == NULL);
    }
    ASSERT(nbytes == worker->nbytes);
    uint32_t long_running = 0;
    for (uint32_t i = 0; i < worker->processing.count; i++) {
        const struct task *task = task_at(s, worker->processing.items[i]);
        ASSERT(task->state == TASK_PROCESSING && task->processing_on == worker->id);
        ASSERT(task->processing_slot == i);
        long_running += (task->flags & TASK_LONG_RUNNING) != 0;
    }
    ASSERT(long_running == worker->long_running.count);
    for (uint32_t i = 0; i < worker->actors.count; i++) {
        const struct task *task = task_at(s, worker->actors.items[i]);
        ASSERT((task->flags & TASK_ACTOR) != 0);
        ASSERT(task->state == TASK_MEMORY || task->state == TASK_PROCESSING);
    }
    for (uint32_t i = 0; i < worker->needs_what.capacity; i++) {
        task_id id = worker->needs_what.slots[i].id;
        ASSERT(id == TASK_NONE || task_live_at(s, id) != NULL);
    }
    forward_check(s, worker);
    ASSERT(worker->network_occupancy >= 0);
    ASSERT(worker->network_occupancy == 0 || worker->needs_what.count > 0);
}

static void check_workers(const struct scheduler *s)
{
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        const struct worker *worker = worker_at(s, s->workers_sorted.items[i]);
        const struct map_entry *entry = map_find(&s->worker_by_address, worker->address);
        ASSERT(entry != NULL && entry->value.number == worker->id);
        ASSERT(!departure_has(s, worker->id));
        check_worker(s, worker);
    }
    for (uint32_t i = 0; i < s->departures.count; i++) {
        const struct worker *worker = worker_at(s, departure_worker(s, i));
        ASSERT(!worker->known && worker->status == WORKER_CLOSED);
        check_worker(s, worker);
    }
}

/* ---- groups ---- */

static void check_groups(const struct scheduler *s)
{
    uint64_t counts[TASK_STATE_COUNT] = {0};
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&s->group_by_name, &cursor)) != NULL;) {
        const struct group *group = entry->value.pointer;
        uint64_t size = 0;
        for (uint32_t state = 0; state < TASK_STATE_COUNT; state++) {
            size += group->state_counts[state];
            counts[state] += group->state_counts[state];
        }
        ASSERT(group->listed && size == group->size);
        ASSERT(group->state_counts[TASK_FORGOTTEN] < group->size);
    }
    ASSERT(memcmp(counts, s->state_counts, sizeof counts) == 0);
    for (uint32_t i = 0; i < s->prefixes.count; i++) {
        uint64_t size = 0;
        for (uint32_t state = 0; state < TASK_STATE_COUNT; state++) {
            size += s->prefixes.items[i]->state_counts[state];
        }
        ASSERT(size == s->prefixes.items[i]->size);
    }
}

void scheduler_check(const struct scheduler *s)
{
    uint64_t counts[TASK_STATE_COUNT] = {0};
    uint32_t tasks = 0;
    uint32_t replicated = 0;
    for (task_id id = 0; id < s->task_high; id++) {
        const struct task *task = task_live_at(s, id);
        if (task == NULL) {
            continue;
        }
        tasks++;
        counts[task->state]++;
        replicated += task->who_has.count > 1;
        ASSERT(task->want_place == 0);
        ASSERT(task_find(s, task->key) == task);
        check_dependencies(s, task);
        check_dependents(s, task);
        check_state(s, task);
        check_relations(s, task);
    }
    counts[TASK_FORGOTTEN] = s->state_counts[TASK_FORGOTTEN];
    ASSERT(memcmp(counts, s->state_counts, sizeof counts) == 0);
    ASSERT(tasks == s->task_count && tasks == s->keys.count);
    ASSERT(replicated == s->replicated.count);
    ASSERT(counts[TASK_QUEUED] == queue_count(s));
    ASSERT(counts[TASK_NO_WORKER] == s->unrunnable_live);
    ASSERT(counts[TASK_PROCESSING] == s->processing_now);
    check_workers(s);
    check_groups(s);
    queue_check(s);
    place_check(s);
    occupancy_check(s);
    steal_check(s);
}
