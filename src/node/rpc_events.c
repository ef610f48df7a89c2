/* rpc_events.c: what happened: events by topic, log lines, moves of tasks.
 * Source: distributed scheduler.py log_event, get_events, get_story, node.py get_logs. */
#include "base/log.h"
#include "node/node.h"
#include "node/planner_view_values.h"
#include "node/topics.h"
#include "node/values.h"

void rpc_log_event(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_log_event_rpc *m = &message->body.log_event_rpc;
    if (!topics_log_from_peer(node->topics, NULL, &request->message, m->topic, m->msg.raw)) {
        request_raise_builtin(request, "ValueError",
                              "log_event: topic must be a string or a list of them");
        return;
    }
    request_reply_nil(request);
}

void rpc_events(struct node *node, struct request *request, const struct message *message)
{
    struct outgoing answer;
    outgoing_init(&answer);
    if (message->body.events.topic.data == NULL) {
        topics_write_all(node->topics, &answer);
    } else {
        topics_write(node->topics, message->body.events.topic, &answer);
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

/* get_logs and logs have the same fields in the same order. */
void rpc_get_logs(struct node *node, struct request *request, const struct message *message)
{
    (void)node;
    const struct msg_get_logs *m = &message->body.get_logs;
    struct text lines = {0};
    uint32_t count = 0;
    struct log_line line;
    bool is_bounded = m->n > 0;
    for (uint32_t i = 0; log_recent(i, &line); i++) {
        if ((is_bounded && count >= (uint64_t)m->n) || line.time < m->start) {
            break;
        }
        msgpack_write_array(&lines, m->timestamps ? 3 : 2);
        if (m->timestamps) {
            msgpack_write_float(&lines, line.time);
        }
        msgpack_write_cstr(&lines, log_level_name(line.level));
        msgpack_write_str_lossy(&lines, span_of_text(line.text));
        count++;
    }
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_array(&answer.head, count);
    msgpack_write_raw(&answer.head, text_span(&lines));
    text_fini(&lines);
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

/* Keys and stimuli come in one list; a str may be either. */
void rpc_get_story(struct node *node, struct request *request, const struct message *message)
{
    struct span_list keys = values_keys(&node->scratch, message->body.get_story.keys_or_stimuli);
    struct span *stimuli = arena_array(&node->scratch, struct span, keys.count);
    uint32_t stimulus_count = 0;
    for (uint32_t i = 0; i < keys.count; i++) {
        struct msgpack_reader reader = msgpack_reader(keys.items[i]);
        stimulus_count += msgpack_read_str(&reader, &stimuli[stimulus_count]) == OK;
    }
    uint32_t count = 0;
    const struct story_move *moves = NULL;
    if (keys.count > 0) {
        moves = view_story(node->core, keys, (struct span_list){stimuli, stimulus_count},
                           &node->scratch, &count);
    }
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_array(&answer.head, count);
    const struct view_writer writer = {node, &answer, false};
    for (uint32_t i = 0; i < count; i++) {
        view_put_move(&writer, &moves[i]);
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}
