/* replicas.c: scatter, replicate, rebalance: the core plans (balance.h), RPCs carry out, the core is told.
 * Must agree with: node/scatter.c, node/replicate.c, node/rebalance.c. */
#include "sim/replicas.h"

#include "sim/client.h"
#include "sim/machine.h"
#include "sim/network.h"
#include "sim/node.h"

#define NEXT_ROUND_SECONDS 1.0
#define ROUNDS_MAX 6

/* ---- scatter ---- */

void scatter_begin(struct sim *sim, const struct sim_client *client, const struct numbers *keys,
                   const struct numbers *slots, bool is_broadcast)
{
    struct sim_scatter scatter = {
        .client = client->slot, .life = client->life, .is_broadcast = is_broadcast};
    for (uint32_t i = 0; i < keys->count; i++) {
        vec_push(&scatter.keys, keys->items[i]);
        vec_push(&scatter.holders, worker_id_now(sim, slots->items[i % slots->count]));
    }
    for (uint32_t i = 0; i < slots->count && i < keys->count; i++) {
        const struct incarnation *who = &sim->incarnations.items[scatter.holders.items[i]];
        struct letter letter = {.kind = LETTER_RPC_STORE,
                                .to = who->slot,
                                .life = who->life,
                                .number = scatter.holders.items[i],
                                .key = sim->scatters.count};
        for (uint32_t j = i; j < keys->count; j += slots->count) {
            letter_add(&letter, keys->items[j]);
        }
        scatter.waiting++;
        post(sim, letter, delay_draw(sim));
    }
    vec_push(&sim->scatters, scatter);
}

static bool all_there(const struct sim *sim, const struct sim_scatter *scatter)
{
    struct worker_view view;
    for (uint32_t i = 0; i < scatter->holders.count; i++) {
        if (!view_worker(sim->s, scatter->holders.items[i], &view)) {
            return false; /* it left with what it was given */
        }
    }
    return !scatter->has_failed;
}

static void stored(struct sim *sim, const struct letter *letter)
{
    struct sim_scatter *scatter = &sim->scatters.items[letter->key];
    struct sim_client *client = &sim->clients[scatter->client];
    scatter->has_failed = scatter->has_failed || letter->real == RPC_NOBODY;
    if (--scatter->waiting > 0 || !all_there(sim, scatter)) {
        return;
    }
    uint32_t count = scatter->keys.count;
    int64_t *sizes = arena_array(&sim->scratch, int64_t, count);
    struct event event = {.kind = EVENT_DATA_PLACED};
    bool is_same = client->connected && client->life == scatter->life;
    for (uint32_t i = 0; i < count; i++) {
        sizes[i] = sim->keys.items[scatter->keys.items[i]].nbytes;
        if (is_same) {
            client_want(client, scatter->keys.items[i], true); /* futures come with the answer */
        }
    }
    event.of.data_placed.client =
        client->life == scatter->life ? client_id_now(sim, client->slot) : CLIENT_NONE;
    event.of.data_placed.keys = key_list(sim, scatter->keys.items, count);
    event.of.data_placed.holders = (struct worker_list){scatter->holders.items, count};
    event.of.data_placed.sizes = (struct size_list){sizes, count};
    apply(sim, &event);
    if (sim->scatters.items[letter->key].is_broadcast) {
        post(sim, (struct letter){.kind = LETTER_REPLICATE, .key = letter->key}, 0);
    }
}

/* ---- carrying out plans ---- */

static void free_by_rpc(struct sim *sim, worker_id id, const uint32_t *keys, uint32_t count)
{
    const struct incarnation *who = &sim->incarnations.items[id];
    struct letter letter = {
        .kind = LETTER_RPC_FREE, .to = who->slot, .life = who->life, .number = id};
    for (uint32_t i = 0; i < count; i++) {
        letter_add(&letter, keys[i]);
    }
    post(sim, letter, delay_draw(sim));
}

static void send_copies(struct sim *sim, const struct balance_move *move, bool is_rebalance)
{
    const struct incarnation *to = &sim->incarnations.items[move->recipient];
    const struct incarnation *from = &sim->incarnations.items[move->sender];
    struct letter letter = {.kind = LETTER_RPC_GATHER,
                            .to = to->slot,
                            .life = to->life,
                            .number = move->recipient,
                            .real = is_rebalance ? move->sender : 0};
    letter_add(&letter, key_number(sim, view_task_key(move->task)));
    letter_add(&letter, from->address);
    post(sim, letter, delay_draw(sim));
}

static bool has_copy(const struct sim *sim, const struct task *task, worker_id worker)
{
    struct task_view view;
    view_task(sim->s, task, &view);
    for (uint32_t i = 0; i < view.holder_count; i++) {
        if (view_task_holder(sim->s, task, i) == worker) {
            return true;
        }
    }
    return false;
}

/* A plan sends what there is to where it is not, once, and to workers that are there. (To rebalance, it may send both
 * copies of a key to one worker, which then has the only one; so does stock.) */
static void check_move(struct sim *sim, const struct balance_plan *plan, uint32_t index,
                       bool is_rebalance)
{
    const struct balance_move *move = &plan->moves[index];
    struct worker_view view;
    uint32_t key = key_number(sim, view_task_key(move->task));
    bool sends = move->sender == WORKER_NONE || has_copy(sim, move->task, move->sender);
    bool takes = move->recipient == WORKER_NONE || (view_worker(sim->s, move->recipient, &view) &&
                                                    !has_copy(sim, move->task, move->recipient));
    for (uint32_t i = 0; i < index; i++) {
        bool is_same = plan->moves[i].task == move->task && move->recipient != WORKER_NONE &&
                       plan->moves[i].recipient == move->recipient;
        takes = takes && !(is_same && (!is_rebalance || plan->moves[i].sender == move->sender));
    }
    if (!sends || !takes) {
        fail(sim, "a plan moves key %u from worker id %u to %u", key, move->sender,
             move->recipient);
    }
}

static void carry_out_plan(struct sim *sim, const struct balance_plan *plan, bool is_rebalance)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        check_move(sim, plan, i, is_rebalance);
        if (plan->moves[i].recipient == WORKER_NONE) {
            uint32_t key = key_number(sim, view_task_key(plan->moves[i].task));
            free_by_rpc(sim, plan->moves[i].sender, &key, 1);
        } else if (plan->moves[i].sender != WORKER_NONE) {
            send_copies(sim, &plan->moves[i], is_rebalance);
        }
    }
}

void move_replicas(struct sim *sim, uint32_t n)
{
    struct balance_scope scope = {0};
    uint32_t count;
    const struct task *const *tasks = view_tasks(sim->s, &sim->scratch, &count);
    const struct task **held = arena_array(&sim->scratch, const struct task *, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        struct task_view view;
        view_task(sim->s, tasks[i], &view);
        if (view.state == TASK_MEMORY && !view.actor && percent(sim, 50)) {
            held[scope.task_count++] = tasks[i];
        }
    }
    scope.tasks = held;
    scope.n = n;
    scope.branching = 2;
    struct balance_plan plan = n == 0
                                   ? balance_rebalance(sim->s, &scope, &sim->scratch)
                                   : balance_replicate(sim->s, &scope, &sim->prng, &sim->scratch);
    say(sim, "%s %u keys: %u moves", n == 0 ? "rebalance" : "replicate", scope.task_count,
        plan.count);
    carry_out_plan(sim, &plan, n == 0);
}

/* One round of copying what was scattered to all workers. */
static void broadcast(struct sim *sim, const struct letter *letter)
{
    const struct sim_scatter *scatter = &sim->scatters.items[letter->key];
    struct balance_scope scope = {0};
    const struct task **held =
        arena_array(&sim->scratch, const struct task *, scatter->keys.count + 1);
    for (uint32_t i = 0; i < scatter->keys.count; i++) {
        const struct task *task =
            view_task_find(sim->s, sim->keys.items[scatter->keys.items[i]].bytes);
        if (task != NULL) {
            held[scope.task_count++] = task;
        }
    }
    scope.tasks = held;
    scope.n = view_worker_count(sim->s);
    scope.branching = 2;
    struct balance_plan plan = balance_replicate(sim->s, &scope, &sim->prng, &sim->scratch);
    say(sim, "broadcast %u keys: %u moves", scope.task_count, plan.count);
    carry_out_plan(sim, &plan, false);
    if (plan.count > 0 && letter->number < ROUNDS_MAX) {
        post(sim,
             (struct letter){
                 .kind = LETTER_REPLICATE, .key = letter->key, .number = letter->number + 1},
             NEXT_ROUND_SECONDS);
    }
}

/* ---- answers: `number` is the worker's id ---- */

void replicas_receive(struct sim *sim, const struct letter *letter)
{
    worker_id id = (worker_id)letter->number;
    struct span_list keys = key_list(sim, letter->words, letter->word_count);
    struct event event = {0};
    switch (letter->kind) {
    case LETTER_STORED:
        stored(sim, letter);
        break;
    case LETTER_REPLICATE:
        broadcast(sim, letter);
        break;
    case LETTER_FREED:
        event.kind = EVENT_REPLICA_DELETED;
        event.of.replica_deleted.worker = id;
        event.of.replica_deleted.keys = keys;
        apply(sim, &event);
        break;
    default: /* GATHERED */
        event.kind = EVENT_ADD_KEYS;
        event.of.add_keys.worker = id;
        event.of.add_keys.keys = keys;
        apply(sim, &event);
        if (letter->real > 0) { /* rebalance: the sender gives its copy up */
            free_by_rpc(sim, (worker_id)letter->real, letter->words, letter->word_count);
        }
        break;
    }
}

void replicas_fini(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->scatters.count; i++) {
        vec_fini(&sim->scatters.items[i].keys);
        vec_fini(&sim->scatters.items[i].holders);
    }
    vec_fini(&sim->scatters);
}
