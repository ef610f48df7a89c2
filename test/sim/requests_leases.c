/* requests_leases.c: flags, semaphores, multi-locks: who may hold what, and who waits in vain. */
#include <math.h>
#include <stdio.h>

#include "core/scheduler/locks.h"
#include "sim/node.h"
#include "sim/requests_internal.h"

#define LEASE_SECONDS 3.0

/* A lease, or the id of a multi-lock: named by its request. */
static struct span lease_name(struct sim *sim, uint64_t request)
{
    char text[16];
    int size = snprintf(text + 1, sizeof text - 1, "L%llu", (unsigned long long)request);
    text[0] = (char)(0xa0 | size);
    return arena_copy(&sim->scratch, span_of(text, (size_t)size + 1));
}

/* A granted lease of a kind; 0: none. */
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

/* Seconds without a refresh; INFINITY: for ever. */
static double lease_seconds(const struct sim *sim, uint32_t object)
{
    return has(sim, FEATURE_LEASES) && object == 1 ? LEASE_SECONDS : INFINITY;
}

static bool is_fresh(const struct sim *sim, const struct pending_request *lease)
{
    return sim->now - lease->refreshed_at <= lease_seconds(sim, lease->object);
}

/* ---- calls ---- */

void flag_call(struct sim *sim, uint32_t slot, struct event *event)
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

static void semaphore_register(struct sim *sim, uint32_t slot, struct event *event, uint32_t object)
{
    double seconds = lease_seconds(sim, object);
    event->kind = EVENT_SEMAPHORE_REGISTER;
    event->of.semaphore_register.request = request_open(sim, slot, event->kind, INFINITY);
    event->of.semaphore_register.name = object_name(sim, 's', object);
    event->of.semaphore_register.max_leases = lease_limit(object);
    event->of.semaphore_register.lease_timeout = isinf(seconds) ? 0 : seconds;
}

static void semaphore_release(struct sim *sim, uint32_t slot, struct event *event, uint64_t held)
{
    struct pending_request *lease = &sim->requests.items[held - 1];
    uint32_t object = lease->object;
    lease->is_held = false;
    event->kind = EVENT_SEMAPHORE_RELEASE;
    event->of.semaphore_release.request = request_open(sim, slot, event->kind, INFINITY);
    event->of.semaphore_release.name = object_name(sim, 's', object);
    event->of.semaphore_release.lease = lease_name(sim, held);
}

/* A holder that comes too late gets its lease back all the same, as with stock: then too many may hold the
 * semaphore. */
static void semaphore_refresh(struct sim *sim, uint32_t slot, struct event *event, uint64_t held)
{
    struct pending_request *lease = &sim->requests.items[held - 1];
    struct span *name = arena_array(&sim->scratch, struct span, 1);
    uint32_t object = lease->object;
    sim->is_overbooked[object] = sim->is_overbooked[object] || !is_fresh(sim, lease);
    lease->refreshed_at = sim->now;
    *name = lease_name(sim, held);
    event->kind = EVENT_SEMAPHORE_REFRESH;
    event->of.semaphore_refresh.request = request_open(sim, slot, event->kind, INFINITY);
    event->of.semaphore_refresh.name = object_name(sim, 's', object);
    event->of.semaphore_refresh.leases = (struct span_list){name, 1};
}

static void semaphore_close(struct sim *sim, uint32_t slot, struct event *event, uint32_t object)
{
    event->kind = EVENT_SEMAPHORE_CLOSE;
    event->of.semaphore_close.request = request_open(sim, slot, event->kind, INFINITY);
    event->of.semaphore_close.name = object_name(sim, 's', object);
    sim->is_overbooked[object] = false;
    for (uint32_t i = 0; i < sim->requests.count; i++) {
        struct pending_request *lease = &sim->requests.items[i];
        lease->is_held =
            lease->is_held && (lease->kind != EVENT_SEMAPHORE_ACQUIRE || lease->object != object);
    }
}

void semaphore_call(struct sim *sim, uint32_t slot, struct event *event)
{
    uint32_t object = below(sim, 2), chance = below(sim, 20);
    uint64_t held = find_held(sim, EVENT_SEMAPHORE_ACQUIRE);
    if (chance < 4) {
        semaphore_register(sim, slot, event, object);
    } else if (chance < 9 && held != 0) {
        semaphore_release(sim, slot, event, held);
    } else if (chance < 12 && held != 0) {
        semaphore_refresh(sim, slot, event, held);
    } else if (chance == 12 && has(sim, FEATURE_LEASES)) {
        semaphore_close(sim, slot, event, object);
    } else if (chance == 13) {
        event->kind = EVENT_SEMAPHORE_VALUE;
        event->of.semaphore_value.request = request_open(sim, slot, event->kind, INFINITY);
        event->of.semaphore_value.name = object_name(sim, 's', object);
    } else {
        semaphore_acquire(sim, slot, event, object);
    }
}

/* Object 0: the one lock; 1: the other; 2: both. */
void multi_lock_call(struct sim *sim, uint32_t slot, struct event *event)
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

/* ---- what comes of them ---- */

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
    request->refreshed_at = sim->now;
    for (uint32_t i = 0; i < sim->requests.count; i++) {
        const struct pending_request *other = &sim->requests.items[i];
        if (other->is_held && other->kind == request->kind) {
            holders += is_semaphore ? other->object == request->object && is_fresh(sim, other)
                                    : conflicts(other, request);
        }
    }
    bool is_excused = is_semaphore && sim->is_overbooked[request->object];
    if (!is_excused && holders > (is_semaphore ? lease_limit(request->object) : 1)) {
        fail(sim, "%u hold %s %u", holders, is_semaphore ? "semaphore" : "multi-lock",
             request->object);
    }
}

void leases_answered(struct sim *sim, struct pending_request *request, const struct answer *answer)
{
    bool is_lease =
        request->kind == EVENT_SEMAPHORE_ACQUIRE || request->kind == EVENT_MULTI_LOCK_ACQUIRE;
    if (is_lease && answer->kind == ANSWER_BOOL && answer->number == 1) {
        note_grant(sim, request);
    }
}

static bool waits_for(const struct pending_request *request, enum event_kind kind, uint32_t object)
{
    return request->kind == kind && request->object == object && !request->answered &&
           !request->gone;
}

void leases_applied(struct sim *sim, const struct event *event)
{
    for (uint32_t i = 0; event->kind == EVENT_SEMAPHORE_CLOSE && i < sim->requests.count; i++) {
        uint32_t object = (uint32_t)(event->of.semaphore_close.name.data[2] - '0');
        if (waits_for(&sim->requests.items[i], EVENT_SEMAPHORE_ACQUIRE, object)) {
            fail(sim, "semaphore %u was closed, and request %u still waits for it", object, i + 1);
        }
    }
}

/* Somebody holds it who may: a lease that ran out is taken back within the validation interval. */
static bool is_taken(const struct sim *sim, enum event_kind kind, uint32_t object)
{
    for (uint32_t i = 0; i < sim->requests.count; i++) {
        const struct pending_request *lease = &sim->requests.items[i];
        double seconds = lease_seconds(sim, object) + sim->config.lease_validation_interval;
        bool holds = lease->is_held && lease->kind == kind;
        if (holds && (kind == EVENT_MULTI_LOCK_ACQUIRE ||
                      (lease->object == object && sim->now - lease->refreshed_at <= seconds))) {
            return true;
        }
    }
    return false;
}

void leases_check(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->requests.count; i++) {
        const struct pending_request *request = &sim->requests.items[i];
        enum event_kind kind = request->kind;
        bool is_acquire = kind == EVENT_SEMAPHORE_ACQUIRE || kind == EVENT_MULTI_LOCK_ACQUIRE;
        if (is_acquire && waits_for(request, kind, request->object) &&
            !is_taken(sim, kind, request->object)) {
            fail(sim, "request %u (event %d) waits for object %u, which nobody holds", i + 1,
                 (int)kind, request->object);
        }
    }
    struct semaphore_view view;
    for (uint32_t i = 0; locks_semaphore_at(sim->s, i, &view); i++) {
        if (view.pending > 0 && view.leases < view.max_leases) {
            fail(sim, "%u wait for a semaphore with %lld of %lld leases", (uint32_t)view.pending,
                 (long long)view.leases, (long long)view.max_leases);
        }
    }
}
