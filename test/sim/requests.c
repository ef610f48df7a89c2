/* requests.c: who waits for an answer of the core. */
#include "sim/requests.h"

#include <math.h>
#include <stdio.h>

#include "sim/client.h"
#include "sim/network.h"
#include "sim/node.h"

/* Its number, which is never 0. */
static uint64_t request_open(struct sim *sim, uint32_t client, enum event_kind kind,
                             double deadline)
{
    vec_push(&sim->requests,
             (struct pending_request){.client = client, .kind = kind, .deadline = deadline});
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
        fail(sim, "request %llu is answered, but nobody waits any more",
             (unsigned long long)number);
    }
    request->answered = true;
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

/* ---- coordination: two objects of each kind, named by a letter and a digit ---- */

static struct span object_name(struct sim *sim, char kind, uint32_t object)
{
    uint8_t bytes[3] = {0xa2, (uint8_t)kind, (uint8_t)('0' + object)};
    return arena_copy(&sim->scratch, span_of(bytes, sizeof bytes));
}

/* A lease, or the id of a multi-lock: named by its request. */
static struct span lease_name(struct sim *sim, uint64_t request)
{
    char text[16];
    int size = snprintf(text + 1, sizeof text - 1, "L%llu", (unsigned long long)request);
    text[0] = (char)(0xa0 | size);
    return arena_copy(&sim->scratch, span_of(text, (size_t)size + 1));
}

static double draw_deadline(struct sim *sim)
{
    return percent(sim, 20) ? INFINITY : EPOCH + sim->now + 5 * prng_unit(&sim->prng);
}

static uint32_t object_of(const struct sim *sim, uint64_t request)
{
    return sim->requests.items[request - 1].object;
}

/* A granted lease of a kind, to be given back; 0: none. */
static uint64_t find_held(struct sim *sim, enum event_kind kind)
{
    uint32_t count = sim->requests.count, first = count == 0 ? 0 : below(sim, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = (first + i) % count;
        if (sim->requests.items[at].is_held && sim->requests.items[at].kind == kind) {
            return at + 1;
        }
    }
    return 0;
}

/* How many may hold the object at a time. */
static uint32_t lease_limit(uint32_t object)
{
    return object + 1;
}

static void flag_call(struct sim *sim, uint32_t slot, struct event *event)
{
    static const enum event_kind kinds[] = {EVENT_FLAG_WAIT, EVENT_FLAG_SET, EVENT_FLAG_CLEAR,
                                            EVENT_FLAG_IS_SET};
    event->kind = kinds[below(sim, 4)];
    event->of.flag_wait.name = object_name(sim, 'e', below(sim, 2));
    event->of.flag_wait.deadline = event->kind == EVENT_FLAG_WAIT ? draw_deadline(sim) : INFINITY;
    event->of.flag_wait.request =
        request_open(sim, slot, event->kind, event->of.flag_wait.deadline);
}

static void semaphore_acquire(struct sim *sim, uint32_t slot, struct event *event, uint32_t object)
{
    double deadline = draw_deadline(sim);
    uint64_t request = request_open(sim, slot, EVENT_SEMAPHORE_ACQUIRE, deadline);
    sim->requests.items[request - 1].object = object;
    event->kind = EVENT_SEMAPHORE_ACQUIRE;
    event->of.semaphore_acquire.request = request;
    event->of.semaphore_acquire.name = object_name(sim, 's', object);
    event->of.semaphore_acquire.lease = lease_name(sim, request);
    event->of.semaphore_acquire.deadline = deadline;
}

static void semaphore_call(struct sim *sim, uint32_t slot, struct event *event)
{
    uint32_t object = below(sim, 2), chance = below(sim, 10);
    uint64_t held = find_held(sim, EVENT_SEMAPHORE_ACQUIRE);
    if (chance < 2) {
        event->kind = EVENT_SEMAPHORE_REGISTER;
        event->of.semaphore_register.request = request_open(sim, slot, event->kind, INFINITY);
        event->of.semaphore_register.name = object_name(sim, 's', object);
        event->of.semaphore_register.max_leases = lease_limit(object);
        event->of.semaphore_register.lease_timeout = 1e6;
    } else if (chance < 6 && held != 0) {
        sim->requests.items[held - 1].is_held = false;
        event->kind = EVENT_SEMAPHORE_RELEASE;
        event->of.semaphore_release.request = request_open(sim, slot, event->kind, INFINITY);
        event->of.semaphore_release.name = object_name(sim, 's', object_of(sim, held));
        event->of.semaphore_release.lease = lease_name(sim, held);
    } else if (chance == 6) {
        event->kind = EVENT_SEMAPHORE_VALUE;
        event->of.semaphore_value.request = request_open(sim, slot, event->kind, INFINITY);
        event->of.semaphore_value.name = object_name(sim, 's', object);
    } else {
        semaphore_acquire(sim, slot, event, object);
    }
}

/* Object 0: the one lock; 1: the other; 2: both. */
static void multi_lock_call(struct sim *sim, uint32_t slot, struct event *event)
{
    uint64_t held = find_held(sim, EVENT_MULTI_LOCK_ACQUIRE);
    if (held != 0 && percent(sim, 50)) {
        sim->requests.items[held - 1].is_held = false;
        event->kind = EVENT_MULTI_LOCK_RELEASE;
        event->of.multi_lock_release.request = request_open(sim, slot, event->kind, INFINITY);
        event->of.multi_lock_release.id = lease_name(sim, held);
        return;
    }
    uint32_t object = below(sim, 3);
    double deadline = draw_deadline(sim);
    struct span *names = arena_array(&sim->scratch, struct span, 2);
    uint32_t count = 0;
    for (uint32_t i = 0; i < 2; i++) {
        if (object == 2 || object == i) {
            names[count++] = object_name(sim, 'm', i);
        }
    }
    uint64_t request = request_open(sim, slot, EVENT_MULTI_LOCK_ACQUIRE, deadline);
    sim->requests.items[request - 1].object = object;
    event->kind = EVENT_MULTI_LOCK_ACQUIRE;
    event->of.multi_lock_acquire.request = request;
    event->of.multi_lock_acquire.locks = (struct span_list){names, count};
    event->of.multi_lock_acquire.id = lease_name(sim, request);
    event->of.multi_lock_acquire.deadline = deadline;
    event->of.multi_lock_acquire.wanted = count;
}

/* A key of the run, or none: then a plain value goes in. */
static struct span some_key(struct sim *sim)
{
    return sim->keys.count > 0 && percent(sim, 60)
               ? sim->keys.items[below(sim, sim->keys.count)].bytes
               : (struct span){0};
}

static void queue_call(struct sim *sim, uint32_t slot, struct event *event)
{
    static const enum event_kind kinds[] = {EVENT_QUEUE_CREATE, EVENT_QUEUE_PUT, EVENT_QUEUE_PUT,
                                            EVENT_QUEUE_GET,    EVENT_QUEUE_GET, EVENT_QUEUE_SIZE};
    uint32_t object = below(sim, 2);
    struct span name = object_name(sim, 'q', object);
    double deadline = draw_deadline(sim);
    event->kind = kinds[below(sim, 6)];
    bool waits = event->kind == EVENT_QUEUE_PUT || event->kind == EVENT_QUEUE_GET;
    uint64_t request = request_open(sim, slot, event->kind, waits ? deadline : INFINITY);
    sim->requests.items[request - 1].object = object;
    if (event->kind == EVENT_QUEUE_CREATE) {
        sim->queue_makers[object]++;
        event->of.queue_create.request = request;
        event->of.queue_create.name = name;
        event->of.queue_create.maxsize = object == 0 ? 0 : 2;
    } else if (event->kind == EVENT_QUEUE_PUT) {
        struct span key = some_key(sim);
        event->of.queue_put.request = request;
        event->of.queue_put.name = name;
        event->of.queue_put.key = key;
        event->of.queue_put.data = key.size == 0 ? sim->run_spec : NULL;
        event->of.queue_put.deadline = deadline;
    } else if (event->kind == EVENT_QUEUE_GET) {
        event->of.queue_get.request = request;
        event->of.queue_get.name = name;
        event->of.queue_get.deadline = deadline;
        event->of.queue_get.batch = -1;
    } else {
        event->of.queue_size.request = request;
        event->of.queue_size.name = name;
    }
}

static void variable_call(struct sim *sim, uint32_t slot, struct event *event)
{
    uint32_t object = below(sim, 2), chance = below(sim, 10);
    struct span name = object_name(sim, 'v', object);
    client_id client = client_id_now(sim, slot);
    if (chance < 1) {
        event->kind = EVENT_VARIABLE_DELETE;
        event->of.variable_delete.name = name;
        event->of.variable_delete.client = client;
        return;
    }
    double deadline = draw_deadline(sim);
    event->kind = chance < 5 ? EVENT_VARIABLE_SET : EVENT_VARIABLE_GET;
    uint64_t request = request_open(sim, slot, event->kind, deadline);
    sim->requests.items[request - 1].object = object;
    if (event->kind == EVENT_VARIABLE_SET) {
        struct span key = some_key(sim);
        event->of.variable_set.request = request;
        event->of.variable_set.name = name;
        event->of.variable_set.key = key;
        event->of.variable_set.data = key.size == 0 ? sim->run_spec : NULL;
        event->of.variable_set.deadline = deadline;
    } else {
        event->of.variable_get.request = request;
        event->of.variable_get.name = name;
        event->of.variable_get.deadline = deadline;
        event->of.variable_get.client_name = SPAN("somebody");
    }
}

static void publish_call(struct sim *sim, uint32_t slot, struct event *event)
{
    uint32_t object = below(sim, 2), chance = below(sim, 4);
    struct span name = object_name(sim, 'd', object);
    client_id client = client_id_now(sim, slot);
    if (chance < 2) {
        struct span *key = arena_array(&sim->scratch, struct span, 1);
        *key = some_key(sim);
        event->kind = EVENT_PUBLISH_PUT;
        event->of.publish_put.request = request_open(sim, slot, event->kind, INFINITY);
        event->of.publish_put.name = name;
        event->of.publish_put.keys = (struct span_list){key, key->size > 0};
        event->of.publish_put.data = sim->run_spec;
        event->of.publish_put.override = percent(sim, 50);
        event->of.publish_put.client = client;
        return;
    }
    event->kind = chance == 2 ? EVENT_PUBLISH_GET : EVENT_PUBLISH_DELETE;
    event->of.publish_get.request = request_open(sim, slot, event->kind, INFINITY);
    event->of.publish_get.name = name;
    event->of.publish_get.client = client;
}

/* The client asks by RPC: it may be gone by now. */
void requests_receive(struct sim *sim, const struct letter *letter)
{
    static void (*const calls[])(struct sim *, uint32_t, struct event *) = {
        flag_call, semaphore_call, multi_lock_call, queue_call, variable_call, publish_call};
    const struct sim_client *client = &sim->clients[letter->from];
    struct event event = {0};
    if (letter->number != 0 && client->connected &&
        client_id_now(sim, letter->from) != CLIENT_NONE) {
        client_want(&sim->clients[letter->from], letter->key, true); /* it has a future now */
    }
    if (letter->number == EVENT_QUEUE_FUTURE_RELEASE) {
        event.kind = EVENT_QUEUE_FUTURE_RELEASE;
        event.of.queue_future_release.name = object_name(sim, 'q', letter->to);
        event.of.queue_future_release.key = sim->keys.items[letter->key].bytes;
        event.of.queue_future_release.client = client_id_now(sim, letter->from);
        apply(sim, &event);
    } else if (letter->number == EVENT_VARIABLE_CONFIRM) {
        event.kind = EVENT_VARIABLE_CONFIRM;
        event.of.variable_confirm.name = object_name(sim, 'v', letter->to);
        event.of.variable_confirm.key = sim->keys.items[letter->key].bytes;
        event.of.variable_confirm.token = span_of_text(letter->text);
        event.of.variable_confirm.client = client_id_now(sim, letter->from);
        apply(sim, &event);
    } else if (client->connected && client->life == letter->life) {
        calls[below(sim, 6)](sim, letter->from, &event);
        apply(sim, &event);
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

/* ---- what an answer means ---- */

/* Whoever got a future out of a queue or a variable says so. */
static void confirm_future(struct sim *sim, const struct pending_request *request,
                           const struct record *record)
{
    if (record->key.size == 0) {
        return;
    }
    struct letter letter = {.kind = LETTER_COORDINATE,
                            .from = request->client,
                            .to = request->object,
                            .key = key_number(sim, record->key)};
    letter.number =
        request->kind == EVENT_QUEUE_GET ? EVENT_QUEUE_FUTURE_RELEASE : EVENT_VARIABLE_CONFIRM;
    letter_set_text(&letter, record->token);
    post(sim, letter, delay_draw(sim));
}

static bool conflicts(const struct pending_request *a, const struct pending_request *b)
{
    return a->object == b->object || a->object == 2 || b->object == 2;
}

/* A lease was granted: no more than allowed hold it. */
static void note_grant(struct sim *sim, struct pending_request *request)
{
    uint32_t holders = 0;
    bool is_semaphore = request->kind == EVENT_SEMAPHORE_ACQUIRE;
    request->is_held = true;
    for (uint32_t i = 0; i < sim->requests.count; i++) {
        const struct pending_request *other = &sim->requests.items[i];
        bool is_alike = other->is_held && other->kind == request->kind;
        holders += is_alike &&
                   (is_semaphore ? other->object == request->object : conflicts(other, request));
    }
    if (holders > (is_semaphore ? lease_limit(request->object) : 1)) {
        fail(sim, "%u hold %s %u", holders, is_semaphore ? "semaphore" : "multi-lock",
             request->object);
    }
}

void requests_answered(struct sim *sim, const struct action_reply *reply)
{
    const struct answer *answer = reply->answer;
    settle(sim, reply->request);
    struct pending_request *request = request_find(sim, reply->request);
    bool is_lease =
        request->kind == EVENT_SEMAPHORE_ACQUIRE || request->kind == EVENT_MULTI_LOCK_ACQUIRE;
    if (is_lease && answer->kind == ANSWER_BOOL && answer->number == 1) {
        note_grant(sim, request);
    }
    bool is_get = request->kind == EVENT_QUEUE_GET || request->kind == EVENT_VARIABLE_GET;
    if (is_get && answer->kind == ANSWER_RECORD && answer->record_count == 1) {
        confirm_future(sim, request, answer->records);
    }
}

void requests_let_go(struct sim *sim)
{
    for (uint32_t object = 0; object < 2; object++) {
        struct event event = {.kind = EVENT_VARIABLE_DELETE};
        event.of.variable_delete.name = object_name(sim, 'v', object);
        apply(sim, &event);
        for (uint32_t i = 0; i < sim->queue_makers[object]; i++) {
            event = (struct event){.kind = EVENT_QUEUE_RELEASE};
            event.of.queue_release.name = object_name(sim, 'q', object);
            apply(sim, &event);
        }
        event = (struct event){.kind = EVENT_PUBLISH_DELETE};
        event.of.publish_delete.request =
            request_open(sim, CLIENTS_MAX, EVENT_PUBLISH_DELETE, INFINITY);
        event.of.publish_delete.name = object_name(sim, 'd', object);
        apply(sim, &event);
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
}
