/* fuzz_pickle.c: any bytes as a graph, a value, a function. What is cut out of a pickle must be a
 * pickle that the reader takes as well. */
#include "wire/msgpack.h"
#include "wire/pickle_graph.h"
#include "wire/pickle_make.h"
#include "wire/pickle_recognise.h"
#include "wire/pickle_value.h"

enum { BUFFERS = 4 };

static void check_task(const struct blob *run_spec)
{
    struct span head = slice_span(run_spec->frames[0]);
    struct span pickle;
    int error = msgpack_check(head);
    ASSERT(error == 0);
    error = msgpack_find(head, "pickled-obj", &pickle);
    ASSERT(error == 0);
    struct msgpack_reader reader = msgpack_reader(pickle);
    error = msgpack_read_bin(&reader, &pickle);
    ASSERT(error == 0);
    struct pickle_tree tree;
    error = pickle_read(pickle, &tree);
    ASSERT(error == 0);
    ASSERT(tree.buffer_count <= run_spec->frame_count - 1);
    pickle_tree_fini(&tree);
}

static void check_graph(struct span pickle)
{
    static const uint8_t bytes[BUFFERS];
    struct slice buffers[BUFFERS];
    struct flat_graph graph;
    const char *reason = NULL;
    for (uint32_t i = 0; i < BUFFERS; i++) {
        buffers[i] = (struct slice){.data = bytes + i, .size = 1};
    }
    if (pickle_graph_cut(pickle, buffers, BUFFERS, &graph, &reason) != 0) {
        ASSERT(reason != NULL);
        return;
    }
    ASSERT(graph.task_count <= graph.key_count);
    for (uint32_t i = 0; i < graph.task_count; i++) {
        ASSERT(msgpack_check(graph.keys[i]) == 0);
        check_task(graph.run_specs[i]);
        for (uint32_t d = graph.dep_start[i]; d < graph.dep_start[i + 1]; d++) {
            ASSERT(graph.deps[d] < graph.key_count);
        }
    }
    flat_graph_fini(&graph);
}

static void check_value(struct span pickle)
{
    struct text value = {0};
    struct text again = {0};
    if (pickle_value_decode(pickle, &value) == 0) {
        int error = msgpack_check(text_span(&value));
        ASSERT(error == 0 || error == ERR_LIMIT); /* a set is two levels deep there */
        (void)!pickle_make_value(&again, text_span(&value), false);
    }
    text_fini(&value);
    text_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span pickle = span_of(data, size);
    struct pickle_arguments arguments;
    struct text made = {0};
    check_graph(pickle);
    check_value(pickle);
    pickle_recognise(pickle, &arguments);
    pickle_arguments_fini(&arguments);
    (void)!pickle_make_shuffle_run(&made,
                                   &(struct pickle_shuffle_run){.spec = pickle, .run_id = 1});
    text_fini(&made);
    return 0;
}
