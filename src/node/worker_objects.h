/* worker_objects.h: the values of a worker by their handles: which executors know which, and who waits for one.
 *
 * Every object has a handle, the number by which executors know it; a handle is never used again. A value
 * lives in the executor that made it and is serialised when somebody else needs it: a peer, another executor,
 * a client (object_want), the disk. What came from peers and clients is serialised to begin with, and put into an
 * executor when a task there needs it. Where a value is that is kept for a task, the store knows
 * (store/store.h); its key there is the handle. */
#ifndef CASK_NODE_WORKER_OBJECTS_H
#define CASK_NODE_WORKER_OBJECTS_H

#include "base/map.h"
#include "base/text.h"
#include "base/vec.h"
#include "core/step.h"

struct executor_error;
struct object;
struct store_value;
struct worker_node;
struct worker_run;

#define SEAT_NONE UINT32_MAX
#define SEATS_MAX 64u /* a bit each in object.known */

/* The value serialised (borrowed), or NULL and why: an exception, or no `error` if it is lost; then the object may
 * be gone (NULL) as well. */
typedef void object_wanted(void *user, struct object *object, struct store_value *value,
                           const struct executor_error *error);

struct object {
    uint64_t handle;
    task_id task;    /* whose value it is; TASK_NONE: nobody's any more */
    struct span key; /* canonical msgpack; owned */
    bool is_actor;
    uint32_t home;             /* the seat whose executor exports it; SEAT_NONE: it lives nowhere */
    uint64_t known;            /* bits of seats whose executors have it */
    struct store_value *value; /* serialised, if it is, until it is kept: then the store has it */
    struct buf *lent;          /* the segment that its executor serialises it into, or NULL */
    bool is_kept;
    struct worker_run *run; /* its run, while that is under way; else NULL */
    double came[2]; /* transfer from a peer, start and stop; 0: none that is still to be told … */
    struct text source; /* … and from whom */
    struct text unfit,
        unfit_text; /* why it cannot be serialised: exception (pickle), and its text */
};

struct object_want;

struct worker_objects {
    struct VEC(struct object *) slots; /* by the low half of handles, from 1; NULL: free */
    struct VEC(uint32_t) free_slots;
    struct VEC(struct object *) by_task;    /* values kept, by task id; NULL: none */
    struct VEC(struct object_want *) wants; /* who waits for values of the store */
    uint32_t generation;                    /* high half of the next handle */
};

void objects_init(struct worker_objects *objects);
/* Forget everything, without a word to anybody; waiters hear that it is lost. */
void objects_clear(struct worker_node *worker);
void objects_fini(struct worker_objects *objects);

/* A new object of that key. */
struct object *object_create(struct worker_objects *objects, struct span key);
/* NULL: no such handle (any more). */
struct object *object_find(const struct worker_objects *objects, uint64_t handle);
/* Its key in the store. */
struct span object_store_key(const struct object *object);
/* The value kept for a task, or NULL. */
struct object *object_of_task(const struct worker_objects *objects, task_id task);
/* From now on it is the task's value, of so many bytes; a former one is given up. */
void object_keep(struct worker_node *worker, struct object *object, task_id task, int64_t nbytes);
/* It is not wanted any more: executors drop it, it is freed; who waits for it hears that it is lost. */
void object_give_up(struct worker_node *worker, struct object *object);
/* Have the value, which is kept, serialised; `done` may be called inside. */
void object_want(struct worker_node *worker, struct object *object, object_wanted *done,
                 void *user);
/* An executor of this seat could not serialise it. */
void object_unfit(struct worker_node *worker, struct object *object, uint32_t seat,
                  const struct executor_error *error);
/* A task uses it: it is the last to go to disk. */
void object_used(struct worker_node *worker, const struct object *object);
/* It does not go to disk, nor from its executors, until it is let go again. */
void object_hold(struct worker_node *worker, const struct object *object);
void object_let_go(struct worker_node *worker, const struct object *object);
/* The value is on disk: executors forget it. */
void object_release(struct worker_node *worker, struct object *object);
/* The store has lost it. */
void object_lost(struct worker_node *worker, struct object *object);
/* The executor of this seat is gone with all that it had: values that live nowhere any more. Keys are in the
 * scratch arena. */
struct span_list objects_seat_died(struct worker_node *worker, uint32_t seat);

#endif
