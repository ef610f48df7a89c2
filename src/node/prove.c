/* prove.c: names resolved, tasks loaded and classes looked at on a worker:
 *   run(sum, (map(mul, map(all, (chain(map(pkgutil.resolve_name, ["module:name", …]), map(pickle.loads, [task, …])),
 *                                chain(classes have no __setstate__, and object's __new__, __setattr__))), (2, 1)),))
 * Only functions of Python's own are named, so any worker can do it. */
#include "node/prove.h"

#include "base/alloc.h"
#include "base/log.h"
#include "wire/pickle_make.h"
#include "wire/pickle_trust.h"
#include "wire/pickle_value.h"

#define LOGGER "distributed.scheduler"
#define TASK_BYTES_MAX (1u << 20) /* of tasks that are tried; the others are much like them */
#define PROVE_SECONDS 30 /* an import may be slow; after that the planner says what is wrong */

struct proof {
    prove_done *done;
    void *user;
};

/* The names of flat_graph.foreign that loading uses so, as the list ["module:name", …]. */
static void write_targets(struct text *out, struct span names, enum pickle_use use)
{
    struct msgpack_reader reader = msgpack_reader(names);
    struct text items = {0}, target = {0};
    struct pickle_name name;
    uint32_t count = 0;
    while (pickle_name_next(&reader, &name)) {
        if (name.use == use) {
            text_clear(&target);
            text_printf(&target, "%.*s:%.*s", (int)name.module.size, (const char *)name.module.data,
                        (int)name.name.size, (const char *)name.name.data);
            msgpack_write_str(&items, text_span(&target));
            count++;
        }
    }
    msgpack_write_array(out, count);
    msgpack_write_raw(out, text_span(&items));
    text_fini(&items);
    text_fini(&target);
}

/* The pickle of a task that has no buffers of its own. */
static bool find_pickle(const struct blob *spec, struct span *out_pickle)
{
    return spec->frame_count == 1 &&
           msgpack_find(slice_span(spec->frames[0]), "pickled-obj", out_pickle) == OK;
}

/* The pickles of the first tasks as a list of bytes. */
static void write_tasks(struct text *out, const struct flat_graph *graph)
{
    struct text items = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < graph->task_count && items.size < TASK_BYTES_MAX; i++) {
        struct span pickle;
        if (find_pickle(graph->run_specs[i], &pickle)) {
            msgpack_write_raw(&items, pickle);
            count++;
        }
    }
    msgpack_write_array(out, count);
    msgpack_write_raw(out, text_span(&items));
    text_fini(&items);
}

static bool makes_objects(const struct flat_graph *graph)
{
    struct msgpack_reader reader = msgpack_reader(graph->foreign);
    struct pickle_name name;
    bool found = false;
    while (!found && pickle_name_next(&reader, &name)) {
        found = name.use != PICKLE_FINDS;
    }
    return found;
}

/* write_tasks writes them all. */
static bool can_try_all(const struct flat_graph *graph)
{
    uint64_t size = 0;
    bool fits = true;
    for (uint32_t i = 0; fits && i < graph->task_count; i++) {
        struct span pickle;
        fits = size < TASK_BYTES_MAX && find_pickle(graph->run_specs[i], &pickle);
        size += fits ? pickle.size : 0;
    }
    return fits;
}

static void begin_call(struct text *out, const char *module, const char *name)
{
    pickle_put_global(out, module, name);
    pickle_put_mark(out);
}

static void end_call(struct text *out)
{
    pickle_put_tuple(out);
    pickle_put_call(out);
}

/* map(module.name, list) */
static void put_map(struct text *out, const char *module, const char *name, const struct text *list)
{
    begin_call(out, "builtins", "map");
    pickle_put_global(out, module, name);
    int code = pickle_put_value(out, text_span(list), false);
    ASSERT(code == OK); /* we wrote it */
    end_call(out);
}

/* chain(map(pkgutil.resolve_name, [name, …]), map(pickle.loads, [task, …])) */
static void put_loading(struct text *out, const struct flat_graph *graph)
{
    struct text targets = {0}, tasks = {0};
    write_targets(&targets, graph->foreign, PICKLE_FINDS);
    write_tasks(&tasks, graph);
    begin_call(out, "itertools", "chain");
    put_map(out, "pkgutil", "resolve_name", &targets);
    put_map(out, "pickle", "loads", &tasks);
    end_call(out);
    text_fini(&targets);
    text_fini(&tasks);
}

/* repeat(None), or of a name in builtins */
static void put_repeat(struct text *out, const char *name)
{
    begin_call(out, "itertools", "repeat");
    if (name == NULL) {
        pickle_put_none(out);
    } else {
        pickle_put_global(out, "builtins", name);
    }
    end_call(out);
}

/* map(is_, map(getattr, map(resolve_name, classes), repeat(attribute), repeat(None)), repeat(value)) */
static void put_comparison(struct text *out, const struct text *classes, const char *attribute,
                           const char *value)
{
    begin_call(out, "builtins", "map");
    pickle_put_global(out, "operator", "is_");
    begin_call(out, "builtins", "map");
    pickle_put_global(out, "builtins", "getattr");
    put_map(out, "pkgutil", "resolve_name", classes);
    begin_call(out, "itertools", "repeat");
    pickle_put_text(out, span_of_text(attribute));
    end_call(out);
    put_repeat(out, NULL);
    end_call(out);
    put_repeat(out, value);
    end_call(out);
}

/* What is true of classes whose instances are loaded without any code of theirs. */
static void put_plainness(struct text *out, const struct flat_graph *graph)
{
    struct text classes = {0};
    write_targets(&classes, graph->foreign, PICKLE_INSTANTIATES);
    begin_call(out, "itertools", "chain");
    put_comparison(out, &classes, "__setstate__", NULL);
    put_comparison(out, &classes, "__new__", "object.__new__");
    put_comparison(out, &classes, "__setattr__", "object.__setattr__");
    end_call(out);
    text_fini(&classes);
}

/* (map(mul, map(all, (loading, plainness)), (2, 1)),): their sum is 3 or 2 or less. One number, as stock serialises a
 * list in pieces. */
static void write_arguments(struct text *out, const struct flat_graph *graph)
{
    pickle_begin(out);
    pickle_put_mark(out);
    begin_call(out, "builtins", "map");
    pickle_put_global(out, "operator", "mul");
    begin_call(out, "builtins", "map");
    pickle_put_global(out, "builtins", "all");
    pickle_put_mark(out);
    put_loading(out, graph);
    put_plainness(out, graph);
    pickle_put_tuple(out);
    end_call(out);
    pickle_put_mark(out);
    pickle_put_int(out, 2);
    pickle_put_int(out, 1);
    pickle_put_tuple(out);
    end_call(out);
    pickle_put_tuple(out);
    pickle_end(out);
}

static void put_bin(struct text *head, const char *name, const struct text *pickle)
{
    msgpack_write_cstr(head, name);
    msgpack_write_bin(head, text_span(pickle));
}

static void write_call(struct outgoing *call, const struct flat_graph *graph)
{
    struct text function = {0}, arguments = {0}, keywords = {0};
    pickle_begin(&function);
    pickle_put_global(&function, "builtins", "sum");
    pickle_end(&function);
    write_arguments(&arguments, graph);
    int code = pickle_make_value(&keywords, SPAN("\x80"), false);
    ASSERT(code == OK); /* an empty map */
    msgpack_write_map(&call->head, 6);
    msgpack_write_cstr(&call->head, "op");
    msgpack_write_cstr(&call->head, "run");
    put_bin(&call->head, "function", &function);
    put_bin(&call->head, "args", &arguments);
    put_bin(&call->head, "kwargs", &keywords);
    msgpack_write_cstr(&call->head, "wait");
    msgpack_write_bool(&call->head, true);
    msgpack_write_cstr(&call->head, "reply");
    msgpack_write_bool(&call->head, true);
    text_fini(&function);
    text_fini(&arguments);
    text_fini(&keywords);
}

/* {"status": "OK", "result": Serialize(3 or 2)} */
static enum proof_result read_reply(const struct frames *reply)
{
    struct span status, result;
    struct blob *blob;
    struct slice pickle;
    struct text value = {0};
    if (msgpack_find(frames_head(reply), "status", &status) != OK ||
        !span_equal(status, SPAN("\xa2OK")) ||
        msgpack_find(frames_head(reply), "result", &result) != OK ||
        payload_take(reply, result, &blob) != OK) {
        return PROOF_FAILED;
    }
    enum proof_result found = PROOF_FAILED;
    if (payload_bytes(blob, &pickle) == OK) {
        if (pickle_value_decode(slice_span(pickle), &value) == OK) {
            found = span_equal(text_span(&value), SPAN("\x03"))   ? PROOF_PLAIN
                    : span_equal(text_span(&value), SPAN("\x02")) ? PROOF_LOADS
                                                                  : PROOF_FAILED;
        }
        slice_fini(&pickle);
    }
    blob_unref(blob);
    text_fini(&value);
    return found;
}

static void answered(void *user, int code, const char *text, const struct frames *reply)
{
    struct proof *proof = user;
    if (code != OK) {
        log_debug(LOGGER, "a graph could not be tried: %s", text);
    }
    proof->done(proof->user, code == OK ? read_reply(reply) : PROOF_FAILED);
    mem_free(proof);
}

bool prove_graph(struct node *node, const struct flat_graph *graph, prove_done *done, void *user)
{
    struct worker_view worker = {0};
    bool found = false;
    if (makes_objects(graph) && !can_try_all(graph)) {
        return false;
    }
    for (uint32_t i = 0; !found && i < view_worker_count(node->core); i++) {
        found = view_worker(node->core, view_worker_at(node->core, i), &worker) &&
                worker.status == WORKER_RUNNING;
    }
    if (!found) {
        return false;
    }
    struct proof *proof = mem_zalloc(1, sizeof *proof);
    proof->done = done;
    proof->user = user;
    struct outgoing call;
    outgoing_init(&call);
    write_call(&call, graph);
    struct rpc_options options = {.timeout = PROVE_SECONDS, .done = answered, .user = proof};
    rpc_call(node->rpc, worker.address, &call, &options);
    outgoing_fini(&call);
    return true;
}
