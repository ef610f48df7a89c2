/* pickle_trust.h: which pickles may go to workers without Python having loaded them first.
 *
 * A stock worker unpickles a task while it reads the message; if that fails (a module that it lacks, a
 * __setstate__ that raises) the worker closes, and so would the next ones that the task is sent to.
 * Stock's scheduler loads every graph itself and refuses what it cannot load. Here, a graph that was
 * cut in C names the functions and classes that are neither Python's own, nor dask's, nor sent by
 * value (flat_graph.foreign). Until the planner has once loaded a graph with a name, graphs that need
 * it go to the planner, whose error is stock's; from then on the name is proven. Where such a name makes an object
 * when it is loaded, the object's data may decide whether that works. That is proven for good of classes that run
 * no code of theirs then; others are tried each time. */
#ifndef CASK_WIRE_PICKLE_TRUST_H
#define CASK_WIRE_PICKLE_TRUST_H

#include "base/map.h"
#include "base/text.h"
#include "wire/msgpack.h"
#include "wire/pickle.h"

/* All zero is empty. */
struct pickle_trust {
    struct map names;
};

void pickle_trust_fini(struct pickle_trust *trust);
/* Everything in `package` ("numpy") is there on every side. */
void pickle_trust_package(struct pickle_trust *trust, const char *package);
/* Python has loaded a graph that needs `names` (flat_graph.foreign of the same pickle). are_plain: those of them that
 * are instantiated run no code of their class. */
void pickle_trust_add(struct pickle_trust *trust, struct span names, bool are_plain);
/* Each of `names` is proven, or in a trusted package. */
bool pickle_trust_covers(const struct pickle_trust *trust, struct span names);

/* What loading does with a name: find it, make an instance of the class that it is (__new__, __setstate__), call it. */
enum pickle_use { PICKLE_FINDS, PICKLE_INSTANTIATES, PICKLE_CALLS };
/* One of them. */
struct pickle_name {
    struct span entry; /* all of it, as msgpack */
    struct span module, name;
    enum pickle_use use;
};
/* Take the next one off a list that pickle_foreign_names wrote; false at the end. */
bool pickle_name_next(struct msgpack_reader *names, struct pickle_name *out_name);

/* Append the foreign names of `tree` to `out`, each once in a row: a msgpack array [module, name]; and, for those that
 * make an object, [module, name, use] as well.
 * ERR_UNSUPPORTED: loading it runs code that came by value, whatever names are proven. */
int pickle_foreign_names(const struct pickle_tree *tree, struct text *out) MUST_USE;

#endif
