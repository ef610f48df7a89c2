/* channel.h: the messages between a worker and an executor, as bytes and as structs.
 *
 * No socket here: what arrives is fed to a reader, what is to be sent is added to a writer. An
 * executor runs user code and is not trusted: every length is checked, every segment must be sealed
 * and large enough before a message is given out. Format: docs/executor.md. */
#ifndef CASK_EXEC_CHANNEL_H
#define CASK_EXEC_CHANNEL_H

#include "base/assert.h"
#include "base/span.h"
#include "base/text.h"
#include "base/vec.h"

enum executor_op {
#define EXECUTOR_OP(id, number, direction, meaning) EXECUTOR_##id = (number),
#include "exec/executor_ops.def"
};

enum {
    CHANNEL_HEADER_SIZE = 16,
    CHANNEL_FDS_MAX = 3,                 /* descriptors of one message */
    CHANNEL_INLINE_MAX = 256 * 1024,     /* larger payloads go in segments */
    CHANNEL_BODY_MAX = 64 * 1024 * 1024, /* bytes of one body: 64 MiB, as one of Dask's frames */
    CHANNEL_FDS_WAITING_MAX = 64,        /* descriptors ahead of the bytes of their messages */
};

/* One frame of a payload. `data` NULL: it lies in the segment at `offset`. */
struct executor_frame {
    const uint8_t *data;
    uint64_t offset;
    uint64_t size;
};

/* A serialised value: as struct blob's value and frames. Arrays and bytes are borrowed. */
struct executor_payload {
    struct span value; /* msgpack; size 0: there is no value */
    uint32_t frame_count;
    const struct executor_frame *frames;
    int segment; /* memfd that holds frames at offsets, or -1 */
    uint64_t segment_size;
    bool is_sealed; /* one that came: nobody can write to it any more */
};

/* A payload of nothing. */
#define EXECUTOR_NO_PAYLOAD ((struct executor_payload){.segment = -1})

/* What a task cost. */
struct executor_ledger {
    double prepared, start, stop; /* Unix seconds; the spec was opened at `prepared` */
    uint64_t thread;
    double cpu_user, cpu_system; /* seconds of its thread */
    uint64_t rss_peak;           /* bytes: the highest the process ever was */
    uint64_t rss_growth;         /* bytes by which the task raised it */
    uint64_t faults_minor, faults_major;
    uint64_t read_bytes, written_bytes; /* block I/O */
    struct span metrics;                /* msgpack list of [label, value, unit] */
};

/* An exception, as stock's error_message() has it. */
struct executor_error {
    struct span exception; /* pickle */
    struct span traceback; /* pickle; empty: none */
    struct span exception_text;
    struct span traceback_text;
    struct span typename;
};

/* One message from an executor; spans point into the reader. Which fields are filled: by op, as in
 * docs/executor.md; the others are zero. */
struct executor_message {
    enum executor_op op;
    uint64_t handle;
    struct executor_ledger ledger; /* DONE, FAILED */
    struct executor_error error;   /* FAILED, EXPORT_FAILED */
    struct executor_payload
        payload;      /* DONE, EXPORTED, REPLY, ASK, TELL. Set segment to -1 to keep it */
    uint64_t nbytes;  /* DONE: dask.sizeof; OUTPUT: bytes written in all */
    struct span type; /* DONE: pickle of the class */
    struct span
        text; /* DONE: typename; WELCOME: error; ASK, TELL: name; OUTPUT: text; FORKED: why not */
    struct span map; /* READY, WELCOME: msgpack map */
    double seconds;  /* SECEDED */
    uint32_t number; /* CANCELLED: had begun; OUTPUT: stream; FORKED: process id, 0: it cannot */
};

struct channel_descriptor {
    int fd;
    uint64_t size;  /* of a memfd whose size is sealed; 0: it is none */
    bool is_sealed; /* and so is what is in it */
};

/* Cuts bytes into messages. All zero is a fresh one. */
struct channel_reader {
    uint8_t *data;
    size_t start, end, capacity; /* bytes [start, end) are not yet given out */
    struct channel_descriptor waiting[CHANNEL_FDS_WAITING_MAX];
    uint32_t waiting_count;
    struct executor_frame *frames; /* of the message given last */
    uint32_t frame_capacity;
    struct text why; /* what was malformed */
};

/* Closes descriptors that nobody took. */
void channel_reader_fini(struct channel_reader *reader);
/* Where the next bytes go: at least 1 byte, until channel_reader_advance. */
void channel_reader_space(struct channel_reader *reader, uint8_t **out_data, size_t *out_size);
void channel_reader_advance(struct channel_reader *reader, size_t size);
/* A descriptor that came with the bytes that follow; takes it. False: too many wait, which is
 * malformed (it is closed). */
MUST_USE bool channel_reader_descriptor(struct channel_reader *reader, int fd);
/* The next whole message. 1: there is one, valid until the next call (but not over
 * channel_reader_space); close its segment, or keep it. 0: more bytes are needed. Negative:
 * ERR_MALFORMED, ERR_LIMIT; reader->why says what, nothing more can be read. */
MUST_USE int channel_reader_next(struct channel_reader *reader, struct executor_message *out);

/* What is to be sent. All zero is an empty one. */
struct channel_writer {
    struct text bytes;
    size_t message; /* where the message that is being added begins */
    struct VEC(struct channel_attached {
        size_t at; /* offset in bytes of the message's first byte */
        int fd;    /* owned */
    }) attached;
};

void channel_writer_fini(struct channel_writer *writer);

/* How a task is stopped: "how" of CANCEL. */
enum executor_cancel {
    EXECUTOR_CANCEL_UNWANTED = 0, /* its result is not wanted */
    EXECUTOR_CANCEL_TIMEOUT = 1,  /* it fails with TimeoutError */
    EXECUTOR_CANCEL_UNBEGUN =
        2, /* only if it has not begun; else it goes on, and this is not answered */
};

/* One task to run. `inputs`: handles. */
struct executor_run {
    uint64_t handle;
    bool is_actor;
    bool wants_small; /* DONE may carry a small result */
    const uint64_t *inputs;
    uint32_t input_count;
    struct span key;         /* msgpack */
    struct span annotations; /* msgpack map, or empty */
    struct executor_payload run_spec;
};

/* Add a message. Spans are copied, a payload's segment is duplicated (the caller keeps its own);
 * inline frames of more than CHANNEL_INLINE_MAX together are put into a new segment. Those with a
 * payload fail with ERR_LIMIT (a body over CHANNEL_BODY_MAX) or ERR_IO (no memory or descriptor for
 * a segment) and add nothing then. */
void channel_add_start(struct channel_writer *writer, uint32_t slot_count, int board,
                       int crash_log);
void channel_add_settings(struct channel_writer *writer, enum executor_op op, struct span map);
MUST_USE int channel_add_put(struct channel_writer *writer, uint64_t handle, struct span key,
                             const struct executor_payload *payload);
MUST_USE int channel_add_run(struct channel_writer *writer, const struct executor_run *run);
/* `take_segment`: a descriptor of the memory to put it in, if it is large; or -1. Taken. */
void channel_add_export(struct channel_writer *writer, uint64_t handle, int take_segment);
void channel_add_drop(struct channel_writer *writer, const uint64_t *handles, uint32_t count);
void channel_add_cancel(struct channel_writer *writer, uint64_t handle, enum executor_cancel how,
                        struct span reason);
MUST_USE int channel_add_call(struct channel_writer *writer, uint64_t id, bool wants_reply,
                              struct span op, const struct executor_payload *payload);
MUST_USE int channel_add_answer(struct channel_writer *writer, uint64_t id, bool ok,
                                const struct executor_payload *payload);
void channel_add_exit(struct channel_writer *writer);
/* Takes the descriptors: the new executor's crash line, standard error and channel. */
void channel_add_fork(struct channel_writer *writer, uint64_t number, const int fds[3]);

/* "DONE"; "op 77" for unknown ones is not needed: the reader refuses them. */
const char *channel_op_name(enum executor_op op);

#endif
