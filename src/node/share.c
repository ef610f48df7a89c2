/* share.c: descriptors in the place of frames.
 *
 * On such a connection each message after the handshake has one more frame, the last, in msgpack:
 *
 *   [descriptors, [[frame, descriptor, at, size], …]]
 *
 * Frame number `frame` is empty in the message; it is the `size` bytes at `at` of the descriptor, of which so many came
 * with this message. A descriptor is only mapped if its size is sealed: so no peer can cause a SIGBUS here. */
#include "node/share.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "node/connection.h"
#include "node/server.h"
#include "wire/msgpack.h"

#define LOGGER "distributed.comm"

struct share {
    struct server *server;
    struct store_segments *segments;
    struct io_listener *listener; /* NULL: stopped */
    char name[64];
    struct share_counts counts;
};

/* ---- the socket ---- */

static void accepted(void *user, struct io_stream *stream)
{
    struct share *share = user;
    if (io_stream_is_same_user(stream)) {
        connection_accept(share->server, stream);
    } else {
        log_warning(LOGGER, "A process of another user wanted shared memory: refused");
        io_stream_abort(stream);
    }
}

static void refused(void *user, int code, const char *text)
{
    (void)user;
    (void)code;
    log_debug(LOGGER, "Connection for shared memory refused: %s", text);
}

static const struct io_listen_events listen_events = {.accepted = accepted, .refused = refused};

struct share *share_create(struct server *server, struct store_segments *segments)
{
    struct io_address address = {.transport = IO_UNIX};
    struct io_listener *listener;
    struct text why = {0};
    uint64_t nonce[2];
    io_entropy(nonce, sizeof nonce);
    snprintf(address.host, sizeof address.host, "@cask-%016llx%016llx",
             (unsigned long long)nonce[0], (unsigned long long)nonce[1]);
    if (io_listen(server->loop, &address, NULL, &listener, &why) != OK) {
        log_warning(LOGGER, "Values are not shared with workers of this host: %s", text_cstr(&why));
        text_fini(&why);
        return NULL;
    }
    struct share *share = mem_zalloc(1, sizeof *share);
    *share = (struct share){
        .server = server, .segments = store_segments_ref(segments), .listener = listener};
    memcpy(share->name, address.host, strlen(address.host) + 1);
    io_listener_start(listener, &listen_events, share);
    return share;
}

void share_stop(struct share *share)
{
    if (share != NULL && share->listener != NULL) {
        io_listener_close(share->listener);
        share->listener = NULL;
    }
}

void share_destroy(struct share *share)
{
    if (share != NULL) {
        ASSERT(share->listener == NULL);
        store_segments_unref(share->segments);
        mem_free(share);
    }
}

const char *share_name(const struct share *share)
{
    return share->name;
}

const struct share_counts *share_counts(const struct share *share)
{
    return &share->counts;
}

bool share_is_from(const struct share *share, const struct io_stream *stream)
{
    const struct io_address *local = io_stream_local(stream);
    return local->transport == IO_UNIX && strcmp(local->host, share_name(share)) == 0;
}

/* ---- sending ---- */

/* The descriptor in `out` of the file that `reader` is, which is the segment's that was looked at last, or a new one. */
static bool add_descriptor(struct share_descriptors *out, int reader, int *inout_last)
{
    if (*inout_last == reader) {
        return true;
    }
    int fd = out->count < SHARE_DESCRIPTORS_MAX ? fcntl(reader, F_DUPFD_CLOEXEC, 0) : -1;
    if (fd < 0) {
        return false;
    }
    out->items[out->count++] = fd;
    *inout_last = reader;
    return true;
}

static void write_place(struct text *out, uint32_t frame, uint32_t descriptor, uint64_t at,
                        uint64_t size)
{
    msgpack_write_array(out, 4);
    msgpack_write_uint(out, frame);
    msgpack_write_uint(out, descriptor);
    msgpack_write_uint(out, at);
    msgpack_write_uint(out, size);
}

void share_pack(struct share *share, struct outgoing *message,
                struct share_descriptors *out_descriptors)
{
    struct text places = {0}, table = {0};
    uint32_t count = 0;
    int last = -1;
    out_descriptors->count = 0;
    for (uint32_t i = 0; i < message->frames.count; i++) {
        struct slice *frame = &message->frames.items[i];
        struct span mapping;
        int reader;
        if (frame->size < SHARE_FRAME_MIN || !store_segment_look(frame->owner, &reader, &mapping) ||
            !add_descriptor(out_descriptors, reader, &last)) {
            continue;
        }
        write_place(&places, i + 1, out_descriptors->count - 1,
                    (uint64_t)(frame->data - mapping.data), frame->size);
        share->counts.sent_bytes += frame->size;
        message->frames_size -= frame->size;
        slice_fini(frame);
        count++;
    }
    msgpack_write_array(&table, 2);
    msgpack_write_uint(&table, out_descriptors->count);
    msgpack_write_array(&table, count);
    msgpack_write_raw(&table, text_span(&places));
    outgoing_add_frame(message, slice_copy(text_span(&table)));
    text_fini(&places);
    text_fini(&table);
}

/* ---- receiving ---- */

/* What came with one message. */
struct parcel {
    struct buf *segments[SHARE_DESCRIPTORS_MAX];
    uint32_t count;
};

static int malformed(struct text *why, const char *what)
{
    text_add_cstr(why, what);
    return ERR_MALFORMED;
}

/* Map the descriptor, which is taken. */
static int open_segment(struct share *share, int take_fd, struct buf **out_segment,
                        struct text *why)
{
    int seals = fcntl(take_fd, F_GET_SEALS), needed = F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat status;
    struct span mapping;
    int code = ERR_MALFORMED;
    if (seals < 0 || (seals & needed) != needed || fstat(take_fd, &status) != 0) {
        text_add_cstr(why, "a descriptor that is not shared memory of a sealed size");
    } else {
        code = store_segment_map(take_fd, (size_t)status.st_size, &mapping, why);
    }
    if (code != OK) {
        close(take_fd);
        return code;
    }
    *out_segment = store_segment_buf(take_fd, mapping, share->segments);
    return OK;
}

static int open_segments(struct share *share, struct share_descriptors *waiting, uint64_t count,
                         struct parcel *parcel, struct text *why)
{
    if (count > waiting->count) {
        return malformed(why, "a message without its descriptors");
    }
    int code = OK;
    while (code == OK && parcel->count < count) {
        code = open_segment(share, waiting->items[parcel->count], &parcel->segments[parcel->count],
                            why);
        parcel->count++;
    }
    waiting->count -= parcel->count;
    memmove(waiting->items, waiting->items + parcel->count,
            waiting->count * sizeof waiting->items[0]);
    if (code != OK) {
        parcel->count--; /* the last one is none */
    }
    return code;
}

/* One entry of the table: put the frame into its place. */
static int put_frame(struct share *share, struct msgpack_reader *reader,
                     const struct parcel *parcel, struct frames *message)
{
    uint32_t fields;
    uint64_t numbers[4];
    struct span mapping;
    int fd;
    if (msgpack_read_array(reader, &fields) != OK || fields != 4) {
        return ERR_MALFORMED;
    }
    for (int i = 0; i < 4; i++) {
        if (msgpack_read_uint(reader, &numbers[i]) != OK) {
            return ERR_MALFORMED;
        }
    }
    uint64_t frame = numbers[0], index = numbers[1], at = numbers[2], size = numbers[3];
    if (frame == 0 || frame >= message->count || message->items[frame].size > 0 ||
        index >= parcel->count || size < SHARE_FRAME_MIN) {
        return ERR_MALFORMED;
    }
    bool is_segment = store_segment_look(parcel->segments[index], &fd, &mapping);
    ASSERT(is_segment);
    if (size > mapping.size || at > mapping.size - size) {
        return ERR_MALFORMED;
    }
    slice_fini(&message->items[frame]);
    message->items[frame] =
        slice_create(parcel->segments[index], span_of(mapping.data + at, (size_t)size));
    share->counts.received_bytes += size;
    return OK;
}

static int put_frames(struct share *share, struct msgpack_reader *reader,
                      const struct parcel *parcel, struct frames *message, struct text *why)
{
    uint32_t count;
    int code = msgpack_read_array(reader, &count);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        code = put_frame(share, reader, parcel, message);
    }
    return code == OK ? OK : malformed(why, "a place of a frame that is none");
}

int share_unpack(struct share *share, struct frames *message, struct share_descriptors *waiting,
                 struct text *why)
{
    uint32_t fields;
    uint64_t descriptors;
    if (message->count < 2) {
        return malformed(why, "a message without its table of shared frames");
    }
    struct slice table = message->items[--message->count];
    struct msgpack_reader reader = msgpack_reader(slice_span(table));
    struct parcel parcel = {.count = 0};
    int code;
    if (msgpack_read_array(&reader, &fields) != OK || fields != 2 ||
        msgpack_read_uint(&reader, &descriptors) != OK) {
        code = malformed(why, "a table of shared frames that is none");
    } else {
        code = open_segments(share, waiting, descriptors, &parcel, why);
    }
    code = code == OK ? put_frames(share, &reader, &parcel, message, why) : code;
    for (uint32_t i = 0; i < parcel.count; i++) {
        buf_unref(parcel.segments[i]);
    }
    slice_fini(&table);
    return code;
}
