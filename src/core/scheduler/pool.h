/* pool.h: the lives of tasks, workers, clients and the small things they share. Finding, making, giving
 * back; no decisions. */
#ifndef CASK_CORE_SCHEDULER_POOL_H
#define CASK_CORE_SCHEDULER_POOL_H

#include "core/scheduler/internal.h"

#define CACHE_LINE 64u

/* ---- tasks ---- */

/* Empty: the first of everything may come. */
void pool_init(struct scheduler *s);
/* NULL: unknown. */
struct task *task_find(const struct scheduler *s, struct span key);
struct task *task_find_hashed(const struct scheduler *s, struct span key, uint64_t hash);
/* Ask memory for the slot that looking the key up will begin with. */
void task_prefetch_hashed(const struct scheduler *s, uint64_t hash);
/* Ask for all of a task. */
static inline void task_prefetch(const struct task *task)
{
    __builtin_prefetch(task);
    __builtin_prefetch((const char *)task + CACHE_LINE);
    __builtin_prefetch((const char *)task + 2 * CACHE_LINE);
}
/* The slot has come: ask for the task it points to. */
void task_prefetch_found(const struct scheduler *s, uint64_t hash);
/* The task of that id if it is known, else NULL: for walking over all (id < s->task_high). */
struct task *task_live_at(const struct scheduler *s, task_id id);
/* A new task in state `state`, in the group its key names (groups.h); the key is copied and must be unknown. */
struct task *task_create(struct scheduler *s, struct span key, uint64_t hash,
                         enum task_state state);
/* Off the key table, into the graveyard. All links must be gone. */
void task_bury(struct scheduler *s, struct task *task);
/* Recycle what former steps buried: workers, clients, failures, and of the tasks a few, or, if the
 * scheduler has nothing else to do, more. */
void pool_sweep(struct scheduler *s, bool is_idle);
/* Idle steps are worth while. */
bool pool_has_much_to_sweep(const struct scheduler *s);
/* Free all that is left (scheduler_destroy). */
void pool_fini(struct scheduler *s);
struct task_extra *task_extra_make(struct task *task);
/* A fresh mark for task->mark. */
uint32_t traversal_begin(struct scheduler *s);

/* Resolvers for links_remove. */
struct links *dependencies_of(void *s, uint32_t task);
struct links *dependents_of(void *s, uint32_t task);
struct links *who_has_of(void *s, uint32_t task);
struct links *has_what_of(void *s, uint32_t worker);
struct links *who_wants_of(void *s, uint32_t task);
struct links *wants_what_of(void *s, uint32_t client);

/* ---- workers, clients ---- */

/* NULL: gone or never there (an event may name one that has just left). */
struct worker *worker_find(const struct scheduler *s, worker_id id);
struct worker *worker_find_address(const struct scheduler *s, struct span address);
struct client *client_find(const struct scheduler *s, client_id id);
struct client *client_find_name(const struct scheduler *s, struct span name);
struct client *client_create(struct scheduler *s, struct span name, bool is_pseudo);
/* It is not known any more: no event finds it, nobody tells it anything. What it wants is still to go. */
void client_unname(struct scheduler *s, struct client *client);
/* Into the graveyard; it is not known, and wants nothing any more. */
void client_bury(struct scheduler *s, struct client *client);
void worker_free(struct worker *worker);

/* ---- shared pieces ---- */

/* A copy of `bytes` in memory of its own; data NULL when empty. */
struct span span_own(struct span bytes);
void span_disown(struct span *bytes);
/* The one copy of a short string, owned by s->names. */
struct span name_intern(struct scheduler *s, struct span name);
/* Index of a result type's name in s->types; 0 for an empty one. */
uint32_t type_intern(struct scheduler *s, struct span name);

struct restrictions *restrictions_create(struct scheduler *s, struct span_list workers,
                                         struct span_list hosts, const struct resource *resources,
                                         uint32_t resource_count);
struct restrictions *restrictions_ref(struct restrictions *restrictions);
void restrictions_unref(struct restrictions *restrictions);
/* Restrict a task to worker addresses; an empty list lifts it. Hosts and resources stay. */
void task_restrict_workers(struct scheduler *s, struct task *task, struct span_list addresses);
void annotations_unref(struct annotations *annotations);

#endif
