/* shuffle_internal.h: what the files of shuffles share. */
#ifndef CASK_CORE_SCHEDULER_SHUFFLE_INTERNAL_H
#define CASK_CORE_SCHEDULER_SHUFFLE_INTERNAL_H

#include "core/scheduler/internal.h"
#include "core/scheduler/shuffle.h"

/* A P2P shuffle: known as long as its barrier task. It is active from the first transfer task that asks for it
 * until the barrier is released, errs or is forgotten, or a participant is lost. */
struct shuffle {
    uint64_t number; /* place in s->shuffles->all, plus 1; in the barrier's extra->shuffle */
    struct span id;  /* text; owned */
    task_id barrier;
    /* the spec */
    struct span spec;   /* pickle; owned */
    struct span *parts; /* canonical msgpack of the output partitions; all in one piece of memory */
    uint32_t part_count;
    bool is_array;
    uint32_t *axis_lengths;
    uint32_t axis_count;
    uint32_t npartitions;
    /* the run */
    bool is_active, has_failed;
    int64_t run_id;
    struct span span_id;   /* of the task that began it; owned */
    worker_id *worker_for; /* by partition */
    struct VEC(worker_id) participants;
    struct span
        archived_by; /* owned: the stimulus that ended the last run; empty: none, or active */
};

/* A task restricted to the worker that has its partition, and what restricted it before. */
struct held_task {
    task_id task;
    uint32_t serial;
    struct span *workers; /* owned */
    uint32_t worker_count;
};

struct shuffles {
    struct VEC(struct shuffle *) all; /* NULL: gone */
    struct VEC(uint64_t) free_numbers;
    struct map by_id;
    struct VEC(struct held_task) held;
    struct id_map held_of; /* task → place in held */
    int64_t run_last;
    uint64_t shift; /* so that several small shuffles begin at different workers */
    uint32_t active_count;
};

/* shuffle_assign.c: choose a worker for each partition: those that shuffles with the same output tasks have
 * chosen, else by position among the workers. An error text if two such shuffles disagree, else empty. */
struct span shuffle_assign(struct scheduler *s, struct shuffle *shuffle, struct step *step);

#endif
