/* batch.c: the messages of a stream, batch by batch, in order: applied as they come, or, if a graph is under
 * way, or the turn's time is used up, held and gone on with later.
 *
 * A batch of few, huge messages (a million keys) is decoded by a thread; a message about many keys is
 * applied some keys at a time. */
#include "base/alloc.h"
#include "node/node.h"
#include "node/turn.h"

enum {
    DECODED_AHEAD = 4, /* so that memory can bring their tasks meanwhile … */
    FOUND_AHEAD = 2,   /* … and what those point to */
    RING = 8,
    LOOK_EVERY = 16,           /* messages between two looks at the clock */
    KEYS_AT_ONCE = 1024,       /* of one message */
    THREAD_MIN = 128 * 1024,   /* bytes of a batch that a thread decodes … */
    THREAD_MESSAGE = 8 * 1024, /* … if its messages are that large on average */
};

static_assert(RING > DECODED_AHEAD, "the one being applied has a place, too");

/* ---- batches that a thread decodes ---- */

struct decoded {
    struct node *node;
    struct stream *stream; /* NULL: it has ended */
    struct frames frames;  /* references held */
    struct message_batch batch;
    struct message_decoder decoder;
    struct arena arena; /* of the decoder, and of the messages */
    struct VEC(struct message) messages;
    uint32_t next;
    int got; /* what message_batch_next said last */
    bool is_running;
};

static void decoded_free(struct decoded *decoded)
{
    frames_fini(&decoded->frames);
    message_decoder_fini(&decoded->decoder);
    arena_fini(&decoded->arena);
    vec_fini(&decoded->messages);
    mem_free(decoded);
}

void batch_forget(struct stream *stream)
{
    if (stream->decoded != NULL && stream->decoded->is_running) {
        stream->decoded->stream = NULL;
    } else if (stream->decoded != NULL) {
        decoded_free(stream->decoded);
    }
    stream->decoded = NULL;
    mem_free(stream->part);
    stream->part = NULL;
    text_fini(&stream->part_keys);
}

static void decode(void *user)
{
    struct decoded *decoded = user;
    struct message message;
    while ((decoded->got = message_batch_next(&decoded->batch, &decoded->decoder, &message)) == 1) {
        vec_push(&decoded->messages, message);
    }
}

static void decode_done(void *user)
{
    struct decoded *decoded = user;
    decoded->is_running = false;
    if (decoded->stream == NULL) {
        decoded_free(decoded);
    } else {
        stream_release(decoded->stream);
    }
}

static void decode_by_thread(struct node *node, struct stream *stream, const struct frames *frames,
                             const struct message_batch *batch)
{
    struct decoded *decoded = mem_zalloc(1, sizeof *decoded);
    decoded->node = node;
    decoded->stream = stream;
    decoded->batch = *batch;
    decoded->is_running = true;
    for (uint32_t i = 0; i < frames->count; i++) {
        frames_add(&decoded->frames, slice_ref(frames->items[i]));
    }
    arena_init(&decoded->arena);
    message_decoder_init(&decoded->decoder, PORT_SCHEDULER_STREAM, &decoded->arena);
    stream->decoded = decoded;
    stream_hold(stream);
    io_work(node->loop, decode, decode_done, decoded);
}

/* ---- messages about many keys ---- */

static struct key_list *many_keys(struct message *message)
{
    struct key_list *keys = NULL;
    if (message->id == MESSAGE_CLIENT_RELEASES_KEYS) {
        keys = &message->body.client_releases_keys.keys;
    } else if (message->id == MESSAGE_CLIENT_DESIRES_KEYS) {
        keys = &message->body.client_desires_keys.keys;
    } else if (message->id == MESSAGE_CANCEL_KEYS) {
        keys = &message->body.cancel_keys.keys;
    }
    return keys != NULL && keys->count > KEYS_AT_ONCE ? keys : NULL;
}

/* The first keys of `rest`, which is left without them. */
static struct key_list take_some(struct key_list *rest)
{
    struct span key;
    struct key_list some = *rest;
    some.count = 0;
    while (some.count < KEYS_AT_ONCE && key_list_next(rest, &key)) {
        some.count++;
    }
    some.keys.size = (size_t)(rest->keys.data - some.keys.data);
    return some;
}

/* The message is to go on in a later turn: what it says must last until then. */
static void keep_part(struct node *node, struct stream *stream, const struct message *message)
{
    if (stream->part == NULL) {
        stream->part = mem_copy(message, sizeof *message);
        struct key_list *keys = many_keys(stream->part);
        if (keys != NULL && stream->decoded == NULL) { /* they may lie in the node's scratch */
            text_clear(&stream->part_keys);
            text_add(&stream->part_keys, keys->keys);
            keys->keys = text_span(&stream->part_keys);
        }
    }
    stream_hold(stream);
    turn_later(node->turn, stream);
}

/* One message, or what is left of it. As inbound_message; stream->part: it is not done. */
static int apply(struct node *node, struct stream *stream, const struct frames *frames,
                 struct message *message, struct text *why)
{
    struct key_list *keys = many_keys(message);
    int result = 1;
    while (keys != NULL && result == 1) {
        struct key_list rest = *keys;
        *keys = take_some(&rest);
        result = inbound_message(node, stream, frames, message, why);
        *keys = rest;
        if (result == 1 && turn_is_over(node->turn)) {
            keep_part(node, stream, message);
            return result;
        }
        keys = many_keys(message);
    }
    return result == 1 ? inbound_message(node, stream, frames, message, why) : result;
}

static int go_on_with_part(struct node *node, struct stream *stream, struct text *why)
{
    struct message *part = stream->part;
    int result = apply(node, stream, &stream->held, part, why);
    if (!stream->is_held || result != 1) {
        mem_free(part);
        stream->part = NULL;
    }
    return result;
}

/* ---- batches ---- */

static enum inbound_result result_of(int result)
{
    return result == 1 ? INBOUND_GOES_ON : result == 0 ? INBOUND_ENDED : INBOUND_REFUSED;
}

/* Ask memory for the task that the message is about, if it is one of those that come by the thousand. */
static void prefetch_task(const struct node *node, const struct message *message)
{
    if (message->id == MESSAGE_TASK_FINISHED) {
        view_run_prefetch(node->core, message->body.task_finished.run_id);
    } else if (message->id == MESSAGE_RELEASE_WORKER_DATA) {
        view_task_prefetch(node->core, message->body.release_worker_data.key);
    }
}

static void prefetch_task_more(const struct node *node, const struct message *message)
{
    if (message->id == MESSAGE_TASK_FINISHED) {
        view_run_prefetch_more(node->core, message->body.task_finished.run_id);
    } else if (message->id == MESSAGE_RELEASE_WORKER_DATA) {
        view_task_prefetch_more(node->core, message->body.release_worker_data.key);
    }
}

/* A batch being applied, some messages decoded ahead. */
struct ahead {
    struct message messages[RING];
    struct message_batch rests[RING]; /* where each message ends */
    struct message_batch batch;
    uint32_t applied, decoded; /* so many; a message's place is its number modulo RING */
    int got;                   /* what message_batch_next said last */
};

static void decode_ahead(struct node *node, struct ahead *ahead)
{
    while (ahead->got == 1 && ahead->decoded <= ahead->applied + DECODED_AHEAD) {
        struct message *next = &ahead->messages[ahead->decoded % RING];
        ahead->got = message_batch_next(&ahead->batch, &node->stream_decoder, next);
        if (ahead->got != 1) {
            return;
        }
        ahead->rests[ahead->decoded++ % RING] = ahead->batch;
        prefetch_task(node, next);
    }
}

static void find_ahead(const struct node *node, const struct ahead *ahead)
{
    uint32_t number = ahead->applied + FOUND_AHEAD;
    if (number < ahead->decoded) {
        prefetch_task_more(node, &ahead->messages[number % RING]);
    }
}

static enum inbound_result apply_ahead(struct node *node, struct stream *stream,
                                       const struct frames *frames, struct ahead *ahead,
                                       struct text *why)
{
    while (ahead->applied < ahead->decoded) {
        find_ahead(node, ahead);
        uint32_t place = ahead->applied++ % RING;
        int result = apply(node, stream, frames, &ahead->messages[place], why);
        if (result != 1) {
            return result_of(result);
        }
        decode_ahead(node, ahead);
        if (!stream->is_held && ahead->applied % LOOK_EVERY == 0 &&
            ahead->applied < ahead->decoded && turn_is_over(node->turn)) {
            stream_hold(stream);
            turn_later(node->turn, stream);
        }
        if (stream->is_held) {
            stream->rest = ahead->rests[place];
            return INBOUND_GOES_ON;
        }
    }
    if (ahead->got < 0) {
        text_add(why, text_span(&node->stream_decoder.error));
        return INBOUND_REFUSED;
    }
    return INBOUND_GOES_ON;
}

/* Apply the messages of a batch until its end, or until the stream is held; then keep the rest. */
static enum inbound_result apply_batch(struct node *node, struct stream *stream,
                                       const struct frames *frames,
                                       const struct message_batch *batch, struct text *why)
{
    struct ahead ahead;
    double began = io_monotonic();
    ahead.batch = *batch;
    ahead.applied = ahead.decoded = 0;
    ahead.got = 1;
    decode_ahead(node, &ahead);
    uint32_t kind = ahead.decoded > 0 ? ahead.messages[0].id : MESSAGE_UNKNOWN;
    enum inbound_result result = apply_ahead(node, stream, frames, &ahead, why);
    lags_add(&node->lags, kind, began);
    return result;
}

/* The same with what a thread decoded. */
static enum inbound_result apply_decoded(struct node *node, struct stream *stream, struct text *why)
{
    struct decoded *decoded = stream->decoded;
    while (decoded->next < decoded->messages.count) {
        struct message *message = &decoded->messages.items[decoded->next++];
        double began = io_monotonic();
        uint32_t kind = message->id;
        int result = apply(node, stream, &stream->held, message, why);
        lags_add(&node->lags, kind, began);
        if (result != 1) {
            return result_of(result);
        }
        if (!stream->is_held && turn_is_over(node->turn)) {
            stream_hold(stream);
            turn_later(node->turn, stream);
        }
        if (stream->is_held) {
            return INBOUND_GOES_ON;
        }
    }
    if (decoded->got < 0) {
        text_add(why, text_span(&decoded->decoder.error));
        return INBOUND_REFUSED;
    }
    stream->decoded = NULL;
    decoded_free(decoded);
    return INBOUND_GOES_ON;
}

static bool is_for_thread(const struct stream *stream, const struct frames *frames,
                          const struct message_batch *batch)
{
    size_t size = frames_head(frames).size;
    return stream->worker == WORKER_NONE && size >= THREAD_MIN && batch->left > 0 &&
           size / batch->left >= THREAD_MESSAGE;
}

enum inbound_result inbound_stream(struct node *node, struct stream *stream,
                                   const struct frames *frames, struct text *why)
{
    ASSERT(!stream->is_held);
    struct message_batch batch;
    enum inbound_result result = INBOUND_GOES_ON;
    if (message_batch_open(frames_head(frames), &batch) != OK) {
        text_add_cstr(why, "a stream message that is neither a list nor a map");
        return INBOUND_REFUSED;
    }
    if (is_for_thread(stream, frames, &batch)) {
        decode_by_thread(node, stream, frames, &batch);
    } else if (turn_is_over(node->turn)) {
        stream->rest = batch;
        stream_hold(stream);
        turn_later(node->turn, stream);
    } else {
        result = apply_batch(node, stream, frames, &batch, why);
    }
    if (stream->is_held) {
        frames_clear(&stream->held);
        for (uint32_t i = 0; i < frames->count; i++) {
            frames_add(&stream->held, slice_ref(frames->items[i]));
        }
    }
    return result;
}

enum inbound_result inbound_go_on(struct node *node, struct stream *stream, struct text *why)
{
    ASSERT(stream->is_held);
    stream->is_held = false;
    enum inbound_result result = INBOUND_GOES_ON;
    if (stream->part != NULL) {
        double began = io_monotonic();
        uint32_t kind = stream->part->id;
        result = result_of(go_on_with_part(node, stream, why));
        lags_add(&node->lags, kind, began);
    }
    if (result == INBOUND_GOES_ON && !stream->is_held) {
        struct message_batch batch = stream->rest;
        result = stream->decoded != NULL ? apply_decoded(node, stream, why)
                                         : apply_batch(node, stream, &stream->held, &batch, why);
    }
    if (!stream->is_held) {
        frames_clear(&stream->held);
    }
    return result;
}
