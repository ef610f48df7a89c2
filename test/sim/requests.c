/* requests.c: who waits for an answer of the core. */
#include "sim/requests_internal.h"

#include <math.h>
#include <stdio.h>

#include "sim/client.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/p2p.h"

uint64_t request_add(struct sim *sim, struct pending_request request)
{
    vec_push(&sim->requests, request);
    return sim->requests.count;
}

uint64_t request_open(struct sim *sim, uint32_t client, enum event_kind kind, double deadline)
{
    return request_add(
        sim, (struct pending_request){.client = client, .kind = kind, .deadline = deadline});
}

static struct pending_request *request_find(struct sim *sim, uint64_t number)
{
    if (number == 0 || number > sim->requests.count) {
        fail(sim, "an answer to request %llu, which never was", (unsigned long long)number);
    }
    return &sim->requests.items[number - 1];
}

struct pending_request *request_settle(struct sim *sim, uint64_t number)
{
    struct pending_request *request = request_find(sim, number);
    if (request->answered) {
        fail(sim, "request %llu is answered twice", (unsigned long long)number);
    }
    if (request->gone) {
        fail(sim, "request %llu is answered, but nobody waits any more",
             (unsigned long long)number);
    }
    request->answered = true;
    return request;
}

/* ---- retiring: one answer a worker ---- */

void requests_retire(struct sim *sim, const worker_id *workers, uint32_t count)
{
    struct event event = {.kind = EVENT_RETIRE_BEGIN};
    event.of.retire_begin.workers = (struct worker_list){workers, count};
    event.of.retire_begin.request = request_open(sim, PEERS_MAX, EVENT_RETIRE_BEGIN, INFINITY);
    event.of.retire_begin.close = true;
    event.of.retire_begin.remove = true;
    apply(sim, &event);
}

void requests_retired(struct sim *sim, const struct action_retired *retired)
{
    request_settle(sim, retired->request);
}

/* ---- coordination ---- */

struct span object_name(struct sim *sim, char kind, uint32_t object)
{
    uint8_t bytes[3] = {0xa2, (uint8_t)kind, (uint8_t)('0' + object)};
    return arena_copy(&sim->scratch, span_of(bytes, sizeof bytes));
}

double draw_deadline(struct sim *sim)
{
    double seconds = percent(sim, 5) ? 0 : 5 * prng_unit(&sim->prng); /* 0: now or never */
    return percent(sim, 20) ? INFINITY : EPOCH + sim->now + seconds;
}

static void random_call(struct sim *sim, uint32_t slot)
{
    static request_call *const calls[] = {flag_call,  semaphore_call, multi_lock_call,
                                          queue_call, variable_call,  publish_call};
    struct event event = {.kind = EVENT_TICK};
    calls[below(sim, 6)](sim, slot, &event);
    if (event.kind != EVENT_TICK) {
        apply(sim, &event);
        leases_applied(sim, &event);
        items_applied(sim, &event);
    }
}

/* Whoever took a future wants it himself now. */
static void confirmed(struct sim *sim, const struct letter *letter)
{
    struct event event = {.kind = (enum event_kind)letter->number};
    client_id client = client_id_now(sim, letter->from);
    if (sim->clients[letter->from].connected && client != CLIENT_NONE) {
        client_want(&sim->clients[letter->from], letter->key, true); /* it has a future now */
    }
    if (event.kind == EVENT_QUEUE_FUTURE_RELEASE) {
        event.of.queue_future_release.name = object_name(sim, 'q', letter->to);
        event.of.queue_future_release.key = sim->keys.items[letter->key].bytes;
        event.of.queue_future_release.client = client;
    } else {
        event.of.variable_confirm.name = object_name(sim, 'v', letter->to);
        event.of.variable_confirm.key = sim->keys.items[letter->key].bytes;
        event.of.variable_confirm.token = span_of_text(letter->text);
        event.of.variable_confirm.client = client;
    }
    apply(sim, &event);
}

/* The client asks by RPC: it may be gone by now. */
void requests_receive(struct sim *sim, const struct letter *letter)
{
    const struct sim_client *client = &sim->clients[letter->from];
    if (letter->number != 0) {
        confirmed(sim, letter);
    } else if (client->connected && client->life == letter->life) {
        random_call(sim, letter->from);
    }
}

void requests_plan(struct sim *sim, uint32_t slot)
{
    if (has(sim, FEATURE_COORDINATE)) {
        for (uint32_t i = 0; i < 1 + below(sim, 6); i++) {
            struct letter letter = {
                .kind = LETTER_COORDINATE, .from = slot, .life = sim->clients[slot].life};
            post(sim, letter, delay_draw(sim));
        }
    }
}

void requests_answered(struct sim *sim, const struct action_reply *reply)
{
    struct pending_request *request = request_settle(sim, reply->request);
    switch (request->kind) {
    case EVENT_SHUFFLE_GET:
    case EVENT_SHUFFLE_BARRIER:
    case EVENT_SHUFFLE_RESTRICT:
        p2p_replied(sim, request, reply->answer);
        break;
    default:
        leases_answered(sim, request, reply->answer);
        items_answered(sim, request, reply->answer);
        break;
    }
}

void requests_let_go(struct sim *sim)
{
    items_let_go(sim);
}

void requests_fini(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->requests.count; i++) {
        blob_unref(sim->requests.items[i].blob);
    }
    vec_fini(&sim->requests);
    vec_fini(&sim->values);
}

void requests_client_gone(struct sim *sim, uint32_t slot)
{
    for (uint32_t i = 0; i < sim->requests.count; i++) {
        struct pending_request *request = &sim->requests.items[i];
        if (request->client == slot && !request->answered && !request->gone) {
            struct event event = {.kind = EVENT_REQUEST_GONE, .of.request_gone.request = i + 1};
            request->gone = true;
            apply(sim, &event);
        }
    }
}

/* What may wait for ever: a flag nobody sets, a queue nobody fills. */
static bool may_wait(const struct pending_request *request)
{
    switch (request->kind) {
    case EVENT_FLAG_WAIT:
    case EVENT_SEMAPHORE_ACQUIRE:
    case EVENT_MULTI_LOCK_ACQUIRE:
    case EVENT_QUEUE_PUT:
    case EVENT_QUEUE_GET:
    case EVENT_VARIABLE_SET:
    case EVENT_VARIABLE_GET:
        return isinf(request->deadline);
    default:
        return false;
    }
}

void requests_check(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->requests.count; i++) {
        const struct pending_request *request = &sim->requests.items[i];
        if (!request->answered && !request->gone && !may_wait(request)) {
            fail(sim, "request %u (event %d) was never answered", i + 1, (int)request->kind);
        }
    }
    leases_check(sim);
    items_check(sim);
}
