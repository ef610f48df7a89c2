/* handshake.h: the first message of every connection, in both directions.
 * Source: protocol.md 1.5, distributed/comm/core.py. */
#ifndef CASK_WIRE_HANDSHAKE_H
#define CASK_WIRE_HANDSHAKE_H

#include "wire/compress.h"
#include "wire/outgoing.h"

enum { HANDSHAKE_SHARE_MAX = 64 };

struct handshake {
    enum compress_method compression; /* unknown names count as none */
    int32_t pickle_protocol;
    int32_t python[3]; /* informational; 0, 0, 0 if not given */
    /* Cask's own, which stock does not look at: the name of a unix socket at which workers of the same host are given
     * values by descriptor (node/share.h); "": none. */
    char share[HANDSHAKE_SHARE_MAX];
};

/* What cask says of itself. */
struct handshake handshake_ours(enum compress_method compression);
void handshake_encode(const struct handshake *handshake, struct outgoing *message);
/* ERR_MISSING, ERR_TYPE: `error` says which field. */
int handshake_decode(struct span frame0, struct handshake *out_handshake,
                     struct text *error) MUST_USE;
/* The lower pickle protocol; the compression if both named the same. */
struct handshake handshake_agree(const struct handshake *ours, const struct handshake *theirs);

#endif
