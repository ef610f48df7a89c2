/* ask.h: calls to a running scheduler, one after the other, for commands that ask and print.
 *
 * Looks synchronous: a loop of its own runs until the answer is there. TLS and timeouts are Dask's settings. */
#ifndef CASK_CLI_ASK_H
#define CASK_CLI_ASK_H

#include "base/assert.h"
#include "base/text.h"
#include "wire/message.h"

struct asker;
struct config;

/* Where the scheduler is, as the options say; NULL: not given. */
struct ask_options {
    const char *address;        /* --scheduler, or an argument */
    const char *scheduler_file; /* --scheduler-file */
    const char *timeout;        /* --timeout */
};

/* The scheduler's address as it is compared: tcp://host:port. ERR_ADDRESS, ERR_CONFIG, or the file's error. */
int ask_find_address(const struct config *config, const struct ask_options *options,
                     struct text *out_address, struct text *why) MUST_USE;

/* Settings are read; nothing is connected yet. An error code and why. */
int asker_create(const struct ask_options *options, struct asker **out_asker,
                 struct text *why) MUST_USE;
void asker_destroy(struct asker *asker);
/* The scheduler's address. */
const char *asker_address(const struct asker *asker);
/* Send request `id` (body: its struct) and wait. The answer's msgpack value, valid until the next call.
 * An error that the scheduler raised is ERR_IO with its text. */
int asker_call(struct asker *asker, enum message_id id, const void *body, struct span *out_answer,
               struct text *why) MUST_USE;

#endif
