/* planner_view_values.h: what rows of the scheduler's state are made of; planner_view.c puts them together. */
#ifndef CASK_NODE_PLANNER_VIEW_VALUES_H
#define CASK_NODE_PLANNER_VIEW_VALUES_H

#include "node/node.h"

/* Where the rows go. In a dump, for people, everything is plain data: objects are shown as text, and what a
 * row refers to is not named but shown, as stock does (distributed utils.py recursive_to_dict). */
struct view_writer {
    struct node *node;
    struct outgoing *out;
    bool is_dump;
};

/* What a row refers to: its name, or in a dump its repr. */
void view_put_task(const struct view_writer *w, const struct task *task);
void view_put_worker(const struct view_writer *w, worker_id worker);
void view_put_worker_or_nil(const struct view_writer *w, worker_id worker);
void view_put_client(const struct view_writer *w, client_id client);
void view_put_group(const struct view_writer *w, struct span name);

void view_put_text_or_nil(const struct view_writer *w, struct span text);
/* A list of strs; the second is nil if there are none. */
void view_put_texts(const struct view_writer *w, struct span_list texts);
void view_put_texts_or_nil(const struct view_writer *w, struct span_list texts);
/* {name: amount} */
void view_put_resources(const struct view_writer *w, struct resource_list resources);
/* {state: count} of all states */
void view_put_states(const struct view_writer *w, const uint32_t *counts);
/* A peer's value; NULL: nil, or an empty map. */
void view_put_blob_or_nil(const struct view_writer *w, const struct blob *blob);
void view_put_map(const struct view_writer *w, const struct blob *map);
void view_put_memory(const struct view_writer *w, const struct memory_view *memory);
/* A key as the name in a map; in a dump as text, which is what every reader takes. */
void view_put_key_name(const struct view_writer *w, struct span key);
/* A move of the story: [key, start, finish, {key: state}, stimulus, time]. */
void view_put_move(const struct view_writer *w, const struct story_move *move);

#endif
