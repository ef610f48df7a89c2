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
