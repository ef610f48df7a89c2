/* worker_transitions.c: the moves of tasks, for worker plugins with a transition() of their own.
 *
 * Only while an executor has such a plugin are they asked of the core; they go out at the end of the turn, so a
 * plugin hears of a move a little after it was made. */
#include "node/worker_internal.h"

#define BATCH_BYTES (256u * 1024u)

void worker_look_for_listeners(struct worker_node *worker)
{
    bool wanted = false;
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        wanted = wanted || worker->seats.items[i].listens;
    }
    worker_want_transitions(worker->core, wanted);
}

void worker_note_transition(struct worker_node *worker,
                            const struct worker_action_transition *action)
{
    msgpack_write_array(&worker->moves, 3);
    msgpack_write_raw(&worker->moves, action->key);
    msgpack_write_str(&worker->moves, action->start);
    msgpack_write_str(&worker->moves, action->finish);
    worker->move_count++;
    if (worker->moves.size >= BATCH_BYTES) {
        worker_send_transitions(worker);
    }
}

void worker_send_transitions(struct worker_node *worker)
{
    if (worker->move_count == 0) {
        return;
    }
    struct text map = {0};
    msgpack_write_map(&map, 1);
    msgpack_write_cstr(&map, "moves");
    msgpack_write_array(&map, worker->move_count);
    msgpack_write_raw(&map, text_span(&worker->moves));
    const struct executor_payload arguments = {.value = text_span(&map), .segment = -1};
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        if (worker->seats.items[i].listens) {
            const struct call_wish wish = {
                .seat = i, .op = SPAN("transitions"), .arguments = &arguments};
            worker_call(worker, &wish);
        }
    }
    text_fini(&map);
    text_clear(&worker->moves);
    worker->move_count = 0;
}
