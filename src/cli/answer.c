/* answer.c: reading answers and printing them. */
#include "cli/answer.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/json.h"
#include "wire/key.h"

enum { WIDTH = 80, TUPLE_DEPTH_MAX = 16, TUPLE_ITEMS_MAX = 64 };

struct span answer_field(struct span map, const char *name)
{
    struct span value;
    return msgpack_find(map, name, &value) == OK ? value : (struct span){0};
}

struct span answer_text(struct span map, const char *name, struct span absent)
{
    struct msgpack_reader reader = msgpack_reader(answer_field(map, name));
    struct span text;
    return msgpack_read_str(&reader, &text) == OK ? text : absent;
}

double answer_number(struct span map, const char *name, double absent)
{
    struct msgpack_reader reader = msgpack_reader(answer_field(map, name));
    double number;
    return msgpack_read_float(&reader, &number) == OK ? number : absent;
}

bool answer_bool(struct span map, const char *name)
{
    struct msgpack_reader reader = msgpack_reader(answer_field(map, name));
    bool value;
    return msgpack_read_bool(&reader, &value) == OK && value;
}

uint32_t answer_items(struct span value, struct msgpack_reader *out_reader)
{
    uint32_t count;
    *out_reader = msgpack_reader(value);
    if (msgpack_read_array(out_reader, &count) == OK ||
        msgpack_read_map(out_reader, &count) == OK) {
        return count;
    }
    return 0;
}

struct span answer_next(struct msgpack_reader *reader)
{
    struct span value;
    return msgpack_read_value(reader, &value) == OK ? value : (struct span){0};
}

void answer_print_key(struct span key)
{
    struct text text = {0};
    struct arena scratch;
    arena_init(&scratch);
    struct span canonical;
    if (key_canonical(key, &scratch, &canonical) == OK) {
        key_print(&text, canonical);
    } else {
        msgpack_print(&text, key, 200);
    }
    fputs(text_cstr(&text), stdout);
    arena_fini(&scratch);
    text_fini(&text);
}

void answer_print_wrapped(struct span words, int indent)
{
    int column = indent;
    size_t at = 0;
    while (at < words.size) {
        size_t end = at;
        while (end < words.size && words.data[end] != ' ') {
            end++;
        }
        int size = (int)(end - at);
        if (column > indent && column + 1 + size > WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        }
        column += printf("%s%.*s", column > indent ? " " : "", size, (const char *)words.data + at);
        for (at = end; at < words.size && words.data[at] == ' ';) {
            at++;
        }
    }
    putchar('\n');
}

void answer_bytes(double bytes, char out[24])
{
    struct text text = {0};
    text_add_bytes_size(&text, bytes);
    snprintf(out, 24, "%s", text_cstr(&text));
    text_fini(&text);
}

void answer_print_json(struct span value)
{
    struct text json = {0};
    if (!json_from_msgpack(&json, value, 2)) {
        text_clear(&json);
        text_add_cstr(&json, "null");
    }
    puts(text_cstr(&json));
    text_fini(&json);
}

/* ---- keys ------------------------------------------------------------------------------------- */

static void skip_blanks(const char **at)
{
    while (isspace((unsigned char)**at)) {
        ++*at;
    }
}

static bool parse_quoted(const char **at, struct text *out)
{
    struct text text = {0};
    char quote = *(*at)++;
    while (**at != '\0' && **at != quote) {
        *at += **at == '\\' && (*at)[1] != '\0';
        text_add_char(&text, *(*at)++);
    }
    bool is_closed = **at == quote && msgpack_is_utf8(text_span(&text));
    if (is_closed) {
        ++*at;
        msgpack_write_str(out, text_span(&text));
    }
    text_fini(&text);
    return is_closed;
}

static bool parse_number(const char **at, struct text *out)
{
    char *end_int, *end_real;
    long long number = strtoll(*at, &end_int, 10);
    double real = strtod(*at, &end_real);
    if (end_real == *at) {
        return false;
    }
    if (end_real > end_int) {
        msgpack_write_float(out, real);
    } else {
        msgpack_write_int(out, number);
    }
    *at = end_real;
    return true;
}

static bool parse_value(const char **at, struct text *out, int depth);

/* Behind the "(". */
static bool parse_tuple(const char **at, struct text *out, int depth)
{
    struct text items = {0};
    uint32_t count = 0;
    bool is_good = depth < TUPLE_DEPTH_MAX;
    skip_blanks(at);
    while (is_good && **at != ')') {
        is_good = count++ < TUPLE_ITEMS_MAX && parse_value(at, &items, depth + 1);
        skip_blanks(at);
        if (is_good && **at == ',') {
            ++*at;
            skip_blanks(at);
        } else {
            is_good = is_good && **at == ')';
        }
    }
    if (is_good) {
        ++*at;
        msgpack_write_array(out, count);
        msgpack_write_raw(out, text_span(&items));
    }
    text_fini(&items);
    return is_good;
}

static bool parse_value(const char **at, struct text *out, int depth)
{
    skip_blanks(at);
    if (**at == '(') {
        ++*at;
        return parse_tuple(at, out, depth);
    }
    return **at == '\'' || **at == '"' ? parse_quoted(at, out) : parse_number(at, out);
}

bool answer_parse_key(const char *text, struct text *out_key)
{
    if (text[0] != '(') {
        msgpack_write_str_lossy(out_key, span_of_text(text));
        return true;
    }
    const char *at = text;
    bool is_good = parse_value(&at, out_key, 0);
    return is_good && *at == '\0';
}
