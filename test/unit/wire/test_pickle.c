/* The pickle reader's tree, plain values both ways, and known functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire/msgpack.h"
#include "wire/pickle_make.h"
#include "wire/pickle_recognise.h"
#include "wire/pickle_trust.h"
#include "wire/pickle_value.h"

static void read_error(struct span bytes, int expected)
{
    struct pickle_tree tree;
    assert_int_equal(pickle_read(bytes, &tree), expected);
}

/* Bytes that no pickler writes: each kind has its own error, and none is read past its end. */
static void malformed_pickles_are_refused(void **state)
{
    (void)state;
    read_error(SPAN(""), ERR_TRUNCATED);
    read_error(SPAN("\x80"), ERR_TRUNCATED);
    read_error(SPAN("\x80\x05N"), ERR_TRUNCATED);
    read_error(SPAN("\x8c\x05"
                    "abc."),
               ERR_TRUNCATED);
    read_error(SPAN("\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), ERR_TRUNCATED);
    read_error(SPAN("\x95\xff\0\0\0\0\0"), ERR_TRUNCATED);
    read_error(SPAN("cmodule\nname"), ERR_TRUNCATED);
    read_error(SPAN("."), ERR_MALFORMED);
    read_error(SPAN("NN."), ERR_MALFORMED);
    read_error(SPAN("(."), ERR_MALFORMED);
    read_error(SPAN("t."), ERR_MALFORMED);
    read_error(SPAN("N\x86."), ERR_MALFORMED);
    read_error(SPAN("N(\x85."), ERR_MALFORMED);
    read_error(SPAN("h\0."), ERR_MALFORMED);
    read_error(SPAN("\x94."), ERR_MALFORMED);
    read_error(SPAN("}(Nu."), ERR_MALFORMED);
    read_error(SPAN("(u."), ERR_MALFORMED);
    read_error(SPAN("0."), ERR_MALFORMED);
}

/* What a pickle may do and CPython's pickler never does is left to Python. */
static void unusual_pickles_are_not_read(void **state)
{
    (void)state;
    read_error(SPAN("I1\n."), ERR_UNSUPPORTED);
    read_error(SPAN("NQ."), ERR_UNSUPPORTED);
    read_error(SPAN("\x82\x01."), ERR_UNSUPPORTED);
    read_error(SPAN("Nq\x05."), ERR_UNSUPPORTED);
    read_error(SPAN("Nq\0q\0."), ERR_UNSUPPORTED);
    read_error(SPAN("NNa."), ERR_UNSUPPORTED);
    read_error(SPAN("](NNu."), ERR_UNSUPPORTED);
    read_error(SPAN("]\x94h\0Na\x86."), ERR_UNSUPPORTED);
}

/* A node's range covers what made and what changed it, and a shared object is one node. */
static void nodes_know_their_bytes(void **state)
{
    (void)state;
    struct pickle_tree tree;
    struct span bytes = SPAN("\x80\x05(]\x94(K\x01h\0eh\0}\x94t.");
    assert_int_equal(pickle_read(bytes, &tree), 0);
    assert_int_equal(pickle_kind(&tree, tree.root), PICKLE_TUPLE);
    assert_int_equal(pickle_items_count(&tree, tree.root), 3);
    pickle_id list = pickle_child(&tree, tree.root, 0);
    assert_int_equal(pickle_child(&tree, tree.root, 1), list);
    assert_int_equal(pickle_get(&tree, list)->start, 3);
    assert_int_equal(pickle_get(&tree, list)->end, 11);
    assert_int_equal(pickle_items_count(&tree, list), 2);
    struct pickle_items items;
    pickle_id item;
    assert_true(pickle_items_begin(&tree, list, &items));
    assert_true(pickle_items_next(&items, &item));
    assert_int_equal(pickle_kind(&tree, item), PICKLE_INT);
    assert_true(pickle_items_next(&items, &item));
    assert_int_equal(item, list);
    assert_false(pickle_items_next(&items, &item));
    pickle_tree_fini(&tree);
}

static void expect_int(struct span pickle, bool fits, uint64_t value, bool negative)
{
    struct pickle_tree tree;
    uint64_t got = 0;
    bool got_negative = false;
    assert_int_equal(pickle_read(pickle, &tree), 0);
    assert_int_equal(pickle_int(&tree, tree.root, &got, &got_negative), fits);
    assert_int_equal(got, value);
    assert_int_equal(got_negative, negative);
    pickle_tree_fini(&tree);
}

/* Ints of all opcodes and lengths, up to what msgpack can hold. */
static void ints_are_read_by_sign_and_length(void **state)
{
    (void)state;
    expect_int(SPAN("K\xff."), true, 255, false);
    expect_int(SPAN("M\xff\xff."), true, 65535, false);
    expect_int(SPAN("J\xff\xff\xff\xff."), true, UINT64_MAX, true);
    expect_int(SPAN("\x8a\0."), true, 0, false);
    expect_int(SPAN("\x8a\x01\xff."), true, UINT64_MAX, true);
    expect_int(SPAN("\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0."), true, UINT64_MAX, false);
    expect_int(SPAN("\x8a\x08\0\0\0\0\0\0\0\x80."), true, 1ull << 63, true);
    expect_int(SPAN("\x8a\x09\0\0\0\0\0\0\0\0\x01."), false, 0, false);
    expect_int(SPAN("\x8a\x09\xff\xff\xff\xff\xff\xff\xff\x7f\xff."), false, 0, false);
}

/* A name is known by both opcodes that fetch one. */
static void globals_are_compared_by_name(void **state)
{
    (void)state;
    struct pickle_tree tree;
    assert_int_equal(pickle_read(SPAN("cmod\nname\n."), &tree), 0);
    assert_true(pickle_is_global(&tree, tree.root, "mod", "name"));
    assert_false(pickle_is_global(&tree, tree.root, "mod", "nam"));
    pickle_tree_fini(&tree);
    assert_int_equal(pickle_read(SPAN("\x8c\x03mod\x8c\x04name\x93."), &tree), 0);
    assert_true(pickle_is_global(&tree, tree.root, "mod", "name"));
    assert_false(pickle_is_global(&tree, tree.root, "mod", "other"));
    pickle_tree_fini(&tree);
}

static void expect_round_trip(struct span value)
{
    struct text pickle = {0};
    struct text again = {0};
    assert_int_equal(pickle_make_value(&pickle, value, false), 0);
    assert_int_equal(pickle_value_decode(text_span(&pickle), &again), 0);
    assert_true(span_equal(text_span(&again), value));
    text_fini(&pickle);
    text_fini(&again);
}

/* Values made here are read here as they were. */
static void values_survive_both_ways(void **state)
{
    (void)state;
    expect_round_trip(SPAN("\xc0"));
    expect_round_trip(SPAN("\x93\xc2\xc3\xff"));
    expect_round_trip(SPAN("\x94\x7f\xcc\xff\xcd\xff\xff\xce\xff\xff\xff\xff"));
    expect_round_trip(SPAN("\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xd3\x80\0\0\0\0\0\0\0"));
    expect_round_trip(SPAN("\xcb\x40\x04\0\0\0\0\0\0"));
    expect_round_trip(SPAN("\x82\xa1"
                           "a\xc4\x02\0\xff\x92\xa1t\x01\x80"));
    expect_round_trip(SPAN("\x82\xa7__Set__\xc3\xa7"
                           "as-list\x92\x01\x92\x02\x03"));
    struct text text = {0};
    text_add(&text, SPAN("\xda\x01\x2c"));
    for (int i = 0; i < 300; i++) {
        text_add_char(&text, 'x');
    }
    expect_round_trip(text_span(&text));
    text_fini(&text);
}

static void expect_refused(struct span pickle)
{
    struct text value = {0};
    text_add_cstr(&value, "before");
    assert_int_not_equal(pickle_value_decode(pickle, &value), 0);
    assert_string_equal(text_cstr(&value), "before");
    text_fini(&value);
}

/* Objects, text that is not UTF-8, and values without end have no msgpack. */
static void other_values_are_refused(void **state)
{
    (void)state;
    expect_refused(SPAN("\x8c\x01m\x8c\x01n\x93."));
    expect_refused(SPAN("\x8c\x01\xff."));
    expect_refused(SPAN("\x8c\x03\xed\xa0\x80."));
    expect_refused(SPAN("\x97."));
    expect_refused(SPAN("]\x94h\0"
                        "a."));
}

/* Thirty lists of the one before twice: a billion values, refused without writing them. */
static void values_that_multiply_are_refused(void **state)
{
    (void)state;
    struct text pickle = {0};
    text_add(&pickle, SPAN("]\x94"));
    for (int i = 0; i < 30; i++) {
        char recall[] = {'h', (char)i, '\x86', '\x94'};
        text_add(&pickle, span_of(recall, 2));
        text_add(&pickle, span_of(recall, 4));
    }
    text_add(&pickle, SPAN("."));
    /* The objects below the last one stay on the stack: put them into one tuple. */
    struct text whole = {0};
    text_add_cstr(&whole, "(");
    text_add(&whole, span_of(pickle.data, pickle.size - 1));
    text_add_cstr(&whole, "t.");
    expect_refused(text_span(&whole));
    text_fini(&pickle);
    text_fini(&whole);
}

static void expect_pickle(struct text *got, struct span expected)
{
    assert_int_equal(got->size, expected.size);
    assert_memory_equal(got->data, expected.data, expected.size);
    text_fini(got);
}

/* The bytes of small pickles, as loaded by stock in test/interop/test_pickle_cut.py. */
static void made_pickles_have_these_bytes(void **state)
{
    (void)state;
    struct text out = {0};
    pickle_make_exception(&out, "builtins", "ValueError", SPAN("m"));
    expect_pickle(&out, SPAN("\x80\x04\x8c\x08"
                             "builtins\x8c\x0aValueError\x93(\x8c\x01mtR."));
    pickle_make_key(&out, SPAN("\x92\xa1x\x05"));
    expect_pickle(&out, SPAN("\x80\x04(\x8c\x01xJ\x05\0\0\0t."));
    pickle_make_attrgetter(&out, SPAN("host"));
    expect_pickle(&out, SPAN("\x80\x04\x8c\x08operator\x8c\x0a"
                             "attrgetter\x93(\x8c\x04hosttR."));
    pickle_make_no_worker(&out, SPAN("\xa1k"), 5.0);
    expect_pickle(&out, SPAN("\x80\x04\x8c\x15"
                             "distributed.scheduler\x8c\x0dNoWorkerError\x93("
                             "\x8c\x01kG\x40\x14\0\0\0\0\0\0tR."));
}

/* A KilledWorker names its worker and carries the note. */
static void killed_worker_has_address_and_note(void **state)
{
    (void)state;
    struct text out = {0};
    struct pickle_tree tree;
    const struct pickle_killed_worker error = {.key = SPAN("\xa1k"),
                                               .worker = {.address = SPAN("tcp://1.2.3.4:5"),
                                                          .name = SPAN("\xa1w"),
                                                          .server_id = SPAN("Worker-1"),
                                                          .pid = 1,
                                                          .nthreads = 2},
                                               .allowed_failures = 3,
                                               .note = SPAN("died of SIGKILL")};
    pickle_make_killed_worker(&out, &error);
    assert_int_equal(pickle_read(text_span(&out), &tree), 0);
    assert_true(pickle_is_call(&tree, tree.root, "distributed.scheduler", "KilledWorker", 3));
    assert_true(pickle_is_text(&tree, pickle_argument(&tree, tree.root, 0), "k"));
    assert_non_null(memmem(out.data, out.size, "tcp://1.2.3.4:5", 15));
    assert_non_null(memmem(out.data, out.size, "died of SIGKILL", 15));
    pickle_tree_fini(&tree);
    text_fini(&out);
}

/* The spec of a shuffle is put in whole; bytes that are no pickle leave nothing behind. */
static void shuffle_run_embeds_its_spec(void **state)
{
    (void)state;
    struct text out = {0};
    struct span part = SPAN("\x92\x01\x02");
    struct span address = SPAN("tcp://a:1");
    struct span spec = SPAN("\x80\x05\x95\x0a\0\0\0\0\0\0\0\x8c\x01s\x94h\0\x86\x94.");
    struct pickle_shuffle_run run = {.spec = spec,
                                     .run_id = 3,
                                     .parts = &part,
                                     .addresses = &address,
                                     .part_count = 1,
                                     .span_id = SPAN("span")};
    assert_int_equal(pickle_make_shuffle_run(&out, &run), 0);
    assert_non_null(memmem(out.data, out.size, "\x8c\x01s\x94h\0\x86\x94", 8));
    struct pickle_tree tree;
    assert_int_equal(pickle_read(text_span(&out), &tree), 0);
    pickle_tree_fini(&tree);
    text_clear(&out);
    run.spec = SPAN("x");
    assert_int_not_equal(pickle_make_shuffle_run(&out, &run), 0);
    assert_int_equal(out.size, 0);
    text_fini(&out);
}

static enum pickle_known recognise(struct span pickle, struct pickle_arguments *out)
{
    return pickle_recognise(pickle, out);
}

/* The functions that tools send by name, and others that are not known. */
static void functions_are_recognised_by_name(void **state)
{
    (void)state;
    struct pickle_arguments arguments;
    struct text pickle = {0};
    assert_int_equal(recognise(SPAN("N."), &arguments), PICKLE_IS_NONE);
    assert_int_equal(recognise(SPAN("K\x01."), &arguments), PICKLE_UNKNOWN);
    assert_int_equal(recognise(SPAN(""), &arguments), PICKLE_UNKNOWN);
    assert_int_equal(
        recognise(SPAN("cdistributed.diagnostics.eventstream\nteardown\n."), &arguments),
        PICKLE_EVENT_STREAM_TEARDOWN);
    pickle_make_attrgetter(&pickle, SPAN("host"));
    assert_int_equal(recognise(text_span(&pickle), &arguments), PICKLE_ATTRGETTER);
    assert_string_equal(text_cstr(&arguments.name), "host");
    pickle_arguments_fini(&arguments);
    text_clear(&pickle);
    pickle_make_shuffle_plugin(&pickle);
    assert_int_equal(recognise(text_span(&pickle), &arguments), PICKLE_SHUFFLE_PLUGIN);
    text_fini(&pickle);
}

/* A graph with a name that Python has not loaded yet is not covered; afterwards it is. */
static void names_are_covered_once_proven(void **state)
{
    (void)state;
    struct pickle_trust trust = {0};
    struct text names = {0};
    struct pickle_tree tree;
    struct span pickle = SPAN("(\x8c\x04mine\x8c\x01"
                              "f\x93\x8c\x08mine.sub\x8c\x01g\x93\x8c\x02os\x8c\x04"
                              "path\x93\x8c\x0a"
                              "dask.array\x8c\x01x\x93t.");
    assert_int_equal(pickle_read(pickle, &tree), 0);
    assert_int_equal(pickle_foreign_names(&tree, &names), 0);
    pickle_tree_fini(&tree);
    assert_false(pickle_trust_covers(&trust, text_span(&names)));
    assert_true(pickle_trust_covers(&trust, SPAN("")));
    pickle_trust_package(&trust, "mine");
    assert_false(pickle_trust_covers(&trust, text_span(&names)));
    pickle_trust_package(&trust, "dask.array");
    assert_true(pickle_trust_covers(&trust, text_span(&names)));
    pickle_trust_fini(&trust);
    pickle_trust_add(&trust, text_span(&names), false);
    assert_true(pickle_trust_covers(&trust, text_span(&names)));
    pickle_trust_fini(&trust);
    text_fini(&names);
}

/* Objects made by names of others: whether they load may depend on what is in them. A proof lasts for instances of
 * plain classes only; those of packages that are known to load, and of Python itself, are not asked about again. */
static void objects_of_plain_classes_are_proven(void **state)
{
    (void)state;
    struct span pickles[] = {
        SPAN("\x8c\x04mine\x8c\x01"
             "C\x93)\x81}b."), /* mine.C.__new__(C) with a state */
        SPAN("\x8c\x04mine\x8c\x01"
             "f\x93)R."), /* mine.f() */
        SPAN("\x8c\x0bnumpy._core\x8c\x01"
             "f\x93)R."),
        SPAN("\x8c\x07pathlib\x8c\x04Path\x93)R."),
    };
    for (size_t i = 0; i < sizeof pickles / sizeof pickles[0]; i++) {
        struct pickle_trust trust = {0};
        struct text names = {0};
        struct pickle_tree tree;
        assert_int_equal(pickle_read(pickles[i], &tree), 0);
        assert_int_equal(pickle_foreign_names(&tree, &names), 0);
        pickle_tree_fini(&tree);
        pickle_trust_add(&trust, text_span(&names), false);
        assert_int_equal(pickle_trust_covers(&trust, text_span(&names)), i >= 2);
        pickle_trust_add(&trust, text_span(&names), true);
        assert_int_equal(pickle_trust_covers(&trust, text_span(&names)), i != 1);
        struct msgpack_reader reader = msgpack_reader(text_span(&names));
        struct pickle_name name;
        uint32_t count = 0;
        for (; pickle_name_next(&reader, &name); count++) {
            assert_int_equal(name.use, count == 0 ? PICKLE_FINDS
                                       : i == 0   ? PICKLE_INSTANTIATES
                                                  : PICKLE_CALLS);
        }
        assert_int_equal(count, i < 2 ? 2 : i == 2);
        pickle_trust_fini(&trust);
        text_fini(&names);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_pickles_are_refused),
        cmocka_unit_test(unusual_pickles_are_not_read),
        cmocka_unit_test(nodes_know_their_bytes),
        cmocka_unit_test(ints_are_read_by_sign_and_length),
        cmocka_unit_test(globals_are_compared_by_name),
        cmocka_unit_test(values_survive_both_ways),
        cmocka_unit_test(other_values_are_refused),
        cmocka_unit_test(values_that_multiply_are_refused),
        cmocka_unit_test(made_pickles_have_these_bytes),
        cmocka_unit_test(killed_worker_has_address_and_note),
        cmocka_unit_test(shuffle_run_embeds_its_spec),
        cmocka_unit_test(functions_are_recognised_by_name),
        cmocka_unit_test(names_are_covered_once_proven),
        cmocka_unit_test(objects_of_plain_classes_are_proven),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
