/* queue.c: a sorted run that grows at both ends, and a four-ary heap for what comes out of order. Entries
 * carry their priority, so comparing touches no task.
 *
 * A graph's roots come in order or, as its wanted task's last input is met first, in the reverse order: both
 * cost the run nothing. In a heap each coming and going would touch a dozen tasks, long out of every cache.
 *
 * task->ready_place: in the heap HEAP_BIT + place; in the run place + run_base (31 bits), so that the
 * run's front can be cut off or made longer without telling every task behind it. */
#include "core/scheduler/queue.h"

#include <math.h>

#include "core/scheduler/occupancy.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/transition.h"

#define AHEAD_FEWEST 8.0 /* tasks that must fit into config.ahead_seconds: fewer save nothing */
#define AHEAD_MOST 64u   /* a thread */
#define HEAP_BIT 0x80000000u
#define FRONT_MIN 1024u /* spent entries worth cutting off, and free ones worth making */
#define AHEAD 4u        /* memory is asked for that many tasks before their turn */

/* A total order: of two with the same priority, as a task's sub-tasks may have it, the one that came first. */
static bool entry_before(const struct queue_entry *a, const struct queue_entry *b)
{
    if (a->user != b->user) {
        return a->user < b->user;
    }
    if (a->generation != b->generation) {
        return a->generation < b->generation;
    }
    if (a->order != b->order) {
        return a->order < b->order;
    }
    return a->serial < b->serial;
}

/* ---- the heap ---- */

static void heap_put(struct scheduler *s, uint32_t place, struct queue_entry entry)
{
    s->queue.heap.items[place] = entry;
    task_at(s, entry.task)->ready_place = HEAP_BIT | place;
}

static void heap_up(struct scheduler *s, uint32_t place, struct queue_entry entry)
{
    while (place > 0 && entry_before(&entry, &s->queue.heap.items[(place - 1) / 4])) {
        heap_put(s, place, s->queue.heap.items[(place - 1) / 4]);
        place = (place - 1) / 4;
    }
    heap_put(s, place, entry);
}

static void heap_down(struct scheduler *s, uint32_t place, struct queue_entry entry)
{
    const struct queue *queue = &s->queue;
    for (;;) {
        uint64_t first = (uint64_t)place * 4 + 1;
        if (first >= queue->heap.count) {
            break;
        }
        uint64_t best = first;
        for (uint64_t child = first + 1; child < first + 4 && child < queue->heap.count; child++) {
            if (entry_before(&queue->heap.items[child], &queue->heap.items[best])) {
                best = child;
            }
        }
        if (!entry_before(&queue->heap.items[best], &entry)) {
            break;
        }
        heap_put(s, place, queue->heap.items[best]);
        place = (uint32_t)best;
    }
    heap_put(s, place, entry);
}

static void heap_take(struct scheduler *s, uint32_t place)
{
    struct queue *queue = &s->queue;
    ASSERT(place < queue->heap.count);
    struct queue_entry last = vec_pop(&queue->heap);
    if (place == queue->heap.count) {
        return;
    }
    if (place > 0 && entry_before(&last, &queue->heap.items[(place - 1) / 4])) {
        heap_up(s, place, last);
    } else {
        heap_down(s, place, last);
    }
}

/* ---- the run ---- */

/* The entries before run_head, spent or free, become `count` ones. */
static void run_set_front(struct queue *queue, uint32_t count)
{
    uint32_t live = queue->run.count - queue->run_head;
    if (count > queue->run_head) {
        vec_reserve(&queue->run, count - queue->run_head);
    }
    struct queue_entry *items = queue->run.items;
    memmove(items + count, items + queue->run_head, live * sizeof *items);
    for (uint32_t i = 0; i < count; i++) {
        items[i].task = TASK_NONE;
    }
    queue->run_base = (queue->run_base + queue->run_head - count) & ~HEAP_BIT;
    queue->run.count = count + live;
    queue->run_head = count;
}

/* Spent entries at its front, and an empty run, go. Only once they are most of it: were half enough, a front
 * just made by run_prepend would be cut off at once. */
static void run_trim(struct queue *queue)
{
    while (queue->run_head < queue->run.count &&
           queue->run.items[queue->run_head].task == TASK_NONE) {
        queue->run_head++;
    }
    uint32_t spent = queue->run_head;
    if (spent == queue->run.count || (spent >= FRONT_MIN && spent / 3 >= queue->run.count / 4)) {
        run_set_front(queue, 0);
    }
}

static void run_append(struct queue *queue, struct task *task, struct queue_entry entry)
{
    task->ready_place = (queue->run.count + queue->run_base) & ~HEAP_BIT;
    vec_push(&queue->run, entry);
    queue->run_live++;
}

static void run_prepend(struct queue *queue, struct task *task, struct queue_entry entry)
{
    if (queue->run_head == 0) {
        run_set_front(queue, queue->run.count < FRONT_MIN ? FRONT_MIN : queue->run.count);
    }
    queue->run_head--;
    task->ready_place = (queue->run_head + queue->run_base) & ~HEAP_BIT;
    queue->run.items[queue->run_head] = entry;
    queue->run_live++;
}

static uint32_t run_place(const struct queue *queue, const struct task *task)
{
    ASSERT((task->ready_place & HEAP_BIT) == 0);
    return (task->ready_place - queue->run_base) & ~HEAP_BIT;
}

/* ---- both ---- */

void queue_add(struct scheduler *s, struct task *task)
{
    ASSERT(task->state == TASK_QUEUED);
    struct queue *queue = &s->queue;
    struct queue_entry entry = {task->priority_user, task->priority_generation,
                                task->priority_order, task->id, s->queue.added++};
    if (queue->run_live == 0 || !entry_before(&entry, &queue->run.items[queue->run.count - 1])) {
        run_append(queue, task, entry);
    } else if (entry_before(&entry, &queue->run.items[queue->run_head])) {
        run_prepend(queue, task, entry);
    } else {
        vec_push(&queue->heap, entry);
        heap_up(s, queue->heap.count - 1, entry);
    }
}

void queue_remove(struct scheduler *s, struct task *task)
{
    struct queue *queue = &s->queue;
    if ((task->ready_place & HEAP_BIT) != 0) {
        uint32_t place = task->ready_place & ~HEAP_BIT;
        ASSERT(queue->heap.items[place].task == task->id);
        heap_take(s, place);
        return;
    }
    uint32_t place = run_place(queue, task);
    ASSERT(place < queue->run.count && queue->run.items[place].task == task->id);
    queue->run.items[place].task = TASK_NONE;
    queue->run_live--;
    run_trim(queue);
}

uint32_t queue_count(const struct scheduler *s)
{
    return s->queue.run_live + s->queue.heap.count;
}

struct task *queue_first(const struct scheduler *s)
{
    const struct queue *queue = &s->queue;
    if (queue_count(s) == 0) {
        return NULL;
    }
    const struct queue_entry *first = NULL;
    if (queue->run_live > 0) {
        first = &queue->run.items[queue->run_head];
        ASSERT(first->task != TASK_NONE);
    }
    if (queue->heap.count > 0 && (first == NULL || entry_before(&queue->heap.items[0], first))) {
        first = &queue->heap.items[0];
    }
    return task_at(s, first->task);
}

struct task *queue_next(const struct scheduler *s, uint32_t *cursor)
{
    const struct queue *queue = &s->queue;
    while (*cursor < queue->run.count) {
        const struct queue_entry *entry = &queue->run.items[(*cursor)++];
        if (entry->task != TASK_NONE) {
            return task_at(s, entry->task);
        }
    }
    uint32_t place = *cursor - queue->run.count;
    if (place >= queue->heap.count) {
        return NULL;
    }
    (*cursor)++;
    return task_at(s, queue->heap.items[place].task);
}

static const struct queue_entry *entry_of(const struct scheduler *s, const struct task *task)
{
    const struct queue *queue = &s->queue;
    if ((task->ready_place & HEAP_BIT) != 0) {
        return &queue->heap.items[task->ready_place & ~HEAP_BIT];
    }
    return &queue->run.items[run_place(queue, task)];
}

uint32_t queue_rank(const struct scheduler *s, const struct task *task)
{
    const struct queue_entry *entry = entry_of(s, task);
    ASSERT(entry->task == task->id);
    uint32_t before = 0;
    uint32_t cursor = 0;
    for (const struct task *other; (other = queue_next(s, &cursor)) != NULL;) {
        before += entry_before(entry_of(s, other), entry);
    }
    return before + 1;
}

/* A queued task was last touched when its graph came: ask memory for the tasks to come, and for what
 * sending them reads, in time. */
static void look_ahead(const struct scheduler *s)
{
    const struct queue *queue = &s->queue;
    uint64_t far = (uint64_t)queue->run_head + 2 * AHEAD;
    if (far < queue->run.count && queue->run.items[far].task != TASK_NONE) {
        task_prefetch(task_at(s, queue->run.items[far].task));
    }
    uint64_t near = (uint64_t)queue->run_head + AHEAD;
    if (near < queue->run.count && queue->run.items[near].task != TASK_NONE) {
        const struct task *task = task_at(s, queue->run.items[near].task);
        __builtin_prefetch(task->key.data);
        __builtin_prefetch(task->run_spec);
        __builtin_prefetch((const char *)task->run_spec + CACHE_LINE);
    }
}

void queue_slots_maybe_opened(struct scheduler *s, struct step *step)
{
    if (queue_count(s) == 0 || isinf(s->config.worker_saturation)) {
        return;
    }
    for (int64_t slots = s->slots_free_total; slots > 0 && queue_count(s) > 0; slots--) {
        look_ahead(s);
        transition_all(s, queue_first(s), TASK_PROCESSING, step);
    }
}

static bool may_go_ahead(const struct scheduler *s, const struct task *task,
                         const struct worker *worker)
{
    double seconds = task->group->prefix->duration_average;
    bool is_short = seconds >= 0 && seconds * AHEAD_FEWEST <= s->config.ahead_seconds;
    if (!is_short || worker->status != WORKER_RUNNING) {
        return false;
    }
    uint32_t used = worker->processing.count - worker->long_running.count;
    uint64_t share = (uint64_t)queue_count(s) * worker->nthreads / s->total_nthreads;
    return used < worker->nthreads * AHEAD_MOST && used < share / 2 &&
           worker_occupancy(s, worker) + seconds <= s->config.ahead_seconds * worker->nthreads;
}

void queue_send_ahead(struct scheduler *s, struct worker *worker, struct step *step)
{
    ASSERT(s->ahead_to == WORKER_NONE);
    if (!(s->config.ahead_seconds > 0)) {
        return;
    }
    s->ahead_to = worker->id;
    struct task *task = queue_first(s);
    while (task != NULL && may_go_ahead(s, task, worker)) {
        look_ahead(s);
        transition_all(s, task, TASK_PROCESSING, step);
        struct task *next = queue_first(s);
        if (next == task) {
            break; /* its inputs are being lost */
        }
        task = next;
    }
    s->ahead_to = WORKER_NONE;
}

void queue_check(const struct scheduler *s)
{
    const struct queue *queue = &s->queue;
    uint32_t live = 0;
    for (uint32_t i = 0; i < queue->run.count; i++) {
        const struct queue_entry *entry = &queue->run.items[i];
        ASSERT(i <= queue->run_head || !entry_before(entry, entry - 1));
        if (entry->task != TASK_NONE) {
            ASSERT(i >= queue->run_head);
            ASSERT(task_at(s, entry->task)->state == TASK_QUEUED);
            ASSERT(run_place(queue, task_at(s, entry->task)) == i);
            live++;
        }
    }
    ASSERT(live == queue->run_live);
    for (uint32_t i = 0; i < queue->heap.count; i++) {
        const struct queue_entry *entry = &queue->heap.items[i];
        ASSERT(i == 0 || !entry_before(entry, &queue->heap.items[(i - 1) / 4]));
        ASSERT(task_at(s, entry->task)->state == TASK_QUEUED);
        ASSERT(task_at(s, entry->task)->ready_place == (HEAP_BIT | i));
    }
}

void queue_fini(struct scheduler *s)
{
    vec_fini(&s->queue.run);
    vec_fini(&s->queue.heap);
    vec_fini(&s->unrunnable);
}

/* ---- no-worker ---- */

void unrunnable_add(struct scheduler *s, struct task *task)
{
    task->ready_place = s->unrunnable.count;
    vec_push(&s->unrunnable, (struct unrunnable){.task = task->id, .since = s->now});
    s->unrunnable_live++;
}

/* Half of it is holes: close them. */
static void unrunnable_compact(struct scheduler *s)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->unrunnable.count; i++) {
        struct unrunnable entry = s->unrunnable.items[i];
        if (entry.task != TASK_NONE) {
            task_at(s, entry.task)->ready_place = kept;
            s->unrunnable.items[kept++] = entry;
        }
    }
    s->unrunnable.count = kept;
}

void unrunnable_remove(struct scheduler *s, struct task *task)
{
    uint32_t place = task->ready_place;
    ASSERT(s->unrunnable.items[place].task == task->id);
    s->unrunnable.items[place].task = TASK_NONE;
    s->unrunnable_live--;
    if (s->unrunnable.count > 2 * s->unrunnable_live + 16) {
        unrunnable_compact(s);
    }
}
