/* exception.c: failures as the exceptions that clients see. What the scheduler itself finds wrong is pickled
 * here; nothing is executed, and a traceback is a pickle or nil, never text (a client would wait for ever). */
#include "node/exception.h"

#include <stdio.h>

#include "node/killed_worker.h"
#include "wire/key.h"
#include "wire/pickle_make.h"

/* A msgpack array of strings. */
static void put_strings(struct text *out, struct span_list strings)
{
    msgpack_write_array(out, strings.count);
    for (uint32_t i = 0; i < strings.count; i++) {
        msgpack_write_str_lossy(out, strings.items[i]);
    }
}

static void killed_worker(struct text *out, const struct failure_view *failure, struct text *shown)
{
    const struct killed_worker killed = {
        .key = failure->key,
        .worker = {.address = failure->worker,
                   .name = failure->worker_name,
                   .server_id = failure->worker,
                   .pid = (uint32_t)failure->worker_pid,
                   .nthreads = failure->worker_nthreads},
        .allowed_failures = failure->allowed_failures,
        .attempt_count = failure->attempt_count,
        .attempts = failure->attempts,
        .has_crashes = failure->has_crashes,
    };
    killed_worker_write(&killed, out, shown);
}

static void no_valid_worker(struct text *out, const struct failure_view *failure)
{
    struct text hosts = {0}, workers = {0}, resources = {0};
    put_strings(&hosts, failure->host_restrictions);
    put_strings(&workers, failure->worker_restrictions);
    msgpack_write_map(&resources, failure->resources.count);
    for (uint32_t i = 0; i < failure->resources.count; i++) {
        msgpack_write_str_lossy(&resources, failure->resources.items[i].name);
        msgpack_write_number(&resources, failure->resources.items[i].amount);
    }
    const struct pickle_no_valid_worker error = {.key = failure->key,
                                                 .hosts = text_span(&hosts),
                                                 .workers = text_span(&workers),
                                                 .resources = text_span(&resources),
                                                 .timeout_seconds = failure->timeout};
    pickle_make_no_valid_worker(out, &error);
    text_fini(&hosts);
    text_fini(&workers);
    text_fini(&resources);
}

static void make_pickle(struct text *out, const struct failure_view *failure)
{
    struct text shown = {0};
    switch (failure->kind) {
    case FAILURE_USER:
        UNREACHABLE();
    case FAILURE_KILLED_WORKER:
        killed_worker(out, failure, &shown);
        text_fini(&shown);
        break;
    case FAILURE_NO_WORKER:
        pickle_make_no_worker(out, failure->key, failure->timeout);
        break;
    case FAILURE_NO_VALID_WORKER:
        no_valid_worker(out, failure);
        break;
    case FAILURE_MEMORY:
        pickle_make_exception(out, "builtins", "MemoryError", failure->text);
        break;
    case FAILURE_ACTOR_LOST:
    case FAILURE_TEXT:
        pickle_make_exception(out, "builtins", "RuntimeError", failure->text);
        break;
    }
}

struct exception_blobs exception_blobs(struct node *node, const struct failure *failure)
{
    (void)node;
    struct failure_view view;
    view_failure(failure, &view);
    if (view.kind == FAILURE_USER) {
        return (struct exception_blobs){blob_ref(view.exception),
                                        view.traceback == NULL ? NULL : blob_ref(view.traceback)};
    }
    struct text pickle = {0};
    make_pickle(&pickle, &view);
    struct exception_blobs blobs = {payload_serialized_bytes(text_span(&pickle)), NULL};
    text_fini(&pickle);
    return blobs;
}

void exception_blobs_fini(struct exception_blobs *blobs)
{
    blob_unref(blobs->exception);
    blob_unref(blobs->traceback);
}

/* Class name of what make_pickle makes; KilledWorker says it itself. */
static const char *class_name(enum failure_kind kind)
{
    switch (kind) {
    case FAILURE_NO_WORKER:
        return "NoWorkerError";
    case FAILURE_NO_VALID_WORKER:
        return "NoValidWorkerError";
    case FAILURE_MEMORY:
        return "MemoryError";
    default:
        return "RuntimeError";
    }
}

struct span exception_text(const struct failure *failure, struct arena *arena)
{
    struct failure_view view;
    view_failure(failure, &view);
    if (view.exception_text.size > 0) {
        return view.exception_text;
    }
    struct text repr = {0};
    if (view.kind == FAILURE_KILLED_WORKER) {
        struct text pickle = {0};
        killed_worker(&pickle, &view, &repr);
        text_fini(&pickle);
    } else {
        text_printf(&repr, "%s(", class_name(view.kind));
        if (view.text.size > 0) {
            key_repr_text(&repr, view.text);
        } else {
            key_repr(&repr, view.key);
        }
        text_add_char(&repr, ')');
    }
    struct span kept = arena_copy(arena, text_span(&repr));
    text_fini(&repr);
    return kept;
}

static void put_blob(struct outgoing *out, const char *name, const struct blob *blob)
{
    msgpack_write_cstr(&out->head, name);
    if (blob == NULL) {
        msgpack_write_nil(&out->head);
    } else {
        payload_put(out, blob);
    }
}

void exception_write(struct node *node, const struct failure *failure, struct outgoing *out)
{
    struct failure_view view;
    view_failure(failure, &view);
    struct exception_blobs blobs = exception_blobs(node, failure);
    put_blob(out, "exception", blobs.exception);
    put_blob(out, "traceback", blobs.traceback);
    msgpack_write_cstr(&out->head, "exception_text");
    msgpack_write_str_lossy(&out->head, exception_text(failure, &node->outbound_arena));
    msgpack_write_cstr(&out->head, "traceback_text");
    msgpack_write_str_lossy(&out->head, view.traceback_text);
    exception_blobs_fini(&blobs);
}
