/* rpc_plugins.c: plugins of workers and nannies: kept for those to come, sent to those that are there.
 * Source: distributed scheduler.py register_worker_plugin … unregister_nanny_plugin; protocol.md 3.1. */
#include "base/alloc.h"
#include "base/log.h"
#include "node/broadcast.h"
#include "node/fanout.h"
#include "node/lifecycle.h"

#define LOGGER "distributed.scheduler"

static void reply_empty_map(struct request *request)
{
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, 0);
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

/* A blob of {"op": op, "name": name} and, unless it is NULL, "plugin". */
static struct blob *plugin_call(const char *op, struct span name, const struct blob *plugin)
{
    struct text map = {0};
    uint32_t frames = plugin == NULL ? 0 : plugin->frame_count;
    msgpack_write_map(&map, plugin == NULL ? 2 : 3);
    msgpack_write_cstr(&map, "op");
    msgpack_write_cstr(&map, op);
    msgpack_write_cstr(&map, "name");
    msgpack_write_raw(&map, name);
    if (plugin != NULL) {
        msgpack_write_cstr(&map, "plugin");
        msgpack_write_raw(&map, slice_span(plugin->value));
    }
    struct blob *blob = blob_create(slice_copy(text_span(&map)), frames);
    for (uint32_t i = 0; i < frames; i++) {
        blob->frames[i] = slice_ref(plugin->frames[i]);
    }
    text_fini(&map);
    return blob;
}

/* Send `call` (taken) to all workers or nannies and answer with what they say. */
static void tell_all(struct node *node, struct request *request, struct blob *take_call, bool nanny)
{
    struct fanout *fanout = fanout_create(node, broadcast_reply, broadcast_user(request));
    broadcast_to_all(fanout, take_call, nanny, (struct span){0});
    fanout_go(fanout);
    blob_unref(take_call);
}

/* Keep the plugin; false if the request is answered already. */
static bool keep_plugin(struct request *request, struct map *plugins, struct span name,
                        struct span raw, bool idempotent)
{
    struct blob *plugin;
    if (name.data == NULL) {
        request_raise_builtin(request, "TypeError", "a plugin needs a name");
        return false;
    }
    if (idempotent && map_find(plugins, name) != NULL) {
        reply_empty_map(request);
        return false;
    }
    if (payload_take(&request->message, raw, &plugin) != OK) {
        request_raise_builtin(request, "ValueError", "malformed plugin");
        return false;
    }
    struct map_entry *entry = map_put(plugins, name, NULL);
    blob_unref(entry->value.pointer);
    entry->value.pointer = plugin;
    return true;
}

/* Forget the plugin; false with the exception raised if there is none. */
static bool drop_plugin(struct request *request, struct map *plugins, struct span name,
                        const char *kind)
{
    struct map_entry *entry = map_find(plugins, name);
    if (entry == NULL) {
        struct text text = {0};
        key_print(&text, name);
        request_raise_builtin(request, "ValueError", "The %s plugin %s does not exist", kind,
                              text_cstr(&text));
        text_fini(&text);
        return false;
    }
    blob_unref(entry->value.pointer);
    map_remove(plugins, name);
    return true;
}

static void log_registered(const char *kind, struct span name)
{
    struct text text = {0};
    if (name.data != NULL) {
        key_print(&text, name);
    }
    log_info(LOGGER, "Registering %s plugin %s", kind, text_cstr(&text));
    text_fini(&text);
}

void rpc_register_worker_plugin(struct node *node, struct request *request,
                                const struct message *message)
{
    const struct msg_register_worker_plugin *m = &message->body.register_worker_plugin;
    log_registered("Worker", m->name);
    if (keep_plugin(request, &node->worker_plugins, m->name, m->plugin.raw, m->idempotent)) {
        const struct blob *plugin = map_find(&node->worker_plugins, m->name)->value.pointer;
        tell_all(node, request, plugin_call("plugin-add", m->name, plugin), false);
    }
}

void rpc_unregister_worker_plugin(struct node *node, struct request *request,
                                  const struct message *message)
{
    struct span name = message->body.unregister_worker_plugin.name;
    if (drop_plugin(request, &node->worker_plugins, name, "worker")) {
        tell_all(node, request, plugin_call("plugin-remove", name, NULL), false);
    }
}

/* A nanny that is starting has got its plugins already, and may not be callable yet: wait for it. */
struct nanny_plugin {
    struct node *node;
    uint64_t request;
    struct blob *call;
};

static void tell_nannies(void *user)
{
    struct nanny_plugin *waiting = user;
    tell_all(waiting->node, request_find(&waiting->node->server, waiting->request), waiting->call,
             true);
    mem_free(waiting);
}

void rpc_register_nanny_plugin(struct node *node, struct request *request,
                               const struct message *message)
{
    const struct msg_register_nanny_plugin *m = &message->body.register_nanny_plugin;
    log_registered("Nanny", m->name);
    if (keep_plugin(request, &node->nanny_plugins, m->name, m->plugin.raw, m->idempotent)) {
        const struct blob *plugin = map_find(&node->nanny_plugins, m->name)->value.pointer;
        struct nanny_plugin *waiting = mem_zalloc(1, sizeof *waiting);
        *waiting = (struct nanny_plugin){node, request->number,
                                         plugin_call("plugin_add", m->name, plugin)};
        if (node->nannies_starting > 0) {
            log_info(LOGGER, "Waiting for Nannies to start (%u)", node->nannies_starting);
        }
        lifecycle_when_nannies_started(node, tell_nannies, waiting);
    }
}

void rpc_unregister_nanny_plugin(struct node *node, struct request *request,
                                 const struct message *message)
{
    struct span name = message->body.unregister_nanny_plugin.name;
    if (drop_plugin(request, &node->nanny_plugins, name, "nanny")) {
        tell_all(node, request, plugin_call("plugin_remove", name, NULL), true);
    }
}
