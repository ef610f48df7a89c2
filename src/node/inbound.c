/* inbound.c: messages of client and worker streams become events of the core: the only place that knows
 * both. They come here one by one, in the order of the stream (batch.c).
 *
 * An unknown op or a field of the wrong type ends the stream, as with stock. What concerns no decision of
 * the core (topics, keep-alive) is handled here directly. */
#include <math.h>

#include "base/log.h"
#include "node/coordination.h"
#include "node/failed_inputs.h"
#include "node/node.h"
#include "node/observer.h"
#include "node/planner.h"
#include "node/record.h"
#include "node/topics.h"
#include "node/values.h"

#define LOGGER "distributed.scheduler"

/* ---- clients ---------------------------------------------------------------------------------- */

/* The client's name the message speaks for: its own, or one it names (fire_and_forget). */
static struct span speaks_for(struct node *node, const struct stream *stream, struct span named)
{
    struct client_view own = {0};
    if (named.data == NULL) {
        view_client(node->core, stream->client, &own);
    }
    return named.data != NULL ? named : own.name;
}

static void client_desires(struct node *node, struct stream *stream,
                           const struct msg_client_desires_keys *m)
{
    struct event event = event_of(EVENT_CLIENT_DESIRES);
    event.of.client_desires.client_name = speaks_for(node, stream, m->client);
    event.of.client_desires.keys = values_keys(&node->scratch, m->keys);
    node_apply(node, &event);
}

static void client_releases(struct node *node, struct stream *stream,
                            const struct msg_client_releases_keys *m)
{
    struct event event = event_of(EVENT_CLIENT_RELEASES);
    event.of.client_releases.client_name = speaks_for(node, stream, m->client);
    event.of.client_releases.keys = values_keys(&node->scratch, m->keys);
    event.stimulus = node_stimulus(node, "client-releases-keys");
    node_apply(node, &event);
}

static void client_cancels(struct node *node, struct stream *stream,
                           const struct msg_cancel_keys *m)
{
    struct event event = event_of(EVENT_CANCEL);
    event.of.cancel.client = stream->client;
    event.of.cancel.keys = values_keys(&node->scratch, m->keys);
    event.of.cancel.force = m->force;
    event.of.cancel.reason = m->reason;
    event.of.cancel.msg = m->msg;
    event.stimulus = node_stimulus(node, "cancel-key");
    node_apply(node, &event);
}

static void client_reports(struct node *node, struct stream *stream, const struct msg_report_key *m)
{
    struct event event = event_of(EVENT_REPORT_KEY);
    event.of.report_key.client = stream->client;
    event.of.report_key.key = m->key;
    node_apply(node, &event);
}

static void client_beats(struct node *node, struct stream *stream)
{
    struct event event = event_of(EVENT_CLIENT_HEARTBEAT);
    event.of.client_heartbeat.client = stream->client;
    node_apply(node, &event);
    struct totals_view totals;
    view_totals(node->core, &totals);
    struct msg_adjust_heartbeat_interval adjust = {
        /* heartbeat_interval(n_clients) * 10, as stock */
        .interval = 10 * node_heartbeat_interval(totals.client_count),
    };
    message_encode(stream_batch(stream), MESSAGE_ADJUST_HEARTBEAT_INTERVAL, &adjust);
}

static void queue_released(struct node *node, const struct msg_queue_release *m)
{
    struct event event = event_of(EVENT_QUEUE_RELEASE);
    event.of.queue_release.name = m->name;
    node_apply(node, &event);
}

static void queue_future_released(struct node *node, struct stream *stream,
                                  const struct msg_queue_future_release *m)
{
    struct event event = event_of(EVENT_QUEUE_FUTURE_RELEASE);
    event.of.queue_future_release.name = m->name;
    event.of.queue_future_release.key = m->key;
    event.of.queue_future_release.client = stream->client;
    node_apply(node, &event);
}

static void variable_confirmed(struct node *node, struct stream *stream,
                               const struct msg_variable_future_received_confirm *m)
{
    struct event event = event_of(EVENT_VARIABLE_CONFIRM);
    event.of.variable_confirm.name = m->name;
    event.of.variable_confirm.key = m->key;
    event.of.variable_confirm.token = m->token;
    event.of.variable_confirm.client = stream->client;
    node_apply(node, &event);
}

static void variable_deleted(struct node *node, struct stream *stream,
                             const struct msg_variable_delete *m)
{
    struct event event = event_of(EVENT_VARIABLE_DELETE);
    event.of.variable_delete.name = m->name;
    event.of.variable_delete.client = stream->client;
    node_apply(node, &event);
}

/* ---- workers ---------------------------------------------------------------------------------- */

static bool task_finished(struct node *node, struct stream *stream, const struct frames *frames,
                          const struct msg_task_finished *m)
{
    struct event event = event_of(EVENT_TASK_FINISHED);
    struct event_task_finished *of = &event.of.task_finished;
    of->worker = stream->worker;
    of->key = m->key;
    of->run_id = m->run_id;
    of->nbytes = m->nbytes;
    of->type = m->type;
    of->typename_ = m->typename_;
    of->thread = (uint64_t)m->thread;
    event.stimulus = m->stimulus_id;
    if (!values_startstops(&node->scratch, m->startstops, &of->startstops)) {
        return false;
    }
    if (m->metadata.raw.size > 1 && payload_take(frames, m->metadata.raw, &of->metadata) != OK) {
        return false;
    }
    node_apply(node, &event);
    blob_unref(of->metadata);
    return true;
}

static bool task_erred(struct node *node, struct stream *stream, const struct frames *frames,
                       const struct msg_task_erred *m)
{
    struct event event = event_of(EVENT_TASK_ERRED);
    struct event_task_erred *of = &event.of.task_erred;
    of->worker = stream->worker;
    of->key = m->key;
    of->run_id = m->run_id;
    of->exception_text = m->exception_text;
    of->traceback_text = m->traceback_text;
    of->thread = (uint64_t)m->thread;
    event.stimulus = m->stimulus_id;
    bool is_fine = values_startstops(&node->scratch, m->startstops, &of->startstops) &&
                   payload_take(frames, m->exception.raw, &of->exception) == OK;
    if (is_fine && !msgpack_is_nil(m->traceback.raw)) {
        is_fine = payload_take(frames, m->traceback.raw, &of->traceback) == OK;
    }
    if (is_fine) {
        failed_inputs_hold(node->failed_inputs, m->key, m->traceback_text);
        node_apply(node, &event);
        failed_inputs_take(node->failed_inputs);
    }
    blob_unref(of->exception);
    blob_unref(of->traceback);
    return is_fine;
}

static void worker_status(struct node *node, struct stream *stream,
                          const struct msg_worker_status *m)
{
    struct event event = event_of(EVENT_WORKER_STATUS);
    event.of.worker_status.worker = stream->worker;
    event.of.worker_status.status = m->status;
    event.stimulus = m->stimulus_id;
    node_apply(node, &event);
}

static void data_released(struct node *node, struct stream *stream,
                          const struct msg_release_worker_data *m)
{
    struct event event = event_of(EVENT_RELEASE_WORKER_DATA);
    event.of.release_worker_data.worker = stream->worker;
    event.of.release_worker_data.key = m->key;
    event.stimulus = m->stimulus_id;
    node_apply(node, &event);
}

static void keys_added(struct node *node, struct stream *stream, const struct msg_add_keys *m)
{
    struct event event = event_of(EVENT_ADD_KEYS);
    event.of.add_keys.worker = stream->worker;
    event.of.add_keys.keys = values_keys(&node->scratch, m->keys);
    event.stimulus = m->stimulus_id;
    recorder_moved(observer_link_recorder(node->observer), event.of.add_keys.keys);
    node_apply(node, &event);
}

static void long_running(struct node *node, struct stream *stream, const struct msg_long_running *m)
{
    struct event event = event_of(EVENT_LONG_RUNNING);
    event.of.long_running.worker = stream->worker;
    event.of.long_running.key = m->key;
    event.of.long_running.run_id = m->run_id;
    event.of.long_running.compute_duration = m->compute_duration < 0 ? NAN : m->compute_duration;
    event.stimulus = m->stimulus_id;
    node_apply(node, &event);
}

static void rescheduled(struct node *node, struct stream *stream, const struct msg_reschedule *m)
{
    struct event event = event_of(EVENT_RESCHEDULE);
    event.of.reschedule.worker = stream->worker;
    event.of.reschedule.key = m->key;
    event.stimulus = m->stimulus_id;
    node_apply(node, &event);
}

static void task_died(struct node *node, struct stream *stream, const struct msg_task_died *m)
{
    struct event event = event_of(EVENT_TASK_DIED);
    event.of.task_died.worker = stream->worker;
    event.of.task_died.key = m->key;
    event.of.task_died.run_id = m->run_id;
    event.of.task_died.certificate = m->certificate;
    struct recorder *recorder = observer_link_recorder(node->observer);
    if (recorder != NULL) {
        recorder_victim(recorder, stream->worker, m->key, m->certificate);
    }
    event.stimulus = m->stimulus_id;
    failed_inputs_hold(node->failed_inputs, m->key, SPAN(""));
    node_apply(node, &event);
    failed_inputs_take(node->failed_inputs);
}

static void steal_answered(struct node *node, struct stream *stream,
                           const struct msg_steal_response *m)
{
    struct event event = event_of(EVENT_STEAL_RESPONSE);
    event.of.steal_response.worker = stream->worker;
    event.of.steal_response.key = m->key;
    event.of.steal_response.state = m->state;
    event.stimulus = m->stimulus_id;
    node_apply(node, &event);
}

static void refresh_wanted(struct node *node, struct stream *stream,
                           const struct msg_request_refresh_who_has *m)
{
    struct event event = event_of(EVENT_REFRESH_WHO_HAS);
    event.of.refresh_who_has.worker = stream->worker;
    event.of.refresh_who_has.keys = values_keys(&node->scratch, m->keys);
    event.stimulus = m->stimulus_id;
    node_apply(node, &event);
}

/* An operation that user code added to the scheduler's stream handlers, in the planner. */
static bool user_operation(struct node *node, const struct stream *stream,
                           const struct frames *frames, const struct message *message)
{
    if (!planner_has_stream_handler(node->planner, message->op)) {
        return false;
    }
    bool is_worker = stream->worker != WORKER_NONE;
    struct client_view client = {0};
    struct text peer = {0};
    if (is_worker) {
        msgpack_write_str(&peer, view_worker_address(node->core, stream->worker));
    } else {
        view_client(node->core, stream->client, &client);
        msgpack_write_str(&peer, client.name);
    }
    planner_stream_message(node->planner, frames, message->map, is_worker ? "worker" : "client",
                           text_span(&peer));
    text_fini(&peer);
    return true;
}

/* ---- both ------------------------------------------------------------------------------------- */

/* Messages only a worker (or only a client) may send: their events name whose stream it is. */
static bool is_allowed(const struct stream *stream, enum message_id id)
{
    if (stream->worker != WORKER_NONE) {
        return id != MESSAGE_HEARTBEAT_CLIENT && id != MESSAGE_UPDATE_GRAPH &&
               id != MESSAGE_CLIENT_DESIRES_KEYS && id != MESSAGE_CLIENT_RELEASES_KEYS;
    }
    return id != MESSAGE_TASK_FINISHED && id != MESSAGE_TASK_ERRED && id != MESSAGE_ADD_KEYS &&
           id != MESSAGE_RELEASE_WORKER_DATA && id != MESSAGE_LONG_RUNNING &&
           id != MESSAGE_RESCHEDULE && id != MESSAGE_TASK_DIED && id != MESSAGE_STEAL_RESPONSE &&
           id != MESSAGE_WORKER_STATUS && id != MESSAGE_REQUEST_REFRESH_WHO_HAS;
}

/* LONG: a case for each message, one call each. */
int inbound_message(struct node *node, struct stream *stream, const struct frames *frames,
                    const struct message *message, struct text *why)
{
    bool is_worker = stream->worker != WORKER_NONE;
    bool is_fine = true;
    if (!is_allowed(stream, message->id)) {
        text_printf(why, "'%.*s' does not belong in this stream", (int)message->op.size,
                    (const char *)message->op.data);
        return -1;
    }
    switch (message->id) {
    case MESSAGE_TASK_FINISHED:
        is_fine = task_finished(node, stream, frames, &message->body.task_finished);
        break;
    case MESSAGE_TASK_ERRED:
        is_fine = task_erred(node, stream, frames, &message->body.task_erred);
        break;
    case MESSAGE_RELEASE_WORKER_DATA:
        data_released(node, stream, &message->body.release_worker_data);
        break;
    case MESSAGE_ADD_KEYS:
        keys_added(node, stream, &message->body.add_keys);
        break;
    case MESSAGE_LONG_RUNNING:
        long_running(node, stream, &message->body.long_running);
        break;
    case MESSAGE_RESCHEDULE:
        rescheduled(node, stream, &message->body.reschedule);
        break;
    case MESSAGE_TASK_DIED:
        task_died(node, stream, &message->body.task_died);
        break;
    case MESSAGE_STEAL_RESPONSE:
        steal_answered(node, stream, &message->body.steal_response);
        break;
    case MESSAGE_WORKER_STATUS:
        worker_status(node, stream, &message->body.worker_status);
        break;
    case MESSAGE_REQUEST_REFRESH_WHO_HAS:
        refresh_wanted(node, stream, &message->body.request_refresh_who_has);
        break;
    case MESSAGE_UPDATE_GRAPH:
        update_graph(node, stream, frames, &message->body.update_graph);
        break;
    case MESSAGE_CLIENT_DESIRES_KEYS:
        client_desires(node, stream, &message->body.client_desires_keys);
        break;
    case MESSAGE_CLIENT_RELEASES_KEYS:
        client_releases(node, stream, &message->body.client_releases_keys);
        break;
    case MESSAGE_UPDATE_DATA_STREAM:
        is_fine = values_data_placed(node, stream->client, message->body.update_data_stream.who_has,
                                     message->body.update_data_stream.nbytes);
        break;
    case MESSAGE_REPORT_KEY:
        client_reports(node, stream, &message->body.report_key);
        break;
    case MESSAGE_HEARTBEAT_CLIENT:
        client_beats(node, stream);
        break;
    case MESSAGE_CANCEL_KEYS:
        client_cancels(node, stream, &message->body.cancel_keys);
        break;
    case MESSAGE_QUEUE_FUTURE_RELEASE:
        queue_future_released(node, stream, &message->body.queue_future_release);
        break;
    case MESSAGE_QUEUE_RELEASE:
        queue_released(node, &message->body.queue_release);
        break;
    case MESSAGE_VARIABLE_FUTURE_RECEIVED_CONFIRM:
        variable_confirmed(node, stream, &message->body.variable_future_received_confirm);
        break;
    case MESSAGE_VARIABLE_DELETE:
        variable_deleted(node, stream, &message->body.variable_delete);
        break;
    case MESSAGE_PUBLISH_FLUSH_BATCHED_SEND:
        publish_flushed(node, message->body.publish_flush_batched_send.uid);
        break;
    case MESSAGE_SUBSCRIBE_TOPIC:
        topics_subscribe(node->topics, message->body.subscribe_topic.topic, stream->client);
        break;
    case MESSAGE_UNSUBSCRIBE_TOPIC:
        topics_unsubscribe(node->topics, message->body.unsubscribe_topic.topic, stream->client);
        break;
    case MESSAGE_LOG_EVENT:
        is_fine = topics_log_from_peer(node->topics, stream, frames, message->body.log_event.topic,
                                       message->body.log_event.msg.raw);
        break;
    case MESSAGE_KEEP_ALIVE:
        break;
    case MESSAGE_CLOSE_CLIENT:
    case MESSAGE_CLOSE_STREAM:
        return 0;
    default:
        if (user_operation(node, stream, frames, message)) {
            break;
        }
        text_printf(why, "unknown operation '%.*s' in the stream of a %s", (int)message->op.size,
                    (const char *)message->op.data, is_worker ? "worker" : "client");
        return -1;
    }
    if (!is_fine) {
        text_printf(why, "malformed '%.*s'", (int)message->op.size, (const char *)message->op.data);
        return -1;
    }
    return 1;
}
