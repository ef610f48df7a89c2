/* turn.c: see turn.h. */
#include "node/turn.h"

#include "base/alloc.h"
#include "node/graph_queue.h"

/* Seconds of a turn: for messages that come, and for what was left over: of streams, in the core, of other work. */
#define FRESH_SECONDS 0.0015
#define LATE_SECONDS 0.00075
#define PIECES_SECONDS 0.0015
#define WORKS_SECONDS 0.001

struct turn {
    struct node *node;
    bool is_posted, is_stopped;
    double began; /* monotonic; 0: nothing was asked for yet */
    double share;
    struct VEC(struct stream *) late; /* from late_head on; NULL: ended */
    uint32_t late_head;
    struct VEC(struct pieces *) works; /* the first is next */
};

static void begin(struct turn *turn, double share)
{
    turn->began = 0;
    turn->share = share;
}

bool turn_is_over(struct turn *turn)
{
    double now = io_monotonic();
    if (turn->began == 0) {
        turn->began = now;
    }
    return now - turn->began > turn->share;
}

static void run_late(struct turn *turn)
{
    uint32_t count =
        turn->late.count - turn->late_head; /* those that come again wait for the next turn */
    for (; count > 0 && !turn_is_over(turn); count--) {
        struct stream *stream = turn->late.items[turn->late_head++];
        if (stream != NULL) {
            stream->is_late = false;
            stream_release(stream);
        }
    }
    if (turn->late_head == turn->late.count) {
        turn->late_head = 0;
        turn->late.count = 0;
    }
}

/* True: there is more of it. */
static bool run_work(struct turn *turn, struct pieces *pieces)
{
    while (pieces->run(pieces)) {
        if (turn_is_over(turn)) {
            return true;
        }
    }
    return false;
}

static void run_works(struct turn *turn)
{
    while (turn->works.count > 0) {
        struct pieces *first = turn->works.items[0];
        turn->works.count--;
        memmove(turn->works.items, turn->works.items + 1,
                turn->works.count * sizeof(struct pieces *));
        if (run_work(turn, first)) {
            vec_push(&turn->works, first);
            return;
        }
    }
}

void turn_pieces(struct turn *turn, struct pieces *pieces)
{
    if (turn->is_stopped) {
        pieces->drop(pieces);
    } else if (run_work(turn, pieces)) {
        vec_push(&turn->works, pieces);
        turn_more(turn);
    }
}

static void run_pieces(struct turn *turn)
{
    struct node *node = turn->node;
    while (node->step.pending) {
        arena_reset(&node->scratch);
        struct event event = event_of(EVENT_GO_ON);
        node_apply(node, &event);
        if (turn_is_over(turn)) {
            break;
        }
    }
}

static void go_on(void *user)
{
    struct turn *turn = user;
    struct node *node = turn->node;
    turn->is_posted = false;
    if (turn->is_stopped) {
        return;
    }
    begin(turn, LATE_SECONDS);
    run_late(turn);
    turn->share = PIECES_SECONDS;
    bool is_piece = node->step.pending || turn->works.count > 0;
    double began = io_monotonic();
    run_pieces(turn);
    begin(turn, WORKS_SECONDS);
    run_works(turn);
    bool more = graph_queue_run(node->graph_queue);
    if (is_piece || more) {
        lags_add(&node->lags, LAG_PIECES, began);
    }
    if (more || node->step.pending || turn->works.count > 0 || turn->late.count > turn->late_head) {
        turn_more(turn);
    }
    begin(turn, FRESH_SECONDS);
}

struct turn *turn_create(struct node *node)
{
    struct turn *turn = mem_zalloc(1, sizeof *turn);
    turn->node = node;
    begin(turn, FRESH_SECONDS);
    return turn;
}

void turn_stop(struct turn *turn)
{
    if (turn != NULL) {
        turn->is_stopped = true;
        for (uint32_t i = 0; i < turn->works.count; i++) {
            turn->works.items[i]->drop(turn->works.items[i]);
        }
        turn->works.count = 0;
    }
}

void turn_destroy(struct turn *turn)
{
    if (turn != NULL) {
        ASSERT(turn->is_stopped && !turn->is_posted);
        vec_fini(&turn->late);
        vec_fini(&turn->works);
        mem_free(turn);
    }
}

void turn_ended(struct turn *turn)
{
    begin(turn, FRESH_SECONDS);
}

void turn_more(struct turn *turn)
{
    if (!turn->is_posted && !turn->is_stopped) {
        turn->is_posted = true;
        io_post(turn->node->loop, go_on, turn);
    }
}

void turn_later(struct turn *turn, struct stream *stream)
{
    ASSERT(stream->is_held && !stream->is_late);
    stream->is_late = true;
    vec_push(&turn->late, stream);
    turn_more(turn);
}

void turn_forget(struct turn *turn, const struct stream *stream)
{
    for (uint32_t i = turn->late_head; stream->is_late && i < turn->late.count; i++) {
        if (turn->late.items[i] == stream) {
            turn->late.items[i] = NULL;
        }
    }
}
