/* handshake.c: the handshake is an ordinary row of messages.def; what is here is its meaning. */
#include "wire/handshake.h"

#include "wire/message.h"

enum { PICKLE_PROTOCOL = 5, PYTHON_MAJOR = 3, PYTHON_MINOR = 11 };

struct handshake handshake_ours(enum compress_method compression)
{
    return (struct handshake){
        .compression = compression,
        .pickle_protocol = PICKLE_PROTOCOL,
        .python = {PYTHON_MAJOR, PYTHON_MINOR, 0},
    };
}

void handshake_encode(const struct handshake *handshake, struct outgoing *message)
{
    struct text python = {0};
    msgpack_write_array(&python, 3);
    for (unsigned i = 0; i < 3; i++) {
        msgpack_write_int(&python, handshake->python[i]);
    }
    const struct msg_handshake body = {
        .compression = span_of_text(compress_name(handshake->compression)),
        .python = text_span(&python),
        .pickle_protocol = handshake->pickle_protocol,
        .share = handshake->share[0] == '\0' ? (struct span){0} : span_of_text(handshake->share),
    };
    message_encode(message, MESSAGE_HANDSHAKE, &body);
    text_fini(&python);
}

/* The version as far as it is three numbers; it is informational. */
static void python_decode(struct span value, int32_t version[3])
{
    struct msgpack_reader reader = msgpack_reader(value);
    uint32_t count;
    if (msgpack_read_array(&reader, &count) != OK) {
        return;
    }
    for (uint32_t i = 0; i < count && i < 3; i++) {
        int64_t number;
        if (msgpack_read_int(&reader, &number) != OK || number < 0 || number > INT32_MAX) {
            return;
        }
        version[i] = (int32_t)number;
    }
}

int handshake_decode(struct span frame0, struct handshake *out_handshake, struct text *error)
{
    struct message message;
    struct message_decoder decoder;
    struct arena unused; /* the row has no keys: nothing is ever copied */
    arena_init(&unused);
    message_decoder_init(&decoder, PORT_REPLY, &unused);
    int code = message_decode_as(&decoder, MESSAGE_HANDSHAKE, frame0, &message);
    const struct msg_handshake *body = &message.body.handshake;
    if (code == OK && (body->pickle_protocol < 0 || body->pickle_protocol > INT32_MAX)) {
        text_printf(&decoder.error, "handshake: pickle-protocol is out of range");
        code = ERR_TYPE;
    }
    if (code == OK) {
        struct handshake theirs = {.pickle_protocol = (int32_t)body->pickle_protocol};
        if (body->compression.data != NULL) {
            compress_find(body->compression, &theirs.compression);
        }
        python_decode(body->python, theirs.python);
        if (body->share.size < sizeof theirs.share) {
            memcpy(theirs.share, body->share.size > 0 ? body->share.data : (const uint8_t *)"",
                   body->share.size);
        }
        *out_handshake = theirs;
    } else {
        text_add(error, text_span(&decoder.error));
    }
    message_decoder_fini(&decoder);
    arena_fini(&unused);
    return code;
}

struct handshake handshake_agree(const struct handshake *ours, const struct handshake *theirs)
{
    struct handshake agreed = *theirs;
    if (ours->pickle_protocol < theirs->pickle_protocol) {
        agreed.pickle_protocol = ours->pickle_protocol;
    }
    if (ours->compression != theirs->compression) {
        agreed.compression = COMPRESS_NONE;
    }
    return agreed;
}
