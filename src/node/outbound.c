/* outbound.c: actions of the core become messages in the batches of the peers they concern.
 *
 * Runs right after each step, so what an action points to is still good. A peer without a stream (just
 * gone, or a pseudo-client) is skipped: its removal is already on its way to the core. */
#include "node/outbound.h"

#include "base/log.h"
#include "node/coordination.h"
#include "node/exception.h"
#include "node/failed_inputs.h"
#include "node/feed.h"
#include "node/hooks.h"
#include "node/lifecycle.h"
#include "node/observer.h"
#include "node/shuffle_barrier.h"
#include "node/task_stream.h"
#include "node/topics.h"
#include "wire/payload.h"

#define LOGGER "distributed.scheduler"

/* ---- to workers ------------------------------------------------------------------------------- */

/* The holders' addresses as msgpack strs, as message_encode_compute_task wants them. */
static const struct span *holder_addresses(struct node *node, const struct input *input)
{
    struct span *addresses = arena_array(&node->outbound_arena, struct span, input->holder_count);
    for (uint32_t i = 0; i < input->holder_count; i++) {
        addresses[i] = node_worker_name(node, input->holders[i]);
    }
    return addresses;
}

/* {resource: amount}, or data NULL. */
static struct span resource_map(struct node *node, const struct task_view *task)
{
    if (task->resources.count == 0) {
        return (struct span){0};
    }
    struct text map = {0};
    msgpack_write_map(&map, task->resources.count);
    for (uint32_t i = 0; i < task->resources.count; i++) {
        msgpack_write_str(&map, task->resources.items[i].name);
        msgpack_write_number(&map, task->resources.items[i].amount);
    }
    struct span kept = arena_copy(&node->outbound_arena, text_span(&map));
    text_fini(&map);
    return kept;
}

/* The annotations with "span" put back: {"name": […], "ids": […]}. NULL: none. Owned by the caller. */
static struct blob *annotations_of(const struct task_view *task)
{
    if (!task->has_span) {
        return blob_ref(task->annotations);
    }
    struct text map = {0};
    uint32_t count = 0;
    struct msgpack_reader reader = {0};
    if (task->annotations != NULL) {
        reader = msgpack_reader(slice_span(task->annotations->value));
        int code = msgpack_read_map(&reader, &count);
        ASSERT(code == OK);
    }
    msgpack_write_map(&map, count + 1);
    if (count > 0) {
        msgpack_write_raw(&map, span_of(reader.at, (size_t)(reader.end - reader.at)));
    }
    msgpack_write_cstr(&map, "span");
    msgpack_write_map(&map, 2);
    msgpack_write_cstr(&map, "name");
    msgpack_write_array(&map, task->span_name.count);
    for (uint32_t i = 0; i < task->span_name.count; i++) {
        msgpack_write_str(&map, task->span_name.items[i]);
    }
    msgpack_write_cstr(&map, "ids");
    msgpack_write_array(&map, task->span_ids.count);
    for (uint32_t i = 0; i < task->span_ids.count; i++) {
        msgpack_write_str(&map, task->span_ids.items[i]);
    }
    uint32_t frames = task->annotations == NULL ? 0 : task->annotations->frame_count;
    struct blob *blob = blob_create(slice_copy(text_span(&map)), frames);
    for (uint32_t i = 0; i < frames; i++) {
        blob->frames[i] = slice_ref(task->annotations->frames[i]);
    }
    text_fini(&map);
    return blob;
}

static void compute(struct node *node, const struct action_compute *action)
{
    struct stream *stream = stream_of_worker(node, action->worker);
    if (stream == NULL) {
        return;
    }
    struct task_view task;
    view_task(node->core, action->task, &task);
    uint32_t count = action->inputs.count;
    struct compute_task_dependency *dependencies =
        arena_array(&node->outbound_arena, struct compute_task_dependency, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct input *input = &action->inputs.items[i];
        dependencies[i] = (struct compute_task_dependency){
            .key = input->key,
            .nbytes = input->nbytes < 0 ? 0 : input->nbytes, /* unknown: still to be computed */
            .holders = holder_addresses(node, input),
            .holder_count = input->holder_count,
        };
    }
    struct blob *annotations =
        task.annotations != NULL || task.has_span ? annotations_of(&task) : NULL;
    struct compute_task message = {
        .key = task.key,
        .run_id = action->run_id,
        .priority = {task.priority_user, task.priority_generation, (double)task.priority_order},
        .stimulus_id = action->stimulus,
        .dependencies = dependencies,
        .dependency_count = count,
        .run_spec = task.run_spec,
        .resource_restrictions = resource_map(node, &task),
        .actor = task.actor,
        .annotations = annotations,
        .span_id = task.span_id,
        .ahead = action->ahead,
    };
    message_encode_compute_task(stream_batch(stream), &message);
    blob_unref(annotations);
}

static void worker_keys(struct node *node, enum message_id id, worker_id worker,
                        struct span_list keys, struct span stimulus)
{
    struct stream *stream = stream_of_worker(node, worker);
    if (stream != NULL) {
        message_encode_keys(stream_batch(stream), id, keys.items, keys.count, stimulus);
    }
}

/* {key: [address]} of the inputs. */
static struct span who_has_map(struct node *node, struct input_list inputs)
{
    struct text map = {0};
    msgpack_write_map(&map, inputs.count);
    for (uint32_t i = 0; i < inputs.count; i++) {
        const struct input *input = &inputs.items[i];
        msgpack_write_raw(&map, input->key);
        msgpack_write_array(&map, input->holder_count);
        for (uint32_t j = 0; j < input->holder_count; j++) {
            msgpack_write_raw(&map, node_worker_name(node, input->holders[j]));
        }
    }
    struct span kept = arena_copy(&node->outbound_arena, text_span(&map));
    text_fini(&map);
    return kept;
}

static struct span nbytes_map(struct node *node, struct input_list inputs)
{
    struct text map = {0};
    msgpack_write_map(&map, inputs.count);
    for (uint32_t i = 0; i < inputs.count; i++) {
        msgpack_write_raw(&map, inputs.items[i].key);
        msgpack_write_int(&map, inputs.items[i].nbytes);
    }
    struct span kept = arena_copy(&node->outbound_arena, text_span(&map));
    text_fini(&map);
    return kept;
}

static void acquire_replicas(struct node *node, const struct action_acquire_replicas *action)
{
    struct stream *stream = stream_of_worker(node, action->worker);
    if (stream != NULL) {
        struct msg_acquire_replicas message = {.who_has = who_has_map(node, action->inputs),
                                               .nbytes = nbytes_map(node, action->inputs),
                                               .stimulus_id = action->stimulus};
        message_encode(stream_batch(stream), MESSAGE_ACQUIRE_REPLICAS, &message);
    }
}

static void refresh_who_has(struct node *node, const struct action_refresh_who_has *action)
{
    struct stream *stream = stream_of_worker(node, action->worker);
    if (stream != NULL) {
        struct msg_refresh_who_has message = {.who_has = who_has_map(node, action->inputs),
                                              .stimulus_id = action->stimulus};
        message_encode(stream_batch(stream), MESSAGE_REFRESH_WHO_HAS, &message);
    }
}

static void steal_request(struct node *node, const struct action_steal_request *action)
{
    struct stream *stream = stream_of_worker(node, action->worker);
    if (stream != NULL) {
        struct msg_steal_request message = {.key = action->key, .stimulus_id = action->stimulus};
        message_encode(stream_batch(stream), MESSAGE_STEAL_REQUEST, &message);
    }
}

static void change_status(struct node *node, const struct action_change_status *action)
{
    struct stream *stream = stream_of_worker(node, action->worker);
    if (stream != NULL) {
        struct msg_set_worker_status message = {.status = action->status,
                                                .stimulus_id = action->stimulus};
        message_encode(stream_batch(stream), MESSAGE_SET_WORKER_STATUS, &message);
    }
}

static void forget_worker(struct node *node, const struct action_forget_worker *action)
{
    struct msg_remove_worker message = {.worker = view_worker_address(node->core, action->gone),
                                        .stimulus_id = action->stimulus};
    for (uint32_t i = 0; i < node->worker_streams.count; i++) {
        struct stream *stream = node->worker_streams.items[i];
        if (stream != NULL && i != action->gone &&
            (action->worker == WORKER_NONE || action->worker == i)) {
            message_encode(stream_batch(stream), MESSAGE_REMOVE_WORKER, &message);
        }
    }
}

static void close_worker(struct node *node, const struct action_close_worker *action)
{
    struct stream *stream = stream_of_worker(node, action->worker);
    if (stream != NULL) {
        struct msg_worker_close message;
        message_defaults(MESSAGE_WORKER_CLOSE, &message);
        message.reason = action->reason;
        message_encode(stream_batch(stream), MESSAGE_WORKER_CLOSE, &message);
    }
}

static void shuffle_fail(struct node *node, const struct action_shuffle_fail *action)
{
    struct stream *stream = stream_of_worker(node, action->worker);
    if (stream != NULL) {
        struct msg_shuffle_fail message = {
            .shuffle_id = action->id, .run_id = action->run_id, .message = action->message};
        message_encode(stream_batch(stream), MESSAGE_SHUFFLE_FAIL, &message);
    }
}

/* ---- to clients ------------------------------------------------------------------------------- */

/* Call `write` with the batch of `client`, or of every client if it is 0. */
#define TO_CLIENTS(node, client_, batch, ...)                                                      \
    do {                                                                                           \
        client_id only_ = (client_);                                                               \
        uint32_t first_ = only_ == CLIENT_NONE ? 0 : only_;                                        \
        uint32_t last_ = only_ == CLIENT_NONE ? (node)->client_streams.count : only_ + 1;          \
        for (uint32_t i_ = first_; i_ < last_; i_++) {                                             \
            struct stream *stream_ = stream_of_client((node), i_);                                 \
            if (stream_ != NULL) {                                                                 \
                struct outgoing *batch = stream_batch(stream_);                                    \
                __VA_ARGS__;                                                                       \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static void key_erred(struct node *node, const struct action_key_erred *action)
{
    struct exception_blobs blobs = exception_blobs(node, action->failure);
    struct msg_client_task_erred message = {
        .key = action->key,
        .exception = {.blob = blobs.exception},
        .traceback = {.blob = blobs.traceback},
    };
    TO_CLIENTS(node, action->client, batch,
               message_encode(batch, MESSAGE_CLIENT_TASK_ERRED, &message));
    exception_blobs_fini(&blobs);
}

static void keys_cancelled(struct node *node, const struct action_keys_cancelled *action)
{
    struct text keys = {0};
    for (uint32_t i = 0; i < action->keys.count; i++) {
        text_add(&keys, action->keys.items[i]);
    }
    struct msg_cancelled_keys message = {
        .keys = {.keys = text_span(&keys), .count = action->keys.count, .given = true},
        .reason = action->reason,
        .msg = action->msg,
    };
    TO_CLIENTS(node, action->client, batch,
               message_encode(batch, MESSAGE_CANCELLED_KEYS, &message));
    text_fini(&keys);
}

static void client_key(struct node *node, enum message_id id, client_id client, struct span key)
{
    /* lost-data and task-retried are alike: a key and nothing else */
    struct msg_lost_data message = {.key = key};
    TO_CLIENTS(node, client, batch, message_encode(batch, id, &message));
}

static void client_restart(struct node *node, client_id client)
{
    feeds_restarted(node);
    observer_link_restart(node->observer);
    struct msg_client_restart message = {0};
    TO_CLIENTS(node, client, batch, message_encode(batch, MESSAGE_CLIENT_RESTART, &message));
}

/* ---- the rest --------------------------------------------------------------------------------- */

static void notice(struct node *node, const struct notice *notice)
{
    observer_link_notice(node->observer, notice);
    if (notice->kind == NOTICE_TASK_DONE) {
        task_stream_add(node->task_stream, notice);
        failed_inputs_notice(node->failed_inputs, notice);
        feeds_task_done(node, notice);
    } else {
        lifecycle_notice(node, notice);
        topics_notice(node->topics, notice);
    }
}

/* LONG: a case for each action, one call each. */
static void carry_out(struct node *node, const struct action *action)
{
    switch (action->kind) {
    case ACTION_COMPUTE:
        compute(node, &action->of.compute);
        break;
    case ACTION_FREE_KEYS:
        worker_keys(node, MESSAGE_FREE_KEYS, action->of.free_keys.worker, action->of.free_keys.keys,
                    action->of.free_keys.stimulus);
        break;
    case ACTION_REMOVE_REPLICAS:
        worker_keys(node, MESSAGE_REMOVE_REPLICAS, action->of.remove_replicas.worker,
                    action->of.remove_replicas.keys, action->of.remove_replicas.stimulus);
        break;
    case ACTION_ACQUIRE_REPLICAS:
        acquire_replicas(node, &action->of.acquire_replicas);
        break;
    case ACTION_REFRESH_WHO_HAS:
        refresh_who_has(node, &action->of.refresh_who_has);
        break;
    case ACTION_STEAL_REQUEST:
        steal_request(node, &action->of.steal_request);
        break;
    case ACTION_CHANGE_STATUS:
        change_status(node, &action->of.change_status);
        break;
    case ACTION_FORGET_WORKER:
        forget_worker(node, &action->of.forget_worker);
        break;
    case ACTION_CLOSE_WORKER:
        close_worker(node, &action->of.close_worker);
        break;
    case ACTION_RESTART_WORKER:
        lifecycle_restart_worker(node, action->of.restart_worker.worker,
                                 action->of.restart_worker.reason);
        break;
    case ACTION_SHUFFLE_DONE:
        shuffle_barrier_tell(node, &action->of.shuffle_done);
        break;
    case ACTION_SHUFFLE_FAIL:
        shuffle_fail(node, &action->of.shuffle_fail);
        break;
    case ACTION_KEY_IN_MEMORY:
        TO_CLIENTS(node, action->of.key_in_memory.client, batch,
                   message_encode_key_in_memory(batch, action->of.key_in_memory.key,
                                                action->of.key_in_memory.type));
        lifecycle_ended(node);
        break;
    case ACTION_KEY_ERRED:
        key_erred(node, &action->of.key_erred);
        lifecycle_ended(node);
        break;
    case ACTION_LOST_DATA:
        client_key(node, MESSAGE_LOST_DATA, action->of.lost_data.client, action->of.lost_data.key);
        break;
    case ACTION_KEY_RETRIED:
        client_key(node, MESSAGE_TASK_RETRIED, action->of.key_retried.client,
                   action->of.key_retried.key);
        break;
    case ACTION_KEYS_CANCELLED:
        keys_cancelled(node, &action->of.keys_cancelled);
        lifecycle_ended(node);
        break;
    case ACTION_CLIENT_RESTART:
        client_restart(node, action->of.client_restart.client);
        lifecycle_ended(node);
        break;
    case ACTION_REPLY:
        coordination_reply(node, action->of.reply.request, action->of.reply.answer);
        break;
    case ACTION_RETIRED:
        lifecycle_retired(node, &action->of.retired);
        break;
    case ACTION_NOTICE:
        notice(node, action->of.notice.notice);
        break;
    case ACTION_LOG:
        log_write((enum log_level)action->of.log.level, LOGGER, "%.*s",
                  (int)action->of.log.text.size, (const char *)action->of.log.text.data);
        break;
    case ACTION_KIND_COUNT:
        UNREACHABLE();
    }
}

void outbound_actions(struct node *node)
{
    for (uint32_t i = 0; i < node->step.action_count; i++) {
        carry_out(node, &node->step.actions[i]);
        hooks_action(node, &node->step.actions[i]);
    }
    arena_reset(&node->outbound_arena);
}
