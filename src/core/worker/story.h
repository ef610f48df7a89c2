/* story.h: the ring of the last things that happened. Keys and stimuli are copied into one byte ring, so it
 * costs no allocation; what does not fit any more is forgotten, oldest first. */
#ifndef CASK_CORE_WORKER_STORY_H
#define CASK_CORE_WORKER_STORY_H

#include "core/worker/internal.h"

/* `entry_count` 0 keeps none. */
struct wstory *wstory_create(uint32_t entry_count);
void wstory_destroy(struct wstory *story);
/* One move just made; it was asked for as a move to `wanted`. */
void wstory_add_move(struct worker_state *w, const struct wtask *task, enum wtask_state start,
                     enum wtask_state wanted);
/* Something else; `what` is a literal, the key may be empty. */
void wstory_add(struct worker_state *w, struct span key, const char *what, enum wtask_state state);

#endif
