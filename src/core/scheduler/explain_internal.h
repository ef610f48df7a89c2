/* explain_internal.h: what the files of explain share. */
#ifndef CASK_CORE_SCHEDULER_EXPLAIN_INTERNAL_H
#define CASK_CORE_SCHEDULER_EXPLAIN_INTERNAL_H

#include "base/text.h"
#include "core/scheduler/explain.h"
#include "core/scheduler/internal.h"

/* What is being said. The texts are scratch; what is kept lies in the arena. */
struct explaining {
    const struct scheduler *s;
    struct arena *arena;
    struct explain out;
    struct text summary;
    struct VEC(struct span) advice;
};

/* The contents of a text in the arena; the text is freed. */
struct span explain_keep(struct explaining *e, struct text *text);
/* 'x-1' */
void explain_add_key(struct explaining *e, struct text *text, struct span key);
void explain_add_span(struct text *text, struct span bytes);
/* "1 task", "2 tasks" */
void explain_add_count(struct text *text, uint32_t count, const char *noun);
void explain_advise(struct explaining *e, const char *format, ...) PRINTF_LIKE(2, 3);

/* ---- explain_workers.c ---- */

/* Fill out.workers. Returns how many may have the task. */
uint32_t explain_workers(struct explaining *e, const struct task *task);
/* "needs GPU=2, w1 offers …; restricted to host h, …": why none may have it. */
void explain_add_rules(struct explaining *e, struct text *text, const struct task *task);
/* What would help a task that no worker may run. */
void explain_advise_rules(struct explaining *e, const struct task *task);

#endif
