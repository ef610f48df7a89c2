/* ask.c: questions to the scheduler about what a person named.
 *
 * str(key) of a tuple is read back as Python's literal: nested tuples, strings, ints, floats. What is not that is a
 * str key. Source: distributed http/scheduler/info.py, _get_actual_scheduler_key. */
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "observer/routes.h"
#include "wire/msgpack.h"

#define DEPTH_MAX 16

/* ---- keys --------------------------------------------------------------------------------------- */

struct literal {
    const uint8_t *at, *end;
};

static void skip_space(struct literal *literal)
{
    while (literal->at < literal->end && *literal->at == ' ') {
        literal->at++;
    }
}

static bool take(struct literal *literal, char c)
{
    skip_space(literal);
    bool is_there = literal->at < literal->end && *literal->at == (uint8_t)c;
    literal->at += is_there;
    return is_there;
}

/* 'text' or "text"; of escapes only \\, \' and \", which are what keys have. */
static bool read_string(struct literal *literal, struct text *out)
{
    uint8_t quote = *literal->at++;
    struct text value = {0};
    while (literal->at < literal->end && *literal->at != quote) {
        if (*literal->at == '\\' && literal->at + 1 < literal->end) {
            literal->at++;
        }
        text_add_char(&value, (char)*literal->at++);
    }
    bool is_closed = literal->at < literal->end;
    literal->at += is_closed;
    msgpack_write_str_lossy(out, text_span(&value));
    text_fini(&value);
    return is_closed;
}

static bool read_number(struct literal *literal, struct text *out)
{
    char few[64], *end;
    size_t size = 0;
    while (literal->at < literal->end && size < sizeof few - 1 &&
           strchr("+-.0123456789einfa", *literal->at) != NULL) {
        few[size++] = (char)*literal->at++;
    }
    few[size] = '\0';
    bool is_real = strpbrk(few, ".eina") != NULL;
    if (is_real) {
        msgpack_write_float(out, strtod(few, &end));
    } else {
        msgpack_write_int(out, strtoll(few, &end, 10));
    }
    return size > 0 && *end == '\0';
}

static bool read_value(struct literal *literal, struct text *out, int depth);

static bool read_tuple(struct literal *literal, struct text *out, int depth)
{
    struct text items = {0};
    uint32_t count = 0;
    bool fine = take(literal, '(');
    while (fine && !take(literal, ')')) {
        fine = read_value(literal, &items, depth + 1);
        count++;
        if (fine && !take(literal, ',')) {
            fine = take(literal, ')');
            break;
        }
    }
    msgpack_write_array(out, count);
    msgpack_write_raw(out, text_span(&items));
    text_fini(&items);
    return fine;
}

/* Recursion is bounded by DEPTH_MAX. */
static bool read_value(struct literal *literal, struct text *out, int depth)
{
    skip_space(literal);
    if (literal->at == literal->end || depth > DEPTH_MAX) {
        return false;
    }
    switch (*literal->at) {
    case '(':
        return read_tuple(literal, out, depth);
    case '\'':
    case '"':
        return read_string(literal, out);
    default:
        return read_number(literal, out);
    }
}

bool ask_parse_tuple(struct span text, struct text *out_key)
{
    struct literal literal = {text.data, text.data + text.size};
    if (text.size == 0 || text.data[0] != '(' || !read_value(&literal, out_key, 0) ||
        literal.at != literal.end) {
        text_clear(out_key);
        return false;
    }
    return true;
}

void ask_text_key(struct span text, struct text *out_key)
{
    msgpack_write_str_lossy(out_key, text);
}

/* ---- asking ------------------------------------------------------------------------------------- */

struct asking {
    struct exchange *exchange;
    struct ask ask;
    struct text key_text, more;
    bool was_tuple; /* the key was tried as a tuple: as a str comes next */
};

static void finish(struct asking *asking, struct span answer)
{
    struct exchange *exchange = asking->exchange;
    ask_function *then = asking->ask.then;
    text_fini(&asking->key_text);
    text_fini(&asking->more);
    mem_free(asking);
    exchange->is_waiting = false;
    then(exchange, answer);
}

static void answered(void *user, struct span answer);

static void put_key(const struct asking *asking, struct text *call)
{
    struct text key = {0};
    struct span text = text_span(&asking->key_text);
    if (!asking->was_tuple || !ask_parse_tuple(text, &key)) {
        ask_text_key(text, &key);
    }
    msgpack_write_cstr(call, asking->ask.name);
    if (asking->ask.is_list) {
        msgpack_write_array(call, 1);
    }
    msgpack_write_raw(call, text_span(&key));
    text_fini(&key);
}

static void send_question(struct asking *asking)
{
    struct text call = {0};
    bool has_key = asking->ask.name != NULL;
    msgpack_write_map(&call, 2 + has_key + asking->ask.more_count);
    msgpack_write_cstr(&call, "op");
    msgpack_write_cstr(&call, asking->ask.op);
    msgpack_write_cstr(&call, "reply");
    msgpack_write_bool(&call, true);
    if (has_key) {
        put_key(asking, &call);
    }
    msgpack_write_raw(&call, text_span(&asking->more));
    if (!channel_ask(asking->exchange->observer, text_span(&call), answered, asking)) {
        finish(asking, (struct span){0});
    }
    text_fini(&call);
}

static void answered(void *user, struct span answer)
{
    struct asking *asking = user;
    bool is_known =
        answer.data == NULL || asking->ask.is_known == NULL || asking->ask.is_known(answer);
    if (!is_known && asking->was_tuple) {
        asking->was_tuple = false;
        send_question(asking);
    } else {
        finish(asking, answer);
    }
}

void ask_scheduler(struct exchange *exchange, const struct ask *ask)
{
    struct asking *asking = mem_zalloc(1, sizeof *asking);
    struct text key = {0};
    asking->exchange = exchange;
    asking->ask = *ask;
    text_add(&asking->key_text, ask->key_text);
    text_add(&asking->more, ask->more);
    asking->was_tuple = ask->name != NULL && ask_parse_tuple(ask->key_text, &key);
    text_fini(&key);
    exchange->is_waiting = true;
    send_question(asking);
}
