/* pickle.c: the reader's stack machine.
 *
 * The machine is CPython's (Modules/_pickle.c), but an entry of its stack is a node and the place in
 * the bytes where the node's opcodes began. What an opcode does is a row of pickle_ops.def; there is
 * one function a kind of row. An entry fetched from the memo, or of the fixed objects, is `shared`:
 * CPython's pickler never changes an object after fetching it, so a pickle that does is not read. */
#include "wire/pickle.h"

#include "base/alloc.h"
#include "base/limits.h"

enum pickle_action {
    ACTION_NONE,
    ACTION_SKIP,
    ACTION_FRAME,
    ACTION_STOP,
    ACTION_FIXED,
    ACTION_CONSTANT,
    ACTION_COUNTED,
    ACTION_GLOBAL,
    ACTION_BUFFER,
    ACTION_MARK,
    ACTION_MAKE,
    ACTION_MAKE_MARKED,
    ACTION_CHANGE,
    ACTION_CHANGE_MARKED,
    ACTION_POP,
    ACTION_POP_MARK,
    ACTION_PUT,
    ACTION_GET,
};

struct opcode {
    uint8_t action;
    uint8_t width;
    uint8_t kind;
};

static const struct opcode OPCODES[256] = {
#define OP(byte, name, action_, width_, kind_) [byte] = {ACTION_##action_, width_, kind_},
#include "wire/pickle_ops.def"
};

enum {
    BOOKED_BYTES = 6,          /* bytes an object in a typical graph, to book room by */
    BOOKED_MAX = 1u << 16,     /* objects that are booked before any was read */
    BOOKED_ENTRIES = 64,       /* of the stack */
    MEMO_MAX = (1u << 30) - 1, /* what a fixup's index can hold */
};

struct entry {
    pickle_id node;
    uint32_t start; /* where its opcodes began */
    uint32_t fixups;
    bool shared;
};

struct mark {
    uint32_t height; /* entries below it */
    uint32_t start;
    uint32_t fixups;
};

struct reader {
    struct pickle_tree *tree;
    uint32_t start; /* of the opcode at hand */
    uint32_t at;    /* behind what was read of it */
    uint32_t end;
    uint32_t floor; /* entries below the newest mark: out of reach */
    struct entries VEC(struct entry) stack;
    struct marks VEC(struct mark) marks;
};

static uint64_t little_endian(const uint8_t *bytes, uint32_t width)
{
    uint64_t value = 0;
    for (uint32_t i = width; i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/* Take `width` operand bytes as a number. */
static int read_operand(struct reader *r, uint32_t width, uint64_t *out_value)
{
    if (r->end - r->at < width) {
        return ERR_TRUNCATED;
    }
    *out_value = little_endian(r->tree->bytes.data + r->at, width);
    r->at += width;
    return 0;
}

static int skip_operand(struct reader *r, uint64_t size)
{
    if (r->end - r->at < size) {
        return ERR_TRUNCATED;
    }
    r->at += (uint32_t)size;
    return 0;
}

static void push(struct reader *r, pickle_id node, uint32_t start, uint32_t fixups, bool shared)
{
    vec_push(&r->stack, (struct entry){node, start, fixups, shared});
}

static pickle_id add_node(struct reader *r, uint32_t start, uint32_t fixups, uint32_t kind)
{
    struct pickle_tree *tree = r->tree;
    pickle_id id = tree->nodes.count;
    vec_push(&tree->nodes, (struct pickle_node){.start = start,
                                                .end = r->at,
                                                .fixups = fixups,
                                                .memo = PICKLE_NO_MEMO,
                                                .kind = (uint8_t)kind});
    return id;
}

/* An object that nothing on the stack belongs to. */
static int push_leaf(struct reader *r, uint32_t kind)
{
    uint32_t fixups = r->tree->fixups.count;
    push(r, add_node(r, r->start, fixups, kind), r->start, fixups, false);
    return 0;
}

static int add_fixup(struct reader *r, enum pickle_fixup_kind kind, uint32_t index)
{
    if (index > MEMO_MAX) {
        return ERR_LIMIT;
    }
    vec_push(&r->tree->fixups, (struct pickle_fixup){r->start, kind, index});
    return 0;
}

/* Move the newest `count` entries into the children; first tells where they are. */
static uint32_t take_children(struct reader *r, uint32_t count)
{
    struct pickle_tree *tree = r->tree;
    uint32_t first = tree->children.count;
    vec_reserve(&tree->children, count);
    r->stack.count -= count;
    const struct entry *entries = r->stack.items + r->stack.count;
    for (uint32_t i = 0; i < count; i++) {
        tree->children.items[first + i] = entries[i].node;
    }
    tree->children.count = first + count;
    return first;
}

/* Replace the newest `count` entries by one object made of them. */
static int make(struct reader *r, uint32_t kind, uint32_t count, uint32_t start, uint32_t fixups)
{
    uint32_t first = take_children(r, count);
    pickle_id id = add_node(r, start, fixups, kind);
    struct pickle_node *node = pickle_get(r->tree, id);
    node->first = first;
    node->count = count;
    push(r, id, start, fixups, false);
    return 0;
}

static int make_counted(struct reader *r, uint32_t kind, uint32_t count)
{
    if (count == 0) {
        return push_leaf(r, kind);
    }
    if (r->stack.count - r->floor < count) {
        return ERR_MALFORMED;
    }
    const struct entry *entry = &r->stack.items[r->stack.count - count];
    return make(r, kind, count, entry->start, entry->fixups);
}

/* Take the newest mark off; out_count is the number of entries above it. */
static int take_mark(struct reader *r, struct mark *out_mark, uint32_t *out_count)
{
    if (r->marks.count == 0) {
        return ERR_MALFORMED;
    }
    *out_mark = vec_pop(&r->marks);
    *out_count = r->stack.count - out_mark->height;
    r->floor = r->marks.count == 0 ? 0 : r->marks.items[r->marks.count - 1].height;
    return 0;
}

static int make_marked(struct reader *r, uint32_t kind)
{
    struct mark mark;
    uint32_t count;
    int error = take_mark(r, &mark, &count);
    return error != 0 ? error : make(r, kind, count, mark.start, mark.fixups);
}

static bool change_fits(enum pickle_kind object, enum pickle_post_kind post)
{
    switch (object) {
    case PICKLE_LIST:
        return post == PICKLE_APPENDS || post == PICKLE_SIDE;
    case PICKLE_DICT:
        return post == PICKLE_SETITEMS || post == PICKLE_SIDE;
    case PICKLE_SET:
        return post == PICKLE_ADDITEMS || post == PICKLE_SIDE;
    case PICKLE_REDUCE:
    case PICKLE_NEWOBJ:
    case PICKLE_NEWOBJ_EX:
        return true;
    default:
        return post == PICKLE_SIDE;
    }
}

static void add_post(struct reader *r, struct pickle_node *node, struct pickle_post post)
{
    struct pickle_posts *posts = &r->tree->posts;
    vec_push(posts, post);
    uint32_t added = posts->count; /* 1 + its index */
    if (node->post == 0) {
        node->post = added;
    } else {
        posts->items[posts->items[node->post - 1].last - 1].next = added;
    }
    posts->items[node->post - 1].last = added;
}

/* The newest `count` entries are what is done to the entry below them. */
static int change(struct reader *r, uint32_t kind, uint32_t count)
{
    if (r->stack.count - r->floor <= count) {
        return ERR_MALFORMED;
    }
    const struct entry *entry = &r->stack.items[r->stack.count - count - 1];
    struct pickle_node *node = pickle_get(r->tree, entry->node);
    if (entry->shared || !change_fits((enum pickle_kind)node->kind, (enum pickle_post_kind)kind)) {
        return ERR_UNSUPPORTED;
    }
    if (kind == PICKLE_SETITEMS && count % 2 != 0) {
        return ERR_MALFORMED;
    }
    uint32_t first = take_children(r, count);
    add_post(r, node, (struct pickle_post){.first = first, .count = count, .kind = kind});
    node->end = r->at;
    return 0;
}

static int change_marked(struct reader *r, uint32_t kind)
{
    struct mark mark;
    uint32_t count;
    int error = take_mark(r, &mark, &count);
    return error != 0 ? error : change(r, kind, count);
}

/* Throw the newest entry away. What it was built for is either a side effect on the entry below, or
 * the memo entries it left behind (recursive tuples): both stay inside the parent's range. */
static int pop(struct reader *r)
{
    if (r->stack.count == r->floor) {
        struct mark mark;
        uint32_t count;
        return take_mark(r, &mark, &count);
    }
    if (r->stack.count - r->floor < 2 || r->stack.items[r->stack.count - 2].shared) {
        r->stack.count--;
        return 0;
    }
    return change(r, PICKLE_SIDE, 1);
}

static int pop_mark(struct reader *r)
{
    struct mark mark;
    uint32_t count;
    int error = take_mark(r, &mark, &count);
    if (error == 0) {
        r->stack.count -= count;
    }
    return error;
}

static int read_put(struct reader *r, uint32_t width)
{
    struct pickle_tree *tree = r->tree;
    uint64_t index = tree->memo.count;
    if (width > 0) {
        int error = read_operand(r, width, &index);
        if (error != 0) {
            return error;
        }
    }
    if (index != tree->memo.count) {
        return ERR_UNSUPPORTED;
    }
    if (r->stack.count == r->floor) {
        return ERR_MALFORMED;
    }
    const struct entry *entry = &r->stack.items[r->stack.count - 1];
    struct pickle_node *node = pickle_get(tree, entry->node);
    vec_push(&tree->memo, entry->node);
    if (!entry->shared) {
        node->end = r->at;
        node->memo = node->memo == PICKLE_NO_MEMO ? (uint32_t)index : node->memo;
    }
    return add_fixup(r, PICKLE_FIXUP_PUT, (uint32_t)index);
}

static int read_get(struct reader *r, uint32_t width)
{
    struct pickle_tree *tree = r->tree;
    uint64_t index;
    int error = read_operand(r, width, &index);
    if (error != 0) {
        return error;
    }
    if (index >= tree->memo.count) {
        return ERR_MALFORMED;
    }
    pickle_id id = tree->memo.items[index];
    uint32_t memo = pickle_get(tree, id)->memo;
    push(r, id, r->start, tree->fixups.count, true);
    return add_fixup(r, PICKLE_FIXUP_GET, memo == PICKLE_NO_MEMO ? (uint32_t)index : memo);
}

/* Opcode GLOBAL: two lines of text. */
static int read_global(struct reader *r)
{
    const uint8_t *bytes = r->tree->bytes.data;
    for (int line = 0; line < 2; line++) {
        const uint8_t *newline = memchr(bytes + r->at, '\n', r->end - r->at);
        if (newline == NULL) {
            return ERR_TRUNCATED;
        }
        r->at = (uint32_t)(newline - bytes) + 1;
    }
    return push_leaf(r, PICKLE_GLOBAL);
}

static int read_counted(struct reader *r, struct opcode op)
{
    uint64_t size;
    int error = read_operand(r, op.width, &size);
    if (error == 0) {
        error = skip_operand(r, size);
    }
    return error != 0 ? error : push_leaf(r, op.kind);
}

static int read_buffer(struct reader *r)
{
    int error = add_fixup(r, PICKLE_FIXUP_BUFFER, r->tree->buffer_count++);
    if (error != 0) {
        return error;
    }
    uint32_t fixups = r->tree->fixups.count - 1;
    push(r, add_node(r, r->start, fixups, PICKLE_BUFFER), r->start, fixups, false);
    return 0;
}

static int read_frame(struct reader *r, uint32_t width)
{
    int error = skip_operand(r, width);
    return error != 0 ? error : add_fixup(r, PICKLE_FIXUP_FRAME, 0);
}

static int read_constant(struct reader *r, struct opcode op)
{
    int error = skip_operand(r, op.width);
    return error != 0 ? error : push_leaf(r, op.kind);
}

/* LONG: one case a kind of opcode */
static int read_opcode(struct reader *r, struct opcode op)
{
    switch ((enum pickle_action)op.action) {
    case ACTION_NONE:
    case ACTION_STOP:
        return ERR_UNSUPPORTED;
    case ACTION_SKIP:
        return skip_operand(r, op.width);
    case ACTION_FRAME:
        return read_frame(r, op.width);
    case ACTION_FIXED:
        push(r, op.kind, r->start, r->tree->fixups.count, true);
        return 0;
    case ACTION_CONSTANT:
        return read_constant(r, op);
    case ACTION_COUNTED:
        return read_counted(r, op);
    case ACTION_GLOBAL:
        return read_global(r);
    case ACTION_BUFFER:
        return read_buffer(r);
    case ACTION_MARK:
        vec_push(&r->marks, (struct mark){r->stack.count, r->start, r->tree->fixups.count});
        r->floor = r->stack.count;
        return 0;
    case ACTION_MAKE:
        return make_counted(r, op.kind, op.width);
    case ACTION_MAKE_MARKED:
        return make_marked(r, op.kind);
    case ACTION_CHANGE:
        return change(r, op.kind, op.width);
    case ACTION_CHANGE_MARKED:
        return change_marked(r, op.kind);
    case ACTION_POP:
        return pop(r);
    case ACTION_POP_MARK:
        return pop_mark(r);
    case ACTION_PUT:
        return read_put(r, op.width);
    case ACTION_GET:
        return read_get(r, op.width);
    }
    UNREACHABLE();
}

static int read_all(struct reader *r)
{
    const uint8_t *bytes = r->tree->bytes.data;
    for (uint32_t count = 0; count < LIMIT_PICKLE_OPS_MAX; count++) {
        if (r->at == r->end) {
            return ERR_TRUNCATED;
        }
        r->start = r->at++;
        struct opcode op = OPCODES[bytes[r->start]];
        if (op.action == ACTION_STOP) {
            if (r->stack.count != 1 || r->marks.count != 0) {
                return ERR_MALFORMED;
            }
            r->tree->root = r->stack.items[0].node;
            return 0;
        }
        int error = read_opcode(r, op);
        if (error != 0) {
            return error;
        }
    }
    return ERR_LIMIT;
}

static void book_room(struct pickle_tree *tree)
{
    size_t expected = tree->bytes.size / BOOKED_BYTES + PICKLE_ID_COUNT;
    uint32_t count = expected < BOOKED_MAX ? (uint32_t)expected : BOOKED_MAX;
    vec_reserve(&tree->nodes, count);
    vec_reserve(&tree->children, count);
    vec_reserve(&tree->fixups, count);
    vec_reserve(&tree->memo, count);
    static const uint8_t kinds[PICKLE_ID_COUNT] = {PICKLE_NONE, PICKLE_TRUE, PICKLE_FALSE,
                                                   PICKLE_TUPLE};
    for (uint32_t i = 0; i < PICKLE_ID_COUNT; i++) {
        vec_push(&tree->nodes, (struct pickle_node){.memo = PICKLE_NO_MEMO, .kind = kinds[i]});
    }
}

int pickle_read(struct span bytes, struct pickle_tree *out_tree)
{
    if (bytes.size > UINT32_MAX) {
        return ERR_UNSUPPORTED;
    }
    if (bytes.size == 0) {
        return ERR_TRUNCATED;
    }
    struct pickle_tree tree = {.bytes = bytes};
    struct reader r = {.tree = &tree, .end = (uint32_t)bytes.size};
    vec_reserve(&r.stack, BOOKED_ENTRIES);
    book_room(&tree);
    int error = read_all(&r);
    vec_fini(&r.stack);
    vec_fini(&r.marks);
    if (error != 0) {
        pickle_tree_fini(&tree);
        return error;
    }
    *out_tree = tree;
    return 0;
}

void pickle_tree_fini(struct pickle_tree *tree)
{
    vec_fini(&tree->nodes);
    vec_fini(&tree->children);
    vec_fini(&tree->posts);
    vec_fini(&tree->fixups);
    vec_fini(&tree->memo);
    *tree = (struct pickle_tree){0};
}
