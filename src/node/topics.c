/* topics.c: the event log: per topic a ring of the last events, and the clients that want each new one. */
#include "node/topics.h"

#include "base/alloc.h"
#include "node/hooks.h"
#include "node/node.h"
#include "node/observer.h"
#include "node/planner_view_values.h"

struct topic {
    struct span name; /* the map's own */
    struct VEC(struct topic_event {
        double time;
        struct blob *event;
    }) ring;
    uint32_t oldest; /* where the ring begins, once it is full */
    struct VEC(client_id) subscribers;
};

/* A worker or client that left, and when its topic goes. */
struct leaver {
    double due;
    struct text name;
};

struct topics {
    struct node *node;
    uint32_t length;
    struct map by_name;                /* canonical msgpack → struct topic * */
    double cleanup_delay;              /* seconds */
    struct VEC(struct leaver) leavers; /* in order of `due` … */
    uint32_t leaver_first;             /* … from here on */
};

struct topics *topics_create(struct node *node, uint32_t length, double cleanup_delay)
{
    struct topics *topics = mem_zalloc(1, sizeof *topics);
    topics->node = node;
    topics->length = length;
    topics->cleanup_delay = cleanup_delay;
    return topics;
}

/* Forget the events. */
static void truncate_topic(struct topic *topic)
{
    for (uint32_t i = 0; i < topic->ring.count; i++) {
        blob_unref(topic->ring.items[i].event);
    }
    vec_fini(&topic->ring);
    topic->oldest = 0;
}

static void topic_destroy(struct topic *topic)
{
    truncate_topic(topic);
    vec_fini(&topic->subscribers);
    mem_free(topic);
}

void topics_destroy(struct topics *topics)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&topics->by_name, &cursor)) != NULL;) {
        topic_destroy(entry->value.pointer);
    }
    for (uint32_t i = topics->leaver_first; i < topics->leavers.count; i++) {
        text_fini(&topics->leavers.items[i].name);
    }
    vec_fini(&topics->leavers);
    map_fini(&topics->by_name);
    mem_free(topics);
}

struct node *topics_node(struct topics *topics)
{
    return topics->node;
}

static struct topic *topic_get(struct topics *topics, struct span name)
{
    bool is_new;
    struct map_entry *entry = map_put(&topics->by_name, name, &is_new);
    if (is_new) {
        struct topic *topic = mem_zalloc(1, sizeof *topic);
        topic->name = entry->name;
        entry->value.pointer = topic;
    }
    return entry->value.pointer;
}

static struct topic *topic_find(struct topics *topics, struct span name)
{
    struct map_entry *entry = map_find(&topics->by_name, name);
    return entry == NULL ? NULL : entry->value.pointer;
}

/* ---- topics of those who left ------------------------------------------------------------------ */

void topics_leaves(struct topics *topics, struct span name)
{
    struct leaver leaver = {.due = io_now() + topics->cleanup_delay};
    text_add(&leaver.name, name);
    vec_push(&topics->leavers, leaver);
}

/* The topic of a worker or client that has not come back. */
static void forget_leaver(struct topics *topics, struct span name)
{
    const struct scheduler *core = topics->node->core;
    struct text key = {0};
    msgpack_write_str(&key, name);
    struct topic *topic = topic_find(topics, text_span(&key));
    bool is_back = view_worker_by_address(core, name) != WORKER_NONE ||
                   view_client_find(core, name) != CLIENT_NONE;
    if (topic != NULL && !is_back && topic->subscribers.count > 0) {
        truncate_topic(topic);
    } else if (topic != NULL && !is_back) {
        map_remove(&topics->by_name, text_span(&key));
        topic_destroy(topic);
    }
    text_fini(&key);
}

/* Done whenever something is logged or asked for: nothing grows in between. */
static void forget_leavers(struct topics *topics)
{
    double now = topics->leaver_first < topics->leavers.count ? io_now() : 0;
    while (topics->leaver_first < topics->leavers.count) {
        struct leaver *leaver = &topics->leavers.items[topics->leaver_first];
        if (leaver->due > now) {
            break;
        }
        forget_leaver(topics, text_span(&leaver->name));
        text_fini(&leaver->name);
        topics->leaver_first++;
    }
    if (topics->leaver_first > topics->leavers.count / 2) {
        uint32_t left = topics->leavers.count - topics->leaver_first;
        memmove(topics->leavers.items, topics->leavers.items + topics->leaver_first,
                left * sizeof *topics->leavers.items);
        topics->leavers.count = left;
        topics->leaver_first = 0;
    }
}

/* ---- subscribers ------------------------------------------------------------------------------- */

void topics_subscribe(struct topics *topics, struct span name, client_id client)
{
    struct topic *topic = topic_get(topics, name);
    for (uint32_t i = 0; i < topic->subscribers.count; i++) {
        if (topic->subscribers.items[i] == client) {
            return;
        }
    }
    vec_push(&topic->subscribers, client);
}

static void unsubscribe(struct topic *topic, client_id client)
{
    for (uint32_t i = 0; i < topic->subscribers.count; i++) {
        if (topic->subscribers.items[i] == client) {
            vec_swap_remove(&topic->subscribers, i);
            return;
        }
    }
}

void topics_unsubscribe(struct topics *topics, struct span name, client_id client)
{
    struct topic *topic = topic_find(topics, name);
    if (topic != NULL) {
        unsubscribe(topic, client);
    }
}

void topics_client_gone(struct topics *topics, client_id client)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&topics->by_name, &cursor)) != NULL;) {
        unsubscribe(entry->value.pointer, client);
    }
}

/* ---- filing ------------------------------------------------------------------------------------ */

static void keep(struct topics *topics, struct topic *topic, double time, struct blob *event)
{
    struct topic_event kept = {time, blob_ref(event)};
    if (topic->ring.count < topics->length) {
        vec_push(&topic->ring, kept);
    } else if (topics->length > 0) {
        blob_unref(topic->ring.items[topic->oldest].event);
        topic->ring.items[topic->oldest] = kept;
        topic->oldest = (topic->oldest + 1) % topics->length;
    } else {
        blob_unref(event);
    }
}

/* {"op": "event", "topic": name, "event": [time, event]} */
static void tell(struct topics *topics, const struct topic *topic, double time,
                 const struct blob *event)
{
    for (uint32_t i = 0; i < topic->subscribers.count; i++) {
        struct stream *stream = stream_of_client(topics->node, topic->subscribers.items[i]);
        if (stream == NULL) {
            continue;
        }
        struct outgoing *batch = stream_batch(stream);
        outgoing_item(batch);
        msgpack_write_map(&batch->head, 3);
        msgpack_write_cstr(&batch->head, "op");
        msgpack_write_cstr(&batch->head, "event");
        msgpack_write_cstr(&batch->head, "topic");
        msgpack_write_raw(&batch->head, topic->name);
        msgpack_write_cstr(&batch->head, "event");
        msgpack_write_array(&batch->head, 2);
        msgpack_write_float(&batch->head, time);
        payload_put(batch, event);
    }
}

void topics_log(struct topics *topics, struct span name, struct blob *event)
{
    forget_leavers(topics);
    struct topic *topic = topic_get(topics, name);
    double time = io_now();
    keep(topics, topic, time, event);
    tell(topics, topic, time, event);
    hooks_log_event(topics->node, name, event);
    observer_link_event(topics->node->observer, name, event);
}

void topics_log_value(struct topics *topics, const char *name, struct span value)
{
    struct text key = {0};
    struct blob *blob = payload_value(value);
    msgpack_write_cstr(&key, name);
    topics_log(topics, text_span(&key), blob);
    blob_unref(blob);
    text_fini(&key);
}

/* ---- from peers -------------------------------------------------------------------------------- */

/* A worker's map with its address under "worker", whatever it said there itself. */
static struct blob *with_worker(struct blob *event, struct span address)
{
    struct msgpack_reader reader = msgpack_reader(slice_span(event->value));
    struct span name, value;
    struct text pairs = {0}, map = {0};
    uint32_t count = 0, kept = 1;
    if (msgpack_peek(&reader) != MSGPACK_MAP || msgpack_read_map(&reader, &count) != OK) {
        return blob_ref(event);
    }
    for (uint32_t i = 0; i < count; i++) {
        int code = msgpack_read_value(&reader, &name);
        code = code == OK ? msgpack_read_value(&reader, &value) : code;
        ASSERT(code == OK); /* a blob is well-formed */
        if (!span_equal_text(name, "\xa6worker")) {
            msgpack_write_raw(&pairs, name);
            msgpack_write_raw(&pairs, value);
            kept++;
        }
    }
    msgpack_write_map(&map, kept);
    msgpack_write_raw(&map, text_span(&pairs));
    msgpack_write_cstr(&map, "worker");
    msgpack_write_str(&map, address);
    struct blob *blob = blob_create(slice_copy(text_span(&map)), event->frame_count);
    for (uint32_t i = 0; i < event->frame_count; i++) {
        blob->frames[i] = slice_ref(event->frames[i]);
    }
    text_fini(&pairs);
    text_fini(&map);
    return blob;
}

static int log_one(struct topics *topics, struct stream *stream, struct span raw_topic,
                   struct blob *event)
{
    struct span name, text = {0};
    int code = key_canonical(raw_topic, &topics->node->scratch, &name);
    if (code != OK) {
        return code;
    }
    struct msgpack_reader reader = msgpack_reader(name);
    bool is_text = msgpack_read_str(&reader, &text) == OK;
    struct span address = {0};
    if (stream != NULL && stream->worker != WORKER_NONE) {
        address = view_worker_address(topics->node->core, stream->worker);
    }
    if (address.size > 0 && !(is_text && span_equal(text, address))) {
        struct blob *marked = with_worker(event, address);
        topics_log(topics, name, marked);
        blob_unref(marked);
    } else {
        topics_log(topics, name, event);
    }
    return OK;
}

bool topics_log_from_peer(struct topics *topics, struct stream *stream,
                          const struct frames *message, struct span topic, struct span value)
{
    struct blob *event;
    struct span list;
    if (value.data == NULL ? (event = payload_nil()) == NULL
                           : payload_take(message, value, &event) != OK) {
        return false;
    }
    if (msgpack_find(topic, "as-list", &list) == OK) {
        topic = list;
    }
    struct msgpack_reader reader = msgpack_reader(topic);
    bool is_fine = true;
    if (msgpack_peek(&reader) == MSGPACK_ARRAY) {
        uint32_t count;
        is_fine = msgpack_read_array(&reader, &count) == OK;
        for (uint32_t i = 0; is_fine && i < count; i++) {
            struct span item;
            is_fine = msgpack_read_value(&reader, &item) == OK &&
                      log_one(topics, stream, item, event) == OK;
        }
    } else {
        is_fine = log_one(topics, stream, topic, event) == OK;
    }
    blob_unref(event);
    return is_fine;
}

/* ---- asked for --------------------------------------------------------------------------------- */

/* [[time, event], …], oldest first */
static void write_topic(const struct topic *topic, const struct view_writer *w)
{
    uint32_t count = topic == NULL ? 0 : topic->ring.count;
    msgpack_write_array(&w->out->head, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct topic_event *event = &topic->ring.items[(topic->oldest + i) % count];
        msgpack_write_array(&w->out->head, 2);
        msgpack_write_float(&w->out->head, event->time);
        view_put_blob_or_nil(w, event->event);
    }
}

void topics_write(struct topics *topics, struct span name, struct outgoing *answer)
{
    forget_leavers(topics);
    write_topic(topic_find(topics, name), &(struct view_writer){topics->node, answer, false});
}

static void write_all(struct topics *topics, const struct view_writer *w)
{
    uint32_t cursor = 0, count = 0;
    forget_leavers(topics);
    for (struct map_entry *entry; (entry = map_next(&topics->by_name, &cursor)) != NULL;) {
        count += ((struct topic *)entry->value.pointer)->ring.count > 0;
    }
    msgpack_write_map(&w->out->head, count);
    cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&topics->by_name, &cursor)) != NULL;) {
        const struct topic *topic = entry->value.pointer;
        if (topic->ring.count > 0) {
            view_put_key_name(w, topic->name);
            write_topic(topic, w);
        }
    }
}

void topics_write_all(struct topics *topics, struct outgoing *answer)
{
    write_all(topics, &(struct view_writer){topics->node, answer, false});
}

void topics_dump(struct topics *topics, const struct view_writer *writer)
{
    write_all(topics, writer);
}
