/* prove.c: names resolved and tasks loaded on a worker:
 *   run(all, (chain(map(pkgutil.resolve_name, ["module:name", …]), map(pickle.loads, [task, …])),)) */
#include "node/prove.h"

#include "base/alloc.h"
#include "base/log.h"
#include "wire/pickle_make.h"
#include "wire/pickle_value.h"

#define LOGGER "distributed.scheduler"
#define TASK_BYTES_MAX (1u << 20) /* of tasks that are tried; the others are much like them */
#define PROVE_SECONDS 30 /* an import may be slow; after that the planner says what is wrong */

struct proof {
    prove_done *done;
    void *user;
};

/* [module, name]… as the list ["module:name", …]. */
static void write_targets(struct text *out, struct span names)
{
    struct msgpack_reader reader = msgpack_reader(names);
    struct text items = {0}, target = {0};
    uint32_t count = 0, two;
    struct span module, name;
    while (msgpack_read_array(&reader, &two) == OK && two == 2 &&
           msgpack_read_str(&reader, &module) == OK && msgpack_read_str(&reader, &name) == OK) {
        text_clear(&target);
        text_printf(&target, "%.*s:%.*s", (int)module.size, (const char *)module.data,
                    (int)name.size, (const char *)name.data);
        msgpack_write_str(&items, text_span(&target));
        count++;
    }
    msgpack_write_array(out, count);
    msgpack_write_raw(out, text_span(&items));
    text_fini(&items);
    text_fini(&target);
}

/* The pickles of the first tasks (those without buffers of their own) as a list of bytes. */
static void write_tasks(struct text *out, const struct flat_graph *graph)
{
    struct text items = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < graph->task_count && items.size < TASK_BYTES_MAX; i++) {
        struct span pickle;
        const struct blob *spec = graph->run_specs[i];
        if (spec->frame_count == 1 &&
            msgpack_find(slice_span(spec->frames[0]), "pickled-obj", &pickle) == OK) {
            msgpack_write_raw(&items, pickle);
            count++;
        }
    }
    msgpack_write_array(out, count);
    msgpack_write_raw(out, text_span(&items));
    text_fini(&items);
}

/* map(module.name, list) */
static void put_map(struct text *out, const char *module, const char *name, const struct text *list)
{
    pickle_put_global(out, "builtins", "map");
    pickle_put_mark(out);
    pickle_put_global(out, module, name);
    int code = pickle_put_value(out, text_span(list), false);
    ASSERT(code == OK); /* we wrote it */
    pickle_put_tuple(out);
    pickle_put_call(out);
}

static void write_arguments(struct text *out, const struct flat_graph *graph)
{
    struct text targets = {0}, tasks = {0};
    write_targets(&targets, graph->foreign);
    write_tasks(&tasks, graph);
    pickle_begin(out);
    pickle_put_mark(out);
    pickle_put_global(out, "itertools", "chain");
    pickle_put_mark(out);
    put_map(out, "pkgutil", "resolve_name", &targets);
    put_map(out, "pickle", "loads", &tasks);
    pickle_put_tuple(out);
    pickle_put_call(out);
    pickle_put_tuple(out);
    pickle_end(out);
    text_fini(&targets);
    text_fini(&tasks);
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
    pickle_put_global(&function, "builtins", "all");
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

/* {"status": "OK", "result": Serialize(True)} */
static bool is_true(const struct frames *reply)
{
    struct span status, result;
    struct blob *blob;
    struct slice pickle;
    struct text value = {0};
    if (msgpack_find(frames_head(reply), "status", &status) != OK ||
        !span_equal(status, SPAN("\xa2OK")) ||
        msgpack_find(frames_head(reply), "result", &result) != OK ||
        payload_take(reply, result, &blob) != OK) {
        return false;
    }
    bool found = false;
    if (payload_bytes(blob, &pickle) == OK) {
        found = pickle_value_decode(slice_span(pickle), &value) == OK &&
                span_equal(text_span(&value), SPAN("\xc3"));
        slice_fini(&pickle);
    }
    blob_unref(blob);
    text_fini(&value);
    return found;
}

static void answered(void *user, int code, const char *text, const struct frames *reply)
{
    struct proof *proof = user;
    bool proven = code == OK && is_true(reply);
    if (code != OK) {
        log_debug(LOGGER, "names of a graph could not be looked up: %s", text);
    }
    proof->done(proof->user, proven);
    mem_free(proof);
}

bool prove_graph(struct node *node, const struct flat_graph *graph, prove_done *done, void *user)
{
    struct worker_view worker = {0};
    bool found = false;
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
    struct rpc_options options = {.timeout = PROVE_SECONDS};
    rpc_call(node->rpc, worker.address, &call, &options, answered, proof);
    outgoing_fini(&call);
    return true;
}
