/* fanout.c: calls to several servers at once, answered together. */
#include "node/fanout.h"

#include "base/alloc.h"

struct fanout *fanout_create(struct node *node, void (*done)(struct fanout *fanout), void *user)
{
    struct fanout *fanout = mem_zalloc(1, sizeof *fanout);
    arena_init(&fanout->arena);
    fanout->node = node;
    fanout->done = done;
    fanout->user = user;
    return fanout;
}

static void finish(void *user)
{
    struct fanout *fanout = user;
    fanout->done(fanout);
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        text_fini(&fanout->replies.items[i]->text);
        blob_unref(fanout->replies.items[i]->answer);
    }
    vec_fini(&fanout->replies);
    arena_fini(&fanout->arena);
    mem_free(fanout);
}

static void answered(void *user, int code, const char *text, const struct frames *message)
{
    struct fanout_reply *reply = user;
    if (code == OK) {
        code = payload_take(message, frames_head(message), &reply->answer);
        text = "the answer is malformed";
    }
    if (code != OK) {
        reply->answer = NULL;
        reply->code = code;
        text_add_cstr(&reply->text, text);
    }
    if (--reply->fanout->under_way == 0) {
        finish(reply->fanout);
    }
}

void fanout_call(struct fanout *fanout, struct span address, struct span worker,
                 struct outgoing *request, double timeout)
{
    struct fanout_reply *reply = arena_new(&fanout->arena, struct fanout_reply);
    *reply = (struct fanout_reply){
        .fanout = fanout,
        .address = arena_copy(&fanout->arena, address),
        .worker = arena_copy(&fanout->arena, worker),
    };
    vec_push(&fanout->replies, reply);
    if (fanout->node->is_closing) {
        reply->code = ERR_CLOSED;
        text_add_cstr(&reply->text, "the scheduler is closing");
        outgoing_clear(request);
        return;
    }
    struct rpc_options options = {.timeout = timeout, .done = answered, .user = reply};
    fanout->under_way++;
    rpc_call(fanout->node->rpc, address, request, &options);
}

void fanout_go(struct fanout *fanout)
{
    if (fanout->under_way == 0) {
        io_post(fanout->node->loop, finish, fanout);
    }
}

void fanout_ignore(struct fanout *fanout)
{
    (void)fanout;
}

/* ---- reading answers --------------------------------------------------------------------------- */

struct span fanout_value(const struct fanout_reply *reply)
{
    return reply->answer == NULL ? SPAN("\xc0") : slice_span(reply->answer->value);
}

struct span fanout_field(const struct fanout_reply *reply, const char *name)
{
    struct span value;
    return msgpack_find(fanout_value(reply), name, &value) == OK ? value : (struct span){0};
}

bool fanout_failed(const struct fanout_reply *reply)
{
    return reply->code != OK || span_equal(fanout_field(reply, "status"), SPAN("\xae"
                                                                               "uncaught-error"));
}

/* What the world's failure is called by stock's connect and by its comms. */
static struct span failure_text(const struct fanout_reply *reply)
{
    struct text text = {0};
    if (reply->code == ERR_CONNECT || reply->code == ERR_TIMEOUT) {
        text_printf(&text, "Timed out trying to connect to %.*s after %g s: %s",
                    (int)reply->address.size, (const char *)reply->address.data,
                    reply->fanout->node->comm_settings.connect_timeout, text_cstr(&reply->text));
    } else {
        text_printf(&text, "in call to %.*s: %s", (int)reply->address.size,
                    (const char *)reply->address.data, text_cstr(&reply->text));
    }
    struct span kept = arena_copy(&reply->fanout->arena, text_span(&text));
    text_fini(&text);
    return kept;
}

struct fanout_exception fanout_exception(const struct fanout_reply *reply)
{
    if (reply->code == OK) {
        struct span raw = fanout_field(reply, "exception_text"), text;
        struct msgpack_reader reader = msgpack_reader(raw);
        if (raw.data == NULL || msgpack_read_str(&reader, &text) != OK) {
            text = SPAN("the worker gave no reason");
        }
        return (struct fanout_exception){"builtins", "Exception", text};
    }
    struct span text = failure_text(reply);
    if (reply->code == ERR_CLOSED) {
        return (struct fanout_exception){"distributed.comm.core", "CommClosedError", text};
    }
    return (struct fanout_exception){"builtins", "OSError", text};
}

const struct fanout_reply *fanout_first_failed(const struct fanout *fanout)
{
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        if (fanout_failed(fanout->replies.items[i])) {
            return fanout->replies.items[i];
        }
    }
    return NULL;
}

void fanout_raise(struct request *request, const struct fanout_reply *reply)
{
    struct fanout_exception e = fanout_exception(reply);
    request_raise(request, e.module, e.name, "%.*s", (int)e.text.size, (const char *)e.text.data);
}
