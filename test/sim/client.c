/* client.c: a client as distributed.Client: a future per wanted key, changed by what the stream says. */
#include "sim/client.h"

#include "sim/nested.h"
#include "sim/network.h"
#include "sim/requests.h"

enum future_state client_future(const struct sim_client *client, uint32_t key)
{
    return key < client->futures.count ? (enum future_state)client->futures.items[key]
                                       : FUTURE_NONE;
}

static void set_future(struct sim_client *client, uint32_t key, enum future_state state)
{
    while (client->futures.count <= key) {
        vec_push(&client->futures, FUTURE_NONE);
    }
    client->futures.items[key] = (uint8_t)state;
}

void client_want(struct sim_client *client, uint32_t key, bool by_name)
{
    enum future_state now = client_future(client, key);
    bool is_new = now == FUTURE_NONE || now == FUTURE_CANCELLED;
    if (!by_name) {
        set_remove(&client->by_name, key);
    } else if (is_new) {
        set_add(&client->by_name, key);
    }
    if (is_new) {
        set_future(client, key, FUTURE_PENDING);
    }
}

static void send(struct sim *sim, struct sim_client *client, struct letter letter)
{
    letter.from = client->slot;
    letter.life = client->life;
    letter.name = client->name;
    post_in(sim, &client->up, letter);
}

void client_send(struct sim *sim, struct sim_client *client, enum letter_kind kind,
                 const struct numbers *keys, int64_t number)
{
    struct letter letter = {.kind = kind, .number = number};
    for (uint32_t i = 0; i < keys->count; i++) {
        letter_add(&letter, keys->items[i]);
    }
    send(sim, client, letter);
}

static void begin_life(struct sim *sim, struct sim_client *client)
{
    client->life++;
    client->connected = true;
    client->by_name.count = 0;
    send(sim, client, (struct letter){.kind = LETTER_CLIENT_REGISTER});
}

void client_connect(struct sim *sim, struct sim_client *client)
{
    ASSERT(!client->connected);
    client->futures.count = 0;
    client->name++;
    say(sim, "client %u connects", client->slot);
    begin_life(sim, client);
}

void client_disconnect(struct sim *sim, struct sim_client *client)
{
    ASSERT(client->connected);
    say(sim, "client %u goes", client->slot);
    send(sim, client, (struct letter){.kind = LETTER_CLIENT_EOF});
    requests_client_gone(sim, client->slot);
    client->connected = false;
    client->futures.count = 0;
}

/* As distributed.Client does when its connection breaks: it takes all its futures for cancelled and
 * registers again, under the same name. The scheduler sees the old connection end later than the new one
 * begin. */
void client_reconnect(struct sim *sim, struct sim_client *client)
{
    ASSERT(client->connected);
    say(sim, "client %u reconnects", client->slot);
    post(sim,
         (struct letter){.kind = LETTER_CLIENT_EOF, .from = client->slot, .life = client->life},
         client->up.last > sim->now ? client->up.last - sim->now + 1 : 3 * prng_unit(&sim->prng));
    client->up = (struct channel){0}; /* the new connection knows nothing of the old one's delays */
    requests_client_gone(sim, client->slot);
    for (uint32_t key = 0; key < client->futures.count; key++) {
        if (client->futures.items[key] != FUTURE_NONE) {
            client->futures.items[key] = FUTURE_CANCELLED;
        }
    }
    begin_life(sim, client);
}

/* Keys are numbered in order of dependence. A graph may say so; it may have its tasks in that order, too. */
static void draw_order(struct sim *sim, struct graph_ask *ask)
{
    ask->has_order = percent(sim, 20);
    for (uint32_t i = 1; ask->has_order && percent(sim, 90) && i < ask->tasks.count; i++) {
        uint32_t task = ask->tasks.items[i], at = i;
        for (;
             at > 0 && (ask->tasks.items[at - 1] & ~OTHER_DEFINITION) > (task & ~OTHER_DEFINITION);
             at--) {
            ask->tasks.items[at] = ask->tasks.items[at - 1];
        }
        ask->tasks.items[at] = task;
    }
}

/* How it is sent: by chance. */
static void draw_way(struct sim *sim, struct graph_ask *ask)
{
    ask->cull = percent(sim, 50);
    ask->is_annotated = percent(sim, 10);
    ask->user_priority = has(sim, FEATURE_RESTRICT) && percent(sim, 20) ? 1 : 0;
    ask->is_bad = has(sim, FEATURE_BAD_GRAPHS) && percent(sim, 10);
    ask->is_senseless = has(sim, FEATURE_BAD_GRAPHS) && percent(sim, 4);
    ask->has_spans = has(sim, FEATURE_SPANS) && percent(sim, 50);
    ask->marks = below(sim, 64);
    draw_order(sim, ask);
    if (has(sim, FEATURE_SLICES)) {
        ask->planning_seconds = percent(sim, 40) ? 2 * prng_unit(&sim->prng) : 0;
        ask->slice = percent(sim, 70) ? 1 + below(sim, 8) : 0;
    }
}

void client_submit(struct sim *sim, struct sim_client *client, struct graph_ask ask)
{
    draw_way(sim, &ask);
    for (uint32_t i = 0; i < ask.wanted.count; i++) {
        client_want(client, ask.wanted.items[i], false);
    }
    vec_push(&sim->asks, ask);
    send(sim, client, (struct letter){.kind = LETTER_GRAPH, .number = sim->asks.count - 1});
}

void client_release(struct sim *sim, struct sim_client *client, const struct numbers *keys)
{
    for (uint32_t i = 0; i < keys->count; i++) {
        set_future(client, keys->items[i], FUTURE_NONE);
    }
    client_send(sim, client, LETTER_RELEASES, keys, 0);
}

static void hear(struct sim_client *client, enum letter_kind kind, uint32_t key)
{
    enum future_state now = client_future(client, key);
    if (now == FUTURE_NONE || now == FUTURE_CANCELLED) {
        return; /* stock may still report on a key it has cancelled */
    }
    switch (kind) {
    case LETTER_IN_MEMORY:
        set_future(client, key, FUTURE_FINISHED);
        break;
    case LETTER_KEY_ERRED:
        set_future(client, key, FUTURE_ERRED);
        break;
    case LETTER_CANCELLED:
        set_future(client, key, FUTURE_CANCELLED);
        break;
    default:
        set_future(client, key, FUTURE_PENDING);
        break; /* lost, retried */
    }
}

static void restarted(struct sim_client *client)
{
    for (uint32_t key = 0; key < client->futures.count; key++) {
        if (client->futures.items[key] != FUTURE_NONE) {
            client->futures.items[key] = FUTURE_CANCELLED;
        }
    }
}

void client_fini(struct sim_client *client)
{
    for (uint32_t i = 0; i < client->unread.count; i++) {
        letter_fini(&client->unread.items[i]);
    }
    vec_fini(&client->unread);
    vec_fini(&client->held);
    vec_fini(&client->futures);
    vec_fini(&client->ids);
    vec_fini(&client->by_name);
}

bool client_receive(struct sim *sim, const struct letter *letter)
{
    if (letter->kind < LETTER_IN_MEMORY || letter->kind > LETTER_CLIENT_RESTART) {
        return false;
    }
    struct sim_client *client = &sim->clients[letter->to];
    if (!client->connected || client->life != letter->life) {
        return true;
    }
    struct sim_worker *worker =
        client->slot < CLIENTS_MAX ? NULL : &sim->workers[client->slot - CLIENTS_MAX];
    for (uint32_t i = 0; i < letter->word_count; i++) {
        hear(client, letter->kind, letter->words[i]);
    }
    if (letter->kind == LETTER_CLIENT_RESTART) {
        restarted(client);
    }
    if (worker != NULL) {
        nests_look(sim, worker);
    }
    return true;
}
