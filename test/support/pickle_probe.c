/* pickle_probe.c: lets Python tests drive the pickle reader (test/interop/test_pickle_cut.py).
 *
 * stdin, again and again until it ends: a count (u32) and as many blocks (u64 length, bytes), the
 * first of them a command. stdout: one block for each, the answer as msgpack. All little-endian.
 *   cut PICKLE BUFFER…     → {reason} or {tasks: [[key, [dependency …], flags, pickle, [buffer …]] …],
 *                            cull, keys, foreign, ns}
 *   value PICKLE           → the value, or "unsupported"
 *   recognise PICKLE       → [what, keys, complete, by_span, name]
 *   make NAME ARGUMENT…    → the pickle, or nil; keys and values are msgpack */
#include <stdio.h>
#include <time.h>

#include "base/alloc.h"
#include "wire/msgpack.h"
#include "wire/pickle_graph.h"
#include "wire/pickle_make.h"
#include "wire/pickle_recognise.h"
#include "wire/pickle_value.h"

enum { BLOCKS_MAX = 1 << 20 };

struct request {
    uint32_t count;
    struct slice *blocks;
};

static bool read_exactly(void *data, size_t size)
{
    return fread(data, 1, size, stdin) == size;
}

static bool read_request(struct request *out)
{
    if (!read_exactly(&out->count, sizeof out->count) || out->count == 0 ||
        out->count > BLOCKS_MAX) {
        return false;
    }
    out->blocks = mem_zalloc(out->count, sizeof *out->blocks);
    for (uint32_t i = 0; i < out->count; i++) {
        uint64_t size;
        if (!read_exactly(&size, sizeof size)) {
            return false;
        }
        struct buf *buf = buf_create(size);
        if (!read_exactly(buf->data, size)) {
            return false;
        }
        buf->size = size;
        out->blocks[i] = slice_create(buf, span_of(buf->data, size));
        buf_unref(buf);
    }
    return true;
}

static void free_request(struct request *request)
{
    for (uint32_t i = 0; i < request->count; i++) {
        slice_fini(&request->blocks[i]);
    }
    mem_free(request->blocks);
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void write_task(struct text *out, const struct flat_graph *graph, uint32_t task)
{
    uint32_t first = graph->dep_start[task];
    uint32_t end = graph->dep_start[task + 1];
    const struct blob *blob = graph->run_specs[task];
    struct span pickle;
    struct span head = slice_span(blob->frames[0]);
    struct msgpack_reader reader;
    int error = msgpack_find(head, "pickled-obj", &pickle);
    ASSERT(error == 0);
    ASSERT(msgpack_check(head) == 0);
    reader = msgpack_reader(pickle);
    error = msgpack_read_bin(&reader, &pickle);
    ASSERT(error == 0);
    msgpack_write_array(out, 5);
    msgpack_write_raw(out, graph->keys[task]);
    msgpack_write_array(out, end - first);
    for (uint32_t i = first; i < end; i++) {
        msgpack_write_raw(out, graph->keys[graph->deps[i]]);
    }
    msgpack_write_uint(out, graph->flags[task]);
    msgpack_write_bin(out, pickle);
    msgpack_write_array(out, blob->frame_count - 1);
    for (uint32_t i = 1; i < blob->frame_count; i++) {
        msgpack_write_bin(out, slice_span(blob->frames[i]));
    }
}

static void write_foreign(struct text *out, struct span names)
{
    struct msgpack_reader reader = msgpack_reader(names);
    uint32_t count = 0;
    for (struct span name; !msgpack_at_end(&reader); count++) {
        int error = msgpack_read_value(&reader, &name);
        ASSERT(error == 0);
    }
    msgpack_write_cstr(out, "foreign");
    msgpack_write_array(out, count);
    msgpack_write_raw(out, names);
}

static void answer_cut(struct text *out, const struct request *request)
{
    struct flat_graph graph;
    const char *reason;
    uint64_t start = cpu_ns();
    int error = pickle_graph_cut(slice_span(request->blocks[1]), request->blocks + 2,
                                 request->count - 2, &graph, &reason);
    uint64_t took = cpu_ns() - start;
    if (error != 0) {
        msgpack_write_map(out, 2);
        msgpack_write_cstr(out, "error");
        msgpack_write_cstr(out, error_name(error));
        msgpack_write_cstr(out, "reason");
        msgpack_write_cstr(out, reason);
        return;
    }
    msgpack_write_map(out, 5);
    write_foreign(out, graph.foreign);
    msgpack_write_cstr(out, "tasks");
    msgpack_write_array(out, graph.task_count);
    for (uint32_t i = 0; i < graph.task_count; i++) {
        write_task(out, &graph, i);
    }
    msgpack_write_cstr(out, "cull");
    msgpack_write_bool(out, graph.cull);
    msgpack_write_cstr(out, "keys");
    msgpack_write_uint(out, graph.key_count);
    msgpack_write_cstr(out, "ns");
    msgpack_write_uint(out, took);
    flat_graph_fini(&graph);
}

static void answer_recognise(struct text *out, struct span pickle)
{
    struct pickle_arguments arguments;
    enum pickle_known what = pickle_recognise(pickle, &arguments);
    msgpack_write_array(out, 5);
    msgpack_write_uint(out, what);
    if (arguments.keys.size == 0) {
        msgpack_write_nil(out);
    } else {
        msgpack_write_raw(out, text_span(&arguments.keys));
    }
    msgpack_write_bool(out, arguments.complete);
    msgpack_write_bool(out, arguments.by_span);
    msgpack_write_str(out, text_span(&arguments.name));
    pickle_arguments_fini(&arguments);
}

static bool make_shuffle(struct text *pickle, const struct span *arguments, uint32_t count)
{
    struct span *parts = mem_zalloc(count, sizeof *parts);
    struct span *addresses = mem_zalloc(count, sizeof *addresses);
    uint32_t part_count = (count - 2) / 2;
    for (uint32_t i = 0; i < part_count; i++) {
        parts[i] = arguments[2 + 2 * i];
        addresses[i] = arguments[3 + 2 * i];
    }
    const struct pickle_shuffle_run run = {.spec = arguments[0],
                                           .run_id = 7,
                                           .parts = parts,
                                           .addresses = addresses,
                                           .part_count = part_count,
                                           .span_id = arguments[1]};
    int error = pickle_make_shuffle_run(pickle, &run);
    mem_free(parts);
    mem_free(addresses);
    return error == 0;
}

/* One kind of pickle; false: it could not be made. */
static bool make(struct text *out, const char *name, const struct span *arguments, uint32_t count)
{
    if (strcmp(name, "exception") == 0) {
        pickle_make_exception(out, "builtins", "ValueError", arguments[0]);
    } else if (strcmp(name, "killed_worker") == 0) {
        const struct pickle_killed_worker error = {
            .key = arguments[0],
            .worker = {.address = arguments[1],
                       .name = arguments[2],
                       .server_id = SPAN("Worker-1"),
                       .pid = 4000000000,
                       .nthreads = 2},
            .allowed_failures = 3,
            .note = arguments[3],
            .text = count > 4 ? arguments[4] : (struct span){0},
        };
        pickle_make_killed_worker(out, &error);
    } else if (strcmp(name, "no_worker") == 0) {
        pickle_make_no_worker(out, arguments[0], 5.5);
    } else if (strcmp(name, "no_valid_worker") == 0) {
        const struct pickle_no_valid_worker failure = {.key = arguments[0],
                                                       .hosts = arguments[1],
                                                       .workers = arguments[2],
                                                       .resources = arguments[3],
                                                       .timeout_seconds = 5.5};
        pickle_make_no_valid_worker(out, &failure);
    } else if (strcmp(name, "future_cancelled") == 0) {
        pickle_make_future_cancelled(out, arguments[0], arguments[1], arguments[2]);
    } else if (strcmp(name, "future") == 0) {
        pickle_make_future(out, arguments[0]);
    } else if (strcmp(name, "key") == 0) {
        pickle_make_key(out, arguments[0]);
    } else if (strcmp(name, "value") == 0) {
        return pickle_make_value(out, arguments[0], false) == 0;
    } else if (strcmp(name, "attrgetter") == 0) {
        pickle_make_attrgetter(out, arguments[0]);
    } else if (strcmp(name, "shuffle_plugin") == 0) {
        pickle_make_shuffle_plugin(out);
    } else {
        return make_shuffle(out, arguments, count);
    }
    return true;
}

static void answer_make(struct text *out, const struct request *request)
{
    struct text name = {0};
    struct text pickle = {0};
    uint32_t count = request->count - 2;
    struct span *arguments = mem_zalloc(count + 4, sizeof *arguments);
    for (uint32_t i = 0; i < count; i++) {
        arguments[i] = slice_span(request->blocks[2 + i]);
    }
    text_add(&name, slice_span(request->blocks[1]));
    if (make(&pickle, text_cstr(&name), arguments, count)) {
        msgpack_write_bin(out, text_span(&pickle));
    } else {
        msgpack_write_nil(out);
    }
    mem_free(arguments);
    text_fini(&name);
    text_fini(&pickle);
}

static void answer(struct text *out, const struct request *request)
{
    struct span command = slice_span(request->blocks[0]);
    if (request->count < 2) {
        msgpack_write_nil(out);
    } else if (span_equal_text(command, "cut")) {
        answer_cut(out, request);
    } else if (span_equal_text(command, "recognise")) {
        answer_recognise(out, slice_span(request->blocks[1]));
    } else if (span_equal_text(command, "make")) {
        answer_make(out, request);
    } else if (pickle_value_decode(slice_span(request->blocks[1]), out) != 0) {
        msgpack_write_cstr(out, "unsupported");
    }
}

int main(void)
{
    struct request request;
    while (read_request(&request)) {
        struct text out = {0};
        answer(&out, &request);
        uint64_t size = out.size;
        fwrite(&size, sizeof size, 1, stdout);
        fwrite(out.data, 1, out.size, stdout);
        fflush(stdout);
        text_fini(&out);
        free_request(&request);
    }
    return 0;
}
