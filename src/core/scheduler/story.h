/* story.h: the ring of the last moves. Keys and stimuli are copied into one byte ring, so it costs no
 * allocation; what does not fit any more is forgotten, oldest first. */
#ifndef CASK_CORE_SCHEDULER_STORY_H
#define CASK_CORE_SCHEDULER_STORY_H

#include "core/scheduler/internal.h"

/* `move_count` 0 keeps none. */
struct story *story_create(uint32_t move_count);
void story_destroy(struct story *story);
/* One move just made; its recommendations are in s->recommended. */
void story_add(struct scheduler *s, const struct task *task, enum task_state start,
               enum task_state finish);

#endif
