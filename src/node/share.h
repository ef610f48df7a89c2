/* share.h: messages for processes of the same host in which large frames are not sent: their memory is.
 *
 * A worker listens at a unix socket without a file, and tells its name in every handshake (wire/handshake.h); stock
 * does not look at it. Whoever wants values of it and can connect there is on its host, and in its network
 * namespace; the system says whether it is of the same user. Then get_data is asked there instead, and
 * whatever lies in a segment (store/segment.h) comes as a descriptor. Who cannot connect asks as before. */
#ifndef CASK_NODE_SHARE_H
#define CASK_NODE_SHARE_H

#include "io/io.h"
#include "store/segment.h"
#include "wire/outgoing.h"

struct server;
struct share;

enum {
    SHARE_DESCRIPTORS_MAX = 128, /* in one message; what is beyond is sent byte by byte */
    SHARE_FRAME_MIN = 16 * 1024,
};

struct share_descriptors {
    int items[SHARE_DESCRIPTORS_MAX];
    uint32_t count;
};

struct share_counts {
    uint64_t sent_bytes, received_bytes; /* of frames that were not copied */
};

/* Listen; connections are given to `server`. What is received is counted in `segments`. NULL: there are no such
 * sockets here; the log says why. */
struct share *share_create(struct server *server, struct store_segments *segments);
/* No more connections; those that there are use it still. NULL is allowed. */
void share_stop(struct share *share);
/* After it was stopped, and all of them are gone. NULL is allowed. */
void share_destroy(struct share *share);
/* "@cask-…". */
const char *share_name(const struct share *share);
const struct share_counts *share_counts(const struct share *share);
/* The stream was accepted there. */
bool share_is_from(const struct share *share, const struct io_stream *stream);

/* Put descriptors in the place of frames, and a frame that says so at the end. The descriptors are the caller's. */
void share_pack(struct share *share, struct outgoing *message,
                struct share_descriptors *out_descriptors);
/* The same backwards; takes from `waiting` those that are the message's. ERR_MALFORMED, and why: the peer lies. */
MUST_USE int share_unpack(struct share *share, struct frames *message,
                          struct share_descriptors *waiting, struct text *why);

#endif
