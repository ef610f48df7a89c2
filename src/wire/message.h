/* message.h: Dask's messages as C structs, from and to msgpack; all derived from messages.def.
 *
 * For each row MESSAGE(TASK_FINISHED, task_finished, …) there are an id MESSAGE_TASK_FINISHED and a struct
 * msg_task_finished with a member a field. Decoding borrows: spans point into the message's frame 0 or
 * into the scratch arena (keys that were not canonical), and live as long as those. */
#ifndef CASK_WIRE_MESSAGE_H
#define CASK_WIRE_MESSAGE_H

#include "wire/key.h"
#include "wire/payload.h"

/* Who is spoken to, and how. Op names are unique within a port only. */
enum message_port {
#define PORT(id, is_stream, meaning) PORT_##id,
#include "wire/messages.def"
    PORT_COUNT
};

enum message_id {
    MESSAGE_UNKNOWN, /* an op that messages.def lacks */
#define MESSAGE(ID, name, op, port) MESSAGE_##ID,
#include "wire/messages.def"
    MESSAGE_COUNT
};

/* Any value, with what it refers to. Decoded: `raw` (payload_take() makes a blob of it). To encode:
 * `blob`, or, where that is NULL, `raw` without placeholders. */
struct payload {
    struct span raw;
    const struct blob *blob;
};

/* struct msg_…; `unknown_count` is the number of fields that messages.def lacks. */
#define MESSAGE(ID, name, op, port)                                                                \
    struct msg_##name {                                                                            \
        uint32_t unknown_count;
#define FIELD(type, c_name, wire, need, default_) MEMBER_##type c_name;
#define END                                                                                        \
    }                                                                                              \
    ;
#define MEMBER_KEY struct span
#define MEMBER_KEYS struct key_list
#define MEMBER_STR struct span
#define MEMBER_BIN struct span
#define MEMBER_INT int64_t
#define MEMBER_FLOAT double
#define MEMBER_BOOL bool
#define MEMBER_VALUE struct span
#define MEMBER_PAYLOAD struct payload
#include "wire/messages.def"

/* One decoded message. `body` is the struct of `id`: message.body.task_finished … */
struct message {
    enum message_id id;
    struct span map;           /* the whole map, raw */
    struct span op;            /* text; data NULL: there was none */
    struct span unknown_field; /* the first field that messages.def lacks; data NULL: none */
    struct span serializers;   /* rpc: raw list of family names, data NULL: none */
    bool reply;                /* rpc: an answer is wanted */
    bool close;                /* rpc: close the connection after the answer */
    union {
        uint32_t unknown_count;
#define MESSAGE(ID, name, op, port) struct msg_##name name;
#include "wire/messages.def"
    } body;
};

/* Decodes the messages of one connection: keeps scratch memory and a guess of what comes next. */
struct message_decoder {
    enum message_port port;
    struct arena *scratch;  /* borrowed; reset it when the decoded messages are done with */
    uint16_t guess[16];     /* by number of fields: the id that had as many last */
    struct text error;      /* the last failure in words, naming the field */
    uint64_t unknown_count; /* fields and ops that messages.def lacks, since init */
};

void message_decoder_init(struct message_decoder *decoder, enum message_port port,
                          struct arena *scratch);
void message_decoder_fini(struct message_decoder *decoder);

/* Decode the next value of `reader`, a map with `op` (and its control fields). An op that the port
 * lacks gives id MESSAGE_UNKNOWN. On ERR_MISSING and ERR_TYPE the fault lies in one field: out_message's
 * id, op and control fields are valid and the reader stands behind the map, so a request can be
 * answered; on other errors close the connection. decoder->error says what was wrong. */
int message_decode(struct message_decoder *decoder, struct msgpack_reader *reader,
                   struct message *out_message) MUST_USE;
/* Decode the map in `bytes` as `id`, whatever its op: for replies. */
int message_decode_as(struct message_decoder *decoder, enum message_id id, struct span bytes,
                      struct message *out_message) MUST_USE;

/* A stream's frame 0: a list of maps (or one bare map). reader stands before the first map afterwards.
 * Elements that are not maps (the string "OK") end the batch: message_batch_next gives 0. */
struct message_batch {
    struct msgpack_reader reader;
    uint32_t left;
};
int message_batch_open(struct span frame0, struct message_batch *out_batch) MUST_USE;
/* 1: *out_message is the next; 0: the end; negative: as message_decode. */
int message_batch_next(struct message_batch *batch, struct message_decoder *decoder,
                       struct message *out_message) MUST_USE;

/* Append the message to `out`'s head, payloads to its frames; in a batch as its next map. `body` is
 * the struct of `id`. Requests are written with "reply": true as stock does. REQ fields must be set
 * (asserted); OPT fields that are absent or hold their default are left out. */
void message_encode(struct outgoing *out, enum message_id id, const void *body);
/* As message_encode for requests, with "reply": false, and "close" if asked. */
void message_encode_request(struct outgoing *out, enum message_id id, const void *body, bool reply,
                            bool close);
/* Set every field of `body` to its default. */
void message_defaults(enum message_id id, void *body);

/* One dependency of a task that is sent to a worker. */
struct compute_task_dependency {
    struct span key; /* canonical */
    int64_t nbytes;
    const struct span *holders; /* addresses as msgpack strs, ready to be copied */
    uint32_t holder_count;
};
/* compute-task as the scheduler's outbound holds it; the hot message, written without the table. */
struct compute_task {
    struct span key;
    int64_t run_id;
    double priority[3]; /* user, generation, graph order */
    struct span stimulus_id;
    const struct compute_task_dependency *dependencies;
    uint32_t dependency_count;
    const struct blob *run_spec;
    struct span resource_restrictions; /* raw map; data NULL: nil */
    bool actor;
    const struct blob *annotations; /* NULL: {} */
    struct span span_id;            /* data NULL: nil */
    bool ahead;                     /* written only if set: stock's workers are never told */
};
void message_encode_compute_task(struct outgoing *out, const struct compute_task *task);
/* key-in-memory without the table; `type` data NULL: without one. */
void message_encode_key_in_memory(struct outgoing *out, struct span key, struct span type);
/* free-keys, remove-replicas, add-keys …: messages of `count` keys and a stimulus id. */
void message_encode_keys(struct outgoing *out, enum message_id id, const struct span *keys,
                         uint32_t count, struct span stimulus_id);

/* The table, for printers, tools and tests. */
enum field_type {
    FIELD_KEY,
    FIELD_KEYS,
    FIELD_STR,
    FIELD_BIN,
    FIELD_INT,
    FIELD_FLOAT,
    FIELD_BOOL,
    FIELD_VALUE,
    FIELD_PAYLOAD,
    FIELD_OP, /* the place of `op` */
};
enum field_need { FIELD_REQ, FIELD_NIL, FIELD_OPT };

struct message_field {
    const char *name; /* on the wire; NULL ends a table */
    uint8_t name_size;
    uint8_t type; /* enum field_type */
    uint8_t need; /* enum field_need */
    uint16_t offset;
    int32_t default_value;
};
struct message_info {
    const char *name; /* in C: "task_finished" */
    const char *op;   /* "" for replies */
    uint8_t op_size;
    uint8_t port;
};
const struct message_info *message_info(enum message_id id);
/* The fields of `id`, ended by one without a name. */
const struct message_field *message_fields(enum message_id id);
/* "SCHEDULER_RPC" …, and whether it is spoken in stream mode. */
const char *message_port_name(enum message_port port);
bool message_port_is_stream(enum message_port port);
/* The id of `op` at `port`, MESSAGE_UNKNOWN if there is none. */
enum message_id message_find(enum message_port port, struct span op);

/* The message for people, in one line: op and field=value … `frames` may be NULL. */
void message_print(struct text *out, const struct message *message, const struct frames *frames,
                   size_t value_size_max);

#endif
