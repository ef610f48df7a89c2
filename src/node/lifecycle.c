/* lifecycle.c: what flows of several messages wait for, and who watches workers come and go.
 * The flows themselves are in rpc_lifecycle.c, replicate.c, rebalance.c … */
#include "node/lifecycle.h"

#include "base/alloc.h"
#include "node/identity.h"

struct wait {
    struct lifecycle *lifecycle;
    lifecycle_go *go;
    void *user;
    struct io_timer *timer; /* of a pause */
    bool is_shared;         /* of a turn */
};

struct waits VEC(struct wait *);

struct lifecycle {
    struct node *node;
    struct waits pauses;
    struct waits ends;    /* who waits until a task has ended; with timers, as pauses */
    struct waits nannies; /* who waits until no nanny is starting */
    struct waits turns;   /* who waits to move replicas, in order */
    uint32_t turns_taken;
    bool turn_is_shared;
};

struct lifecycle *lifecycle_create(struct node *node)
{
    struct lifecycle *lifecycle = mem_zalloc(1, sizeof *lifecycle);
    lifecycle->node = node;
    return lifecycle;
}

/* Posted. */
static void go_on(void *user)
{
    struct wait *wait = user;
    wait->go(wait->user);
    mem_free(wait);
}

static void release(struct node *node, struct wait *wait)
{
    io_post(node->loop, go_on, wait);
}

static void release_all(struct node *node, struct waits *waits)
{
    for (uint32_t i = 0; i < waits->count; i++) {
        io_timer_destroy(waits->items[i]->timer); /* it is not to come between */
        waits->items[i]->timer = NULL;
        release(node, waits->items[i]);
    }
    waits->count = 0;
}

void lifecycle_destroy(struct lifecycle *lifecycle)
{
    struct node *node = lifecycle->node;
    struct waits *all[] = {&lifecycle->pauses, &lifecycle->ends, &lifecycle->nannies,
                           &lifecycle->turns};
    for (uint32_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        release_all(node, all[i]);
        vec_fini(all[i]);
    }
    node->lifecycle = NULL;
    mem_free(lifecycle);
}

static struct wait *wait_create(struct node *node, lifecycle_go *go, void *user)
{
    struct wait *wait = mem_zalloc(1, sizeof *wait);
    wait->lifecycle = node->lifecycle;
    wait->go = go;
    wait->user = user;
    return wait;
}

static void forget(struct waits *waits, const struct wait *wait)
{
    for (uint32_t i = 0; i < waits->count; i++) {
        if (waits->items[i] == wait) {
            vec_swap_remove(waits, i);
            return;
        }
    }
}

/* ---- pauses ------------------------------------------------------------------------------------ */

static void pause_over(void *user)
{
    struct wait *wait = user;
    forget(&wait->lifecycle->pauses, wait);
    forget(&wait->lifecycle->ends, wait);
    io_timer_destroy(wait->timer);
    go_on(wait);
}

/* False: the scheduler closes, and it goes on at once. */
static bool start(struct node *node, struct wait *wait, double seconds)
{
    if (node->is_closing) {
        release(node, wait);
        return false;
    }
    wait->timer = io_timer_create(node->loop, pause_over, wait);
    io_timer_start(wait->timer, seconds, 0);
    return true;
}

void lifecycle_pause(struct node *node, double seconds, lifecycle_go *go, void *user)
{
    struct wait *wait = wait_create(node, go, user);
    if (start(node, wait, seconds)) {
        vec_push(&node->lifecycle->pauses, wait);
    }
}

void lifecycle_when_ended(struct node *node, double seconds, lifecycle_go *go, void *user)
{
    struct wait *wait = wait_create(node, go, user);
    if (start(node, wait, seconds)) {
        vec_push(&node->lifecycle->ends, wait);
    }
}

void lifecycle_ended(struct node *node)
{
    if (node->lifecycle != NULL) {
        release_all(node, &node->lifecycle->ends);
    }
}

/* ---- nannies ----------------------------------------------------------------------------------- */

void lifecycle_when_nannies_started(struct node *node, lifecycle_go *go, void *user)
{
    struct wait *wait = wait_create(node, go, user);
    if (node->nannies_starting == 0 || node->is_closing) {
        release(node, wait);
    } else {
        vec_push(&node->lifecycle->nannies, wait);
    }
}

void lifecycle_nanny_started(struct node *node)
{
    ASSERT(node->nannies_starting > 0);
    if (--node->nannies_starting == 0 && node->lifecycle != NULL) {
        release_all(node, &node->lifecycle->nannies);
    }
}

/* ---- turns ------------------------------------------------------------------------------------- */

static void next_turns(struct node *node)
{
    struct lifecycle *lifecycle = node->lifecycle;
    while (lifecycle->turns.count > 0) {
        struct wait *first = lifecycle->turns.items[0];
        if (lifecycle->turns_taken > 0 && !(lifecycle->turn_is_shared && first->is_shared)) {
            return;
        }
        lifecycle->turns_taken++;
        lifecycle->turn_is_shared = first->is_shared;
        memmove(lifecycle->turns.items, lifecycle->turns.items + 1,
                --lifecycle->turns.count * sizeof *lifecycle->turns.items);
        release(node, first);
    }
}

void lifecycle_take_turn(struct node *node, bool shared, lifecycle_go *go, void *user)
{
    struct wait *wait = wait_create(node, go, user);
    wait->is_shared = shared;
    if (node->is_closing) {
        release(node, wait);
        return;
    }
    vec_push(&node->lifecycle->turns, wait);
    next_turns(node);
}

void lifecycle_give_turn(struct node *node)
{
    if (node->lifecycle != NULL && node->lifecycle->turns_taken > 0) {
        node->lifecycle->turns_taken--;
        next_turns(node);
    }
}

/* ---- watchers ---------------------------------------------------------------------------------- */

/* ["add", {"workers": {address: identity}}] */
static void write_added(struct node *node, worker_id worker, struct outgoing *batch)
{
    outgoing_item(batch);
    msgpack_write_array(&batch->head, 2);
    msgpack_write_cstr(&batch->head, "add");
    msgpack_write_map(&batch->head, 1);
    msgpack_write_cstr(&batch->head, "workers");
    msgpack_write_map(&batch->head, 1);
    msgpack_write_str(&batch->head, view_worker_address(node->core, worker));
    identity_write_worker(node, worker, batch, true);
}

/* ["remove", address] */
static void write_removed(struct node *node, worker_id worker, struct outgoing *batch)
{
    outgoing_item(batch);
    msgpack_write_array(&batch->head, 2);
    msgpack_write_cstr(&batch->head, "remove");
    msgpack_write_str(&batch->head, view_worker_address(node->core, worker));
}

void lifecycle_notice(struct node *node, const struct notice *notice)
{
    if (notice->kind != NOTICE_WORKER_ADDED && notice->kind != NOTICE_WORKER_REMOVED) {
        return;
    }
    for (uint32_t i = 0; i < node->status_watchers.count; i++) {
        struct outgoing *batch = stream_batch(node->status_watchers.items[i]);
        if (notice->kind == NOTICE_WORKER_ADDED) {
            write_added(node, notice->worker, batch);
        } else {
            write_removed(node, notice->worker, batch);
        }
    }
}

/* ---- heartbeat extensions ---------------------------------------------------------------------- */

/* One pair of the "spans" extension: [context, span id, …rest]: number. The metric's name is
 * [context, …rest]. False: malformed. */
static bool read_span_metric(struct node *node, struct msgpack_reader *reader, struct span *out_id,
                             struct resource *out_metric)
{
    struct span key, context, name;
    uint32_t parts;
    if (key_read(reader, &node->scratch, &key) != OK ||
        msgpack_read_float(reader, &out_metric->amount) != OK) {
        return false;
    }
    struct msgpack_reader inner = msgpack_reader(key);
    if (msgpack_read_array(&inner, &parts) != OK || parts < 2 ||
        msgpack_read_value(&inner, &context) != OK || msgpack_read_str(&inner, out_id) != OK) {
        return false;
    }
    struct text text = {0};
    msgpack_write_array(&text, parts - 1);
    msgpack_write_raw(&text, context);
    msgpack_write_raw(&text, span_of(inner.at, (size_t)(inner.end - inner.at)));
    name = arena_copy(&node->scratch, text_span(&text));
    text_fini(&text);
    out_metric->name = name;
    return true;
}

void lifecycle_heartbeat_extensions(struct node *node, worker_id worker,
                                    const struct frames *message, struct span extensions)
{
    (void)message;
    struct span spans;
    uint32_t count;
    if (msgpack_is_nil(extensions) || msgpack_find(extensions, "spans", &spans) != OK) {
        return;
    }
    struct msgpack_reader reader = msgpack_reader(spans);
    if (msgpack_read_map(&reader, &count) != OK || count == 0) {
        return;
    }
    struct span *ids = arena_array(&node->scratch, struct span, count);
    struct resource *metrics = arena_array(&node->scratch, struct resource, count);
    uint32_t read = 0;
    while (read < count && read_span_metric(node, &reader, &ids[read], &metrics[read])) {
        read++; /* what follows a malformed pair is left out */
    }
    struct event event = event_of(EVENT_SPAN_METRICS);
    event.of.span_metrics.worker = worker;
    event.of.span_metrics.spans = (struct span_list){ids, read};
    event.of.span_metrics.metrics = (struct resource_list){metrics, read};
    node_apply(node, &event);
}
