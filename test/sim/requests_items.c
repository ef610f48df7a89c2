/* requests_items.c: queues, variables, datasets. Every plain value put into a queue is one of its kind: it
 * comes out once at most, in the order of going in, and not after the queue was closed. */
#include <math.h>

#include "sim/network.h"
#include "sim/node.h"
#include "sim/requests_internal.h"
#include "sim/workload.h"

/* A key of the run, or none: then a plain value goes in. */
static struct span some_key(struct sim *sim)
{
    uint32_t key =
        sim->keys.count > 0 && percent(sim, 60) ? below(sim, sim->keys.count) : UINT32_MAX;
    return key != UINT32_MAX && is_result(sim, key) ? sim->keys.items[key].bytes : (struct span){0};
}

/* ---- queues ---- */

/* A getter of several keeps what it has until it has all: queue 1 has such, and promises no order. */
static bool is_in_order(uint32_t object)
{
    return object == 0;
}

/* A new value; the blob is the request's, which lends it to the core. */
static struct blob *new_value(struct sim *sim, struct pending_request *request)
{
    uint32_t number = sim->values.count;
    uint8_t bytes[5] = {0xce, (uint8_t)(number >> 24), (uint8_t)(number >> 16),
                        (uint8_t)(number >> 8), (uint8_t)number};
    vec_push(&sim->values,
             (struct queue_value){.object = request->object,
                                  .generation = sim->queue_generation[request->object]});
    request->value = number + 1;
    request->blob = blob_create(slice_copy(span_of(bytes, sizeof bytes)), 0);
    return request->blob;
}

static void queue_put(struct sim *sim, struct event *event, uint64_t number, double deadline)
{
    struct pending_request *request = &sim->requests.items[number - 1];
    struct span key = some_key(sim);
    event->of.queue_put.request = number;
    event->of.queue_put.name = object_name(sim, 'q', request->object);
    event->of.queue_put.key = key;
    event->of.queue_put.data = key.size == 0 ? new_value(sim, request) : NULL;
    event->of.queue_put.deadline = deadline;
}

/* All, some (then without a deadline), or one. */
static void queue_get(struct sim *sim, struct event *event, uint64_t number, double deadline)
{
    struct pending_request *request = &sim->requests.items[number - 1];
    int64_t chance = below(sim, 10);
    event->of.queue_get.request = number;
    event->of.queue_get.name = object_name(sim, 'q', request->object);
    event->of.queue_get.batch = chance < 6                                   ? -1
                                : chance < 8 || is_in_order(request->object) ? 0
                                                                             : chance - 7;
    event->of.queue_get.deadline = event->of.queue_get.batch > 0 ? INFINITY : deadline;
    request->deadline = event->of.queue_get.deadline;
}

/* One user fewer. */
static void queue_release(struct sim *sim, struct event *event, uint32_t object)
{
    event->kind = EVENT_TICK;
    if (has(sim, FEATURE_LEASES) && sim->queue_makers[object] > 0) {
        sim->queue_makers[object]--;
        event->kind = EVENT_QUEUE_RELEASE;
        event->of.queue_release.name = object_name(sim, 'q', object);
    }
}

void queue_call(struct sim *sim, uint32_t slot, struct event *event)
{
    static const enum event_kind kinds[] = {EVENT_QUEUE_CREATE, EVENT_QUEUE_PUT,    EVENT_QUEUE_PUT,
                                            EVENT_QUEUE_PUT,    EVENT_QUEUE_GET,    EVENT_QUEUE_GET,
                                            EVENT_QUEUE_SIZE,   EVENT_QUEUE_RELEASE};
    uint32_t object = below(sim, 2);
    double deadline = draw_deadline(sim);
    event->kind = kinds[below(sim, 8)];
    if (event->kind == EVENT_QUEUE_RELEASE) {
        queue_release(sim, event, object);
        return;
    }
    bool waits = event->kind == EVENT_QUEUE_PUT || event->kind == EVENT_QUEUE_GET;
    uint64_t request = request_open(sim, slot, event->kind, waits ? deadline : INFINITY);
    sim->requests.items[request - 1].object = object;
    if (event->kind == EVENT_QUEUE_CREATE) {
        sim->queue_makers[object]++;
        event->of.queue_create.request = request;
        event->of.queue_create.name = object_name(sim, 'q', object);
        event->of.queue_create.maxsize = object == 0 ? 0 : 2;
    } else if (event->kind == EVENT_QUEUE_PUT) {
        queue_put(sim, event, request, deadline);
    } else if (event->kind == EVENT_QUEUE_GET) {
        queue_get(sim, event, request, deadline);
    } else {
        event->of.queue_size.request = request;
        event->of.queue_size.name = object_name(sim, 'q', object);
    }
}

/* ---- variables, datasets ---- */

void variable_call(struct sim *sim, uint32_t slot, struct event *event)
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
        event->of.variable_set.data = key.size == 0 ? sim->run_specs[0] : NULL;
        event->of.variable_set.deadline = deadline;
    } else {
        event->of.variable_get.request = request;
        event->of.variable_get.name = name;
        event->of.variable_get.deadline = deadline;
        event->of.variable_get.client_name = SPAN("somebody");
    }
}

void publish_call(struct sim *sim, uint32_t slot, struct event *event)
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
        event->of.publish_put.data = sim->run_specs[0];
        event->of.publish_put.override = percent(sim, 50);
        event->of.publish_put.client = client;
        return;
    }
    event->kind = chance == 2 ? EVENT_PUBLISH_GET : EVENT_PUBLISH_DELETE;
    event->of.publish_get.request = request_open(sim, slot, event->kind, INFINITY);
    event->of.publish_get.name = name;
    event->of.publish_get.client = client;
}

/* ---- what comes of them ---- */

/* Whoever got a future out of a queue or a variable says so. */
static void confirm_future(struct sim *sim, const struct pending_request *request,
                           const struct record *record)
{
    struct letter letter = {.kind = LETTER_COORDINATE,
                            .from = request->client,
                            .to = request->object,
                            .key = key_number(sim, record->key)};
    letter.number =
        request->kind == EVENT_QUEUE_GET ? EVENT_QUEUE_FUTURE_RELEASE : EVENT_VARIABLE_CONFIRM;
    letter_set_text(&letter, record->token);
    post(sim, letter, delay_draw(sim));
}

static void note_taken(struct sim *sim, const struct pending_request *request, uint32_t number)
{
    struct queue_value *value = &sim->values.items[number];
    if (value->is_taken || value->object != request->object) {
        fail(sim, "queue %u gives value %u, which is %s", request->object, number,
             value->is_taken ? "taken" : "another queue's");
    }
    value->is_taken = true;
    if (value->generation != sim->queue_generation[request->object]) {
        fail(sim, "queue %u gives value %u from before it was closed", request->object, number);
    }
    for (uint32_t i = 0; is_in_order(value->object) && i < number; i++) {
        const struct queue_value *earlier = &sim->values.items[i];
        if (earlier->is_in && !earlier->is_taken && earlier->object == value->object &&
            earlier->generation == value->generation) {
            fail(sim, "queue %u gives value %u before value %u", request->object, number, i);
        }
    }
}

static uint32_t value_number(struct span bytes)
{
    ASSERT(bytes.size == 5 && bytes.data[0] == 0xce);
    return (uint32_t)bytes.data[1] << 24 | (uint32_t)bytes.data[2] << 16 |
           (uint32_t)bytes.data[3] << 8 | bytes.data[4];
}

void items_answered(struct sim *sim, struct pending_request *request, const struct answer *answer)
{
    bool is_get = request->kind == EVENT_QUEUE_GET || request->kind == EVENT_VARIABLE_GET;
    bool is_record = answer->kind == ANSWER_RECORD || answer->kind == ANSWER_RECORDS;
    if (request->kind == EVENT_QUEUE_PUT && request->value != 0 && answer->kind == ANSWER_NIL) {
        sim->values.items[request->value - 1].is_in = true;
    }
    for (uint32_t i = 0; is_get && is_record && i < answer->record_count; i++) {
        const struct record *record = &answer->records[i];
        if (record->key.size > 0) {
            confirm_future(sim, request, record);
        } else if (request->kind == EVENT_QUEUE_GET) {
            note_taken(sim, request, value_number(slice_span(record->data->value)));
        }
    }
}

/* The last user has let go: nobody waits there any more. */
static void queue_closed(struct sim *sim, uint32_t object)
{
    sim->queue_generation[object]++;
    for (uint32_t i = 0; i < sim->requests.count; i++) {
        const struct pending_request *request = &sim->requests.items[i];
        bool waits = request->object == object && !request->answered && !request->gone;
        bool is_of_queue = request->kind == EVENT_QUEUE_GET ||
                           (request->kind == EVENT_QUEUE_PUT && request->value != 0);
        if (waits && is_of_queue) {
            fail(sim, "queue %u was closed, and request %u still waits for it", object, i + 1);
        }
    }
}

void items_applied(struct sim *sim, const struct event *event)
{
    if (event->kind == EVENT_QUEUE_RELEASE) {
        uint32_t object = (uint32_t)(event->of.queue_release.name.data[2] - '0');
        if (sim->queue_makers[object] == 0) {
            queue_closed(sim, object);
        }
    }
}

/* Something is in the queue. */
static bool is_there(const struct sim *sim, uint32_t object)
{
    for (uint32_t i = 0; is_in_order(object) && i < sim->values.count; i++) {
        const struct queue_value *value = &sim->values.items[i];
        if (value->is_in && !value->is_taken && value->object == object &&
            value->generation == sim->queue_generation[object]) {
            return true;
        }
    }
    return false;
}

void items_check(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->requests.count; i++) {
        const struct pending_request *request = &sim->requests.items[i];
        if (request->kind == EVENT_QUEUE_GET && !request->answered && !request->gone &&
            is_there(sim, request->object)) {
            fail(sim, "request %u waits for queue %u, which has something", i + 1, request->object);
        }
    }
}

void items_let_go(struct sim *sim)
{
    for (uint32_t object = 0; object < 2; object++) {
        struct event event = {.kind = EVENT_VARIABLE_DELETE};
        event.of.variable_delete.name = object_name(sim, 'v', object);
        apply(sim, &event);
        while (sim->queue_makers[object] > 0) {
            event = (struct event){.kind = EVENT_QUEUE_RELEASE};
            event.of.queue_release.name = object_name(sim, 'q', object);
            sim->queue_makers[object]--;
            apply(sim, &event);
            items_applied(sim, &event);
        }
        event = (struct event){.kind = EVENT_PUBLISH_DELETE};
        event.of.publish_delete.request =
            request_open(sim, PEERS_MAX, EVENT_PUBLISH_DELETE, INFINITY);
        event.of.publish_delete.name = object_name(sim, 'd', object);
        apply(sim, &event);
    }
}
