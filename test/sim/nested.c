/* nested.c: a run secedes, submits a graph through its worker's own client, waits for all of it, lets it go
 * and ends. (That it rejoins its worker's pool before it ends is nothing that a scheduler hears of.) */
#include "sim/nested.h"

#include "sim/client.h"
#include "sim/machine.h"
#include "sim/network.h"
#include "sim/workload.h"

static struct sim_client *client_of(struct sim *sim, const struct sim_worker *worker)
{
    return &sim->clients[CLIENTS_MAX + worker->slot];
}

void nest_begin(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    struct sim_client *client = client_of(sim, worker);
    struct graph_ask ask = {.submitter = letter->key + 1};
    const struct numbers *children = &sim->keys.items[letter->key].children;
    machine_secede(sim, worker, letter);
    if (!client->connected) {
        client_connect(sim, client);
    }
    for (uint32_t i = 0; i < children->count; i++) {
        add_closure(sim, children->items[i], &ask.tasks);
        set_add(&ask.wanted, children->items[i]);
    }
    vec_push(&worker->nests, (struct nest){letter->key, (uint32_t)letter->number});
    client_submit(sim, client, ask);
}

/* True: it has all it waited for; *out_outcome: what becomes of it. */
static bool is_over(struct sim *sim, const struct sim_client *client, const struct nest *nest,
                    enum outcome *out_outcome)
{
    const struct numbers *children = &sim->keys.items[nest->key].children;
    *out_outcome = OUTCOME_FINISHED;
    for (uint32_t i = 0; i < children->count; i++) {
        enum future_state now = client_future(client, children->items[i]);
        if (now == FUTURE_PENDING) {
            return false;
        }
        *out_outcome = now == FUTURE_FINISHED ? *out_outcome : OUTCOME_ERRED;
    }
    return true;
}

void nests_look(struct sim *sim, struct sim_worker *worker)
{
    struct sim_client *client = client_of(sim, worker);
    for (uint32_t i = worker->nests.count; i > 0; i--) {
        struct nest nest = worker->nests.items[i - 1];
        enum outcome outcome;
        if (!is_over(sim, client, &nest, &outcome)) {
            continue;
        }
        vec_swap_remove(&worker->nests, i - 1);
        client_release(sim, client, &sim->keys.items[nest.key].children);
        post(sim,
             (struct letter){.kind = LETTER_RUN_DONE,
                             .to = worker->slot,
                             .life = worker->life,
                             .key = nest.key,
                             .from = nest.run,
                             .number = outcome},
             delay_draw(sim));
    }
}

void nests_fini(struct sim *sim, struct sim_worker *worker)
{
    vec_fini(&worker->nests);
    if (client_of(sim, worker)->connected) {
        client_disconnect(sim, client_of(sim, worker));
    }
}
