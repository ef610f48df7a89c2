/* client.c: a client as distributed.Client: a future per wanted key, changed by what the stream says. */
#include "sim/client.h"

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

void client_connect(struct sim *sim, struct sim_client *client)
{
    ASSERT(!client->connected);
    client->life++;
    client->connected = true;
    client->futures.count = 0;
    client->by_name.count = 0;
    say(sim, "client %u connects", client->slot);
    send(sim, client, (struct letter){.kind = LETTER_CLIENT_REGISTER});
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

void client_submit(struct sim *sim, struct sim_client *client, const struct numbers *wanted,
                   const struct numbers *tasks)
{
    struct letter letter = {.kind = LETTER_GRAPH, .number = percent(sim, 50)};
    letter_add(&letter, wanted->count);
    for (uint32_t i = 0; i < wanted->count; i++) {
        letter_add(&letter, wanted->items[i]);
        client_want(client, wanted->items[i], false);
    }
    for (uint32_t i = 0; i < tasks->count; i++) {
        letter_add(&letter, tasks->items[i]);
    }
    letter.key = percent(sim, 10);
    letter.real = has(sim, FEATURE_RESTRICT) && percent(sim, 20) ? 1 : 0;
    send(sim, client, letter);
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

bool client_receive(struct sim *sim, const struct letter *letter)
{
    if (letter->kind < LETTER_IN_MEMORY || letter->kind > LETTER_CLIENT_RESTART) {
        return false;
    }
    struct sim_client *client = &sim->clients[letter->to];
    if (!client->connected || client->life != letter->life) {
        return true;
    }
    for (uint32_t i = 0; i < letter->word_count; i++) {
        hear(client, letter->kind, letter->words[i]);
    }
    if (letter->kind == LETTER_CLIENT_RESTART) {
        restarted(client);
    }
    return true;
}
