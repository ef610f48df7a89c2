/* assembly.h: a graph that the planner streams, put together by a thread, part by part, while more come.
 * The parts are loaned (buf.h), so the thread and the loop never count the same references. */
#ifndef CASK_NODE_ASSEMBLY_H
#define CASK_NODE_ASSEMBLY_H

#include "io/io.h"
#include "wire/flat_graph.h"
#include "wire/frame.h"

struct assembly;

/* All of it is there, or `code` says what was wrong. `graph` may be moved out (memcpy, then zero it);
 * `last` is the message that was given to assembly_end. Both are borrowed for the call. */
typedef void assembly_done(void *user, int code, struct flat_graph *graph,
                           const struct frames *last);

struct assembly *assembly_create(struct io_loop *loop);
/* The next part; references are taken. */
void assembly_add(struct assembly *assembly, const struct frames *part);
/* The closing message. `done` is called once, never inside this call; with it the assembly ends. */
void assembly_end(struct assembly *assembly, const struct frames *last, assembly_done *done,
                  void *user);
/* Nobody waits for it any more; nothing is called. NULL is allowed. */
void assembly_abandon(struct assembly *assembly);

#endif
