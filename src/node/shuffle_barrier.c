/* shuffle_barrier.c: each round tells the participants that no round before has reached. A worker that is too
 * busy to take a connection is no reason to fail a shuffle; one that has left, or that refuses, is. */
#include "node/shuffle_barrier.h"

#include "base/alloc.h"
#include "base/log.h"
#include "node/fanout.h"
#include "node/lifecycle.h"

#define LOGGER "distributed.shuffle._scheduler_plugin"
#define ROUND_PAUSE 0.1        /* seconds */
#define FRUITLESS_ROUNDS_MAX 3 /* in which nobody was reached */

struct barrier {
    struct node *node;
    uint64_t request;
    struct arena arena;
    struct span id;
    int64_t run_id;
    struct span *untold; /* addresses */
    uint32_t untold_count, fruitless_count;
};

/* The first that the core does not know any more; empty: it knows them all. */
static struct span find_gone(const struct barrier *barrier)
{
    for (uint32_t i = 0; i < barrier->untold_count; i++) {
        if (view_worker_by_address(barrier->node->core, barrier->untold[i]) == WORKER_NONE) {
            return barrier->untold[i];
        }
    }
    return (struct span){0};
}

/* Keep who was not reached; NULL, or the answer of one that was and refused. */
static const struct fanout_reply *keep_untold(struct barrier *barrier, const struct fanout *fanout)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        const struct fanout_reply *reply = fanout->replies.items[i];
        if (reply->code != OK) {
            barrier->untold[count++] = barrier->untold[i];
        } else if (fanout_failed(reply)) {
            return reply;
        }
    }
    barrier->fruitless_count += count == barrier->untold_count;
    barrier->untold_count = count;
    return NULL;
}

static void next_round(void *user);

/* False: the request is answered. */
static bool is_to_go_on(struct barrier *barrier, const struct fanout *fanout)
{
    struct node *node = barrier->node;
    struct request *request = request_find(&node->server, barrier->request);
    const struct fanout_reply *refusal = keep_untold(barrier, fanout);
    if (refusal != NULL) {
        struct span text = fanout_exception(refusal).text;
        request_raise_builtin(request, "RuntimeError",
                              "Unexpected error encountered during P2P barrier: %.*s",
                              (int)text.size, (const char *)text.data);
        return false;
    }
    if (barrier->untold_count == 0) {
        request_reply_nil(request);
        return false;
    }
    struct span gone = find_gone(barrier), untold = barrier->untold[0];
    if (gone.size > 0) {
        request_raise_builtin(request, "RuntimeError", "Worker %.*s left during shuffle %.*s",
                              (int)gone.size, (const char *)gone.data, (int)barrier->id.size,
                              (const char *)barrier->id.data);
        return false;
    }
    if (barrier->fruitless_count >= FRUITLESS_ROUNDS_MAX || node->is_closing) {
        request_raise_builtin(
            request, "RuntimeError",
            "The barrier of shuffle %.*s does not reach %u of its workers, the first of them "
            "%.*s. If they are overloaded, a longer distributed.comm.timeouts.connect may help.",
            (int)barrier->id.size, (const char *)barrier->id.data, barrier->untold_count,
            (int)untold.size, (const char *)untold.data);
        return false;
    }
    return true;
}

static void barrier_free(struct barrier *barrier)
{
    arena_fini(&barrier->arena);
    mem_free(barrier);
}

static void round_done(struct fanout *fanout)
{
    struct barrier *barrier = fanout->user;
    if (is_to_go_on(barrier, fanout)) {
        log_warning(LOGGER, "Failure during broadcast of %.*s, retrying.", (int)barrier->id.size,
                    (const char *)barrier->id.data);
        lifecycle_pause(barrier->node, ROUND_PAUSE, next_round, barrier);
    } else {
        barrier_free(barrier);
    }
}

static void next_round(void *user)
{
    struct barrier *barrier = user;
    const struct msg_worker_shuffle_inputs_done message = {.shuffle_id = barrier->id,
                                                           .run_id = barrier->run_id};
    struct fanout *fanout = fanout_create(barrier->node, round_done, barrier);
    for (uint32_t i = 0; i < barrier->untold_count; i++) {
        struct outgoing call;
        outgoing_init(&call);
        message_encode_request(&call, MESSAGE_WORKER_SHUFFLE_INPUTS_DONE, &message, true, false);
        fanout_call(fanout, barrier->untold[i], barrier->untold[i], &call, 0);
        outgoing_fini(&call);
    }
    fanout_go(fanout);
}

void shuffle_barrier_tell(struct node *node, const struct action_shuffle_done *done)
{
    ASSERT(request_find(&node->server, done->request) != NULL); /* nobody else answers a barrier */
    struct barrier *barrier = mem_zalloc(1, sizeof *barrier);
    arena_init(&barrier->arena);
    barrier->node = node;
    barrier->request = done->request;
    barrier->id = arena_copy(&barrier->arena, done->id);
    barrier->run_id = done->run_id;
    barrier->untold_count = done->participants.count;
    barrier->untold = arena_array(&barrier->arena, struct span, barrier->untold_count);
    for (uint32_t i = 0; i < barrier->untold_count; i++) {
        barrier->untold[i] = arena_copy(
            &barrier->arena, view_worker_address(node->core, done->participants.items[i]));
    }
    next_round(barrier);
}
