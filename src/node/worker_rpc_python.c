/* worker_rpc_python.c: calls that only Python can answer: they go to an executor as they came, and its reply goes
 * back as it comes. With several executors (docs/executor.md): what changes the worker goes to all, as do functions that
 * users run and questions about tasks, the rest to the first that is usable. */
#include "node/profile.h"
#include "node/worker_internal.h"

/* A call that executors answer. */
struct forward {
    struct server *server;
    uint64_t request;
    uint32_t pending; /* replies that are still to come; its maker counts as one */
    bool is_lost;     /* an executor died instead of answering */
    bool hangs_up;    /* then the connection ends instead of an answer */
    void (*finish)(struct worker_node *worker, struct request *request,
                   const struct forward *forward);
    struct VEC(
        struct blob *) replies; /* in the order of the seats; NULL: none yet, or none at all */
};

/* One executor that it went to. */
struct forwarded {
    struct forward *forward;
    uint32_t index; /* in replies */
};

/* ---- sending ----------------------------------------------------------------------------------- */

/* The message's fields but those that are the server's own. `serializers` is for the reply, which is serialised there. */
static void write_arguments(struct span map, struct text *out)
{
    static const char *const own[] = {"op", "reply", "close"};
    struct msgpack_reader reader = msgpack_reader(map);
    struct text pairs = {0};
    uint32_t count, kept = 0;
    int code = msgpack_read_map(&reader, &count);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        struct span name, value;
        struct msgpack_reader at;
        struct span text = {0};
        bool is_own = false;
        code = msgpack_read_value(&reader, &name);
        code = code == OK ? msgpack_read_value(&reader, &value) : code;
        at = msgpack_reader(name);
        if (code == OK && msgpack_peek(&at) == MSGPACK_STR && msgpack_read_str(&at, &text) == OK) {
            for (uint32_t j = 0; j < sizeof own / sizeof own[0]; j++) {
                is_own = is_own || span_equal_text(text, own[j]);
            }
        }
        if (code == OK && !is_own) {
            msgpack_write_raw(&pairs, name);
            msgpack_write_raw(&pairs, value);
            kept++;
        }
    }
    msgpack_write_map(out, kept);
    msgpack_write_raw(out, text_span(&pairs));
    text_fini(&pairs);
}

/* The frames of a message as those of a payload; `value` is another one for frame 0. */
static struct executor_payload payload_of_message(struct arena *scratch,
                                                  const struct frames *frames, struct span value)
{
    uint32_t count = frames->count - 1;
    struct executor_frame *items = arena_array(scratch, struct executor_frame, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        struct span bytes = slice_span(frames->items[i + 1]);
        items[i] = (struct executor_frame){
            .data = bytes.data == NULL ? (const uint8_t *)"" : bytes.data, .size = bytes.size};
    }
    return (struct executor_payload){
        .value = value, .frame_count = count, .frames = items, .segment = -1};
}

static void replied(void *user, struct worker_node *worker, const struct frames *reply);

static void send(struct worker_node *worker, uint32_t seat, struct request *request,
                 struct forward *forward)
{
    struct text arguments = {0};
    write_arguments(frames_head(&request->message), &arguments);
    struct executor_payload payload =
        payload_of_message(&worker->scratch, &request->message, text_span(&arguments));
    struct forwarded *forwarded = mem_zalloc(1, sizeof *forwarded);
    *forwarded = (struct forwarded){forward, forward->replies.count};
    struct call_wish wish = {.seat = seat,
                             .op = request->op,
                             .arguments = &payload,
                             .replied = replied,
                             .user = forwarded};
    forward->pending++;
    vec_push(&forward->replies, NULL);
    worker_call(worker, &wish);
    text_fini(&arguments);
}

/* ---- answering --------------------------------------------------------------------------------- */

static void leave_missing_out(struct forward *forward)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < forward->replies.count; i++) {
        if (forward->replies.items[i] != NULL) {
            forward->replies.items[count++] = forward->replies.items[i];
        }
    }
    forward->replies.count = count;
}

static void finish(struct worker_node *worker, struct forward *forward)
{
    leave_missing_out(forward);
    struct request *request = request_find(forward->server, forward->request);
    if (request != NULL && forward->replies.count == 0 && forward->hangs_up) {
        request->wants_reply = false;
        request->closes = true;
        request_reply_nil(request);
    } else if (request != NULL && forward->replies.count == 0) {
        request_raise_builtin(request, "RuntimeError",
                              forward->is_lost
                                  ? "the executor died before it answered"
                                  : "no executor is there to answer; try again in a moment");
    } else if (request != NULL) {
        forward->finish(worker, request, forward);
    }
    for (uint32_t i = 0; i < forward->replies.count; i++) {
        blob_unref(forward->replies.items[i]);
    }
    vec_fini(&forward->replies);
    mem_free(forward);
}

static void done_with_one(struct worker_node *worker, struct forward *forward)
{
    if (--forward->pending == 0) {
        finish(worker, forward);
    }
}

static void replied(void *user, struct worker_node *worker, const struct frames *reply)
{
    struct forwarded *forwarded = user;
    struct forward *forward = forwarded->forward;
    struct blob *blob;
    if (reply == NULL || payload_take(reply, frames_head(reply), &blob) != OK) {
        forward->is_lost = true;
    } else {
        forward->replies.items[forwarded->index] = blob;
    }
    mem_free(forwarded);
    done_with_one(worker, forward);
}

/* The first reply that is an error, else the first. */
static void answer_first(struct worker_node *worker, struct request *request,
                         const struct forward *forward)
{
    const struct blob *chosen = forward->replies.items[0];
    (void)worker;
    for (uint32_t i = forward->replies.count; i-- > 0;) {
        const struct blob *blob = forward->replies.items[i];
        struct span status;
        if (msgpack_find(slice_span(blob->value), "status", &status) == OK &&
            !span_equal(status, SPAN("\xa2OK"))) {
            chosen = blob;
        }
    }
    request_reply_blob(request, chosen);
}

/* Maps put together; an error goes instead. */
static void answer_union(struct worker_node *worker, struct request *request,
                         const struct forward *forward)
{
    struct text pairs = {0};
    uint32_t total = 0;
    bool is_plain = true;
    for (uint32_t i = 0; i < forward->replies.count; i++) {
        const struct blob *blob = forward->replies.items[i];
        struct msgpack_reader reader = msgpack_reader(slice_span(blob->value));
        struct span status;
        uint32_t count;
        bool is_error = msgpack_find(slice_span(blob->value), "status", &status) == OK &&
                        span_equal(status, SPAN("\xae"
                                                "uncaught-error"));
        is_plain = is_plain && !is_error && blob->frame_count == 0 &&
                   msgpack_read_map(&reader, &count) == OK;
        if (is_plain) {
            msgpack_write_raw(&pairs, span_of(reader.at, (size_t)(reader.end - reader.at)));
            total += count;
        }
    }
    if (is_plain) {
        struct outgoing out;
        outgoing_init(&out);
        msgpack_write_map(&out.head, total);
        msgpack_write_raw(&out.head, text_span(&pairs));
        request_reply(request, &out);
        outgoing_fini(&out);
    } else {
        answer_first(worker, request, forward);
    }
    text_fini(&pairs);
}

/* Profiles added up. */
static void answer_sum(struct worker_node *worker, struct request *request,
                       const struct forward *forward)
{
    uint32_t count = forward->replies.count;
    struct span *trees = arena_array(&worker->scratch, struct span, count);
    bool are_trees = true;
    for (uint32_t i = 0; i < count; i++) {
        trees[i] = slice_span(forward->replies.items[i]->value);
        are_trees = are_trees && profile_is_tree(trees[i]);
    }
    if (count == 1 || !are_trees) {
        answer_first(worker, request, forward);
        return;
    }
    struct outgoing out;
    outgoing_init(&out);
    profile_merge(&out.head, trees, count);
    request_reply(request, &out);
    outgoing_fini(&out);
}

static struct forward *begin(struct request *request,
                             void (*finish_)(struct worker_node *, struct request *,
                                             const struct forward *))
{
    struct forward *forward = mem_zalloc(1, sizeof *forward);
    forward->server = request->server;
    forward->request = request->number;
    forward->pending = 1;
    forward->finish = finish_;
    return forward;
}

static void ask_all(struct worker_node *worker, struct request *request,
                    void (*finish_)(struct worker_node *, struct request *, const struct forward *))
{
    struct forward *forward = begin(request, finish_);
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        if (worker->seats.items[i].state >= SEAT_WELCOME) {
            send(worker, i, request, forward);
        }
    }
    done_with_one(worker, forward);
}

/* ---- the calls --------------------------------------------------------------------------------- */

void worker_rpc_to_python(struct worker_node *worker, struct request *request,
                          const struct message *message)
{
    struct forward *forward = begin(request, answer_first);
    (void)message;
    for (uint32_t i = 0; i < worker->seats.count && forward->pending == 1; i++) {
        if (worker->seats.items[i].state >= SEAT_WELCOME) {
            send(worker, i, request, forward);
        }
    }
    done_with_one(worker, forward);
}

/* Who gets an operation that plugins have. A P2P shuffle receives in one place, the first seat; all have sent, so all
 * are told when that is over. */
static bool is_for(const struct worker_node *worker, const struct request *request, uint32_t index,
                   bool is_asked)
{
    const struct seat *seat = &worker->seats.items[index];
    if (seat->state != SEAT_USABLE || seat->shuffles_ending > 0) {
        return false;
    }
    if (span_equal_text(request->op, "shuffle_inputs_done")) {
        return index == 0 || is_asked;
    }
    return !is_asked && (index == 0 || !span_equal_text(request->op, "shuffle_receive"));
}

void worker_rpc_to_plugin(struct worker_node *worker, struct request *request,
                          const struct message *message)
{
    struct forward *forward = begin(request, answer_first);
    (void)message;
    forward->hangs_up = true;
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        if (is_for(worker, request, i, forward->pending > 1)) {
            send(worker, i, request, forward);
        }
    }
    done_with_one(worker, forward);
}

void worker_rpc_to_all(struct worker_node *worker, struct request *request,
                       const struct message *message)
{
    (void)message;
    ask_all(worker, request, answer_first);
}

void worker_rpc_call_stack(struct worker_node *worker, struct request *request,
                           const struct message *message)
{
    (void)message;
    ask_all(worker, request, answer_union);
}

void worker_rpc_profile(struct worker_node *worker, struct request *request,
                        const struct message *message)
{
    (void)message;
    ask_all(worker, request, answer_sum);
}

/* To the executor in which the actor lives. */
static void ask_actor(struct worker_node *worker, struct request *request, struct span actor)
{
    const struct object *object =
        object_of_task(&worker->objects, worker_task_find(worker->core, actor));
    if (object == NULL || object->home == SEAT_NONE) {
        struct text key = {0};
        key_repr(&key, actor);
        request_raise_builtin(request, "KeyError", "there is no actor %s on this worker",
                              text_cstr(&key));
        text_fini(&key);
        return;
    }
    struct forward *forward = begin(request, answer_first);
    send(worker, object->home, request, forward);
    done_with_one(worker, forward);
}

void worker_rpc_actor_execute(struct worker_node *worker, struct request *request,
                              const struct message *message)
{
    ask_actor(worker, request, message->body.worker_actor_execute.actor);
}

void worker_rpc_actor_attribute(struct worker_node *worker, struct request *request,
                                const struct message *message)
{
    ask_actor(worker, request, message->body.worker_actor_attribute.actor);
}

/* Later executors get it, too. */
void worker_rpc_plugin_add(struct worker_node *worker, struct request *request,
                           const struct message *message)
{
    const struct msg_worker_plugin_add *m = &message->body.worker_plugin_add;
    struct blob *plugin;
    if (payload_take(&request->message, m->plugin.raw, &plugin) != OK) {
        request_raise_builtin(request, "ValueError", "plugin-add: malformed plugin");
        return;
    }
    struct span name = m->name;
    if (name.data == NULL) { /* known by what it is */
        name = arena_copy(&worker->scratch, slice_span(plugin->value));
    }
    struct map_entry *entry = map_put(&worker->plugins, name, NULL);
    blob_unref(entry->value.pointer);
    entry->value.pointer = plugin;
    ask_all(worker, request, answer_first);
}

void worker_rpc_plugin_remove(struct worker_node *worker, struct request *request,
                              const struct message *message)
{
    struct span name = message->body.worker_plugin_remove.name;
    struct map_entry *entry = map_find(&worker->plugins, name);
    if (entry != NULL) {
        blob_unref(entry->value.pointer);
        map_remove(&worker->plugins, name);
    }
    ask_all(worker, request, answer_first);
}

/* ---- the nanny's ------------------------------------------------------------------------------- */

static bool is_fine(const struct forward *forward)
{
    struct span status;
    return msgpack_find(slice_span(forward->replies.items[0]->value), "status", &status) == OK &&
           span_equal(status, SPAN("\xa2OK"));
}

/* The plugin is there: a later process of the nanny's Python gets it, too. */
static void answer_plugin_add(struct worker_node *worker, struct request *request,
                              const struct forward *forward)
{
    struct message message;
    struct blob *plugin;
    request_decode(request, &message);
    const struct msg_nanny_plugin_add *m = &message.body.nanny_plugin_add;
    if (is_fine(forward) && m->name.data != NULL &&
        payload_take(&request->message, m->plugin.raw, &plugin) == OK) {
        worker_nanny_keep_plugin(worker, m->name, plugin);
        blob_unref(plugin);
    }
    answer_first(worker, request, forward);
}

static void to_nanny(struct worker_node *worker, struct request *request,
                     void (*finish_)(struct worker_node *, struct request *,
                                     const struct forward *))
{
    if (!worker_nanny_has_python(worker)) {
        worker_nanny_wait(worker, request);
        return;
    }
    struct forward *forward = begin(request, finish_);
    send(worker, SEAT_NANNY, request, forward);
    done_with_one(worker, forward);
}

void nanny_rpc_run(struct worker_node *worker, struct request *request,
                   const struct message *message)
{
    (void)message;
    to_nanny(worker, request, answer_first);
}

void nanny_rpc_plugin_add(struct worker_node *worker, struct request *request,
                          const struct message *message)
{
    (void)message;
    to_nanny(worker, request, answer_plugin_add);
}

void nanny_rpc_plugin_remove(struct worker_node *worker, struct request *request,
                             const struct message *message)
{
    worker_nanny_drop_plugin(worker, message->body.nanny_plugin_remove.name);
    to_nanny(worker, request, answer_first);
}

/* ---- the scheduler's stream -------------------------------------------------------------------- */

bool worker_pass_stream_message(struct worker_node *worker, const struct frames *frames,
                                const struct message *message)
{
    bool is_shuffles = message->id == MESSAGE_SHUFFLE_FAIL;
    if (!is_shuffles && map_find(&worker->stream_handlers, message->op) == NULL) {
        return false;
    }
    struct text arguments = {0};
    write_arguments(message->map, &arguments);
    struct executor_payload payload =
        payload_of_message(&worker->scratch, frames, text_span(&arguments));
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        if (worker->seats.items[i].state >= SEAT_WELCOME) {
            struct call_wish wish = {.seat = i, .op = message->op, .arguments = &payload};
            worker_call(worker, &wish);
        }
    }
    text_fini(&arguments);
    return true;
}
