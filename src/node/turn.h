/* turn.h: how much of one turn of the loop goes to what can wait: messages of streams, and the pieces of what
 * the core does in pieces. What is left goes on in the next turn, after every socket was looked at again; so
 * a request is answered within a few milliseconds, whatever else is going on. */
#ifndef CASK_NODE_TURN_H
#define CASK_NODE_TURN_H

#include "node/node.h"

struct turn *turn_create(struct node *node);
/* The loop ends: no turn follows. */
void turn_stop(struct turn *turn);
/* After turn_stop(), and after the last stream. */
void turn_destroy(struct turn *turn);
/* The loop is about to sleep, or to look at its sockets again: time is counted anew. */
void turn_ended(struct turn *turn);
/* This turn's time is used up. Reads a clock: ask once in some messages. */
bool turn_is_over(struct turn *turn);
/* Work that is done in pieces, in this turn and in later ones, as answers about a million keys are. */
struct pieces {
    /* The next piece, well below a millisecond. False: it was the last, and the work is gone. */
    bool (*run)(struct pieces *pieces);
    /* The loop ends: the work goes, undone. */
    void (*drop)(struct pieces *pieces);
};
/* Begin with it, as far as the turn's time reaches; the rest follows, in turn with others' work. */
void turn_pieces(struct turn *turn, struct pieces *pieces);
/* There is more to do: do not sleep. */
void turn_more(struct turn *turn);
/* The stream, which is held, goes on in a later turn, after those that came to wait before it. */
void turn_later(struct turn *turn, struct stream *stream);
/* The stream ends. */
void turn_forget(struct turn *turn, const struct stream *stream);

#endif
