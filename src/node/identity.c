/* identity.c: who the scheduler and its workers are, as stock shows them. */
#include "node/identity.h"

#include "node/observer.h"
#include "wire/json.h"

/* The pairs of a map blob, or an empty map. */
static void put_map(struct outgoing *out, const struct blob *blob)
{
    if (blob == NULL) {
        msgpack_write_map(&out->head, 0);
    } else {
        payload_put(out, blob);
    }
}

static void put_str_or_nil(struct text *head, const char *name, struct span value)
{
    msgpack_write_cstr(head, name);
    if (value.size == 0) {
        msgpack_write_nil(head);
    } else {
        msgpack_write_str(head, value);
    }
}

static void put_resources(struct text *head, struct resource_list resources)
{
    msgpack_write_map(head, resources.count);
    for (uint32_t i = 0; i < resources.count; i++) {
        msgpack_write_str(head, resources.items[i].name);
        msgpack_write_number(head, resources.items[i].amount);
    }
}

/* Number of pairs in a map blob, and a reader before them. */
static uint32_t open_map(const struct blob *blob, struct msgpack_reader *out_reader)
{
    uint32_t count = 0;
    if (blob != NULL) {
        *out_reader = msgpack_reader(slice_span(blob->value));
        if (msgpack_read_map(out_reader, &count) != OK) {
            count = 0;
        }
    }
    return count;
}

void identity_write_worker(struct node *node, worker_id worker, struct outgoing *out, bool brief)
{
    struct worker_view view;
    bool is_known = view_worker(node->core, worker, &view);
    ASSERT(is_known);
    struct text *head = &out->head;
    struct msgpack_reader extra = {0};
    uint32_t extra_count =
        view.extra != NULL && view.extra->frame_count == 0 ? open_map(view.extra, &extra) : 0;
    msgpack_write_map(head, (brief ? 11 : 13) + extra_count);
    msgpack_write_cstr(head, "type");
    msgpack_write_cstr(head, "Worker");
    msgpack_write_cstr(head, "id");
    msgpack_write_raw(head, view.name);
    put_str_or_nil(head, "host", view.host);
    msgpack_write_cstr(head, "resources");
    put_resources(head, view.resources);
    put_str_or_nil(head, "local_directory", view.local_directory);
    msgpack_write_cstr(head, "name");
    msgpack_write_raw(head, view.name);
    msgpack_write_cstr(head, "nthreads");
    msgpack_write_uint(head, view.nthreads);
    msgpack_write_cstr(head, "memory_limit");
    msgpack_write_int(head, view.memory_limit);
    if (!brief) {
        msgpack_write_cstr(head, "last_seen");
        msgpack_write_float(head, view.last_seen);
    }
    msgpack_write_cstr(head, "services");
    put_map(out, view.services);
    if (!brief) {
        msgpack_write_cstr(head, "metrics");
        put_map(out, view.metrics);
    }
    msgpack_write_cstr(head, "status");
    msgpack_write_cstr(head, worker_status_name(view.status));
    put_str_or_nil(head, "nanny", view.nanny);
    if (extra_count > 0) {
        msgpack_write_raw(head, span_of(extra.at, (size_t)(extra.end - extra.at)));
    }
}

void identity_write(struct node *node, struct outgoing *out, int64_t worker_max, bool brief)
{
    struct totals_view totals;
    view_totals(node->core, &totals);
    uint32_t shown = totals.worker_count;
    if (worker_max >= 0 && worker_max < shown) {
        shown = (uint32_t)worker_max;
    }
    struct text *head = &out->head;
    msgpack_write_map(head, 9);
    msgpack_write_cstr(head, "type");
    msgpack_write_cstr(head, "Scheduler");
    msgpack_write_cstr(head, "id");
    msgpack_write_str(head, text_span(&node->id));
    msgpack_write_cstr(head, "address");
    msgpack_write_str(head, text_span(&node->server.address));
    msgpack_write_cstr(head, "services");
    msgpack_write_map(head, node->observer != NULL);
    if (node->observer != NULL) {
        msgpack_write_cstr(head, "dashboard");
        msgpack_write_uint(head, observer_link_port(node->observer));
    }
    msgpack_write_cstr(head, "started");
    msgpack_write_float(head, node->started);
    msgpack_write_cstr(head, "n_workers");
    msgpack_write_uint(head, totals.worker_count);
    msgpack_write_cstr(head, "total_threads");
    msgpack_write_uint(head, totals.nthreads);
    msgpack_write_cstr(head, "total_memory");
    msgpack_write_int(head, totals.memory_limit);
    msgpack_write_cstr(head, "workers");
    msgpack_write_map(head, shown);
    for (uint32_t i = 0; i < shown; i++) {
        worker_id worker = view_worker_at(node->core, i);
        msgpack_write_str(head, view_worker_address(node->core, worker));
        identity_write_worker(node, worker, out, brief);
    }
}

void identity_write_json(struct node *node, struct text *out)
{
    struct outgoing identity;
    outgoing_init(&identity);
    identity_write(node, &identity, -1, false);
    bool is_whole = json_from_msgpack(out, text_span(&identity.head), 2);
    ASSERT(is_whole);
    text_add_char(out, '\n');
    outgoing_fini(&identity);
}
