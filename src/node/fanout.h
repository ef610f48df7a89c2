/* fanout.h: calls to several servers at once, answered together.
 *
 * create, call as often as wanted, go: `done` is called once, after the last answer (or failure), never
 * inside fanout_go. Then the fanout frees itself. While the scheduler closes, calls fail at once. */
#ifndef CASK_NODE_FANOUT_H
#define CASK_NODE_FANOUT_H

#include "node/node.h"

struct fanout;

/* One server's answer. All of it lives as long as the fanout. */
struct fanout_reply {
    struct fanout *fanout;
    struct span address; /* who was called */
    struct span worker;  /* the worker it is about: the same, or another's if a nanny was called */
    int code;            /* OK, or why there is no answer … */
    struct text text;    /* … in words */
    struct blob *answer; /* with its frames; NULL if code is not OK */
};

struct fanout {
    struct node *node;
    struct arena arena;                        /* the user's too */
    struct VEC(struct fanout_reply *) replies; /* in the order of the calls */
    uint32_t under_way;
    void (*done)(struct fanout *fanout);
    void *user;
};

struct fanout *fanout_create(struct node *node, void (*done)(struct fanout *fanout), void *user);
/* Call the server at `address` about `worker` (both copied). Takes what is in `request`. `timeout` in seconds;
 * 0: none. */
void fanout_call(struct fanout *fanout, struct span address, struct span worker,
                 struct outgoing *request, double timeout);
/* No more calls come. */
void fanout_go(struct fanout *fanout);
/* A `done` for when nobody cares. */
void fanout_ignore(struct fanout *fanout);

/* The answer as plain msgpack (frames aside); nil if there is none. */
struct span fanout_value(const struct fanout_reply *reply);
/* Field `name` of the answer, or data NULL. */
struct span fanout_field(const struct fanout_reply *reply, const char *name);
/* No answer, or one that says the call raised. */
bool fanout_failed(const struct fanout_reply *reply);
/* The exception stock would see for a failed call: class and text (in the arena). */
struct fanout_exception {
    const char *module, *name;
    struct span text;
};
struct fanout_exception fanout_exception(const struct fanout_reply *reply);
/* The first that failed, or NULL. */
const struct fanout_reply *fanout_first_failed(const struct fanout *fanout);
/* End the request with the exception of a failed call. */
void fanout_raise(struct request *request, const struct fanout_reply *reply);

#endif
