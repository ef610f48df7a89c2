/* requests.c: who waits for an answer of the core. */
#include "sim/requests.h"

#include <math.h>

#include "sim/network.h"
#include "sim/node.h"

/* Its number, which is never 0. */
static uint64_t request_open(struct sim *sim, uint32_t client, enum event_kind kind, double deadline)
{
    vec_push(&sim->requests, (struct pending_request){.client = client, .kind = kind, .deadline = deadline});
    return sim->requests.count;
}

static struct pending_request *request_find(struct sim *sim, uint64_t number)
{
    if (number == 0 || number > sim->requests.count) {
        fail(sim, "an answer to request %llu, which never was", (unsigned long long)number);
    }
    return &sim->requests.items[number - 1];
}

static void settle(struct sim *sim, uint64_t number)
{
    struct pending_request *request = request_find(sim, number);
    if (request->answered) {
        fail(sim, "request %llu is answered twice", (unsigned long long)number);
    }
    if (request->gone) {
        fail(sim, "request %llu is answered, but nobody waits any more", (unsigned long long)number);
    }
    request->answered = true;
}

void requests_answered(struct sim *sim, const struct action_reply *reply)
{
    settle(sim, reply->request);
}

/* ---- retiring: one answer a worker ---- */

void requests_retire(struct sim *sim, const worker_id *workers, uint32_t count)
{
    struct event event = {.kind = EVENT_RETIRE_BEGIN};
    event.of.retire_begin.workers = (struct worker_list){workers, count};
    event.of.retire_begin.request = request_open(sim, CLIENTS_MAX, EVENT_RETIRE_BEGIN, INFINITY);
    event.of.retire_begin.close = true;
    event.of.retire_begin.remove = true;
    apply(sim, &event);
}

void requests_retired(struct sim *sim, const struct action_retired *retired)
{
    settle(sim, retired->request);
}

/* ---- coordination ---- */

void requests_plan(struct sim *sim, uint32_t slot)
{
    if (has(sim, FEATURE_COORDINATE)) {
        struct letter letter = {.kind = LETTER_COORDINATE, .from = slot, .life = sim->clients[slot].life};
        post(sim, letter, delay_draw(sim));
    }
}

static struct span object_name(struct sim *sim, char kind)
{
    uint8_t bytes[3] = {0xa2, (uint8_t)kind, (uint8_t)('0' + below(sim, 2))};
    return arena_copy(&sim->scratch, span_of(bytes, sizeof bytes));
}

static double draw_deadline(struct sim *sim)
{
    return percent(sim, 20) ? INFINITY : EPOCH + sim->now + 5 * prng_unit(&sim->prng);
}

static void flag_call(struct sim *sim, uint32_t slot)
{
    static const enum event_kind kinds[] = {EVENT_FLAG_WAIT, EVENT_FLAG_SET, EVENT_FLAG_CLEAR, EVENT_FLAG_IS_SET};
    struct event event = {.kind = kinds[below(sim, 4)]};
    double deadline = event.kind == EVENT_FLAG_WAIT ? draw_deadline(sim) : INFINITY;
    event.of.flag_wait.name = object_name(sim, 'e');
    event.of.flag_wait.deadline = deadline;
    event.of.flag_wait.request = request_open(sim, slot, event.kind, deadline);
    apply(sim, &event);
}

/* The client asks for the call by RPC: it may be gone by now. */
void requests_receive(struct sim *sim, const struct letter *letter)
{
    const struct sim_client *client = &sim->clients[letter->from];
    if (client->connected && client->life == letter->life) {
        flag_call(sim, letter->from);
    }
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
    return isinf(request->deadline) && request->kind == EVENT_FLAG_WAIT;
}

void requests_check(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->requests.count; i++) {
        const struct pending_request *request = &sim->requests.items[i];
        if (!request->answered && !request->gone && !may_wait(request)) {
            fail(sim, "request %u (event %d) was never answered", i + 1, (int)request->kind);
        }
    }
}
