/* failures.c: see failures.h. The texts are whatever a worker sent: nothing is expected of them. */
#include "observer/failures.h"

#include <string.h>

#define MESSAGE_MAX 500u
#define CODE_POINT_BYTES 4u /* at most, in UTF-8 */

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
}

static void put_code_point(struct text *out, uint32_t point)
{
    if (point < 0x80) {
        text_add_char(out, (char)point);
        return;
    }
    int tail = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const uint32_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    text_add_char(out, (char)(lead[tail] | point >> (6 * tail)));
    while (tail-- > 0) {
        text_add_char(out, (char)(0x80 | (point >> (6 * tail) & 0x3f)));
    }
}

/* The code point of \xNN, \uNNNN, \UNNNNNNNN; false: it is none that a text may show. */
static bool read_number(struct span digits, uint32_t *out_point)
{
    uint32_t point = 0;
    for (size_t i = 0; i < digits.size; i++) {
        uint32_t c = digits.data[i];
        bool is_letter = c >= 'a' && c <= 'f';
        if (!is_letter && (c < '0' || c > '9')) {
            return false;
        }
        point = point << 4 | (is_letter ? c - 'a' + 10 : c - '0');
    }
    *out_point = point;
    bool is_control = point < 0x20 || (point >= 0x7f && point < 0xa0);
    return !is_control && (point < 0xd800 || (point > 0xdfff && point < 0x110000));
}

/* What stands after a backslash in a repr(); the bytes that it takes, 0: not what repr() writes, or nothing for a terminal. */
static size_t read_escape(struct span rest, uint32_t *out_point)
{
    static const struct {
        char letter;
        uint8_t digits;
        char means;
    } escapes[] = {{'n', 0, '\n'}, {'t', 0, '\t'}, {'\\', 0, '\\'}, {'\'', 0, '\''},
                   {'"', 0, '"'},  {'x', 2, 0},    {'u', 4, 0},     {'U', 8, 0}};
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        size_t digits = escapes[i].digits;
        if (rest.size < 1 + digits || (char)rest.data[0] != escapes[i].letter) {
            continue;
        }
        *out_point = (uint32_t)escapes[i].means;
        return digits == 0 || read_number(span_of(rest.data + 1, digits), out_point) ? 1 + digits
                                                                                     : 0;
    }
    return 0;
}

/* The one text that an exception was made of, as its author wrote it: repr() without quotes and backslashes. It may have been cut
 * off. False: it was made of something else. */
static bool read_text(struct span arguments, struct text *out)
{
    if (arguments.size == 0 || (arguments.data[0] != '\'' && arguments.data[0] != '"')) {
        return false;
    }
    size_t at = 1;
    while (at < arguments.size && arguments.data[at] != arguments.data[0] &&
           out->size + CODE_POINT_BYTES <= MESSAGE_MAX) {
        uint32_t point;
        struct span rest = span_of(arguments.data + at + 1, arguments.size - at - 1);
        size_t taken = arguments.data[at] == '\\' ? read_escape(rest, &point) : 0;
        if (taken > 0) {
            put_code_point(out, point);
        } else {
            text_add_char(out, (char)arguments.data[at]);
        }
        at += 1 + taken;
    }
    bool is_all = at + 1 >= arguments.size || out->size + CODE_POINT_BYTES > MESSAGE_MAX;
    if (!is_all) {
        text_clear(out); /* other arguments follow */
    }
    return is_all;
}

void failure_read_exception(struct span repr, struct text *out_type, struct text *out_message)
{
    if (repr.size == 0) {
        text_add_cstr(out_type, "Exception");
        return;
    }
    const char *text = (const char *)repr.data;
    size_t name = 0;
    while (name < repr.size && is_name_char(text[name])) {
        name++;
    }
    text_add(out_type, span_of(text, name));
    if (name == 0) {
        text_add_cstr(out_type, "Exception");
    }
    struct span rest = span_of(repr.data + name, repr.size - name);
    if (rest.size >= 2 && rest.data[0] == '(') {
        bool is_closed = rest.data[rest.size - 1] == ')'; /* else it was cut off */
        rest = span_of(rest.data + 1, rest.size - 1 - is_closed);
        if (read_text(rest, out_message)) {
            return;
        }
    }
    rest.size = rest.size > MESSAGE_MAX ? MESSAGE_MAX : rest.size;
    text_add(out_message, rest);
}

/* One '  File "path", line 12, in f' line. */
struct place {
    struct span path, line, function;
};

static bool read_place(struct span line, struct place *out)
{
    static const char begin[] = "File \"", middle[] = "\", line ", end[] = ", in ";
    const char *text = (const char *)line.data;
    const char *path = memmem(text, line.size, begin, sizeof begin - 1);
    if (path == NULL) {
        return false;
    }
    path += sizeof begin - 1;
    size_t left = line.size - (size_t)(path - text);
    const char *number = memmem(path, left, middle, sizeof middle - 1);
    if (number == NULL) {
        return false;
    }
    out->path = span_of(path, (size_t)(number - path));
    number += sizeof middle - 1;
    left = line.size - (size_t)(number - text);
    const char *function = memmem(number, left, end, sizeof end - 1);
    size_t digits = function == NULL ? left : (size_t)(function - number);
    out->line = span_of(number, digits);
    out->function = (struct span){0};
    if (function != NULL) {
        function += sizeof end - 1;
        out->function = span_of(function, line.size - (size_t)(function - text));
    }
    return true;
}

static bool is_library(struct span path)
{
    return memmem(path.data, path.size, "site-packages/", 14) != NULL ||
           memmem(path.data, path.size, "/lib/python3", 12) != NULL ||
           memmem(path.data, path.size, "<frozen ", 8) != NULL ||
           memmem(path.data, path.size, "cask/executor/", 14) != NULL;
}

void failure_read_place(struct span traceback, struct text *out_where)
{
    static const char newest_first[] = "(most recent call first)"; /* of a death certificate */
    struct place place, best = {0};
    bool best_is_users = false, is_newest_first = false;
    size_t at = 0;
    while (at < traceback.size) {
        const uint8_t *end = memchr(traceback.data + at, '\n', traceback.size - at);
        size_t size = end == NULL ? traceback.size - at : (size_t)(end - traceback.data) - at;
        struct span line = span_of(traceback.data + at, size);
        if (memmem(line.data, size, newest_first, sizeof newest_first - 1) != NULL) {
            if (best.path.size > 0) {
                break; /* another thread's; the first is the one that did it */
            }
            is_newest_first = true;
        } else if (read_place(line, &place)) {
            bool is_users = !is_library(place.path);
            bool is_better = is_users || !best_is_users;
            if (is_newest_first) {
                is_better = best.path.size == 0 || (is_users && !best_is_users);
            }
            if (is_better) {
                best = place;
                best_is_users = is_users;
            }
        }
        at += size + 1;
    }
    if (best.path.size == 0) {
        return;
    }
    const uint8_t *slash = memrchr(best.path.data, '/', best.path.size);
    struct span file = best.path;
    if (slash != NULL) {
        size_t skipped = (size_t)(slash + 1 - file.data);
        file = span_of(file.data + skipped, file.size - skipped);
    }
    text_add(out_where, file);
    text_add_char(out_where, ':');
    text_add(out_where, best.line);
    if (best.function.size > 0) {
        text_add_cstr(out_where, " in ");
        text_add(out_where, best.function);
    }
}
