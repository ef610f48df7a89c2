/* observer_actions.c: see observer_actions.h. */
#include "node/observer_actions.h"

#include "base/log.h"
#include "node/config.h"
#include "node/topics.h"
#include "wire/json.h"

#define LOGGER "distributed.scheduler"
#define TOPIC "dashboard-actions"
#define SHOWN_BYTES_MAX 300
#define KEYS_MAX 1000u

/* Every RPC that an action may be; cancelling is none, as only streams of clients do that. */
static const char *const rpcs[] = {"restart", "restart_workers", "retire_workers", "retry"};

bool observer_actions_on(const struct config *config)
{
    const char *token = config_text(config, "cask.dashboard.token", NULL);
    return config_bool(config, "cask.dashboard.actions", false) && token != NULL && *token != '\0';
}

static bool read_text(struct span map, const char *name, struct span *out)
{
    struct span raw;
    if (msgpack_find(map, name, &raw) != OK) {
        return false;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    return msgpack_read_str(&reader, out) == OK;
}

static void tell(struct node *node, struct span by, struct span op, struct span call)
{
    struct text shown = {0}, event = {0};
    (void)!json_from_msgpack(&shown, call, 0); /* as far as it can be shown */
    int size = shown.size > SHOWN_BYTES_MAX ? SHOWN_BYTES_MAX : (int)shown.size;
    log_info(LOGGER, "The dashboard, asked by %.*s: %.*s%s", (int)by.size, (const char *)by.data,
             size, text_cstr(&shown), shown.size > SHOWN_BYTES_MAX ? "…" : "");
    msgpack_write_map(&event, 3);
    msgpack_write_cstr(&event, "action");
    msgpack_write_str_lossy(&event, op);
    msgpack_write_cstr(&event, "by");
    msgpack_write_str_lossy(&event, by);
    msgpack_write_cstr(&event, "call");
    msgpack_write_raw(&event, call);
    topics_log_value(node->topics, TOPIC, text_span(&event));
    text_fini(&shown);
    text_fini(&event);
}

enum observer_action observer_action_read(struct node *node, struct span act, struct span *out_call)
{
    struct span call, op, by;
    if (!observer_actions_on(node->config) || !read_text(act, "by", &by) ||
        msgpack_find(act, "call", &call) != OK || !read_text(call, "op", &op)) {
        return OBSERVER_REFUSED;
    }
    bool is_cancel = span_equal_text(op, "cancel"), is_rpc = false;
    for (size_t i = 0; i < sizeof rpcs / sizeof rpcs[0]; i++) {
        is_rpc = is_rpc || span_equal_text(op, rpcs[i]);
    }
    if (!is_cancel && !is_rpc) {
        return OBSERVER_REFUSED;
    }
    tell(node, by, op, call);
    *out_call = call;
    return is_cancel ? OBSERVER_IS_CANCEL : OBSERVER_IS_RPC;
}

uint32_t observer_action_cancel(struct node *node, struct span call)
{
    struct span raw, *keys = arena_array(&node->scratch, struct span, KEYS_MAX);
    uint32_t count = 0, known = 0, cursor = 0;
    struct client_view client;
    if (msgpack_find(call, "keys", &raw) != OK) {
        return 0;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    if (msgpack_read_array(&reader, &count) != OK) {
        return 0;
    }
    for (uint32_t i = 0; i < count && known < KEYS_MAX; i++) {
        if (msgpack_read_value(&reader, &keys[known]) != OK) {
            break;
        }
        known += view_task_find(node->core, keys[known]) != NULL;
    }
    /* By force, so for all clients; the event wants one of them, whichever. */
    if (known == 0 || !view_client_next(node->core, &cursor, &client)) {
        return 0;
    }
    struct event event = event_of(EVENT_CANCEL);
    event.of.cancel.client = client.id;
    event.of.cancel.keys = (struct span_list){keys, known};
    event.of.cancel.force = true;
    event.of.cancel.reason = SPAN("cancelled");
    event.of.cancel.msg = SPAN("cancelled on the dashboard");
    event.stimulus = node_stimulus(node, "cancel-key");
    node_apply(node, &event);
    return known;
}
