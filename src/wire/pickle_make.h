/* pickle_make.h: the few pickles that a scheduler must produce: exceptions, keys, shuffle specs.
 *
 * Two levels: appenders of single opcodes' worth (pickle_put_…), from which any object can be put
 * together between pickle_begin and pickle_end; and whole pickles (pickle_make_…). All append to
 * `out`. Keys are canonical msgpack. Source: protocol.md 8.1-8.5. */
#ifndef CASK_WIRE_PICKLE_MAKE_H
#define CASK_WIRE_PICKLE_MAKE_H

#include "base/assert.h"
#include "base/error.h"
#include "base/text.h"

void pickle_begin(struct text *out);
void pickle_end(struct text *out);

void pickle_put_none(struct text *out);
void pickle_put_bool(struct text *out, bool value);
void pickle_put_int(struct text *out, int64_t value);
void pickle_put_uint(struct text *out, uint64_t value);
void pickle_put_float(struct text *out, double value);
void pickle_put_text(struct text *out, struct span value);
void pickle_put_bytes(struct text *out, struct span value);
/* The class or function module.name. */
void pickle_put_global(struct text *out, const char *module, const char *name);
/* Start of a tuple, list items or dict items; ends with pickle_put_tuple() … */
void pickle_put_mark(struct text *out);
void pickle_put_tuple(struct text *out);
/* Call: the two objects before it are a callable and its argument tuple. */
void pickle_put_call(struct text *out);
/* A msgpack value as Python would have it: array → list (tuple if `tuples`), map → dict,
 * __Set__ → set. ERR_…: `value` is not one msgpack value; nothing is appended. */
int pickle_put_value(struct text *out, struct span value, bool tuples) MUST_USE;
/* A key: arrays become tuples. `key` must be canonical (asserts). */
void pickle_put_key(struct text *out, struct span key);

/* module.name(message). */
void pickle_make_exception(struct text *out, const char *module, const char *name,
                           struct span message);

/* What KilledWorker's text and users look at of distributed.scheduler.WorkerState. */
struct pickle_worker {
    struct span address;
    struct span name;  /* msgpack: str or int */
    struct span nanny; /* address, or empty */
    struct span server_id;
    uint32_t pid;
    uint32_t nthreads;
};

struct pickle_killed_worker {
    struct span key;
    struct pickle_worker worker; /* the last one */
    uint32_t allowed_failures;
    struct span text; /* what str() says; empty: what stock's says */
    struct span note; /* shown below the message in tracebacks (PEP 678); may be empty */
};
/* distributed.scheduler.KilledWorker(key, worker, allowed_failures); with a text of its own a class of the same
 * name derived from it, which travels by value. */
void pickle_make_killed_worker(struct text *out, const struct pickle_killed_worker *error);
/* distributed.scheduler.NoWorkerError(key, timeout). */
void pickle_make_no_worker(struct text *out, struct span key, double timeout_seconds);
struct pickle_no_valid_worker {
    struct span key;
    struct span hosts, workers; /* msgpack arrays of str */
    struct span resources;      /* msgpack map of str to number */
    double timeout_seconds;
};
/* distributed.scheduler.NoValidWorkerError; asserts if a restriction is not well-formed. */
void pickle_make_no_valid_worker(struct text *out, const struct pickle_no_valid_worker *error);
/* distributed.client.FutureCancelledError(key, reason, message); message may be empty (None). */
void pickle_make_future_cancelled(struct text *out, struct span key, struct span reason,
                                  struct span message);
/* distributed.client.Future(key): what stands for a future in published data. */
void pickle_make_future(struct text *out, struct span key);
void pickle_make_key(struct text *out, struct span key);
/* A msgpack value as Python has it (see pickle_put_value). */
int pickle_make_value(struct text *out, struct span value, bool tuples) MUST_USE;
/* operator.attrgetter(name). */
void pickle_make_attrgetter(struct text *out, struct span name);
/* The ShuffleWorkerPlugin that every worker must be given for P2P shuffles to work. */
void pickle_make_shuffle_plugin(struct text *out);

struct pickle_shuffle_run {
    struct span spec; /* the pickle of its ShuffleSpec (flat_shuffle.spec) */
    uint64_t run_id;
    const struct span *parts, *addresses; /* part i goes to the worker at addresses[i] */
    uint32_t part_count;
    struct span span_id; /* or empty: None */
};
/* distributed.shuffle._core.ShuffleRunSpec. ERR_…: its spec cannot be read; nothing is appended. */
int pickle_make_shuffle_run(struct text *out, const struct pickle_shuffle_run *run) MUST_USE;

#endif
