/* memory_sampler.c: the cluster's memory, sampled for a client at an interval.
 * Source: distributed diagnostics/memory_sampler.py. */
#include "node/memory_sampler.h"

#include "base/alloc.h"

struct sampler {
    struct node *node;
    struct text key;    /* uuid */
    struct text client; /* sampling ends with it */
    enum memory_measure measure;
    struct io_timer *timer;
    struct VEC(struct memory_point {
        double time;
        int64_t bytes;
    }) points;
};

static bool find_measure(struct span name, enum memory_measure *out_measure)
{
    static const struct {
        const char *name;
        enum memory_measure measure;
    } measures[] = {
        {"process", MEMORY_PROCESS},
        {"managed", MEMORY_MANAGED_IN_MEMORY},
        {"managed_total", MEMORY_MANAGED},
        {"optimistic", MEMORY_OPTIMISTIC},
        {"unmanaged", MEMORY_UNMANAGED},
        {"unmanaged_old", MEMORY_UNMANAGED_OLD},
        {"unmanaged_recent", MEMORY_UNMANAGED_RECENT},
        {"spilled", MEMORY_SPILLED},
    };
    for (size_t i = 0; i < sizeof measures / sizeof measures[0]; i++) {
        if (span_equal_text(name, measures[i].name)) {
            *out_measure = measures[i].measure;
            return true;
        }
    }
    return false;
}

static void sampler_free(struct sampler *sampler)
{
    io_timer_destroy(sampler->timer);
    vec_fini(&sampler->points);
    text_fini(&sampler->key);
    text_fini(&sampler->client);
    mem_free(sampler);
}

static void sample(void *user)
{
    struct sampler *sampler = user;
    if (view_client_find(sampler->node->core, text_span(&sampler->client)) == CLIENT_NONE) {
        io_timer_stop(sampler->timer); /* what was sampled can still be asked for */
        return;
    }
    struct totals_view totals;
    view_totals(sampler->node->core, &totals);
    struct memory_point point = {io_now(), view_memory_measure(&totals.memory, sampler->measure)};
    vec_push(&sampler->points, point);
}

void rpc_memory_sampler_start(struct node *node, struct request *request,
                              const struct message *message)
{
    const struct msg_memory_sampler_start *m = &message->body.memory_sampler_start;
    enum memory_measure measure;
    if (!find_measure(m->measure, &measure) || !(m->interval > 0)) {
        request_raise_builtin(request, "ValueError",
                              "no such measure of memory, or no interval: %.*s",
                              (int)m->measure.size, (const char *)m->measure.data);
        return;
    }
    struct sampler *sampler = mem_zalloc(1, sizeof *sampler);
    sampler->node = node;
    sampler->measure = measure;
    server_write_uuid(&sampler->key);
    text_add(&sampler->client, m->client);
    sampler->timer = io_timer_create(node->loop, sample, sampler);
    io_timer_start(sampler->timer, m->interval, m->interval);
    sample(sampler);
    map_put(&node->memory_samplers, text_span(&sampler->key), NULL)->value.pointer = sampler;
    request_reply_str(request, text_span(&sampler->key));
}

void rpc_memory_sampler_stop(struct node *node, struct request *request,
                             const struct message *message)
{
    struct span key = message->body.memory_sampler_stop.key;
    struct map_entry *entry = map_find(&node->memory_samplers, key);
    if (entry == NULL) {
        request_raise_builtin(request, "KeyError", "%.*s", (int)key.size, (const char *)key.data);
        return;
    }
    struct sampler *sampler = entry->value.pointer;
    map_remove(&node->memory_samplers, key);
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_array(&answer.head, sampler->points.count);
    for (uint32_t i = 0; i < sampler->points.count; i++) {
        msgpack_write_array(&answer.head, 2);
        msgpack_write_float(&answer.head, sampler->points.items[i].time);
        msgpack_write_int(&answer.head, sampler->points.items[i].bytes);
    }
    sampler_free(sampler);
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

void memory_samplers_fini(struct node *node)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&node->memory_samplers, &cursor)) != NULL;) {
        sampler_free(entry->value.pointer);
    }
    map_fini(&node->memory_samplers);
}
