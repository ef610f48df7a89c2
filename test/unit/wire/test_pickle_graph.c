/* Graphs as stock clients pickle them (golden/pickle/, see make.py there), and damaged ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/key.h"
#include "wire/msgpack.h"
#include "wire/pickle_graph.h"

#define GOLDEN CASK_TEST_DIR "/wire/golden/pickle/"

enum { BUFFERS = 8 };

static struct text read_file(const char *name, const char *ending)
{
    char path[512];
    struct text bytes = {0};
    char block[4096];
    size_t size;
    snprintf(path, sizeof path, "%s%s%s", GOLDEN, name, ending);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    while ((size = fread(block, 1, sizeof block, file)) > 0) {
        text_add(&bytes, span_of(block, size));
    }
    fclose(file);
    return bytes;
}

static int cut(struct span pickle, struct flat_graph *out, const char **out_reason)
{
    static const uint8_t bytes[BUFFERS] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct slice buffers[BUFFERS];
    for (uint32_t i = 0; i < BUFFERS; i++) {
        buffers[i] = (struct slice){.data = bytes + i, .size = 1};
    }
    return pickle_graph_cut(pickle, buffers, BUFFERS, out, out_reason);
}

static void add_hex(struct text *out, struct span bytes)
{
    text_add_char(out, ' ');
    for (size_t i = 0; i < bytes.size; i++) {
        text_printf(out, "%02x", bytes.data[i]);
    }
}

static void print_task(struct text *out, const struct flat_graph *graph, uint32_t task)
{
    const struct blob *blob = graph->run_specs[task];
    struct span pickle;
    key_repr(out, graph->keys[task]);
    text_printf(out, " %u [", graph->flags[task]);
    for (uint32_t i = graph->dep_start[task]; i < graph->dep_start[task + 1]; i++) {
        text_add_cstr(out, i == graph->dep_start[task] ? "" : ", ");
        key_repr(out, graph->keys[graph->deps[i]]);
    }
    text_add_cstr(out, "]\n");
    assert_int_equal(msgpack_find(slice_span(blob->frames[0]), "pickled-obj", &pickle), 0);
    struct msgpack_reader reader = msgpack_reader(pickle);
    assert_int_equal(msgpack_read_bin(&reader, &pickle), 0);
    add_hex(out, pickle);
    for (uint32_t i = 1; i < blob->frame_count; i++) {
        add_hex(out, slice_span(blob->frames[i]));
    }
    text_add_char(out, '\n');
}

static void check_golden(const char *name)
{
    struct text pickle = read_file(name, ".pickle");
    struct text expected = read_file(name, ".cut");
    struct text got = {0};
    struct flat_graph graph;
    const char *reason = NULL;
    if (cut(text_span(&pickle), &graph, &reason) != 0) {
        fail_msg("%s: %s", name, reason);
    }
    for (uint32_t i = 0; i < graph.task_count; i++) {
        print_task(&got, &graph, i);
    }
    assert_string_equal(text_cstr(&got), text_cstr(&expected));
    flat_graph_fini(&graph);
    text_fini(&pickle);
    text_fini(&expected);
    text_fini(&got);
}

/* Call `check` with the name of each golden graph. */
static void each_golden(void (*check)(const char *name))
{
    struct dirent **entries;
    unsigned checked = 0;
    int count = scandir(GOLDEN, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char *ending = strstr(entries[i]->d_name, ".pickle");
        if (ending != NULL) {
            *ending = '\0';
            check(entries[i]->d_name);
            checked++;
        }
        free(entries[i]);
    }
    free(entries);
    assert_true(checked >= 20);
}

/* Each golden graph is cut into the same bytes as when its pieces were last loaded by Python. */
static void golden_graphs_are_cut_as_before(void **state)
{
    (void)state;
    each_golden(check_golden);
}

static void check_prefixes(const char *name)
{
    struct text pickle = read_file(name, ".pickle");
    for (size_t size = 0; size < pickle.size; size++) {
        struct span part = {.data = (const uint8_t *)pickle.data, .size = size};
        struct flat_graph graph;
        const char *reason = NULL;
        assert_int_equal(cut(part, &graph, &reason), ERR_TRUNCATED);
        assert_non_null(reason);
    }
    text_fini(&pickle);
}

/* A pickle that ends early, at any byte, is an error and nothing else. */
static void cut_off_pickles_are_truncated(void **state)
{
    (void)state;
    each_golden(check_prefixes);
}

static void expect(struct span pickle, uint32_t buffer_count, int expected)
{
    struct flat_graph graph;
    const char *reason = NULL;
    assert_int_equal(pickle_graph_cut(pickle, NULL, buffer_count, &graph, &reason), expected);
    assert_true(reason != NULL || expected == 0);
    if (expected == 0) {
        assert_int_equal(graph.task_count, 0);
        flat_graph_fini(&graph);
    }
}

/* recreate_error_locally sends {} for a graph: it has no tasks. */
static void an_empty_dict_is_an_empty_graph(void **state)
{
    (void)state;
    expect(SPAN("\x80\x05}\x94."), 0, 0);
}

/* Pickles of anything else than graphs go to the planner, each with a reason. */
static void other_pickles_need_python(void **state)
{
    (void)state;
    expect(SPAN("\x80\x05N."), 0, ERR_UNSUPPORTED);
    expect(SPAN("\x80\x05}\x94\x8c\x01"
                "aK\x01s."),
           0, ERR_UNSUPPORTED);
    expect(SPAN("\x80\x02"
                "cdask._expr\nExpr._reconstruct\n)R."),
           0, ERR_UNSUPPORTED);
    expect(SPAN("\x80\x05P1\n."), 0, ERR_UNSUPPORTED);
}

/* A pickle that names more out-of-band buffers than came with it is refused. */
static void missing_buffers_are_refused(void **state)
{
    (void)state;
    expect(SPAN("\x80\x05\x97."), 0, ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_graphs_are_cut_as_before),
        cmocka_unit_test(cut_off_pickles_are_truncated),
        cmocka_unit_test(an_empty_dict_is_an_empty_graph),
        cmocka_unit_test(other_pickles_need_python),
        cmocka_unit_test(missing_buffers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
