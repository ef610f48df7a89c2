/* wants.h: what clients want. A task that no client wants and no task waits for is released.
 * Must agree with: scheduler.py client_desires_keys, client_releases_keys, stimulus_cancel, report_on_key. */
#ifndef CASK_CORE_SCHEDULER_WANTS_H
#define CASK_CORE_SCHEDULER_WANTS_H

#include "core/scheduler/internal.h"

/* The client of this name, made as a pseudo-client if there is none ("queue-x", "published-y"). */
struct client *client_get_or_pseudo(struct scheduler *s, struct span name);
bool client_wants(const struct client *client, const struct task *task);
/* Unknown keys are skipped. A key that is done is reported at once; a released one is recommended WAITING,
 * which the caller runs. */
void client_desires(struct scheduler *s, struct client *client, const struct span *keys,
                    uint32_t count, struct step *step);
void client_desires_task(struct scheduler *s, struct client *client, struct task *task,
                         struct step *step);
/* Recommends what follows; the caller runs it. */
void client_releases_task(struct scheduler *s, struct client *client, struct task *task);
/* client_releases_keys: with all that follows. */
void client_releases(struct scheduler *s, struct client *client, const struct span *keys,
                     uint32_t count, struct step *step);
void client_releases_all(struct scheduler *s, struct client *client, struct step *step);
/* Tell `client` and all that want the task how it stands, if it is done. CLIENT_NONE: only the latter. */
void report_on_task(struct scheduler *s, const struct task *task, client_id client,
                    struct step *step);

#endif
