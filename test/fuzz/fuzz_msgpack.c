/* fuzz_msgpack.c: any bytes as a value, a key and a list of keys. What is well-formed can be printed,
 * and written anew to a form that stays. */
#include "wire/key.h"

/* Write all values up to the reader's end in shortest form, heads and scalars one by one. */
static void rewrite(struct span bytes, struct text *out)
{
    struct msgpack_reader reader = msgpack_reader(bytes);
    while (!msgpack_at_end(&reader)) {
        uint32_t count;
        int64_t number;
        uint64_t wide;
        double real;
        bool flag;
        struct span span;
        if (msgpack_read_nil(&reader) == OK) {
            msgpack_write_nil(out);
        } else if (msgpack_read_bool(&reader, &flag) == OK) {
            msgpack_write_bool(out, flag);
        } else if (msgpack_read_int(&reader, &number) == OK) {
            msgpack_write_int(out, number);
        } else if (msgpack_read_uint(&reader, &wide) == OK) {
            msgpack_write_uint(out, wide);
        } else if (msgpack_read_float(&reader, &real) == OK) {
            msgpack_write_float(out, real);
        } else if (msgpack_read_str(&reader, &span) == OK) {
            msgpack_write_str(out, span);
        } else if (msgpack_read_bin(&reader, &span) == OK) {
            msgpack_write_bin(out, span);
        } else if (msgpack_read_array(&reader, &count) == OK) {
            msgpack_write_array(out, count);
        } else if (msgpack_read_map(&reader, &count) == OK) {
            msgpack_write_map(out, count);
        } else {
            int code = msgpack_read_value(&reader, &span);
            ASSERT(code == OK); /* an ext */
            msgpack_write_raw(out, span);
        }
    }
}

static void check_value(struct span bytes)
{
    struct text once = {0};
    struct text twice = {0};
    if (msgpack_check(bytes) != OK) {
        return;
    }
    msgpack_print(&once, bytes, 1000);
    text_clear(&once);
    rewrite(bytes, &once);
    ASSERT(once.size <= 2 * bytes.size + 4); /* only a float32 grows */
    int code = msgpack_check(text_span(&once));
    ASSERT(code == OK);
    rewrite(text_span(&once), &twice);
    ASSERT(span_equal(text_span(&once), text_span(&twice)));
    text_fini(&once);
    text_fini(&twice);
}

static void check_key(struct span bytes, struct arena *scratch)
{
    struct span key;
    struct span again;
    struct text text = {0};
    if (key_canonical(bytes, scratch, &key) != OK) {
        return;
    }
    int code = key_canonical(key, scratch, &again);
    ASSERT(code == OK);
    ASSERT(again.data == key.data);
    key_repr(&text, key);
    key_print(&text, key);
    text_clear(&text);
    rewrite(bytes, &text);
    ASSERT(span_equal(text_span(&text), key));
    text_fini(&text);
}

static void check_list(struct span bytes, struct arena *scratch)
{
    struct msgpack_reader reader = msgpack_reader(bytes);
    struct key_list list;
    struct key_list again;
    struct text text = {0};
    struct span key;
    if (key_list_read(&reader, scratch, &list) != OK || !list.given) {
        return;
    }
    key_list_write(&text, &list);
    reader = msgpack_reader(text_span(&text));
    int code = key_list_read(&reader, scratch, &again);
    ASSERT(code == OK);
    ASSERT(again.count == list.count);
    while (key_list_next(&list, &key)) {
        check_key(key, scratch);
    }
    text_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena scratch;
    struct span bytes = span_of(data, size);
    struct text lossy = {0};
    arena_init(&scratch);
    check_value(bytes);
    check_key(bytes, &scratch);
    check_list(bytes, &scratch);
    msgpack_write_str_lossy(&lossy, bytes);
    int code = msgpack_check(text_span(&lossy));
    ASSERT(code == OK);
    text_fini(&lossy);
    arena_fini(&scratch);
    return 0;
}
