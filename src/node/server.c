/* server.c: what answers RPCs: beginning and end. */
#include "node/server.h"

#include "node/request.h"

void server_init(struct server *server, enum message_port port)
{
    message_decoder_init(&server->decoder, port, server->scratch);
}

void server_fini(struct server *server)
{
    requests_fini(server);
    vec_fini(&server->listeners);
    vec_fini(&server->connections);
    vec_fini(&server->answered);
    message_decoder_fini(&server->decoder);
    text_fini(&server->address);
}

void server_write_uuid(struct text *out)
{
    uint8_t bytes[16];
    io_entropy(bytes, sizeof bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    for (int i = 0; i < 16; i++) {
        text_printf(out, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
    }
}
