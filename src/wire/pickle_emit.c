/* pickle_emit.c: copies ranges of opcodes from one pickle into others.
 *
 * A range is copied up to the next fixup, and what a fixup asks for is done; a reference to an object
 * that is not in the new memo yet pushes that object's range, so the depth of nesting is that of a
 * list in memory, not of the C stack. Three things make it more than a copy:
 * - A hole: part of a range that is in the new pickle already. It becomes a reference.
 * - An object that needs another which is still being built around it (a function in its own
 *   globals): the outermost of those is written first, thrown away (POP), and the object recalled.
 * - An inner pickle: written by the same code with an output of its own. */
#include "wire/pickle_emit.h"

#include <stdlib.h>

#include "base/limits.h"

enum {
    CHUNK_BYTES = 256 * 1024,
    CHUNK_SLACK = 512, /* sub-header and synthetic opcodes of a small graph's pickle */
    INNER_COUNT_MAX = UINT16_MAX,
};

/* Work, in bytes looked at or written, as a multiple of the pickle's size: a lambda just too small to
 * be an inner pickle, in a graph of the smallest tasks, is 50 times. */
#define WORK_FACTOR 256u
#define WORK_BASE (64ull << 20)

enum opcode_byte {
    OP_POP = '0',
    OP_STOP = '.',
    OP_BINGET = 'h',
    OP_BINPUT = 'q',
    OP_MEMOIZE = 0x94,
    OP_NONE = 'N',
    OP_TRUE = 0x88,
    OP_FALSE = 0x89,
    OP_EMPTY_TUPLE = ')',
};

void pickle_emitter_init(struct pickle_emitter *emitter, struct pickle_tree *tree,
                         const struct slice *buffers)
{
    size_t size = tree->bytes.size;
    *emitter = (struct pickle_emitter){.tree = tree, .buffers = buffers, .epochs = 1};
    emitter->budget = WORK_FACTOR * (uint64_t)size + WORK_BASE;
    emitter->places = mem_zalloc(tree->memo.count, sizeof *emitter->places);
    emitter->output.chunk =
        buf_create(size + CHUNK_SLACK < CHUNK_BYTES ? size + CHUNK_SLACK : CHUNK_BYTES);
}

void pickle_emitter_fini(struct pickle_emitter *emitter)
{
    for (uint32_t i = 0; i < emitter->shared.count; i++) {
        slice_fini(&emitter->shared.items[i]);
    }
    buf_unref(emitter->output.chunk);
    slice_fini(&emitter->prefix.bytes);
    mem_free(emitter->places);
    vec_fini(&emitter->ranges);
    vec_fini(&emitter->holes);
    vec_fini(&emitter->frames);
    vec_fini(&emitter->inside);
    vec_fini(&emitter->shared);
    *emitter = (struct pickle_emitter){0};
}

static inline void copy_bytes(struct pickle_emitter *emitter, uint32_t from, uint32_t to)
{
    memcpy(pickle_output_room(&emitter->output, to - from), emitter->tree->bytes.data + from,
           to - from);
}

static inline bool is_placed(const struct pickle_emitter *emitter, uint32_t memo)
{
    uint32_t epoch = emitter->places[memo].epoch;
    return epoch == emitter->output.epoch || epoch == emitter->output.base_epoch;
}

static inline void place(struct pickle_emitter *emitter, uint32_t memo)
{
    emitter->places[memo] =
        (struct pickle_place){emitter->output.epoch, emitter->output.memo_count++};
}

static inline bool lies_in(const struct pickle_node *node, const struct pickle_node *range)
{
    return node->start >= range->start && node->end <= range->end;
}

/* No one can tell two of it apart. */
static bool is_immutable(const struct pickle_node *node)
{
    switch ((enum pickle_kind)node->kind) {
    case PICKLE_INT:
    case PICKLE_FLOAT:
    case PICKLE_TEXT:
    case PICKLE_BYTES:
    case PICKLE_GLOBAL:
        return true;
    default:
        return false;
    }
}

static int spend(struct pickle_emitter *emitter, uint64_t bytes)
{
    if (bytes > emitter->budget) {
        return ERR_UNSUPPORTED;
    }
    emitter->budget -= bytes;
    return 0;
}

/* A walk over the fixups of a node's range. */
static const struct pickle_fixup *next_fixup(const struct pickle_tree *tree,
                                             const struct pickle_node *node, uint32_t *index)
{
    if (*index == tree->fixups.count || tree->fixups.items[*index].at >= node->end) {
        return NULL;
    }
    return &tree->fixups.items[(*index)++];
}

/* The outermost object that is built around `id` and that its range refers to; `id` if there is none.
 */
static pickle_id find_enclosing(const struct pickle_tree *tree, pickle_id id)
{
    const struct pickle_node *node = pickle_get(tree, id);
    pickle_id found = id;
    uint32_t first = node->start;
    uint32_t index = node->fixups;
    const struct pickle_fixup *fixup;
    while ((fixup = next_fixup(tree, node, &index)) != NULL) {
        if (fixup->kind != PICKLE_FIXUP_GET) {
            continue;
        }
        pickle_id target = tree->memo.items[fixup->index];
        const struct pickle_node *outer = pickle_get(tree, target);
        if (target >= PICKLE_ID_COUNT && outer->start < first && outer->end >= node->end) {
            found = target;
            first = outer->start;
        }
    }
    return found;
}

/* The object that must be written to have `id`: itself, or what encloses it. */
static int find_closed(struct pickle_emitter *emitter, pickle_id id, pickle_id *out_closed)
{
    for (;;) {
        struct pickle_node *node = pickle_get(emitter->tree, id);
        if ((node->notes & PICKLE_NOTE_CLOSED) != 0 || node->kind == PICKLE_TEXT) {
            *out_closed = id;
            return 0;
        }
        int error = spend(emitter, node->end - node->start);
        if (error != 0) {
            return error;
        }
        pickle_id outer = find_enclosing(emitter->tree, id);
        if (outer == id) {
            node->notes |= PICKLE_NOTE_CLOSED;
        }
        id = outer;
    }
}

static int compare_holes(const void *a, const void *b)
{
    const struct pickle_hole *left = a;
    const struct pickle_hole *right = b;
    if (left->start != right->start) {
        return left->start < right->start ? -1 : 1;
    }
    return left->end > right->end ? -1 : left->end < right->end;
}

/* Note the parts of a range that are in the new pickle; nested ones fall away. */
static void find_holes(struct pickle_emitter *emitter, const struct pickle_node *node)
{
    const struct pickle_tree *tree = emitter->tree;
    uint32_t first = emitter->holes.count;
    uint32_t index = node->fixups;
    const struct pickle_fixup *fixup;
    while ((fixup = next_fixup(tree, node, &index)) != NULL) {
        if (fixup->kind != PICKLE_FIXUP_PUT || !is_placed(emitter, fixup->index)) {
            continue;
        }
        pickle_id id = tree->memo.items[fixup->index];
        const struct pickle_node *part = pickle_get(tree, id);
        if (id >= PICKLE_ID_COUNT && lies_in(part, node)) {
            uint32_t place_index = emitter->places[fixup->index].index;
            vec_push(&emitter->holes, (struct pickle_hole){part->start, part->end, place_index});
        }
    }
    uint32_t found = emitter->holes.count - first;
    if (found < 2) {
        return;
    }
    struct pickle_hole *holes = emitter->holes.items + first;
    qsort(holes, found, sizeof *holes, compare_holes);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < found; i++) {
        if (holes[i].start >= holes[kept - 1].end) {
            holes[kept++] = holes[i];
        }
    }
    emitter->holes.count = first + kept;
}

/* Start copying `id`; afterwards throw it away and recall `wanted`, unless that is PICKLE_NO_MEMO. */
static int push_range(struct pickle_emitter *emitter, pickle_id id, uint32_t wanted)
{
    const struct pickle_node *node = pickle_get(emitter->tree, id);
    int error = spend(emitter, node->end - node->start);
    if (error != 0) {
        return error;
    }
    uint32_t hole = emitter->holes.count;
    if (node->kind != PICKLE_TEXT) {
        find_holes(emitter, node);
    }
    vec_push(&emitter->ranges, (struct pickle_range){.at = node->start,
                                                     .end = node->end,
                                                     .fixup = node->fixups,
                                                     .hole = hole,
                                                     .hole_first = hole,
                                                     .hole_end = emitter->holes.count,
                                                     .wanted = wanted});
    return 0;
}

static int run(struct pickle_emitter *emitter, uint32_t floor);

/* Whether the object at `node` can be a pickle inside others: it has no buffers, and all that it
 * refers to outside may as well be written twice. */
static bool can_be_inner(struct pickle_emitter *emitter, struct pickle_node *node)
{
    const struct pickle_tree *tree = emitter->tree;
    if ((node->notes & (PICKLE_NOTE_INNER | PICKLE_NOTE_NO_INNER)) != 0) {
        return (node->notes & PICKLE_NOTE_INNER) != 0;
    }
    uint32_t index = node->fixups;
    const struct pickle_fixup *fixup;
    bool can = node->memo != PICKLE_NO_MEMO && emitter->shared.count < INNER_COUNT_MAX;
    while (can && (fixup = next_fixup(tree, node, &index)) != NULL) {
        if (fixup->kind == PICKLE_FIXUP_BUFFER) {
            can = false;
        } else if (fixup->kind == PICKLE_FIXUP_GET) {
            pickle_id id = tree->memo.items[fixup->index];
            const struct pickle_node *target = pickle_get(tree, id);
            can = id < PICKLE_ID_COUNT || lies_in(target, node) || is_immutable(target);
        }
    }
    node->notes |= can ? PICKLE_NOTE_INNER : PICKLE_NOTE_NO_INNER;
    return can;
}

/* The new pickle has an object that is part of `node` and that must not be there twice. */
static bool has_placed_part(const struct pickle_emitter *emitter, const struct pickle_node *node)
{
    const struct pickle_tree *tree = emitter->tree;
    uint32_t index = node->fixups;
    const struct pickle_fixup *fixup;
    while ((fixup = next_fixup(tree, node, &index)) != NULL) {
        if (fixup->kind == PICKLE_FIXUP_PUT && is_placed(emitter, fixup->index) &&
            !is_immutable(pickle_get(tree, tree->memo.items[fixup->index]))) {
            return true;
        }
    }
    return false;
}

/* Write `id` as a pickle of its own and keep it for all that need it. */
static int make_inner(struct pickle_emitter *emitter, pickle_id id)
{
    struct pickle_node *node = pickle_get(emitter->tree, id);
    struct pickle_output outer = emitter->output;
    uint32_t epoch = ++emitter->epochs;
    emitter->output = (struct pickle_output){
        .chunk = buf_create(node->end - node->start + CHUNK_SLACK),
        .epoch = epoch,
        .base_epoch = epoch,
    };
    pickle_output_raw(&emitter->output, SPAN("\x80\x05"));
    int error = push_range(emitter, id, PICKLE_NO_MEMO);
    if (error == 0) {
        error = run(emitter, emitter->ranges.count - 1);
    }
    pickle_output_byte(&emitter->output, OP_STOP);
    struct buf *made = emitter->output.chunk;
    emitter->output = outer;
    if (error == 0) {
        vec_push(&emitter->shared, slice_create(made, span_of(made->data, made->size)));
        node->shared = (uint16_t)emitter->shared.count;
    }
    buf_unref(made);
    return error;
}

/* Write pickle.loads(<buffer>), where the buffer is the pickle of `id`. */
static int put_inner(struct pickle_emitter *emitter, pickle_id id)
{
    struct pickle_node *node = pickle_get(emitter->tree, id);
    if (node->shared == 0) {
        int error = make_inner(emitter, id);
        if (error != 0) {
            return error;
        }
    }
    pickle_output_raw(&emitter->output, SPAN("\x8c\x07_pickle\x8c\x05loads\x93\x97\x85R\x94"));
    vec_push(&emitter->frames, emitter->shared.items[node->shared - 1]);
    vec_push(&emitter->inside, id);
    place(emitter, node->memo);
    return 0;
}

/* Part of the object is inside an inner pickle, where it cannot be referred to. */
static bool is_inside_inner(const struct pickle_emitter *emitter, const struct pickle_node *node)
{
    for (uint32_t i = 0; i < emitter->inside.count; i++) {
        if (lies_in(node, pickle_get(emitter->tree, emitter->inside.items[i]))) {
            return true;
        }
    }
    return false;
}

static void put_fixed(struct pickle_emitter *emitter, pickle_id id)
{
    static const uint8_t opcodes[PICKLE_ID_COUNT] = {OP_NONE, OP_TRUE, OP_FALSE, OP_EMPTY_TUPLE};
    pickle_output_byte(&emitter->output, opcodes[id]);
}

/* Write an object that is not in the new memo, or push its range. */
static int begin_object(struct pickle_emitter *emitter, pickle_id id, bool inner)
{
    if (id < PICKLE_ID_COUNT) {
        put_fixed(emitter, id);
        return 0;
    }
    struct pickle_node *node = pickle_get(emitter->tree, id);
    if (emitter->inside.count > 0 && emitter->output.inner && !is_immutable(node) &&
        is_inside_inner(emitter, node)) {
        return PICKLE_EMIT_AGAIN;
    }
    pickle_id closed;
    int error = find_closed(emitter, id, &closed);
    if (error != 0) {
        return error;
    }
    if (closed != id) {
        return node->memo == PICKLE_NO_MEMO ? ERR_UNSUPPORTED
                                            : push_range(emitter, closed, node->memo);
    }
    if (inner && node->end - node->start >= PICKLE_INNER_MIN && can_be_inner(emitter, node) &&
        !has_placed_part(emitter, node)) {
        return put_inner(emitter, id);
    }
    return push_range(emitter, id, PICKLE_NO_MEMO);
}

/* The range is copied: what follows it. */
static int end_range(struct pickle_emitter *emitter, const struct pickle_range *range)
{
    copy_bytes(emitter, range->at, range->end);
    uint32_t wanted = range->wanted;
    emitter->holes.count = range->hole_first;
    emitter->ranges.count--;
    if (wanted == PICKLE_NO_MEMO) {
        return 0;
    }
    if (!is_placed(emitter, wanted)) {
        return PICKLE_EMIT_AGAIN;
    }
    pickle_output_byte(&emitter->output, OP_POP);
    pickle_output_recall(&emitter->output, emitter->places[wanted].index);
    return 0;
}

static uint32_t opcode_size(const struct pickle_emitter *emitter, const struct pickle_fixup *fixup)
{
    switch (emitter->tree->bytes.data[fixup->at]) {
    case OP_BINGET:
    case OP_BINPUT:
        return 2;
    case OP_MEMOIZE:
        return 1;
    default:
        return 5;
    }
}

static void skip_hole(struct pickle_emitter *emitter, struct pickle_range *range)
{
    const struct pickle_hole *hole = &emitter->holes.items[range->hole++];
    const struct pickle_fixups *fixups = &emitter->tree->fixups;
    copy_bytes(emitter, range->at, hole->start);
    pickle_output_recall(&emitter->output, hole->index);
    range->at = hole->end;
    while (range->fixup < fixups->count && fixups->items[range->fixup].at < hole->end) {
        range->fixup++;
    }
}

/* Do what a fixup of the newest range asks for; *out_pushed: a range may be on top of it now. */
static int apply_fixup(struct pickle_emitter *emitter, struct pickle_range *range,
                       const struct pickle_fixup *fixup, bool *out_pushed)
{
    switch ((enum pickle_fixup_kind)fixup->kind) {
    case PICKLE_FIXUP_PUT:
        place(emitter, fixup->index);
        if (emitter->tree->bytes.data[fixup->at] != OP_MEMOIZE) {
            copy_bytes(emitter, range->at, fixup->at);
            pickle_output_byte(&emitter->output, OP_MEMOIZE);
            range->at = fixup->at + opcode_size(emitter, fixup);
        }
        return 0;
    case PICKLE_FIXUP_GET:
        copy_bytes(emitter, range->at, fixup->at);
        range->at = fixup->at + opcode_size(emitter, fixup);
        if (is_placed(emitter, fixup->index)) {
            pickle_output_recall(&emitter->output, emitter->places[fixup->index].index);
            return 0;
        }
        *out_pushed = true;
        return begin_object(emitter, emitter->tree->memo.items[fixup->index],
                            emitter->output.inner);
    case PICKLE_FIXUP_BUFFER:
        vec_push(&emitter->frames, emitter->buffers[fixup->index]);
        return 0;
    case PICKLE_FIXUP_FRAME:
        copy_bytes(emitter, range->at, fixup->at);
        range->at = fixup->at + 1 + 8;
        return 0;
    }
    UNREACHABLE();
}

/* Copy the newest range until it ends or another one comes on top of it. */
static int copy_range(struct pickle_emitter *emitter)
{
    struct pickle_range *range = &emitter->ranges.items[emitter->ranges.count - 1];
    const struct pickle_fixups *fixups = &emitter->tree->fixups;
    while (range->fixup < fixups->count && fixups->items[range->fixup].at < range->end) {
        const struct pickle_fixup *fixup = &fixups->items[range->fixup];
        if (range->hole < range->hole_end && emitter->holes.items[range->hole].start <= fixup->at) {
            skip_hole(emitter, range);
            continue;
        }
        range->fixup++;
        bool pushed = false;
        int error = apply_fixup(emitter, range, fixup, &pushed);
        if (error != 0 || pushed) {
            return error;
        }
    }
    return end_range(emitter, range);
}

/* Copy until `floor` ranges are left. */
static int run(struct pickle_emitter *emitter, uint32_t floor)
{
    int error = 0;
    while (error == 0 && emitter->ranges.count > floor) {
        error = copy_range(emitter);
    }
    if (error != 0) {
        emitter->ranges.count = floor;
    }
    return error;
}

static int emit(struct pickle_emitter *emitter, pickle_id id, bool inner)
{
    uint32_t memo = pickle_get(emitter->tree, id)->memo;
    if (memo != PICKLE_NO_MEMO && is_placed(emitter, memo)) {
        pickle_output_recall(&emitter->output, emitter->places[memo].index);
        return 0;
    }
    int error = begin_object(emitter, id, inner);
    return error != 0 ? error : run(emitter, 0);
}

int pickle_emit_object(struct pickle_emitter *emitter, pickle_id id)
{
    return emit(emitter, id, false);
}

int pickle_emit_common(struct pickle_emitter *emitter, pickle_id id)
{
    return emit(emitter, id, emitter->output.inner);
}

void pickle_emit_begin(struct pickle_emitter *emitter, bool inner)
{
    struct pickle_output *output = &emitter->output;
    pickle_output_begin(output);
    emitter->holes.count = 0;
    output->inner = inner;
    output->epoch = ++emitter->epochs;
    output->base_epoch = output->epoch;
    output->memo_count = emitter->prefix.memo_count;
    emitter->frames.count = emitter->prefix.frame_count;
    emitter->inside.count = emitter->prefix.inside_count;
    if (emitter->prefix.bytes.size > 0) {
        output->base_epoch = emitter->prefix.epoch;
        pickle_output_raw(&emitter->output, slice_span(emitter->prefix.bytes));
    }
}

void pickle_emit_set_prefix(struct pickle_emitter *emitter)
{
    const struct pickle_output *output = &emitter->output;
    slice_fini(&emitter->prefix.bytes);
    emitter->prefix.bytes = slice_copy(pickle_output_opcodes(output));
    emitter->prefix.epoch = output->epoch;
    emitter->prefix.memo_count = output->memo_count;
    emitter->prefix.frame_count = emitter->frames.count;
    emitter->prefix.inside_count = emitter->inside.count;
}

void pickle_emit_forget_prefix(struct pickle_emitter *emitter)
{
    slice_fini(&emitter->prefix.bytes);
    memset(&emitter->prefix, 0, sizeof emitter->prefix);
}

int pickle_emit_end(struct pickle_emitter *emitter, struct blob **out_blob)
{
    const struct pickle_output *output = &emitter->output;
    int error = spend(emitter, output->chunk->size - output->start);
    if (error != 0) {
        return error;
    }
    return pickle_output_end(&emitter->output, emitter->frames.items, emitter->frames.count,
                             out_blob);
}
