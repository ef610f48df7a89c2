/* pickle_make.c: pickles by hand, protocol 4. The memo is not used: nothing here is shared, and a
 * pickle that is embedded (a shuffle's spec) then has the memo for itself. */
#include "wire/pickle_make.h"

#include "base/limits.h"
#include "wire/msgpack.h"
#include "wire/pickle_emit.h"

static void put_byte(struct text *out, uint8_t byte)
{
    text_add(out, span_of(&byte, 1));
}

/* An opcode and its operand, little-endian. */
static void put_opcode(struct text *out, uint8_t opcode, uint64_t operand, uint32_t width)
{
    uint8_t bytes[1 + sizeof operand];
    bytes[0] = opcode;
    for (uint32_t i = 0; i < width; i++) {
        bytes[1 + i] = (uint8_t)(operand >> (8 * i));
    }
    text_add(out, span_of(bytes, 1 + width));
}

void pickle_begin(struct text *out)
{
    text_add(out, SPAN("\x80\x04"));
}

void pickle_end(struct text *out)
{
    put_byte(out, '.');
}

void pickle_put_none(struct text *out)
{
    put_byte(out, 'N');
}

void pickle_put_bool(struct text *out, bool value)
{
    put_byte(out, value ? 0x88 : 0x89);
}

void pickle_put_int(struct text *out, int64_t value)
{
    if (value >= INT32_MIN && value <= INT32_MAX) {
        put_opcode(out, 'J', (uint64_t)value, 4);
    } else {
        put_byte(out, 0x8a);
        put_opcode(out, 8, (uint64_t)value, 8);
    }
}

void pickle_put_uint(struct text *out, uint64_t value)
{
    if (value <= INT64_MAX) {
        pickle_put_int(out, (int64_t)value);
        return;
    }
    put_byte(out, 0x8a);
    put_opcode(out, 9, value, 8);
    put_byte(out, 0); /* the sign */
}

void pickle_put_float(struct text *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_opcode(out, 'G', __builtin_bswap64(bits), 8);
}

void pickle_put_text(struct text *out, struct span value)
{
    if (value.size <= UINT8_MAX) {
        put_opcode(out, 0x8c, value.size, 1);
    } else {
        put_opcode(out, 0x8d, value.size, 8);
    }
    text_add(out, value);
}

void pickle_put_bytes(struct text *out, struct span value)
{
    if (value.size <= UINT8_MAX) {
        put_opcode(out, 'C', value.size, 1);
    } else {
        put_opcode(out, 0x8e, value.size, 8);
    }
    text_add(out, value);
}

static void put_cstr(struct text *out, const char *value)
{
    pickle_put_text(out, span_of_text(value));
}

void pickle_put_global(struct text *out, const char *module, const char *name)
{
    put_cstr(out, module);
    put_cstr(out, name);
    put_byte(out, 0x93);
}

void pickle_put_mark(struct text *out)
{
    put_byte(out, '(');
}

void pickle_put_tuple(struct text *out)
{
    put_byte(out, 't');
}

void pickle_put_call(struct text *out)
{
    put_byte(out, 'R');
}

static int put_next(struct text *out, struct msgpack_reader *reader, bool tuples);

static int put_next_items(struct text *out, struct msgpack_reader *reader, uint32_t count,
                          bool tuples)
{
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < count; i++) {
        error = put_next(out, reader, tuples);
    }
    return error;
}

/* Take {"__Set__": true, "as-list": head of an array} off, if that is what comes. */
static bool take_set(struct msgpack_reader *reader, uint32_t *out_count)
{
    struct msgpack_reader at = *reader;
    uint32_t pairs;
    struct span name;
    bool flag;
    if (msgpack_read_map(&at, &pairs) != 0 || pairs != 2 || msgpack_read_str(&at, &name) != 0 ||
        !span_equal_text(name, "__Set__") || msgpack_read_bool(&at, &flag) != 0 || !flag ||
        msgpack_read_str(&at, &name) != 0 || !span_equal_text(name, "as-list") ||
        msgpack_read_array(&at, out_count) != 0) {
        return false;
    }
    *reader = at;
    return true;
}

static int put_next_array(struct text *out, struct msgpack_reader *reader, bool tuples)
{
    uint32_t count;
    int error = msgpack_read_array(reader, &count);
    if (error != 0) {
        return error;
    }
    text_add_cstr(out, tuples ? "(" : "](");
    error = put_next_items(out, reader, count, tuples);
    put_byte(out, tuples ? 't' : 'e');
    return error;
}

/* Keys of a dict and items of a set must be hashable: arrays in them are tuples. */
static int put_next_map(struct text *out, struct msgpack_reader *reader, bool tuples)
{
    uint32_t count;
    if (take_set(reader, &count)) {
        text_add_cstr(out, "\x8f(");
        int error = put_next_items(out, reader, count, true);
        put_byte(out, 0x90);
        return error;
    }
    int error = msgpack_read_map(reader, &count);
    if (error != 0) {
        return error;
    }
    text_add_cstr(out, "}(");
    for (uint32_t i = 0; error == 0 && i < count; i++) {
        error = put_next(out, reader, true);
        if (error == 0) {
            error = put_next(out, reader, tuples);
        }
    }
    put_byte(out, 'u');
    return error;
}

static int put_next_int(struct text *out, struct msgpack_reader *reader)
{
    uint64_t value;
    int64_t negative;
    if (msgpack_read_uint(reader, &value) == 0) {
        pickle_put_uint(out, value);
        return 0;
    }
    int error = msgpack_read_int(reader, &negative);
    if (error == 0) {
        pickle_put_int(out, negative);
    }
    return error;
}

static int put_next_bytes(struct text *out, struct msgpack_reader *reader, bool is_text)
{
    struct span bytes;
    int error = is_text ? msgpack_read_str(reader, &bytes) : msgpack_read_bin(reader, &bytes);
    if (error == 0 && is_text) {
        pickle_put_text(out, bytes);
    } else if (error == 0) {
        pickle_put_bytes(out, bytes);
    }
    return error;
}

/* One value; the depth was checked before. */
static int put_next(struct text *out, struct msgpack_reader *reader, bool tuples)
{
    bool flag;
    double number;
    int error;
    enum msgpack_type type = msgpack_peek(reader);
    switch (type) {
    case MSGPACK_NIL:
        pickle_put_none(out);
        return msgpack_read_nil(reader);
    case MSGPACK_BOOL:
        error = msgpack_read_bool(reader, &flag);
        pickle_put_bool(out, error == 0 && flag);
        return error;
    case MSGPACK_INT:
        return put_next_int(out, reader);
    case MSGPACK_FLOAT:
        error = msgpack_read_float(reader, &number);
        pickle_put_float(out, error == 0 ? number : 0);
        return error;
    case MSGPACK_STR:
    case MSGPACK_BIN:
        return put_next_bytes(out, reader, type == MSGPACK_STR);
    case MSGPACK_ARRAY:
        return put_next_array(out, reader, tuples);
    case MSGPACK_MAP:
        return put_next_map(out, reader, tuples);
    case MSGPACK_EXT:
    case MSGPACK_NONE:
        break;
    }
    return ERR_UNSUPPORTED;
}

static void cut_back(struct text *out, size_t size)
{
    out->size = size;
    if (out->data != NULL) {
        out->data[size] = '\0';
    }
}

int pickle_put_value(struct text *out, struct span value, bool tuples)
{
    size_t size = out->size;
    int error = msgpack_check(value);
    if (error == 0) {
        struct msgpack_reader reader = msgpack_reader(value);
        error = put_next(out, &reader, tuples);
    }
    if (error != 0) {
        cut_back(out, size);
    }
    return error;
}

/* A value that this process has made: it cannot be malformed. */
static void put_known(struct text *out, struct span value)
{
    int error = pickle_put_value(out, value, true);
    ASSERT(error == 0);
}

void pickle_put_key(struct text *out, struct span key)
{
    put_known(out, key);
}

void pickle_make_exception(struct text *out, const char *module, const char *name,
                           struct span message)
{
    pickle_begin(out);
    pickle_put_global(out, module, name);
    pickle_put_mark(out);
    pickle_put_text(out, message);
    pickle_put_tuple(out);
    pickle_put_call(out);
    pickle_end(out);
}

/* A WorkerState without its constructor: the state of a slotted class is (None, {slot: value}). */
static void put_worker(struct text *out, const struct pickle_worker *worker)
{
    pickle_put_global(out, "distributed.scheduler", "WorkerState");
    text_add(out, SPAN(")\x81N}("));
    put_cstr(out, "address");
    pickle_put_text(out, worker->address);
    put_cstr(out, "name");
    put_known(out, worker->name);
    put_cstr(out, "status");
    pickle_put_global(out, "distributed.core", "Status");
    put_cstr(out, "closed");
    text_add(out, SPAN("\x85R"));
    put_cstr(out, "_has_what");
    put_byte(out, '}');
    put_cstr(out, "processing");
    put_byte(out, 0x8f);
    put_cstr(out, "nanny");
    if (worker->nanny.size == 0) {
        pickle_put_none(out);
    } else {
        pickle_put_text(out, worker->nanny);
    }
    put_cstr(out, "pid");
    pickle_put_uint(out, worker->pid);
    put_cstr(out, "nthreads");
    pickle_put_uint(out, worker->nthreads);
    put_cstr(out, "server_id");
    pickle_put_text(out, worker->server_id);
    put_cstr(out, "_hash");
    pickle_put_int(out, 0);
    text_add(out, SPAN("u\x86"
                       "b"));
}

/* type("KilledWorker", (KilledWorker,), {"__module__": …, "__str__": property(attrgetter("_said"))}): a class
 * whose str() calls what its instance has as `_said`. No code travels, so it loads in any Python. */
static void put_killed_worker_class(struct text *out)
{
    pickle_put_global(out, "builtins", "type");
    pickle_put_mark(out);
    put_cstr(out, "KilledWorker");
    pickle_put_global(out, "distributed.scheduler", "KilledWorker");
    text_add(out, SPAN("\x85}("));
    put_cstr(out, "__module__");
    put_cstr(out, "distributed.scheduler");
    put_cstr(out, "__str__");
    pickle_put_global(out, "builtins", "property");
    pickle_put_global(out, "operator", "attrgetter");
    put_cstr(out, "_said");
    text_add(out, SPAN("\x85R\x85Ru"));
    pickle_put_tuple(out);
    pickle_put_call(out);
}

/* {"_said": text.__str__, "__notes__": [note]}, of those that there are. */
static void put_killed_worker_state(struct text *out, const struct pickle_killed_worker *error)
{
    text_add(out, SPAN("}("));
    if (error->text.size > 0) {
        put_cstr(out, "_said");
        pickle_put_global(out, "builtins", "getattr");
        pickle_put_text(out, error->text);
        put_cstr(out, "__str__");
        text_add(out, SPAN("\x86R"));
    }
    if (error->note.size > 0) {
        put_cstr(out, "__notes__");
        text_add(out, SPAN("]("));
        pickle_put_text(out, error->note);
        put_byte(out, 'e');
    }
    text_add(out, SPAN("ub"));
}

void pickle_make_killed_worker(struct text *out, const struct pickle_killed_worker *error)
{
    pickle_begin(out);
    if (error->text.size > 0) {
        put_killed_worker_class(out);
    } else {
        pickle_put_global(out, "distributed.scheduler", "KilledWorker");
    }
    pickle_put_mark(out);
    pickle_put_key(out, error->key);
    put_worker(out, &error->worker);
    pickle_put_uint(out, error->allowed_failures);
    pickle_put_tuple(out);
    pickle_put_call(out);
    if (error->text.size + error->note.size > 0) {
        put_killed_worker_state(out, error);
    }
    pickle_end(out);
}

void pickle_make_no_worker(struct text *out, struct span key, double timeout_seconds)
{
    pickle_begin(out);
    pickle_put_global(out, "distributed.scheduler", "NoWorkerError");
    pickle_put_mark(out);
    pickle_put_key(out, key);
    pickle_put_float(out, timeout_seconds);
    pickle_put_tuple(out);
    pickle_put_call(out);
    pickle_end(out);
}

/* set(<the tuple>). */
static void put_set(struct text *out, struct span array)
{
    pickle_put_global(out, "builtins", "set");
    put_known(out, array);
    text_add(out, SPAN("\x85R"));
}

void pickle_make_no_valid_worker(struct text *out, const struct pickle_no_valid_worker *error)
{
    pickle_begin(out);
    pickle_put_global(out, "distributed.scheduler", "NoValidWorkerError");
    pickle_put_mark(out);
    pickle_put_key(out, error->key);
    put_set(out, error->hosts);
    put_set(out, error->workers);
    put_known(out, error->resources);
    pickle_put_float(out, error->timeout_seconds);
    pickle_put_tuple(out);
    pickle_put_call(out);
    pickle_end(out);
}

void pickle_make_future_cancelled(struct text *out, struct span key, struct span reason,
                                  struct span message)
{
    pickle_begin(out);
    pickle_put_global(out, "distributed.client", "FutureCancelledError");
    pickle_put_mark(out);
    pickle_put_key(out, key);
    pickle_put_text(out, reason);
    if (message.size == 0) {
        pickle_put_none(out);
    } else {
        pickle_put_text(out, message);
    }
    pickle_put_tuple(out);
    pickle_put_call(out);
    pickle_end(out);
}

void pickle_make_future(struct text *out, struct span key)
{
    pickle_begin(out);
    pickle_put_global(out, "distributed.client", "Future");
    pickle_put_mark(out);
    pickle_put_key(out, key);
    pickle_put_tuple(out);
    pickle_put_call(out);
    pickle_end(out);
}

void pickle_make_key(struct text *out, struct span key)
{
    pickle_begin(out);
    pickle_put_key(out, key);
    pickle_end(out);
}

int pickle_make_value(struct text *out, struct span value, bool tuples)
{
    size_t size = out->size;
    pickle_begin(out);
    int error = pickle_put_value(out, value, tuples);
    if (error != 0) {
        cut_back(out, size);
        return error;
    }
    pickle_end(out);
    return 0;
}

void pickle_make_attrgetter(struct text *out, struct span name)
{
    pickle_begin(out);
    pickle_put_global(out, "operator", "attrgetter");
    pickle_put_mark(out);
    pickle_put_text(out, name);
    pickle_put_tuple(out);
    pickle_put_call(out);
    pickle_end(out);
}

void pickle_make_shuffle_plugin(struct text *out)
{
    pickle_begin(out);
    pickle_put_global(out, "distributed.shuffle._worker_plugin", "ShuffleWorkerPlugin");
    text_add(out, SPAN(")\x81"));
    pickle_end(out);
}

/* Append the object that `pickle` holds. It may use the memo, so only once in a pickle. */
static int put_pickle(struct text *out, struct span pickle)
{
    struct pickle_tree tree;
    int error = pickle_read(pickle, &tree);
    if (error != 0) {
        return error;
    }
    if (tree.buffer_count > 0) {
        pickle_tree_fini(&tree);
        return ERR_UNSUPPORTED;
    }
    struct pickle_emitter emitter;
    pickle_emitter_init(&emitter, &tree, NULL);
    pickle_emit_begin(&emitter, false);
    error = pickle_emit_object(&emitter, tree.root);
    if (error == 0) {
        text_add(out, pickle_output_opcodes(&emitter.output));
    }
    pickle_emitter_fini(&emitter);
    pickle_tree_fini(&tree);
    return error == PICKLE_EMIT_AGAIN ? ERR_UNSUPPORTED : error;
}

int pickle_make_shuffle_run(struct text *out, const struct pickle_shuffle_run *run)
{
    size_t size = out->size;
    pickle_begin(out);
    pickle_put_global(out, "distributed.shuffle._core", "ShuffleRunSpec");
    text_add(out, SPAN(")\x81}("));
    put_cstr(out, "run_id");
    pickle_put_uint(out, run->run_id);
    put_cstr(out, "spec");
    int error = put_pickle(out, run->spec);
    if (error != 0) {
        cut_back(out, size);
        return error;
    }
    put_cstr(out, "worker_for");
    text_add(out, SPAN("}("));
    for (uint32_t i = 0; i < run->part_count; i++) {
        pickle_put_key(out, run->parts[i]);
        pickle_put_text(out, run->addresses[i]);
    }
    put_byte(out, 'u');
    put_cstr(out, "span_id");
    if (run->span_id.size == 0) {
        pickle_put_none(out);
    } else {
        pickle_put_text(out, run->span_id);
    }
    text_add(out, SPAN("ub"));
    pickle_end(out);
    return 0;
}
