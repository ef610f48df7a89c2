/* Messages: the table reads what stock may send in any order, and says which field is wrong. */
#include "wire/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct arena scratch;
    struct message_decoder decoder;
    struct message message;
};

static void open_port(struct fixture *fixture, enum message_port port)
{
    arena_init(&fixture->scratch);
    message_decoder_init(&fixture->decoder, port, &fixture->scratch);
}

static void close_port(struct fixture *fixture)
{
    message_decoder_fini(&fixture->decoder);
    arena_fini(&fixture->scratch);
}

static int decode(struct fixture *fixture, struct span bytes)
{
    struct msgpack_reader reader = msgpack_reader(bytes);
    return message_decode(&fixture->decoder, &reader, &fixture->message);
}

#define ADD_KEYS_BODY                                                                              \
    "\xa4keys\x92\xa1"                                                                             \
    "a\x92\xa1x\x00\xabstimulus_id\xa1s"

/* The same message with its fields in other orders, again and again: guesses help but never decide. */
static void test_any_order(void **state)
{
    (void)state;
    struct fixture f;
    open_port(&f, PORT_SCHEDULER_STREAM);
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(decode(&f, SPAN("\x83\xa4keys\x91\x01\xa2op\xa8"
                                         "add-keys\xabstimulus_id\xa1s")),
                         OK);
        assert_int_equal(f.message.id, MESSAGE_ADD_KEYS);
        assert_int_equal(f.message.body.add_keys.keys.count, 1);
        assert_int_equal(decode(&f, SPAN("\x83\xa2op\xa8"
                                         "add-keys" ADD_KEYS_BODY)),
                         OK);
        assert_int_equal(f.message.body.add_keys.keys.count, 2);
        assert_true(span_equal(f.message.body.add_keys.stimulus_id, SPAN("s")));
        assert_int_equal(decode(&f, SPAN("\x83\xabstimulus_id\xa1t\xa4keys\x90\xa2op\xa8"
                                         "add-keys")),
                         OK);
        assert_true(span_equal(f.message.body.add_keys.stimulus_id, SPAN("t")));
        /* Another message of three fields. */
        assert_int_equal(
            decode(&f, SPAN("\x83\xa3key\x05\xa2op\xaareschedule\xabstimulus_id\xa1u")), OK);
        assert_int_equal(f.message.id, MESSAGE_RESCHEDULE);
        assert_true(span_equal(f.message.body.reschedule.key, SPAN("\x05")));
    }
    assert_int_equal(f.decoder.unknown_count, 0);
    close_port(&f);
}

/* A field that a newer Dask added is skipped and counted; an op that it added is told apart. */
static void test_unknown(void **state)
{
    (void)state;
    struct fixture f;
    open_port(&f, PORT_SCHEDULER_STREAM);
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(decode(&f, SPAN("\x84\xa3new\x81\xa1x\x01\xa2op\xa8"
                                         "add-keys" ADD_KEYS_BODY)),
                         OK);
        assert_int_equal(f.message.body.unknown_count, 1);
        assert_true(span_equal(f.message.unknown_field, SPAN("new")));
        assert_int_equal(decode(&f, SPAN("\x82\xa2op\xa3odd\xa1x\x01")), OK);
        assert_int_equal(f.message.id, MESSAGE_UNKNOWN);
        assert_true(span_equal(f.message.op, SPAN("odd")));
    }
    assert_int_equal(f.decoder.unknown_count, 4);
    close_port(&f);
}

static void expect_fault(struct fixture *f, struct span bytes, int code, const char *error)
{
    assert_int_equal(decode(f, bytes), code);
    assert_string_equal(text_cstr(&f->decoder.error), error);
}

/* The error names the field, and the message after the faulty one is read all the same. */
static void test_faults(void **state)
{
    (void)state;
    struct fixture f;
    open_port(&f, PORT_SCHEDULER_STREAM);
    for (unsigned round = 0; round < 2; round++) {
        expect_fault(&f,
                     SPAN("\x82\xa2op\xa8"
                          "add-keys\xabstimulus_id\xa1s"),
                     ERR_MISSING, "add-keys: field 'keys' is missing");
        assert_int_equal(f.message.id, MESSAGE_ADD_KEYS);
        expect_fault(&f,
                     SPAN("\x82\xa2op\xa8"
                          "add-keys\xa4keys\x05"),
                     ERR_TYPE, "add-keys: field 'keys' must be a list or set of keys, not int");
        expect_fault(&f,
                     SPAN("\x82\xa2op\xa8"
                          "add-keys\xa4keys\xc0"),
                     ERR_TYPE, "add-keys: field 'keys' must be a list or set of keys, not nil");
        expect_fault(
            &f, SPAN("\x82\xa2op\xaareport-key\xa3key\x80"), ERR_TYPE,
            "report-key: field 'key' must be a key (str, int, float or a tuple of them), not map");
        expect_fault(&f, SPAN("\x81\xa3key\x05"), ERR_MISSING, "the message has no 'op'");
        expect_fault(&f, SPAN("\x81\xa2op\x05"), ERR_MISSING, "the message has no 'op'");
        expect_fault(&f, SPAN("\x05"), ERR_MALFORMED,
                     "not a message: the bytes are not what the format allows");
        expect_fault(&f, SPAN("\x81\x05\x05"), ERR_MALFORMED,
                     "not a message: the bytes are not what the format allows");
        assert_int_equal(decode(&f, SPAN("\x82\xa2op\xaareport-key\xa3key\x07")), OK);
    }
    close_port(&f);
}

/* A batch goes on after a faulty item and ends at the string "OK"; a bare map is a batch of one. */
static void test_batches(void **state)
{
    (void)state;
    struct fixture f;
    struct message_batch batch;
    open_port(&f, PORT_SCHEDULER_STREAM);
    struct span items = SPAN("\x94\x81\xa2op\xaakeep-alive\x82\xa2op\xaareport-key\xa3key\xc0"
                             "\x82\xa2op\xaareport-key\xa3key\x07\xa2OK");
    assert_int_equal(message_batch_open(items, &batch), OK);
    assert_int_equal(message_batch_next(&batch, &f.decoder, &f.message), 1);
    assert_int_equal(f.message.id, MESSAGE_KEEP_ALIVE);
    assert_int_equal(message_batch_next(&batch, &f.decoder, &f.message), ERR_TYPE);
    assert_int_equal(message_batch_next(&batch, &f.decoder, &f.message), 1);
    assert_int_equal(f.message.id, MESSAGE_REPORT_KEY);
    assert_int_equal(message_batch_next(&batch, &f.decoder, &f.message), 0);
    assert_int_equal(message_batch_next(&batch, &f.decoder, &f.message), 0);

    assert_int_equal(message_batch_open(SPAN("\x81\xa2op\xaakeep-alive"), &batch), OK);
    assert_int_equal(message_batch_next(&batch, &f.decoder, &f.message), 1);
    assert_int_equal(message_batch_next(&batch, &f.decoder, &f.message), 0);
    assert_int_equal(message_batch_open(SPAN("\x91\x81\xa2op\xaakeep-alive\xc0"), &batch), OK);
    assert_int_equal(message_batch_next(&batch, &f.decoder, &f.message), 1);
    assert_int_equal(message_batch_next(&batch, &f.decoder, &f.message), ERR_MALFORMED);
    assert_int_equal(message_batch_open(SPAN("\xc0"), &batch), ERR_MALFORMED);
    assert_int_equal(message_batch_open(SPAN("\x92\xc0\xc0"), &batch), OK);
    assert_int_equal(message_batch_next(&batch, &f.decoder, &f.message), ERR_MALFORMED);
    assert_int_equal(message_batch_next(&batch, &f.decoder, &f.message), 0);
    close_port(&f);
}

/* Requests carry control fields besides their own, and defaults for what they leave out. */
static void test_requests(void **state)
{
    (void)state;
    struct fixture f;
    open_port(&f, PORT_SCHEDULER_RPC);
    assert_int_equal(decode(&f, SPAN("\x84\xa2op\xa6gather\xa4keys\x91\x01\xabserializers\x91\xa4"
                                     "dask"
                                     "\xa5reply\xc2")),
                     OK);
    assert_int_equal(f.message.id, MESSAGE_GATHER);
    assert_false(f.message.reply);
    assert_false(f.message.close);
    assert_true(span_equal(f.message.serializers, SPAN("\x91\xa4"
                                                       "dask")));
    assert_int_equal(decode(&f, SPAN("\x82\xa2op\xa7restart\xabstimulus_id\xa1s")), OK);
    assert_true(f.message.reply);
    assert_true(f.message.body.restart.timeout == 30);
    assert_true(f.message.body.restart.wait_for_workers);
    assert_null(f.message.body.restart.client.data);
    assert_int_equal(decode(&f, SPAN("\x83\xa2op\xa8identity\xa5"
                                     "close\xc3\xa9n_workers\xc0")),
                     OK);
    assert_true(f.message.close);
    assert_int_equal(f.message.body.identity.n_workers, -1);
    assert_int_equal(decode(&f, SPAN("\x82\xa2op\xa4"
                                     "echo\xa4"
                                     "data\xc0")),
                     OK);
    assert_int_equal(f.message.body.echo.data.raw.size, 1); /* nil is a value, not an absence */
    assert_int_equal(decode(&f, SPAN("\x81\xa2op\xa4"
                                     "echo")),
                     OK);
    assert_null(f.message.body.echo.data.raw.data);
    close_port(&f);
}

/* Python's numbers: an int for a float, a float for an int, a bool for either. */
static void test_numbers(void **state)
{
    (void)state;
    struct fixture f;
    open_port(&f, PORT_CLIENT_STREAM);
    assert_int_equal(decode(&f, SPAN("\x82\xa2op\xb9"
                                     "adjust-heartbeat-interval\xa8interval\x02")),
                     OK);
    assert_true(f.message.body.adjust_heartbeat_interval.interval == 2);
    close_port(&f);
    open_port(&f, PORT_SCHEDULER_RPC);
    assert_int_equal(
        decode(&f, SPAN("\x82\xa2op\xa8identity\xa9n_workers\xcb\x40\x14\0\0\0\0\0\0")), OK);
    assert_int_equal(f.message.body.identity.n_workers, 5);
    assert_int_equal(decode(&f, SPAN("\x82\xa2op\xa8identity\xa9n_workers\xc3")), OK);
    assert_int_equal(f.message.body.identity.n_workers, 1);
    assert_int_equal(
        decode(&f, SPAN("\x82\xa2op\xa8identity\xa9n_workers\xcb\x7f\xf0\0\0\0\0\0\0")), ERR_TYPE);
    assert_int_equal(
        decode(&f, SPAN("\x82\xa2op\xa8identity\xa9n_workers\xcf\xff\xff\xff\xff\xff\xff\xff\xff")),
        ERR_TYPE);
    close_port(&f);
}

/* Keys that are not in their shortest form become so; they live in the scratch arena. */
static void test_keys_are_canonical(void **state)
{
    (void)state;
    struct fixture f;
    open_port(&f, PORT_SCHEDULER_STREAM);
    assert_int_equal(decode(&f, SPAN("\x82\xa2op\xaareport-key\xa3key\x92\xd9\x01x\xcc\x05")), OK);
    assert_true(span_equal(f.message.body.report_key.key, SPAN("\x92\xa1x\x05")));
    close_port(&f);
}

/* A map of more fields than any message has is refused before they are looked at. */
static void test_too_many_fields(void **state)
{
    (void)state;
    struct fixture f;
    struct text map = {0};
    open_port(&f, PORT_SCHEDULER_STREAM);
    msgpack_write_map(&map, 129);
    for (unsigned i = 0; i < 129; i++) {
        msgpack_write_cstr(&map, "x");
        msgpack_write_nil(&map);
    }
    assert_int_equal(decode(&f, text_span(&map)), ERR_LIMIT);
    text_fini(&map);
    close_port(&f);
}

/* ---- Encoding ----------------------------------------------------------------------------------- */

static void expect_head(struct outgoing *out, struct span expected)
{
    assert_true(span_equal(text_span(&out->head), expected));
    outgoing_clear(out);
}

/* Optional fields that hold their default are left out; nil stands where the table asks for it. */
static void test_encode(void **state)
{
    (void)state;
    struct outgoing out = {0};
    struct msg_cancelled_keys cancelled = {.keys = {SPAN("\xa1"
                                                         "a"),
                                                    1, true}};
    message_encode(&out, MESSAGE_CANCELLED_KEYS, &cancelled);
    expect_head(&out, SPAN("\x82\xa2op\xae"
                           "cancelled-keys\xa4keys\x91\xa1"
                           "a"));
    struct msg_steal_response steal = {.key = SPAN("\x05"), .stimulus_id = SPAN("s")};
    message_encode(&out, MESSAGE_STEAL_RESPONSE, &steal);
    expect_head(&out,
                SPAN("\x84\xa3key\x05\xa5state\xc0\xa2op\xaesteal-response\xabstimulus_id\xa1s"));
    struct msg_get_data get = {.keys = {SPAN("\x05"), 1, true}};
    message_encode(&out, MESSAGE_GET_DATA, &get);
    expect_head(&out, SPAN("\x83\xa2op\xa8get_data\xa4keys\x91\x05\xa5reply\xc3"));
    struct msg_nanny_kill kill;
    message_defaults(MESSAGE_NANNY_KILL, &kill);
    message_encode_request(&out, MESSAGE_NANNY_KILL, &kill, false, true);
    expect_head(&out, SPAN("\x83\xa5"
                           "close\xc3\xa2op\xa4kill\xa5reply\xc2"));
    struct msg_reply_status status = {.status = SPAN("OK")};
    message_defaults(MESSAGE_REPLY_STATUS, &status);
    status.status = SPAN("OK");
    message_encode(&out, MESSAGE_REPLY_STATUS, &status);
    expect_head(&out, SPAN("\x81\xa6status\xa2OK"));
    outgoing_fini(&out);
}

/* who_has and nbytes of `task`, as the table wants them: whole values. */
static void write_dependencies(const struct compute_task *task, struct text *who_has,
                               struct text *nbytes)
{
    msgpack_write_map(who_has, task->dependency_count);
    msgpack_write_map(nbytes, task->dependency_count);
    for (uint32_t i = 0; i < task->dependency_count; i++) {
        const struct compute_task_dependency *dependency = &task->dependencies[i];
        msgpack_write_raw(who_has, dependency->key);
        msgpack_write_array(who_has, dependency->holder_count);
        for (uint32_t j = 0; j < dependency->holder_count; j++) {
            msgpack_write_raw(who_has, dependency->holders[j]);
        }
        msgpack_write_raw(nbytes, dependency->key);
        msgpack_write_int(nbytes, dependency->nbytes);
    }
}

/* The hand-written compute-task is byte for byte what the table writes. */
static void expect_compute_task_as_table(const struct compute_task *task)
{
    struct text who_has = {0};
    struct text nbytes = {0};
    struct text priority = {0};
    struct outgoing hand = {0};
    struct outgoing table = {0};
    write_dependencies(task, &who_has, &nbytes);
    msgpack_write_array(&priority, 3);
    for (unsigned i = 0; i < 3; i++) {
        msgpack_write_number(&priority, task->priority[i]);
    }
    struct msg_compute_task body = {
        .key = task->key,
        .run_id = task->run_id,
        .priority = text_span(&priority),
        .stimulus_id = task->stimulus_id,
        .who_has = text_span(&who_has),
        .nbytes = text_span(&nbytes),
        .run_spec = {.blob = task->run_spec},
        .resource_restrictions = task->resource_restrictions,
        .actor = task->actor,
        .annotations = {.blob = task->annotations, .raw = SPAN("\x80")},
        .span_id = task->span_id,
        .ahead = task->ahead,
    };
    outgoing_start_batch(&hand);
    outgoing_start_batch(&table);
    for (unsigned i = 0; i < 3; i++) {
        message_encode_compute_task(&hand, task);
        message_encode(&table, MESSAGE_COMPUTE_TASK, &body);
    }
    assert_true(span_equal(text_span(&hand.head), text_span(&table.head)));
    assert_int_equal(hand.frames.count, table.frames.count);
    assert_int_equal(hand.item_count, 3);
    assert_int_equal(table.item_count, 3);
    outgoing_fini(&hand);
    outgoing_fini(&table);
    text_fini(&who_has);
    text_fini(&nbytes);
    text_fini(&priority);
}

static void test_compute_task_by_hand(void **state)
{
    (void)state;
    struct compute_task_dependency dependencies[20];
    struct text holder = {0};
    msgpack_write_cstr(&holder, "tcp://127.0.0.1:33885");
    struct span holders[] = {text_span(&holder), text_span(&holder)};
    for (unsigned i = 0; i < 20; i++) {
        dependencies[i] =
            (struct compute_task_dependency){SPAN("\x92\xa1x\x07"), 1ll << (2 * i), holders, 2};
    }
    struct compute_task task = {
        .key = SPAN("\xa1k"),
        .run_id = 70000,
        .priority = {-5, 0.99, 123456},
        .stimulus_id = SPAN("compute-task-1795301735.7831435"),
        .dependencies = dependencies,
    };
    struct blob *run_spec = payload_pickled(SPAN("\x80\x05N."));
    struct blob *annotations = payload_value(SPAN("\x81\xa1x\x01"));
    task.run_spec = run_spec;
    expect_compute_task_as_table(&task);
    task.actor = true;
    task.span_id = SPAN("a25a02ac-8c54-497b-8460-655294c54774");
    task.resource_restrictions = SPAN("\x81\xa3GPU\x01");
    task.annotations = annotations;
    for (task.dependency_count = 1; task.dependency_count <= 20; task.dependency_count++) {
        expect_compute_task_as_table(&task);
    }
    task.dependency_count = 20;
    task.ahead = true;
    expect_compute_task_as_table(&task);
    text_fini(&holder);
    blob_unref(run_spec);
    blob_unref(annotations);
}

static void test_others_by_hand(void **state)
{
    (void)state;
    struct outgoing out = {0};
    struct span keys[20];
    struct text all = {0};
    for (unsigned i = 0; i < 20; i++) {
        keys[i] = SPAN("\xa1z");
        text_add(&all, keys[i]);
    }
    struct msg_free_keys table = {.keys = {text_span(&all), 20, true}, .stimulus_id = SPAN("s")};
    message_encode(&out, MESSAGE_FREE_KEYS, &table);
    size_t size = out.head.size;
    message_encode_keys(&out, MESSAGE_FREE_KEYS, keys, 20, SPAN("s"));
    assert_int_equal(out.head.size, 2 * size);
    assert_memory_equal(out.head.data, out.head.data + size, size);
    outgoing_clear(&out);
    message_encode_key_in_memory(&out, SPAN("\x05"), (struct span){0});
    expect_head(&out, SPAN("\x82\xa2op\xadkey-in-memory\xa3key\x05"));
    message_encode_key_in_memory(&out, SPAN("\x05"), SPAN("t"));
    expect_head(&out, SPAN("\x83\xa2op\xadkey-in-memory\xa3key\x05\xa4type\xc4\x01t"));
    outgoing_fini(&out);
    text_fini(&all);
}

/* ---- The table ---------------------------------------------------------------------------------- */

/* Each op is there once a port, and found; every row's member lies in its struct. */
static void test_table_is_sound(void **state)
{
    (void)state;
    for (unsigned id = 1; id < MESSAGE_COUNT; id++) {
        const struct message_info *info = message_info((enum message_id)id);
        unsigned rows = 0;
        for (const struct message_field *field = message_fields((enum message_id)id); field->name;
             field++) {
            assert_true(field->offset < sizeof(struct message));
            assert_true(strlen(field->name) < 32);
            rows++;
        }
        assert_true(rows < 64);
        assert_true((info->op_size == 0) == (info->port == PORT_REPLY));
        if (info->op_size > 0) {
            struct span op = span_of(info->op, info->op_size);
            assert_int_equal(message_find((enum message_port)info->port, op), id);
        }
    }
    assert_int_equal(message_find(PORT_WORKER_RPC, SPAN("update-graph")), MESSAGE_UNKNOWN);
    assert_int_equal(message_find(PORT_REPLY, SPAN("")), MESSAGE_UNKNOWN);
    assert_string_equal(message_port_name(PORT_WORKER_STREAM), "WORKER_STREAM");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_keys_are_canonical),
        cmocka_unit_test(test_too_many_fields),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_compute_task_by_hand),
        cmocka_unit_test(test_others_by_hand),
        cmocka_unit_test(test_table_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
