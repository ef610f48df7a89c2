/* task_stream.c: a ring of records, each one finished run as the map that stock's plugin keeps: the arguments
 * of the move from processing to memory or erred. A record is encoded once, when the run ends. */
#include "node/task_stream.h"

#include "base/alloc.h"
#include "node/exception.h"
#include "node/values.h"

struct task_record {
    struct blob *map;
    double stop; /* of its last startstop, for searching by time */
};

/* One start_task_metadata … stop_task_metadata: what ended in between. */
struct collection {
    struct span name;             /* owned, canonical */
    struct map keys;              /* of graphs that came since: still to be seen; value unused */
    struct text metadata, states; /* pairs */
    uint32_t count;
};

struct task_stream {
    struct node *node;
    struct task_record *ring;
    uint32_t capacity, count, oldest;
    uint64_t index; /* records ever made */
    bool is_on;
    struct VEC(struct collection *) collections;
};

struct task_stream *task_stream_create(struct node *node)
{
    struct task_stream *stream = mem_zalloc(1, sizeof *stream);
    int64_t status =
        config_int(node->config, "distributed.scheduler.dashboard.status.task-stream-length", 1000);
    int64_t tasks = config_int(node->config,
                               "distributed.scheduler.dashboard.tasks.task-stream-length", 100000);
    int64_t most = status > tasks ? status : tasks;
    stream->node = node;
    stream->capacity = most < 1 ? 1 : most > 10000000 ? 10000000 : (uint32_t)most;
    return stream;
}

static void collection_free(struct collection *collection)
{
    map_fini(&collection->keys);
    text_fini(&collection->metadata);
    text_fini(&collection->states);
    mem_free((void *)(uintptr_t)collection->name.data);
    mem_free(collection);
}

void task_stream_destroy(struct task_stream *stream)
{
    for (uint32_t i = 0; i < stream->count; i++) {
        blob_unref(stream->ring[(stream->oldest + i) % stream->capacity].map);
    }
    for (uint32_t i = 0; i < stream->collections.count; i++) {
        collection_free(stream->collections.items[i]);
    }
    vec_fini(&stream->collections);
    mem_free(stream->ring);
    mem_free(stream);
}

/* ---- recording --------------------------------------------------------------------------------- */

static void write_startstops(struct text *head, struct startstop_list list)
{
    msgpack_write_array(head, list.count);
    for (uint32_t i = 0; i < list.count; i++) {
        const struct startstop *item = &list.items[i];
        msgpack_write_map(head, 3 + (item->source.size > 0));
        msgpack_write_cstr(head, "action");
        msgpack_write_str(head, item->action);
        msgpack_write_cstr(head, "start");
        msgpack_write_float(head, item->start);
        msgpack_write_cstr(head, "stop");
        msgpack_write_float(head, item->stop);
        if (item->source.size > 0) {
            msgpack_write_cstr(head, "source");
            msgpack_write_str(head, item->source);
        }
    }
}

/* worker, thread, startstops, status; and what came of it: 8 or 9 pairs */
static void write_outcome(struct node *node, const struct notice *notice,
                          const struct task_view *task, struct outgoing *out)
{
    struct text *head = &out->head;
    msgpack_write_cstr(head, "worker");
    msgpack_write_str(head, view_worker_address(node->core, notice->worker));
    msgpack_write_cstr(head, "thread");
    msgpack_write_uint(head, notice->thread);
    msgpack_write_cstr(head, "startstops");
    write_startstops(head, notice->startstops);
    msgpack_write_cstr(head, "status");
    msgpack_write_cstr(head, task->failure != NULL ? "error" : "OK");
    if (task->failure != NULL) {
        msgpack_write_cstr(head, "cause");
        msgpack_write_raw(head, task->key);
        exception_write(node, task->failure, out);
        return;
    }
    msgpack_write_cstr(head, "nbytes");
    msgpack_write_int(head, task->nbytes);
    msgpack_write_cstr(head, "type");
    if (notice->text2.size > 0) {
        msgpack_write_bin(head, notice->text2);
    } else {
        msgpack_write_nil(head);
    }
    msgpack_write_cstr(head, "typename");
    msgpack_write_str_lossy(head, task->type);
    msgpack_write_cstr(head, "metadata");
    if (task->metadata == NULL) {
        msgpack_write_map(head, 0);
    } else {
        payload_put(out, task->metadata);
    }
}

void task_stream_write_run(struct node *node, const struct notice *notice, struct outgoing *out)
{
    struct task_view task;
    view_task(node->core, notice->task, &task);
    msgpack_write_map(&out->head, task.failure != NULL ? 9 : 8);
    write_outcome(node, notice, &task, out);
}

/* The record as a blob: frames of a user's exception stay with it. */
static struct blob *encode(struct node *node, const struct notice *notice)
{
    struct task_view task;
    view_task(node->core, notice->task, &task);
    struct outgoing out;
    outgoing_init(&out);
    struct text *head = &out.head;
    msgpack_write_map(head, task.failure != NULL ? 11 : 10);
    msgpack_write_cstr(head, "key");
    msgpack_write_raw(head, task.key);
    msgpack_write_cstr(head, "stimulus_id");
    msgpack_write_str(head, notice->stimulus);
    write_outcome(node, notice, &task, &out);
    struct frames frames = {0};
    struct blob *blob;
    outgoing_flush_frames(&out, &frames);
    int code = payload_take(&frames, frames_head(&frames), &blob);
    ASSERT(code == OK); /* we wrote it */
    frames_fini(&frames);
    outgoing_fini(&out);
    return blob;
}

static double last_stop(struct startstop_list list)
{
    double stop = 0;
    for (uint32_t i = 0; i < list.count; i++) {
        stop = list.items[i].stop > stop ? list.items[i].stop : stop;
    }
    return stop;
}

static void record(struct task_stream *stream, const struct notice *notice)
{
    if (stream->ring == NULL) {
        stream->ring = mem_zalloc(stream->capacity, sizeof *stream->ring);
    }
    struct task_record made = {encode(stream->node, notice), last_stop(notice->startstops)};
    if (stream->count < stream->capacity) {
        stream->ring[(stream->oldest + stream->count++) % stream->capacity] = made;
    } else {
        blob_unref(stream->ring[stream->oldest].map);
        stream->ring[stream->oldest] = made;
        stream->oldest = (stream->oldest + 1) % stream->capacity;
    }
    stream->index++;
}

/* ---- metadata collections ----------------------------------------------------------------------- */

static void collect(struct collection *collection, const struct task_view *task)
{
    if (!map_remove(&collection->keys, task->key)) {
        return;
    }
    msgpack_write_raw(&collection->metadata, task->key);
    if (task->metadata == NULL || task->metadata->frame_count > 0) {
        msgpack_write_map(&collection->metadata, 0);
    } else {
        msgpack_write_raw(&collection->metadata, slice_span(task->metadata->value));
    }
    msgpack_write_raw(&collection->states, task->key);
    msgpack_write_cstr(&collection->states, task_state_name(task->state));
    collection->count++;
}

void task_stream_graph(struct task_stream *stream, struct span_list wanted)
{
    for (uint32_t i = 0; i < stream->collections.count; i++) {
        for (uint32_t j = 0; j < wanted.count; j++) {
            map_put(&stream->collections.items[i]->keys, wanted.items[j], NULL);
        }
    }
}

void task_stream_add(struct task_stream *stream, const struct notice *notice)
{
    if (stream->collections.count > 0) {
        struct task_view task;
        view_task(stream->node->core, notice->task, &task);
        for (uint32_t i = 0; i < stream->collections.count; i++) {
            collect(stream->collections.items[i], &task);
        }
    }
    if (stream->is_on && notice->startstops.count > 0) {
        record(stream, notice);
    }
}

/* The place of a collection by name, or how many there are. */
static uint32_t find_collection(const struct task_stream *stream, struct span name)
{
    uint32_t at = 0;
    while (at < stream->collections.count &&
           !span_equal(stream->collections.items[at]->name, name)) {
        at++;
    }
    return at;
}

void rpc_start_task_metadata(struct node *node, struct request *request,
                             const struct message *message)
{
    struct task_stream *stream = node->task_stream;
    struct span name = message->body.start_task_metadata.name;
    uint32_t at = find_collection(stream, name);
    if (at < stream->collections.count) { /* begun again: what it had is gone */
        collection_free(stream->collections.items[at]);
        vec_swap_remove(&stream->collections, at);
    }
    struct collection *collection = mem_zalloc(1, sizeof *collection);
    collection->name = span_of(mem_copy(name.data, name.size), name.size);
    vec_push(&stream->collections, collection);
    request_reply_nil(request);
}

void rpc_stop_task_metadata(struct node *node, struct request *request,
                            const struct message *message)
{
    struct task_stream *stream = node->task_stream;
    struct span name = message->body.stop_task_metadata.name;
    uint32_t at = find_collection(stream, name);
    if (at == stream->collections.count) {
        struct text text = {0};
        key_print(&text, name);
        request_raise_builtin(
            request, "ValueError",
            "Expected to find exactly one CollectTaskMetaDataPlugin with name %s but found 0.",
            text_cstr(&text));
        text_fini(&text);
        return;
    }
    struct collection *collection = stream->collections.items[at];
    vec_swap_remove(&stream->collections, at);
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, 2);
    msgpack_write_cstr(&answer.head, "metadata");
    msgpack_write_map(&answer.head, collection->count);
    msgpack_write_raw(&answer.head, text_span(&collection->metadata));
    msgpack_write_cstr(&answer.head, "state");
    msgpack_write_map(&answer.head, collection->count);
    msgpack_write_raw(&answer.head, text_span(&collection->states));
    collection_free(collection);
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

/* ---- asking ------------------------------------------------------------------------------------ */

static const struct task_record *record_at(const struct task_stream *stream, int64_t i)
{
    return &stream->ring[(stream->oldest + (uint32_t)i) % stream->capacity];
}

/* The first record that ended at `time` or later. */
static int64_t search(const struct task_stream *stream, double time)
{
    int64_t left = 0, right = stream->count;
    while (left < right) {
        int64_t mid = (left + right) / 2;
        if (record_at(stream, mid)->stop < time) {
            left = mid + 1;
        } else {
            right = mid;
        }
    }
    return left;
}

/* A bound given as a time, or as text: that long ago. −1: not given. False: neither. */
static bool read_bound(const struct task_stream *stream, struct span raw, int64_t *out_index)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    struct span text;
    double time;
    *out_index = -1;
    if (msgpack_is_nil(raw)) {
        return true;
    }
    if (msgpack_read_str(&reader, &text) == OK) {
        if (!text_parse_seconds(text, &time)) {
            return false;
        }
        time = io_now() - time;
    } else if (msgpack_read_float(&reader, &time) != OK) {
        return false;
    }
    *out_index = search(stream, time);
    return true;
}

static void reply_range(struct task_stream *stream, struct request *request, int64_t start,
                        int64_t stop)
{
    struct outgoing answer;
    outgoing_init(&answer);
    start = start < 0 ? 0 : start;
    stop = stop > (int64_t)stream->count ? (int64_t)stream->count : stop;
    msgpack_write_array(&answer.head, stop > start ? (uint32_t)(stop - start) : 0);
    for (int64_t i = start; i < stop; i++) {
        payload_put(&answer, record_at(stream, i)->map);
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

void rpc_get_task_stream(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_get_task_stream *m = &message->body.get_task_stream;
    struct task_stream *stream = node->task_stream;
    int64_t start, stop;
    stream->is_on = true;
    if (m->start_index >= 0) {
        reply_range(stream, request, m->start_index - (int64_t)(stream->index - stream->count),
                    stream->count);
        return;
    }
    if (!read_bound(stream, m->start, &start) || !read_bound(stream, m->stop, &stop)) {
        request_raise_builtin(request, "ValueError",
                              "start and stop must be times, or durations such as '5s'");
        return;
    }
    if (m->count >= 0 && start < 0) {
        stop = stop < 0 ? stream->count : stop;
        start = stop - m->count;
    } else if (m->count >= 0 && stop < 0) {
        stop = start + m->count;
    }
    reply_range(stream, request, start, stop < 0 ? stream->count : stop);
}

void rpc_get_task_stream_index(struct node *node, struct request *request,
                               const struct message *message)
{
    (void)message;
    node->task_stream->is_on = true;
    request_reply_int(request, (int64_t)node->task_stream->index);
}
