/* coordination.c: answers of the core to RPCs that waited, as stock writes them. */
#include "node/coordination.h"

#include "node/coordination_internal.h"
#include "node/exception.h"
#include "wire/pickle_make.h"

/* {"type": "Future", "value": key, "state": …} or {"type": "msgpack", "value": data} */
static void write_record(struct node *node, const struct record *record, struct outgoing *out)
{
    struct text *head = &out->head;
    if (record->data != NULL || record->key.size == 0) {
        msgpack_write_map(head, 2);
        msgpack_write_cstr(head, "type");
        msgpack_write_cstr(head, "msgpack");
        msgpack_write_cstr(head, "value");
        if (record->data == NULL) {
            msgpack_write_nil(head);
        } else {
            payload_put(out, record->data);
        }
        return;
    }
    msgpack_write_map(head, 3 + (record->token.size > 0) + (record->failure != NULL ? 4 : 0));
    msgpack_write_cstr(head, "type");
    msgpack_write_cstr(head, "Future");
    msgpack_write_cstr(head, "value");
    msgpack_write_raw(head, record->key);
    msgpack_write_cstr(head, "state");
    msgpack_write_str(head, record->state);
    if (record->token.size > 0) {
        msgpack_write_cstr(head, "token");
        msgpack_write_str(head, record->token);
    }
    if (record->failure != NULL) {
        exception_write(node, record->failure, out);
    }
}

void coordination_write_dataset(const struct answer *answer, struct outgoing *out)
{
    if (answer->blob == NULL) {
        msgpack_write_nil(&out->head);
        return;
    }
    msgpack_write_map(&out->head, 2);
    msgpack_write_cstr(&out->head, "data");
    payload_put(out, answer->blob);
    msgpack_write_cstr(&out->head, "keys");
    msgpack_write_array(&out->head, answer->keys.count);
    for (uint32_t i = 0; i < answer->keys.count; i++) {
        msgpack_write_raw(&out->head, answer->keys.items[i]);
    }
}

/* {"status": "OK", "run_spec": ToPickle(ShuffleRunSpec)} */
static bool write_shuffle(struct node *node, const struct shuffle_answer *shuffle,
                          struct outgoing *out)
{
    struct span *addresses = arena_array(&node->outbound_arena, struct span, shuffle->parts.count);
    for (uint32_t i = 0; i < shuffle->parts.count; i++) {
        addresses[i] = view_worker_address(node->core, shuffle->workers[i]);
    }
    struct text pickle = {0};
    const struct pickle_shuffle_run run = {.spec = shuffle->spec,
                                           .run_id = (uint64_t)shuffle->run_id,
                                           .parts = shuffle->parts.items,
                                           .addresses = addresses,
                                           .part_count = shuffle->parts.count,
                                           .span_id = shuffle->span_id};
    bool is_fine = pickle_make_shuffle_run(&pickle, &run) == OK;
    if (is_fine) {
        struct blob *blob = payload_pickled(text_span(&pickle));
        msgpack_write_map(&out->head, 2);
        msgpack_write_cstr(&out->head, "status");
        msgpack_write_cstr(&out->head, "OK");
        msgpack_write_cstr(&out->head, "run_spec");
        payload_put(out, blob);
        blob_unref(blob);
    }
    text_fini(&pickle);
    return is_fine;
}

/* {"status": "error", "exception": …}: the worker raises P2PConsistencyError. */
static void write_p2p_error(const struct answer *answer, struct outgoing *out)
{
    struct text pickle = {0};
    pickle_make_exception(&pickle, "distributed.shuffle._exceptions", "P2PConsistencyError",
                          answer->text);
    struct blob *blob = payload_serialized_bytes(text_span(&pickle));
    msgpack_write_map(&out->head, 5);
    msgpack_write_cstr(&out->head, "status");
    msgpack_write_cstr(&out->head, "error");
    msgpack_write_cstr(&out->head, "exception");
    payload_put(out, blob);
    msgpack_write_cstr(&out->head, "traceback");
    msgpack_write_nil(&out->head);
    msgpack_write_cstr(&out->head, "exception_text");
    msgpack_write_str_lossy(&out->head, answer->text);
    msgpack_write_cstr(&out->head, "traceback_text");
    msgpack_write_cstr(&out->head, "");
    blob_unref(blob);
    text_fini(&pickle);
}

const char *coordination_error_class(enum answer_kind kind)
{
    switch (kind) {
    case ANSWER_TIMEOUT_ERROR:
        return "TimeoutError";
    case ANSWER_KEY_ERROR:
        return "KeyError";
    case ANSWER_VALUE_ERROR:
        return "ValueError";
    case ANSWER_RUNTIME_ERROR:
        return "RuntimeError";
    default:
        return NULL;
    }
}

/* The value of an answer that is no raised error. False: it could not be written. */
static bool write_answer(struct node *node, const struct answer *answer, struct outgoing *out)
{
    struct text *head = &out->head;
    switch (answer->kind) {
    case ANSWER_NIL:
        msgpack_write_nil(head);
        return true;
    case ANSWER_BOOL:
        msgpack_write_bool(head, answer->number != 0);
        return true;
    case ANSWER_INT:
        msgpack_write_int(head, answer->number);
        return true;
    case ANSWER_RECORD:
        write_record(node, &answer->records[0], out);
        return true;
    case ANSWER_RECORDS:
        msgpack_write_array(head, answer->record_count);
        for (uint32_t i = 0; i < answer->record_count; i++) {
            write_record(node, &answer->records[i], out);
        }
        return true;
    case ANSWER_DATASET:
        coordination_write_dataset(answer, out);
        return true;
    case ANSWER_SHUFFLE:
        return write_shuffle(node, answer->shuffle, out);
    case ANSWER_OK:
        msgpack_write_map(head, 1);
        msgpack_write_cstr(head, "status");
        msgpack_write_cstr(head, "OK");
        return true;
    case ANSWER_P2P_ERROR:
        write_p2p_error(answer, out);
        return true;
    default:
        UNREACHABLE();
    }
}

void coordination_reply(struct node *node, uint64_t number, const struct answer *answer)
{
    if (number == COORDINATION_PUBLISH) {
        publish_answered(node, answer);
        return;
    }
    struct request *request = request_find(&node->server, number);
    if (request == NULL) {
        return; /* nobody waits for it any more */
    }
    const char *class_name = coordination_error_class(answer->kind);
    if (class_name != NULL) {
        request_raise_builtin(request, class_name, "%.*s", (int)answer->text.size,
                              (const char *)answer->text.data);
        return;
    }
    struct outgoing out;
    outgoing_init(&out);
    if (write_answer(node, answer, &out)) {
        request_reply(request, &out);
    } else {
        request_raise_builtin(request, "RuntimeError",
                              "the shuffle's specification cannot be read");
    }
    outgoing_fini(&out);
}
