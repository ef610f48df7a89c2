/* worker_objects.h: the values of a worker: which executor has which live, which are serialised.
 *
 * Every object has a handle, the number by which executors know it; a handle is never used again. A value
 * lives in the executor that made it and is serialised when somebody else needs it: a peer, another executor,
 * a client (object_want). What came from peers and clients is serialised to begin with, and put into an
 * executor when a task there needs it. */
#ifndef CASK_NODE_WORKER_OBJECTS_H
#define CASK_NODE_WORKER_OBJECTS_H

#include "base/blob.h"
#include "base/map.h"
#include "base/vec.h"
#include "core/step.h"

struct executor_error;
struct object;
struct worker_node;
struct worker_run;

#define SEAT_NONE UINT32_MAX
#define SEATS_MAX 64u /* a bit each in object.known */

/* The value serialised (borrowed), or NULL and why: an exception, or no `error` if it is lost. */
typedef void object_wanted(void *user, struct object *object, struct blob *blob,
                           const struct executor_error *error);

struct object_want {
    object_wanted *done;
    void *user;
};

struct object {
    uint64_t handle;
    task_id task;    /* whose value it is; TASK_NONE: nobody's any more */
    struct span key; /* canonical msgpack; owned */
    bool is_actor;
    uint32_t home;          /* the seat whose executor exports it; SEAT_NONE: it lives nowhere */
    uint64_t known;         /* bits of seats whose executors have it */
    struct blob *stored;    /* serialised; NULL: not */
    struct worker_run *run; /* its run, while that is under way; else NULL */
    bool is_exporting;
    struct VEC(struct object_want) wants; /* who waits for it to be serialised */
};

struct worker_objects {
    struct VEC(struct object *) slots; /* by the low half of handles, from 1; NULL: free */
    struct VEC(uint32_t) free_slots;
    struct VEC(struct object *) by_task; /* values kept, by task id; NULL: none */
    uint32_t generation;                 /* high half of the next handle */
};

void objects_init(struct worker_objects *objects);
/* Forget everything, without a word to anybody; waiters hear that it is lost. */
void objects_clear(struct worker_node *worker);
void objects_fini(struct worker_objects *objects);

/* A new object of that key. */
struct object *object_create(struct worker_objects *objects, struct span key);
/* NULL: no such handle (any more). */
struct object *object_find(const struct worker_objects *objects, uint64_t handle);
/* The value kept for a task, or NULL. */
struct object *object_of_task(const struct worker_objects *objects, task_id task);
/* From now on it is the task's value; a former one is given up. */
void object_keep(struct worker_node *worker, struct object *object, task_id task);
/* It is not wanted any more: executors drop it; it is freed once nobody waits for it. */
void object_give_up(struct worker_node *worker, struct object *object);
/* Have it serialised; `done` may be called inside. */
void object_want(struct worker_node *worker, struct object *object, object_wanted *done,
                 void *user);
/* What an executor answered to EXPORT; blob NULL: it failed. */
void object_exported(struct worker_node *worker, struct object *object, struct blob *blob,
                     const struct executor_error *error);
/* The executor of this seat is gone with all that it had: values that live nowhere any more. Keys are in the
 * scratch arena. */
struct span_list objects_seat_died(struct worker_node *worker, uint32_t seat);

#endif
