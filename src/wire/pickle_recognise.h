/* pickle_recognise.h: names the functions that stock's own clients and tools send to a scheduler to
 * be run there, so that it can do natively what they would do. Everything else is the planner's.
 * Source: distributed/diagnostics progressbar.py, progress_stream.py, eventstream.py; capture 63. */
#ifndef CASK_WIRE_PICKLE_RECOGNISE_H
#define CASK_WIRE_PICKLE_RECOGNISE_H

#include "base/text.h"
#include "wire/pickle.h"

enum pickle_known {
    PICKLE_UNKNOWN,
    PICKLE_IS_NONE,
    PICKLE_PROGRESS_SETUP,          /* progressbar.ProgressBar: keys, complete */
    PICKLE_PROGRESS_FUNCTION,       /* → {all, remaining, status, …}: counts */
    PICKLE_MULTI_PROGRESS_SETUP,    /* progressbar.MultiProgressBar: keys, complete, by_span */
    PICKLE_MULTI_PROGRESS_FUNCTION, /* → {all, remaining, status, …}: counts a group */
    PICKLE_ALL_PROGRESS_SETUP,      /* progress.AllProgress */
    PICKLE_ALL_PROGRESS_FUNCTION,   /* progress_stream._counts */
    PICKLE_ALL_PROGRESS_TEARDOWN,   /* progress_stream._teardown */
    PICKLE_EVENT_STREAM_SETUP,      /* eventstream.EventStream */
    PICKLE_EVENT_STREAM_FUNCTION,   /* eventstream.swap_buffer */
    PICKLE_EVENT_STREAM_TEARDOWN,   /* eventstream.teardown */
    PICKLE_ATTRGETTER,              /* operator.attrgetter(name): workers_to_close(key=…) */
    PICKLE_SHUFFLE_PLUGIN,          /* the worker plugin of P2P shuffles */
};

/* The plain data inside. All zero is empty. */
struct pickle_arguments {
    struct text keys; /* msgpack array of canonical keys */
    struct text name; /* attrgetter's */
    bool complete;
    bool by_span; /* groups are spans; else prefixes */
};

/* What `pickle` is; fills *out_arguments, which must be empty or finished. Never fails: what cannot
 * be read is PICKLE_UNKNOWN, with no arguments. */
enum pickle_known pickle_recognise(struct span pickle, struct pickle_arguments *out_arguments);
void pickle_arguments_fini(struct pickle_arguments *arguments);

#endif
