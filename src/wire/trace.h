/* trace.h: conversations for people: what `cask trace` prints of each message. */
#ifndef CASK_WIRE_TRACE_H
#define CASK_WIRE_TRACE_H

#include "wire/message.h"

/* Decodes what goes one way on one connection. */
struct trace {
    uint32_t ports;        /* bit (1 << PORT_…) of each port that messages may be for */
    size_t value_size_max; /* values are cut about here */
    struct arena scratch;
    struct message_decoder decoders[PORT_COUNT];
};

/* Ports of what a peer sends to a scheduler, or a scheduler to a peer; and all of them. */
#define TRACE_TO_SCHEDULER (1u << PORT_SCHEDULER_RPC | 1u << PORT_SCHEDULER_STREAM)
#define TRACE_FROM_SCHEDULER (1u << PORT_WORKER_STREAM | 1u << PORT_CLIENT_STREAM)
#define TRACE_TO_WORKER (1u << PORT_WORKER_RPC)
#define TRACE_TO_NANNY (1u << PORT_NANNY_RPC)
#define TRACE_ANY ((1u << PORT_COUNT) - 1)

void trace_init(struct trace *trace, uint32_t ports);
void trace_fini(struct trace *trace);

/* Append the message as lines of text, one a map of a batch, each ended by a newline: a table's message
 * as "op field=value …", anything else as a value. Malformed messages are shown as such. */
void trace_message(struct trace *trace, const struct frames *message, struct text *out);
/* The bytes of "0a 1b 2c" or "0a1b2c" (a capture's hex), appended. ERR_MALFORMED: not hex. */
int trace_unhex(struct span hex, struct text *out) MUST_USE;

#endif
