/* worker_ahead.c: short tasks that an executor is given before it has a thread for them.
 *
 * The core gives them out (core/worker/ready.c, may_go_ahead), so an executor need not wait for us between two of
 * them, and their answers come together. What was thought to be short and is not would keep those behind it from
 * being stolen: when an executor has ended none for a while, those that it has not begun are called back, and the scheduler places
 * them anew. */
#include "node/worker_internal.h"

#define LOOK_SECONDS 0.05

bool worker_seat_has_room(const struct worker_node *worker, const struct seat *seat)
{
    return seat->state == SEAT_USABLE && seat->running < seat->nthreads + worker->ahead_max &&
           seat->shuffles_ending == 0 && !executor_is_dying(seat->executor);
}

static void look(void *user)
{
    struct worker_node *worker = user;
    bool any = false;
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        struct seat *seat = &worker->seats.items[i];
        if (seat->state == SEAT_USABLE && seat->running > seat->nthreads) {
            any = true;
            if (seat->ended_count == seat->ended_seen) {
                worker_recall_runs(worker, i);
            }
        }
        seat->ended_seen = seat->ended_count;
    }
    if (!any) {
        io_timer_stop(worker->ahead);
        worker->is_ahead = false;
    }
}

void worker_seat_filled(struct worker_node *worker, struct seat *seat)
{
    if (seat->running > seat->nthreads && !worker->is_ahead) {
        worker->is_ahead = true;
        seat->ended_seen = seat->ended_count;
        io_timer_start(worker->ahead, LOOK_SECONDS, LOOK_SECONDS);
    }
}

void worker_ahead_create(struct worker_node *worker)
{
    worker->ahead = io_timer_create(worker->loop, look, worker);
}
