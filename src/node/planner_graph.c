/* planner_graph.c: a part is arrays in frames, drawn in docs/planner.md; run_specs are cut out of
 * their frame without a copy, keys and numbers are copied into the graph's arena.
 *
 * The planner is our own child, but user code runs in it: every number is checked before it is
 * used. */
#include "node/planner_graph.h"

#include <endian.h>

#include "base/limits.h"
#include "wire/msgpack.h"
#include "wire/pickle_graph.h"

enum {
    FRAME_KEY_SIZES,
    FRAME_KEYS,
    FRAME_DEP_COUNTS,
    FRAME_DEPS,
    FRAME_SPEC_SIZES,
    FRAME_SPECS,
    FRAME_FLAGS,
    FRAME_ANNOTATION_OF,
    FRAME_BUFFER_COUNTS,
    FRAME_BUFFER_NUMBERS,
    FRAME_BUFFERS,
};

/* Bytes that a slice may pin beside twice its own. */
enum { KEPT_SLACK = 512 };

/* {"__Pickled__": 1}: the value of every run_spec's blob. */
static const uint8_t PICKLED_VALUE[] = "\x81\xab__Pickled__\x01";

/* An array of u32, which need not be aligned. */
struct numbers {
    const uint8_t *at;
    uint32_t count;
};

static uint32_t number_at(const struct numbers *numbers, uint32_t index)
{
    uint32_t value;
    memcpy(&value, numbers->at + (size_t)index * sizeof value, sizeof value);
    return le32toh(value);
}

/* Take the first `count` of the numbers, of which there are as many. */
static struct numbers numbers_take(struct numbers *numbers, uint32_t count)
{
    struct numbers taken = {numbers->at, count};
    if (count > 0) { /* an empty array may have no address */
        numbers->at += (size_t)count * sizeof(uint32_t);
        numbers->count -= count;
    }
    return taken;
}

/* A slice that does not pin much more than itself: small frames lie in a shared receive buffer. */
static struct slice slice_own(const struct slice *slice)
{
    if (slice->owner != NULL && slice->owner->capacity > 2 * slice->size + KEPT_SLACK) {
        return slice_copy(slice_span(*slice));
    }
    return slice_ref(*slice);
}

void planner_graph_init(struct planner_graph_reader *reader)
{
    memset(reader, 0, sizeof *reader);
    flat_graph_init(&reader->graph);
}

void planner_graph_fini(struct planner_graph_reader *reader)
{
    for (uint32_t i = 0; i < reader->run_specs.count; i++) {
        blob_unref(reader->run_specs.items[i]);
    }
    for (uint32_t i = 0; i < reader->buffers.count; i++) {
        slice_fini(&reader->buffers.items[i]);
    }
    vec_fini(&reader->keys);
    vec_fini(&reader->dep_start);
    vec_fini(&reader->deps);
    vec_fini(&reader->run_specs);
    vec_fini(&reader->flags);
    vec_fini(&reader->annotation_of);
    vec_fini(&reader->buffers);
    flat_graph_fini(&reader->graph);
}

static bool find_uint(struct span map, const char *name, uint64_t max, uint32_t *out)
{
    struct span raw;
    uint64_t value;
    if (msgpack_find(map, name, &raw) != OK) {
        return false;
    }
    struct msgpack_reader at = msgpack_reader(raw);
    if (msgpack_read_uint(&at, &value) != OK || value > max) {
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

/* Frame `index` of the arrays as numbers: exactly `count` of them. */
static bool read_numbers(const struct slice *arrays, uint32_t index, uint32_t count,
                         struct numbers *out)
{
    *out = (struct numbers){arrays[index].data, count};
    return arrays[index].size == (size_t)count * sizeof(uint32_t);
}

/* As read_numbers, of as many as there are. */
static bool read_all_numbers(const struct slice *arrays, uint32_t index, struct numbers *out)
{
    size_t count = arrays[index].size / sizeof(uint32_t);
    *out = (struct numbers){arrays[index].data, (uint32_t)count};
    return arrays[index].size % sizeof(uint32_t) == 0 && count <= UINT32_MAX;
}

/* Keys, one after the other in arrays[1], their lengths in arrays[0]. */
static int add_keys(struct planner_graph_reader *reader, const struct slice *arrays, uint32_t count)
{
    struct numbers sizes;
    if (!read_numbers(arrays, FRAME_KEY_SIZES, count, &sizes)) {
        return ERR_MALFORMED;
    }
    struct span left = arena_copy(&reader->graph.arena, slice_span(arrays[FRAME_KEYS]));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = number_at(&sizes, i);
        if (size > left.size || size > LIMIT_KEY_BYTES_MAX ||
            msgpack_check(span_of(left.data, size)) != OK) {
            return ERR_MALFORMED;
        }
        vec_push(&reader->keys, span_of(left.data, size));
        left = span_of(left.data + size, left.size - size);
    }
    return left.size == 0 ? OK : ERR_MALFORMED;
}

static int add_dependencies(struct planner_graph_reader *reader, const struct slice *arrays,
                            uint32_t count)
{
    struct numbers counts, deps;
    if (!read_numbers(arrays, FRAME_DEP_COUNTS, count, &counts) ||
        !read_all_numbers(arrays, FRAME_DEPS, &deps)) {
        return ERR_MALFORMED;
    }
    if ((uint64_t)reader->deps.count + deps.count > UINT32_MAX / 2) {
        return ERR_LIMIT;
    }
    vec_reserve(&reader->deps, deps.count);
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        vec_push(&reader->dep_start, reader->deps.count);
        uint32_t dep_count = number_at(&counts, i);
        if (dep_count > deps.count - at) {
            return ERR_MALFORMED;
        }
        for (uint32_t j = 0; j < dep_count; j++, at++) {
            uint32_t dep = number_at(&deps, at);
            if (j > 0 && dep <= reader->deps.items[reader->deps.count - 1]) {
                return ERR_MALFORMED; /* ascending: so each at most once */
            }
            vec_push(&reader->deps, dep);
        }
    }
    return at == deps.count ? OK : ERR_MALFORMED;
}

/* The run_spec in `bytes`, which lie in memory of `owner` (NULL: copy them), with the buffers of these
 * numbers. */
static struct blob *make_run_spec(const struct planner_graph_reader *reader, struct buf *owner,
                                  struct span bytes, const struct numbers *buffers)
{
    struct slice value = {PICKLED_VALUE, sizeof PICKLED_VALUE - 1, NULL};
    struct blob *blob = blob_create(value, 1 + buffers->count);
    blob->frames[0] = owner != NULL ? slice_create(owner, bytes) : slice_copy(bytes);
    for (uint32_t i = 0; i < buffers->count; i++) {
        blob->frames[1 + i] = slice_ref(reader->buffers.items[number_at(buffers, i)]);
    }
    return blob;
}

static bool buffers_are_known(const struct planner_graph_reader *reader,
                              const struct numbers *numbers)
{
    for (uint32_t i = 0; i < numbers->count; i++) {
        if (number_at(numbers, i) >= reader->buffers.count) {
            return false;
        }
    }
    return true;
}

static int add_run_specs(struct planner_graph_reader *reader, const struct slice *arrays,
                         uint32_t count)
{
    struct numbers sizes, buffer_counts, buffer_numbers;
    if (!read_numbers(arrays, FRAME_SPEC_SIZES, count, &sizes) ||
        !read_all_numbers(arrays, FRAME_BUFFER_COUNTS, &buffer_counts) ||
        !read_all_numbers(arrays, FRAME_BUFFER_NUMBERS, &buffer_numbers) ||
        (buffer_counts.count != 0 && buffer_counts.count != count) ||
        !buffers_are_known(reader, &buffer_numbers)) {
        return ERR_MALFORMED;
    }
    struct slice specs = slice_own(&arrays[FRAME_SPECS]);
    struct span left = slice_span(specs);
    uint32_t done = 0;
    for (; done < count; done++) {
        uint32_t size = number_at(&sizes, done);
        uint32_t buffer_count = buffer_counts.count == 0 ? 0 : number_at(&buffer_counts, done);
        if (size > left.size || buffer_count > buffer_numbers.count) {
            break;
        }
        struct numbers buffers = numbers_take(&buffer_numbers, buffer_count);
        vec_push(&reader->run_specs,
                 make_run_spec(reader, specs.owner, span_of(left.data, size), &buffers));
        left = span_of(left.data + size, left.size - size);
    }
    slice_fini(&specs);
    return done == count && left.size == 0 && buffer_numbers.count == 0 ? OK : ERR_MALFORMED;
}

static int add_flags(struct planner_graph_reader *reader, const struct slice *arrays,
                     uint32_t count)
{
    struct numbers sets;
    if (arrays[FRAME_FLAGS].size != count ||
        !read_all_numbers(arrays, FRAME_ANNOTATION_OF, &sets) ||
        (sets.count != 0 && sets.count != count)) {
        return ERR_MALFORMED;
    }
    for (uint32_t i = 0; i < count; i++) {
        vec_push(&reader->flags, arrays[FRAME_FLAGS].data[i]);
    }
    for (uint32_t i = 0; i < sets.count; i++) {
        vec_push(&reader->annotation_of, number_at(&sets, i));
    }
    return OK;
}

/* Where the arrays of a message begin; at least `least` of them. */
static const struct slice *find_arrays(const struct frames *message, uint32_t least,
                                       uint32_t *out_count)
{
    uint32_t at;
    if (!find_uint(frames_head(message), "arrays_at", message->count, &at) ||
        message->count - at < least) {
        return NULL;
    }
    *out_count = message->count - at;
    return message->items + at;
}

int planner_graph_add(struct planner_graph_reader *reader, const struct frames *message)
{
    uint32_t first, count, array_count;
    const struct slice *arrays = find_arrays(message, FRAME_BUFFERS, &array_count);
    if (arrays == NULL || !find_uint(frames_head(message), "first", UINT32_MAX, &first) ||
        !find_uint(frames_head(message), "count", UINT32_MAX / 2, &count) ||
        first != reader->run_specs.count || reader->keys.count != first ||
        (uint64_t)first + count > UINT32_MAX / 2) {
        return ERR_MALFORMED;
    }
    for (uint32_t i = FRAME_BUFFERS; i < array_count; i++) {
        vec_push(&reader->buffers, slice_own(&arrays[i]));
    }
    int code = add_keys(reader, arrays, count);
    code = code != OK ? code : add_dependencies(reader, arrays, count);
    code = code != OK ? code : add_run_specs(reader, arrays, count);
    return code != OK ? code : add_flags(reader, arrays, count);
}

/* ---- the end ---- */

static void *move_to_arena(struct arena *arena, const void *items, size_t size)
{
    void *copy = arena_alloc(arena, size);
    if (size > 0) {
        memcpy(copy, items, size);
    }
    return copy;
}

/* The vectors become the graph's arrays. */
static int seal(struct planner_graph_reader *reader, uint32_t task_count, uint32_t key_count)
{
    struct flat_graph *graph = &reader->graph;
    if (reader->run_specs.count != task_count || reader->keys.count != key_count ||
        reader->flags.count != task_count ||
        (reader->annotation_of.count != 0 && reader->annotation_of.count != task_count)) {
        return ERR_MALFORMED;
    }
    for (uint32_t i = 0; i < reader->deps.count; i++) {
        if (reader->deps.items[i] >= key_count) {
            return ERR_MALFORMED;
        }
    }
    for (uint32_t i = 0; i < reader->annotation_of.count; i++) {
        if (reader->annotation_of.items[i] > graph->annotation_set_count) {
            return ERR_MALFORMED;
        }
    }
    vec_push(&reader->dep_start, reader->deps.count);
    struct arena *arena = &graph->arena;
#define MOVE(field)                                                                                \
    move_to_arena(arena, reader->field.items, reader->field.count * sizeof *reader->field.items)
    graph->keys = MOVE(keys);
    graph->dep_start = MOVE(dep_start);
    graph->deps = MOVE(deps);
    graph->flags = MOVE(flags);
    graph->annotation_of = reader->annotation_of.count == 0 ? NULL : MOVE(annotation_of);
    graph->run_specs = MOVE(run_specs);
#undef MOVE
    graph->task_count = task_count;
    graph->key_count = key_count;
    reader->run_specs.count = 0; /* the graph's now */
    return OK;
}

/* Annotation sets: `frame_counts` says how many frames each has; they begin at arrays[0]. */
static int read_annotations(struct flat_graph *graph, struct span frame_counts,
                            const struct slice *arrays, uint32_t array_count)
{
    struct msgpack_reader at = msgpack_reader(frame_counts);
    uint32_t count;
    if (msgpack_read_array(&at, &count) != OK || count > array_count) {
        return ERR_MALFORMED;
    }
    graph->annotation_sets = arena_array(&graph->arena, struct blob *, count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t frames;
        if (msgpack_read_uint(&at, &frames) != OK || frames == 0 || frames > array_count ||
            msgpack_check(slice_span(arrays[0])) != OK) {
            return ERR_MALFORMED;
        }
        struct blob *blob = blob_create(slice_ref(arrays[0]), (uint32_t)frames - 1);
        for (uint32_t j = 1; j < frames; j++) {
            blob->frames[j - 1] = slice_ref(arrays[j]);
        }
        graph->annotation_sets[graph->annotation_set_count++] = blob;
        arrays += frames;
        array_count -= (uint32_t)frames;
    }
    return array_count == 0 ? OK : ERR_MALFORMED;
}

/* A list of bin values, copied into the arena. */
static bool read_parts(struct arena *arena, struct span raw, struct flat_shuffle *row)
{
    struct msgpack_reader at = msgpack_reader(raw);
    uint32_t count;
    if (msgpack_read_array(&at, &count) != OK) {
        return false;
    }
    struct span *parts = arena_array(arena, struct span, count);
    for (uint32_t i = 0; i < count; i++) {
        struct span part;
        if (msgpack_read_bin(&at, &part) != OK || msgpack_check(part) != OK) {
            return false;
        }
        parts[i] = arena_copy(arena, part);
    }
    row->parts = parts;
    row->part_count = count;
    return true;
}

static bool read_axes(struct arena *arena, struct span raw, struct flat_shuffle *row)
{
    struct msgpack_reader at = msgpack_reader(raw);
    uint32_t count;
    if (msgpack_read_array(&at, &count) != OK) {
        return false;
    }
    uint32_t *lengths = arena_array(arena, uint32_t, count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t length;
        if (msgpack_read_uint(&at, &length) != OK || length > UINT32_MAX) {
            return false;
        }
        lengths[i] = (uint32_t)length;
    }
    row->axis_lengths = lengths;
    row->axis_count = count;
    return true;
}

static bool read_text(struct arena *arena, struct span map, const char *name, bool is_bin,
                      struct span *out)
{
    struct span raw, value;
    if (msgpack_find(map, name, &raw) != OK) {
        return false;
    }
    struct msgpack_reader at = msgpack_reader(raw);
    if ((is_bin ? msgpack_read_bin(&at, &value) : msgpack_read_str(&at, &value)) != OK) {
        return false;
    }
    *out = arena_copy(arena, value);
    return true;
}

static bool read_shuffle(struct arena *arena, struct span map, uint32_t task_count,
                         struct flat_shuffle *row)
{
    struct span raw;
    memset(row, 0, sizeof *row);
    if (!find_uint(map, "task", UINT32_MAX, &row->task) || row->task >= task_count ||
        !read_text(arena, map, "id", false, &row->id) ||
        !read_text(arena, map, "spec", true, &row->spec) ||
        msgpack_find(map, "parts", &raw) != OK || !read_parts(arena, raw, row) ||
        msgpack_find(map, "is_array", &raw) != OK) {
        return false;
    }
    struct msgpack_reader at = msgpack_reader(raw);
    if (msgpack_read_bool(&at, &row->is_array) != OK) {
        return false;
    }
    if (!row->is_array) {
        return find_uint(map, "npartitions", UINT32_MAX, &row->npartitions);
    }
    return msgpack_find(map, "axis_lengths", &raw) == OK && read_axes(arena, raw, row);
}

static int read_shuffles(struct flat_graph *graph, struct span raw)
{
    struct msgpack_reader at = msgpack_reader(raw);
    uint32_t count;
    if (msgpack_read_array(&at, &count) != OK) {
        return ERR_MALFORMED;
    }
    graph->shuffles = arena_array(&graph->arena, struct flat_shuffle, count);
    for (uint32_t i = 0; i < count; i++) {
        struct span map;
        if (msgpack_read_value(&at, &map) != OK ||
            !read_shuffle(&graph->arena, map, graph->task_count, &graph->shuffles[i])) {
            return ERR_MALFORMED;
        }
        graph->shuffle_count++;
    }
    return OK;
}

/* The graph is a pickle, frame `at` of the message, with its buffers behind it. */
static int cut(struct planner_graph_reader *reader, const struct frames *message, uint32_t at)
{
    struct flat_graph graph;
    struct span raw;
    const char *reason;
    bool cull;
    if (reader->keys.count > 0 || reader->buffers.count > 0 ||
        msgpack_find(frames_head(message), "cull", &raw) != OK) {
        return ERR_MALFORMED; /* also if parts came before it */
    }
    struct msgpack_reader value = msgpack_reader(raw);
    if (msgpack_read_bool(&value, &cull) != OK) {
        return ERR_MALFORMED;
    }
    for (uint32_t i = at + 1; i < message->count; i++) {
        vec_push(&reader->buffers, slice_own(&message->items[i]));
    }
    int code = pickle_graph_cut(slice_span(message->items[at]), reader->buffers.items,
                                reader->buffers.count, &graph, &reason);
    if (code == OK) {
        flat_graph_fini(&reader->graph);
        reader->graph = graph;
        reader->graph.cull = cull;
    }
    return code;
}

int planner_graph_finish(struct planner_graph_reader *reader, const struct frames *message)
{
    struct span head = frames_head(message), annotation_frames, shuffles, cull;
    uint32_t task_count, key_count, array_count, pickle_at;
    if (find_uint(head, "pickle_at", message->count - 1, &pickle_at)) {
        return cut(reader, message, pickle_at);
    }
    const struct slice *arrays = find_arrays(message, FRAME_KEYS + 1, &array_count);
    if (arrays == NULL || !find_uint(head, "task_count", UINT32_MAX / 2, &task_count) ||
        !find_uint(head, "key_count", UINT32_MAX / 2, &key_count) ||
        key_count < reader->keys.count ||
        msgpack_find(head, "annotation_frames", &annotation_frames) != OK ||
        msgpack_find(head, "shuffles", &shuffles) != OK ||
        msgpack_find(head, "cull", &cull) != OK) {
        return ERR_MALFORMED;
    }
    struct msgpack_reader at = msgpack_reader(cull);
    int code = msgpack_read_bool(&at, &reader->graph.cull);
    code = code != OK ? code : add_keys(reader, arrays, key_count - reader->keys.count);
    code = code != OK ? code
                      : read_annotations(&reader->graph, annotation_frames, arrays + FRAME_KEYS + 1,
                                         array_count - FRAME_KEYS - 1);
    code = code != OK ? code : seal(reader, task_count, key_count);
    return code != OK ? code : read_shuffles(&reader->graph, shuffles);
}
