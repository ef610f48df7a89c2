/* topics.h: the event log: topics, their last events, and who is told of new ones.
 *
 * Peers log any value under a topic; the node logs what the core notices (workers, clients, graphs …) in
 * stock's words. Source: distributed broker.py; protocol.md 5.10. */
#ifndef CASK_NODE_TOPICS_H
#define CASK_NODE_TOPICS_H

#include "core/scheduler/actions.h"
#include "wire/message.h"

struct node;
struct stream;
struct topics;
struct view_writer;

/* `length`: events kept a topic (admin.low-level-log-length); `cleanup_delay`: seconds that the topic of a
 * worker or client outlives it (scheduler.events-cleanup-delay). */
struct topics *topics_create(struct node *node, uint32_t length, double cleanup_delay);
void topics_destroy(struct topics *topics);
/* `topic` is canonical msgpack. */
void topics_subscribe(struct topics *topics, struct span name, client_id client);
void topics_unsubscribe(struct topics *topics, struct span name, client_id client);
/* A worker (by address) or client (by name) left: unless it comes back, its topic goes in a while. */
void topics_leaves(struct topics *topics, struct span name);
void topics_client_gone(struct topics *topics, client_id client);
/* File `event` under `topic` and tell the subscribers. Keeps a reference. */
void topics_log(struct topics *topics, struct span name, struct blob *event);
/* A plain value under the topic `name` (C string). */
void topics_log_value(struct topics *topics, const char *name, struct span value);
/* log-event of a stream: topic is a str or a list of them; a worker's map gets its address under "worker".
 * False: malformed. `stream` NULL: from an RPC. */
bool topics_log_from_peer(struct topics *topics, struct stream *stream,
                          const struct frames *message, struct span topic, struct span value);
/* The node it belongs to. */
struct node *topics_node(struct topics *topics);
/* What the core noticed, in stock's words, to stock's topics. */
void topics_notice(struct topics *topics, const struct notice *notice);
/* Append [[time, event], …] of a topic to the answer; an unknown topic is empty. */
void topics_write(struct topics *topics, struct span name, struct outgoing *answer);
/* Append {topic: [[time, event], …]} of all. */
void topics_write_all(struct topics *topics, struct outgoing *answer);
/* The same for a dump. */
void topics_dump(struct topics *topics, const struct view_writer *writer);

#endif
