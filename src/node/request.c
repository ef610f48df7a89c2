/* request.c: RPCs in flight and their answers. */
#include "node/request.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "node/server.h"
#include "wire/key.h"
#include "wire/pickle_make.h"

#define LOGGER "distributed.core"
#define THREAD_MIN (128u * 1024) /* bytes of a call that a thread decodes */

static struct span number_name(const uint64_t *number)
{
    return span_of(number, sizeof *number);
}

int request_create(struct server *server, const struct frames *message, request_deliver *deliver,
                   void *user, struct request **out_request)
{
    struct span op;
    int code = msgpack_find(frames_head(message), "op", &op);
    if (code != OK) {
        return code == ERR_NOT_FOUND ? ERR_MISSING : code;
    }
    struct request *request = mem_zalloc(1, sizeof *request);
    for (uint32_t i = 0; i < message->count; i++) {
        frames_add(&request->message, slice_ref(message->items[i]));
    }
    arena_init(&request->kept);
    request->server = server;
    request->number = ++server->request_last;
    request->deliver = deliver;
    request->user = user;
    map_put(&server->requests, number_name(&request->number), NULL)->value.pointer = request;
    *out_request = request;
    return OK;
}

struct request *request_find(struct server *server, uint64_t number)
{
    struct map_entry *entry = map_find(&server->requests, number_name(&number));
    return entry == NULL ? NULL : entry->value.pointer;
}

void request_abandon(struct request *request)
{
    struct server *server = request->server;
    uint64_t number = request->number;
    request->is_gone = true;
    request->user = NULL;
    if (server->events->gone != NULL) {
        server->events->gone(server->user, request);
    }
    request = request_find(server, number);
    if (request != NULL && request->is_with_core) {
        request_reply_nil(request); /* the core has forgotten it */
    }
}

void requests_fini(struct server *server)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&server->requests, &cursor)) != NULL;) {
        struct request *request = entry->value.pointer;
        request->is_gone = true;
        request_reply_nil(request);
    }
    map_fini(&server->requests);
}

void request_drop_message(struct request *request)
{
    frames_fini(&request->message);
    request->op = SPAN("");
    request->serializers = (struct span){0};
}

void request_reply(struct request *request, struct outgoing *answer)
{
    map_remove(&request->server->requests, number_name(&request->number));
    if (!request->is_gone) {
        request->deliver(request->user, request, answer);
    }
    outgoing_clear(answer);
    frames_fini(&request->message);
    arena_fini(&request->kept);
    mem_free(request);
}

/* Reply with what `write` appends to the head. */
#define REPLY_HEAD(request, ...)                                                                   \
    do {                                                                                           \
        struct outgoing answer;                                                                    \
        outgoing_init(&answer);                                                                    \
        struct text *head = &answer.head;                                                          \
        __VA_ARGS__;                                                                               \
        request_reply((request), &answer);                                                         \
        outgoing_fini(&answer);                                                                    \
    } while (0)

void request_reply_nil(struct request *request)
{
    REPLY_HEAD(request, msgpack_write_nil(head));
}

void request_reply_ok(struct request *request)
{
    REPLY_HEAD(request, msgpack_write_cstr(head, "OK"));
}

void request_reply_status(struct request *request, const char *status)
{
    REPLY_HEAD(request, msgpack_write_map(head, 1); msgpack_write_cstr(head, "status");
               msgpack_write_cstr(head, status));
}

void request_reply_bool(struct request *request, bool value)
{
    REPLY_HEAD(request, msgpack_write_bool(head, value));
}

void request_reply_int(struct request *request, int64_t value)
{
    REPLY_HEAD(request, msgpack_write_int(head, value));
}

void request_reply_str(struct request *request, struct span text)
{
    REPLY_HEAD(request, msgpack_write_str_lossy(head, text));
}

void request_reply_blob(struct request *request, const struct blob *blob)
{
    struct outgoing answer;
    outgoing_init(&answer);
    if (blob == NULL) {
        msgpack_write_nil(&answer.head);
    } else {
        payload_put(&answer, blob);
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

void request_raise(struct request *request, const char *module, const char *name,
                   const char *format, ...)
{
    struct text message = {0};
    char few[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(few, sizeof few, format, arguments);
    va_end(arguments);
    text_add_cstr(&message, few);
    log_debug(LOGGER, "%.*s raises %s: %s", (int)request->op.size, (const char *)request->op.data,
              name, few);
    struct text pickle = {0}, repr = {0};
    pickle_make_exception(&pickle, module, name, text_span(&message));
    text_add_cstr(&repr, name);
    text_add_char(&repr, '(');
    key_repr_text(&repr, text_span(&message));
    text_add_char(&repr, ')');
    REPLY_HEAD(request, msgpack_write_map(head, 5); msgpack_write_cstr(head, "status");
               msgpack_write_cstr(head, "uncaught-error"); msgpack_write_cstr(head, "exception");
               msgpack_write_bin(head, text_span(&pickle)); msgpack_write_cstr(head, "traceback");
               msgpack_write_nil(head); msgpack_write_cstr(head, "exception_text");
               msgpack_write_str_lossy(head, text_span(&repr));
               msgpack_write_cstr(head, "traceback_text"); msgpack_write_cstr(head, ""));
    text_fini(&message);
    text_fini(&pickle);
    text_fini(&repr);
}

void request_forward(struct request *request, const struct frames *reply)
{
    struct blob *blob;
    if (payload_take(reply, frames_head(reply), &blob) != OK) {
        request_raise_builtin(request, "ValueError", "the worker's answer is malformed");
        return;
    }
    request_reply_blob(request, blob);
    blob_unref(blob);
}

static int decode(struct request *request, struct message *out_message)
{
    struct msgpack_reader reader = msgpack_reader(frames_head(&request->message));
    return message_decode(&request->server->decoder, &reader, out_message);
}

void request_decode(struct request *request, struct message *out_message)
{
    int code = decode(request, out_message);
    ASSERT(code == OK); /* it was well-formed when it was dispatched */
}

struct span request_keep(struct request *request, struct span bytes)
{
    struct span message = frames_head(&request->message);
    bool lies_there =
        bytes.data >= message.data && bytes.data + bytes.size <= message.data + message.size;
    return lies_there ? bytes : arena_copy(&request->kept, bytes);
}

static void dispatch(struct request *request, const struct message *message, int code,
                     const struct message_decoder *decoder)
{
    struct server *server = request->server;
    request->wants_reply = message->reply;
    request->closes = message->close;
    request->op = message->op;
    request->serializers = message->serializers;
    if (code != OK) {
        request_raise_builtin(request, "TypeError", "%s", text_cstr(&decoder->error));
    } else {
        server->events->dispatch(server->user, request, message);
    }
}

/* A large call, a million keys, is decoded by a thread. */
struct decoding {
    struct server *server;
    uint64_t request;
    struct frames frames; /* references of its own */
    struct arena arena;
    struct message_decoder decoder;
    struct message message;
    int code;
};

static void decode_by_thread(void *user)
{
    struct decoding *decoding = user;
    struct msgpack_reader reader = msgpack_reader(frames_head(&decoding->frames));
    decoding->code = message_decode(&decoding->decoder, &reader, &decoding->message);
}

static void decoded(void *user)
{
    struct decoding *decoding = user;
    struct request *request = request_find(decoding->server, decoding->request);
    bool is_open = request != NULL && !decoding->server->is_ending;
    if (is_open && request->is_gone) {
        request_reply_nil(request);
    } else if (is_open) {
        arena_reset(decoding->server->scratch);
        request->kept = decoding->arena;
        arena_init(&decoding->arena);
        dispatch(request, &decoding->message, decoding->code, &decoding->decoder);
    }
    message_decoder_fini(&decoding->decoder);
    arena_fini(&decoding->arena);
    frames_fini(&decoding->frames);
    mem_free(decoding);
}

static void begin_decoding(struct request *request)
{
    struct server *server = request->server;
    struct decoding *decoding = mem_zalloc(1, sizeof *decoding);
    decoding->server = server;
    decoding->request = request->number;
    for (uint32_t i = 0; i < request->message.count; i++) {
        frames_add(&decoding->frames, slice_ref(request->message.items[i]));
    }
    arena_init(&decoding->arena);
    message_decoder_init(&decoding->decoder, server->decoder.port, &decoding->arena);
    io_work(server->loop, decode_by_thread, decoded, decoding);
}

void request_dispatch(struct request *request)
{
    struct message message;
    if (frames_head(&request->message).size >= THREAD_MIN) {
        begin_decoding(request);
    } else {
        int code = decode(request, &message);
        dispatch(request, &message, code, &request->server->decoder);
    }
}
