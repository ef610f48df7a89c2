/* action.h: adding actions to a step. Spans and lists must live until the next step. */
#ifndef CASK_CORE_SCHEDULER_ACTION_H
#define CASK_CORE_SCHEDULER_ACTION_H

#include "core/scheduler/internal.h"

/* Room for one action of `kind`; the caller fills of.<name>. Good until the next call. */
struct action *action_add(struct step *step, enum action_kind kind);
/* "<name>-<seconds>" of the event's time, in the step's arena. */
struct span stimulus_make(struct step *step, const char *name);

/* compute-task to task->processing_on, with a new run_id. */
void action_compute(struct scheduler *s, struct task *task, struct step *step);
/* The same for a waiting task, to a worker that computes the inputs that nobody holds. */
void action_compute_ahead(struct scheduler *s, struct task *task, const struct worker *worker,
                          struct step *step);
/* FREE_KEYS or REMOVE_REPLICAS of one key, stimulus of the step. */
void action_worker_key(struct step *step, enum action_kind kind, worker_id worker, struct span key);
/* The tasks' keys, sizes and holders as they are now, in the step's arena: for ACQUIRE_REPLICAS and
 * REFRESH_WHO_HAS. */
struct input_list inputs_of(struct scheduler *s, const task_id *tasks, uint32_t count,
                            struct step *step);
/* To every real client that wants `task`. */
void action_lost_data(struct scheduler *s, const struct task *task, struct step *step);
void action_key_retried(struct scheduler *s, const struct task *task, struct step *step);
void action_key_in_memory(struct scheduler *s, const struct task *task, struct span type,
                          struct step *step);
void action_key_erred(struct scheduler *s, const struct task *task, struct failure *failure,
                      struct step *step);
void action_cancelled(struct step *step, client_id client, struct span_list keys,
                      struct span reason, struct span msg);
/* RPC answers. */
void action_reply(struct step *step, uint64_t request,
                  const struct answer *answer); /* copies the struct */
void action_reply_nil(struct step *step, uint64_t request);
void action_reply_bool(struct step *step, uint64_t request, bool value);
void action_reply_int(struct step *step, uint64_t request, int64_t value);
/* `text` is copied into the step's arena. */
void action_reply_error(struct step *step, uint64_t request, enum answer_kind kind,
                        struct span text);
/* An empty notice of `kind` with time and stimulus of the step, to be filled; good until the next step. */
struct notice *action_notice(struct step *step, enum notice_kind kind);
/* level: enum log_level's numbers. The text is formatted into the step's arena. */
void action_log(struct step *step, uint32_t level, const char *format, ...) PRINTF_LIKE(3, 4);
/* A list of one key. */
struct span_list span_list_one(struct step *step, struct span key);

#endif
