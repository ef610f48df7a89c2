/* p2p_node.c: the RPCs between the shuffle extensions of workers and the core.
 * Must agree with: distributed shuffle/_scheduler_plugin.py; node/rpc_shuffle.c, node/coordination.c. */
#include <stdio.h>

#include "sim/network.h"
#include "sim/node.h"
#include "sim/p2p.h"
#include "sim/requests.h"

#define TELL_AGAIN_SECONDS 0.1

/* ---- graphs ---- */

static struct shuffle_info row_of(struct arena *arena, uint32_t task,
                                  const struct sim_shuffle *shuffle)
{
    uint32_t count = shuffle->part_count;
    struct span *parts = arena_array(arena, struct span, count);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t number[2] = {0x91, (uint8_t)i}; /* (i,), or i alone, as msgpack */
        parts[i] = arena_copy(arena, span_of(number + !shuffle->is_array, 1 + shuffle->is_array));
    }
    uint32_t *axis = arena_array(arena, uint32_t, 1);
    *axis = count;
    return (struct shuffle_info){.task = task,
                                 .id = shuffle->id,
                                 .spec = SPAN("spec"),
                                 .is_array = shuffle->is_array,
                                 .parts = {parts, count},
                                 .axis_lengths = axis,
                                 .axis_count = 1,
                                 .npartitions = count};
}

const struct shuffle_info *p2p_rows(struct sim *sim, struct arena *arena,
                                    const struct numbers *tasks, uint32_t *out_count)
{
    struct shuffle_info *rows = arena_array(arena, struct shuffle_info, tasks->count + 1);
    uint32_t count = 0;
    for (uint32_t i = 0; i < tasks->count; i++) {
        const struct sim_key *key = &sim->keys.items[tasks->items[i] & ~OTHER_DEFINITION];
        if (key->kind == KEY_BARRIER) {
            rows[count++] = row_of(arena, i, &sim->shuffles.items[key->shuffles.items[0]]);
        }
    }
    *out_count = count;
    return rows;
}

/* ---- runs ---- */

const struct numbers *p2p_spread(struct sim *sim, uint32_t shuffle, int64_t run_id)
{
    const struct sim_shuffle *it = &sim->shuffles.items[shuffle];
    for (uint32_t i = 0; i < it->spreads.count; i++) {
        if (it->spreads.items[i].run_id == run_id) {
            return &it->spreads.items[i].addresses;
        }
    }
    fail(sim, "shuffle %u: nobody was told of run %lld", shuffle, (long long)run_id);
}

/* What the core says of a run must never change; a new run has a greater id than all before. */
static void note_spread(struct sim *sim, uint32_t shuffle, const struct shuffle_answer *answer)
{
    struct sim_shuffle *it = &sim->shuffles.items[shuffle];
    struct p2p_spread *last =
        it->spreads.count == 0 ? NULL : &it->spreads.items[it->spreads.count - 1];
    bool is_new = last == NULL || last->run_id < answer->run_id;
    if (answer->parts.count != it->part_count || (!is_new && last->run_id > answer->run_id)) {
        fail(sim, "shuffle %u: run %lld of %u parts after run %lld", shuffle,
             (long long)answer->run_id, answer->parts.count,
             last == NULL ? 0 : (long long)last->run_id);
    }
    if (is_new) {
        vec_push(&it->spreads, (struct p2p_spread){.run_id = answer->run_id});
        last = &it->spreads.items[it->spreads.count - 1];
    }
    it->active_run = answer->run_id;
    for (uint32_t i = 0; i < answer->parts.count; i++) {
        uint32_t address = sim->incarnations.items[answer->workers[i]].address;
        if (is_new) {
            vec_push(&last->addresses, address);
        } else if (last->addresses.items[i] != address) {
            fail(sim, "shuffle %u: part %u of run %lld has moved", shuffle, i,
                 (long long)answer->run_id);
        }
    }
}

/* ---- calls of workers ---- */

static void answer_worker(struct sim *sim, const struct pending_request *request, int64_t run_id,
                          bool is_fine)
{
    struct letter letter = {.kind = LETTER_P2P_ANSWER,
                            .to = request->worker,
                            .life = request->life,
                            .key = request->key,
                            .from = request->run,
                            .number = request->call,
                            .real = (double)run_id};
    letter_add(&letter, request->object);
    letter_set_text(&letter, is_fine ? (struct span){0} : SPAN("error"));
    post(sim, letter, delay_draw(sim));
}

static void make_event(struct sim *sim, const struct letter *letter, struct event *event)
{
    struct span id = sim->shuffles.items[letter->words[0]].id;
    struct span key = sim->keys.items[letter->key].bytes;
    int64_t run_id = (int64_t)letter->real;
    switch ((enum p2p_call)letter->number) {
    case P2P_BARRIER:
        event->kind = EVENT_SHUFFLE_BARRIER;
        event->of.shuffle_barrier =
            (struct event_shuffle_barrier){0, id, run_id, letter->words[1] != 0};
        break;
    case P2P_RESTRICT:
        event->kind = EVENT_SHUFFLE_RESTRICT;
        event->of.shuffle_restrict =
            (struct event_shuffle_restrict){0, id, run_id, key, WORKER_NONE};
        event->of.shuffle_restrict.worker = worker_at(sim, letter->words[1]);
        break;
    default:
        event->kind = EVENT_SHUFFLE_GET;
        event->of.shuffle_get = (struct event_shuffle_get){0, id, key, WORKER_NONE, false};
        event->of.shuffle_get.worker = worker_at(sim, letter->words[2]);
        event->of.shuffle_get.create = letter->number == P2P_GET_OR_CREATE;
        break;
    }
}

void p2p_asked(struct sim *sim, const struct letter *letter)
{
    struct event event = {0};
    struct pending_request asked = {.client = PEERS_MAX,
                                    .worker = letter->from,
                                    .life = letter->life,
                                    .key = letter->key,
                                    .run = letter->to,
                                    .object = letter->words[0],
                                    .call = (enum p2p_call)letter->number};
    make_event(sim, letter, &event);
    bool is_of_worker = event.kind == EVENT_SHUFFLE_GET || event.kind == EVENT_SHUFFLE_RESTRICT;
    worker_id worker = event.kind == EVENT_SHUFFLE_GET ? event.of.shuffle_get.worker
                                                       : event.of.shuffle_restrict.worker;
    if (is_of_worker && worker == WORKER_NONE) {
        answer_worker(sim, &asked, 0, false); /* the node knows no such worker */
        return;
    }
    asked.kind = event.kind;
    uint64_t request = request_add(sim, asked);
    switch (event.kind) {
    case EVENT_SHUFFLE_GET:
        event.of.shuffle_get.request = request;
        break;
    case EVENT_SHUFFLE_BARRIER:
        event.of.shuffle_barrier.request = request;
        break;
    default:
        event.of.shuffle_restrict.request = request;
        break;
    }
    sim->requests.items[request - 1].run_id = (int64_t)letter->real;
    apply(sim, &event);
}

void p2p_ask_oddly(struct sim *sim)
{
    uint32_t shuffle = below(sim, sim->shuffles.count);
    const struct sim_shuffle *it = &sim->shuffles.items[shuffle];
    struct letter letter = {.key = it->barrier,
                            .number = percent(sim, 50) ? P2P_BARRIER : P2P_RESTRICT};
    worker_id worker = worker_id_now(sim, below(sim, sim->worker_count));
    letter.real = (double)(it->active_run + (percent(sim, 50) ? 1 : -1));
    letter_add(&letter, shuffle);
    letter_add(&letter, worker == WORKER_NONE ? 0 : sim->incarnations.items[worker].address);
    struct event event = {0};
    make_event(sim, &letter, &event);
    struct pending_request asked = {.client = PEERS_MAX,
                                    .worker = WORKERS_MAX,
                                    .kind = event.kind,
                                    .object = shuffle,
                                    .key = it->barrier,
                                    .run_id = (int64_t)letter.real};
    uint64_t request = request_add(sim, asked);
    if (event.kind == EVENT_SHUFFLE_BARRIER) {
        event.of.shuffle_barrier.request = request;
    } else {
        event.of.shuffle_restrict.request = request;
    }
    if (worker != WORKER_NONE) { /* else the node refuses it */
        apply(sim, &event);
    } else {
        request_settle(sim, request);
    }
    letter_fini(&letter);
}

void p2p_replied(struct sim *sim, const struct pending_request *request,
                 const struct answer *answer)
{
    bool is_fine =
        answer->kind == ANSWER_SHUFFLE || answer->kind == ANSWER_OK || answer->kind == ANSWER_NIL;
    int64_t run_id = request->run_id;
    if (answer->kind == ANSWER_SHUFFLE) {
        note_spread(sim, request->object, answer->shuffle);
        run_id = answer->shuffle->run_id;
    }
    if (!is_fine) {
        say(sim, "shuffle %u: key %u is refused: %.*s", request->object, request->key,
            (int)answer->text.size, (const char *)answer->text.data);
    }
    if (request->worker < WORKERS_MAX) {
        answer_worker(sim, request, run_id, is_fine);
    } else if (is_fine) {
        fail(sim, "shuffle %u: run %lld, which is none, is taken for one", request->object,
             (long long)run_id);
    }
}

/* ---- barriers ---- */

static void tell(struct sim *sim, uint32_t barrier, worker_id worker, double delay)
{
    const struct incarnation *who = &sim->incarnations.items[worker];
    struct letter letter = {.kind = LETTER_RPC_INPUTS_DONE,
                            .to = who->slot,
                            .life = who->life,
                            .number = worker,
                            .key = barrier};
    post(sim, letter, delay);
}

void p2p_done(struct sim *sim, const struct action_shuffle_done *done)
{
    const struct pending_request *request = &sim->requests.items[done->request - 1];
    struct p2p_barrier barrier = {
        .request = done->request, .shuffle = request->object, .run_id = done->run_id};
    for (uint32_t i = 0; i < done->participants.count; i++) {
        vec_push(&barrier.waiting, done->participants.items[i]);
    }
    vec_push(&sim->barriers, barrier);
    for (uint32_t i = 0; i < done->participants.count; i++) {
        tell(sim, sim->barriers.count - 1, done->participants.items[i], delay_draw(sim));
    }
    if (done->participants.count == 0) {
        fail(sim, "a barrier of shuffle %u without participants", request->object);
    }
}

void p2p_told(struct sim *sim, const struct letter *letter)
{
    struct p2p_barrier *barrier = &sim->barriers.items[letter->key];
    struct worker_view view;
    worker_id worker = (worker_id)letter->number;
    bool is_fine = letter->real == RPC_DONE;
    if (barrier->is_over) {
        return;
    }
    if (letter->real == RPC_NOBODY && view_worker(sim->s, worker, &view)) {
        tell(sim, letter->key, worker, TELL_AGAIN_SECONDS);
        return;
    }
    set_remove(&barrier->waiting, worker);
    if (!is_fine || barrier->waiting.count == 0) {
        const struct pending_request *request = request_settle(sim, barrier->request);
        barrier->is_over = true;
        answer_worker(sim, request, barrier->run_id, is_fine);
    }
}

void p2p_failed(struct sim *sim, const struct action_shuffle_fail *failed)
{
    for (uint32_t i = 0; i < sim->shuffles.count; i++) {
        if (span_equal(sim->shuffles.items[i].id, failed->id)) {
            bool was_active = sim->shuffles.items[i].active_run == failed->run_id;
            sim->shuffles.items[i].active_run = was_active ? 0 : sim->shuffles.items[i].active_run;
            struct letter letter = {
                .kind = LETTER_SHUFFLE_FAIL, .key = i, .number = failed->run_id};
            to_worker(sim, failed->worker, letter);
            return;
        }
    }
    fail(sim, "an unknown shuffle failed");
}

void p2p_node_fini(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->barriers.count; i++) {
        vec_fini(&sim->barriers.items[i].waiting);
    }
    vec_fini(&sim->barriers);
    for (uint32_t i = 0; i < sim->shuffles.count; i++) {
        struct sim_shuffle *shuffle = &sim->shuffles.items[i];
        for (uint32_t j = 0; j < shuffle->spreads.count; j++) {
            vec_fini(&shuffle->spreads.items[j].addresses);
        }
        vec_fini(&shuffle->spreads);
        vec_fini(&shuffle->transfers);
        vec_fini(&shuffle->outputs);
    }
    vec_fini(&sim->shuffles);
}

/* ---- checks ---- */

/* Whether the key erred; for the failure of which key, and whether it was a shuffle that failed that one. */
static bool has_erred(const struct sim *sim, uint32_t key, uint32_t *out_blamed,
                      bool *out_by_shuffle)
{
    const struct task *task = view_task_find(sim->s, sim->keys.items[key].bytes);
    struct failure_view failure;
    struct task_view view;
    if (task == NULL || view_task_state(task) != TASK_ERRED) {
        return false;
    }
    view_task(sim->s, task, &view);
    view_failure(view.failure, &failure);
    *out_blamed = key_number(sim, failure.key);
    *out_by_shuffle =
        failure.exception_text.size > 4 && memcmp(failure.exception_text.data, "P2P:", 4) == 0;
    return true;
}

/* Of these tasks of the shuffle, one failed for a reason of its own, or for that of an input: then stock runs
 * the shuffle not again, should it have to be (_restart_recommendations), and its other tasks fail. */
static bool one_has_erred(const struct sim *sim, uint32_t shuffle, const struct numbers *keys)
{
    uint32_t blamed;
    bool by_shuffle;
    for (uint32_t i = 0; i < keys->count; i++) {
        if (has_erred(sim, keys->items[i], &blamed, &by_shuffle) &&
            !(by_shuffle && set_has(&sim->keys.items[blamed].shuffles, shuffle))) {
            return true;
        }
    }
    return false;
}

void p2p_check_step(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->shuffles.count; i++) {
        struct sim_shuffle *shuffle = &sim->shuffles.items[i];
        shuffle->has_erred = shuffle->has_erred || one_has_erred(sim, i, &shuffle->outputs) ||
                             one_has_erred(sim, i, &shuffle->transfers) ||
                             one_has_erred(sim, i, &(struct numbers){&shuffle->barrier, 1, 1});
    }
}

void p2p_check_rest(struct sim *sim)
{
    for (uint32_t key = 0; key < sim->keys.count; key++) {
        uint32_t blamed;
        bool by_shuffle, is_excused = false;
        if (!has_erred(sim, key, &blamed, &by_shuffle) || !by_shuffle) {
            continue;
        }
        const struct numbers *shuffles = &sim->keys.items[blamed].shuffles;
        for (uint32_t i = 0; i < shuffles->count; i++) {
            is_excused = is_excused || sim->shuffles.items[shuffles->items[i]].has_erred;
        }
        if (!is_excused) {
            say_story(sim, key);
            fail(sim, "key %u erred for no reason but the shuffle of key %u", key, blamed);
        }
    }
}

void p2p_check_empty(struct sim *sim)
{
    for (uint32_t slot = 0; slot < sim->worker_count; slot++) {
        const struct sim_worker *worker = &sim->workers[slot];
        for (uint32_t i = 0; i < worker->runs.count; i++) {
            if (!worker->runs.items[i].has_failed) {
                fail(sim, "everything was released, but worker %u still works on shuffle %u", slot,
                     worker->runs.items[i].shuffle);
            }
        }
    }
}
