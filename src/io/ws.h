/* ws.h: what ws.c (frames) and ws_http.c (handshake) share. */
#ifndef CASK_IO_WS_H
#define CASK_IO_WS_H

#include "io/internal.h"

/* base64 of 16 bytes, and NUL. */
#define IO_WS_KEY_SIZE 25
/* Payload of a control frame (RFC 6455, 5.5). */
#define IO_WS_CONTROL_MAX 125

struct io_ws {
    bool client;
    bool upgraded;
    bool ended; /* a close frame was sent */
    char key[IO_WS_KEY_SIZE];
    char *path; /* client: what to ask for */

    uint8_t *in; /* a chunk, or NULL; bytes [in_start, in_end) are not yet understood */
    size_t in_start;
    size_t in_end;

    /* The frame being received. */
    bool in_payload;
    bool direct; /* the space given last lies in `message` */
    bool final;
    bool masked;
    uint8_t opcode;
    uint8_t mask[4];
    uint64_t offset; /* payload bytes received */
    uint64_t size;   /* payload bytes in all */

    struct buf *message; /* data frames so far, or NULL */
    bool fragmented;     /* the next data frame continues `message` */
    uint8_t control[IO_WS_CONTROL_MAX];
};

#endif
