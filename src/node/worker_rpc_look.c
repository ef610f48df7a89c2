/* worker_rpc_look.c: questions about a worker that it answers by itself.
 * Source: distributed worker.py identity, ping, versions, get_story. */
#include "node/values.h"
#include "node/worker_internal.h"

static void put_text(struct text *head, const char *name, struct span value)
{
    msgpack_write_cstr(head, name);
    msgpack_write_str(head, value);
}

void worker_rpc_identity(struct worker_node *worker, struct request *request,
                         const struct message *message)
{
    struct outgoing out;
    (void)message;
    outgoing_init(&out);
    msgpack_write_map(&out.head, 5);
    put_text(&out.head, "type", SPAN("Worker"));
    put_text(&out.head, "id", text_span(&worker->id));
    put_text(&out.head, "scheduler", text_span(&worker->scheduler));
    msgpack_write_cstr(&out.head, "nthreads");
    msgpack_write_uint(&out.head, worker->options.nthreads);
    msgpack_write_cstr(&out.head, "memory_limit");
    if (worker->options.memory_limit > 0) {
        msgpack_write_uint(&out.head, worker->options.memory_limit);
    } else {
        msgpack_write_nil(&out.head);
    }
    request_reply(request, &out);
    outgoing_fini(&out);
}

/* worker's and nanny's echo have the same field. */
void worker_rpc_echo(struct worker_node *worker, struct request *request,
                     const struct message *message)
{
    struct blob *blob = NULL;
    (void)worker;
    if (!msgpack_is_nil(message->body.worker_echo.data.raw) &&
        payload_take(&request->message, message->body.worker_echo.data.raw, &blob) != OK) {
        request_raise_builtin(request, "ValueError", "echo: malformed data");
        return;
    }
    request_reply_blob(request, blob);
    blob_unref(blob);
}

void worker_rpc_ping(struct worker_node *worker, struct request *request,
                     const struct message *message)
{
    struct outgoing out;
    (void)worker;
    (void)message;
    outgoing_init(&out);
    msgpack_write_bin(&out.head, SPAN("pong"));
    request_reply(request, &out);
    outgoing_fini(&out);
}

/* What the first executor said, which is what the scheduler knows; others, with more packages, are asked. */
void worker_rpc_versions(struct worker_node *worker, struct request *request,
                         const struct message *message)
{
    if (worker->versions == NULL || !msgpack_is_nil(message->body.worker_versions.packages)) {
        worker_rpc_to_python(worker, request, message);
    } else {
        request_reply_blob(request, worker->versions);
    }
}

/* ---- story ------------------------------------------------------------------------------------- */

void worker_write_story(struct text *out, const struct wstory_entry *entry)
{
    if (entry->what == NULL) {
        msgpack_write_array(out, 7);
        msgpack_write_raw(out, entry->key);
        msgpack_write_cstr(out, wtask_state_name(entry->start));
        msgpack_write_cstr(out, wtask_state_name(entry->wanted));
        msgpack_write_cstr(out, wtask_state_name(entry->finish));
        msgpack_write_map(out, 0);
    } else {
        msgpack_write_array(out, entry->key.size > 0 ? 5 : 3);
        if (entry->key.size > 0) {
            msgpack_write_raw(out, entry->key);
        }
        msgpack_write_cstr(out, entry->what);
        if (entry->key.size > 0) {
            msgpack_write_cstr(out, wtask_state_name(entry->start));
        }
    }
    msgpack_write_str(out, entry->stimulus);
    msgpack_write_float(out, entry->time);
}

void worker_rpc_get_story(struct worker_node *worker, struct request *request,
                          const struct message *message)
{
    struct arena *scratch = &worker->scratch;
    struct span_list keys = values_keys(scratch, message->body.worker_get_story.keys_or_stimuli);
    struct span *stimuli = arena_array(scratch, struct span, keys.count + 1);
    uint32_t stimulus_count = 0, count = 0;
    for (uint32_t i = 0; i < keys.count; i++) { /* a str may be either */
        struct msgpack_reader reader = msgpack_reader(keys.items[i]);
        stimulus_count += msgpack_peek(&reader) == MSGPACK_STR &&
                          msgpack_read_str(&reader, &stimuli[stimulus_count]) == OK;
    }
    struct span_list stimulus_list = {stimuli, stimulus_count};
    const struct wstory_entry *entries = NULL;
    if (keys.count > 0) {
        entries = worker_story(worker->core, keys, stimulus_list, scratch, &count);
    }
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_array(&out.head, count);
    for (uint32_t i = 0; i < count; i++) {
        worker_write_story(&out.head, &entries[i]);
    }
    request_reply(request, &out);
    outgoing_fini(&out);
}

/* ---- the nanny ------------------------------------------------------------------------------- */

void nanny_rpc_echo(struct worker_node *worker, struct request *request,
                    const struct message *message)
{
    worker_rpc_echo(worker, request, message);
}

void nanny_rpc_identity(struct worker_node *worker, struct request *request,
                        const struct message *message)
{
    struct outgoing out;
    (void)message;
    outgoing_init(&out);
    msgpack_write_map(&out.head, 2);
    put_text(&out.head, "type", SPAN("Nanny"));
    put_text(&out.head, "id", text_span(&worker->nanny_id));
    request_reply(request, &out);
    outgoing_fini(&out);
}
