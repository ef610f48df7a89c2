/* failures.c: see failures.h. The texts are whatever a worker sent: nothing is expected of them. */
#include "observer/failures.h"

#include <string.h>

#define MESSAGE_MAX 500u

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
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
    if (rest.size >= 2 && rest.data[0] == '(' && rest.data[rest.size - 1] == ')') {
        rest = span_of(rest.data + 1, rest.size - 2);
        bool is_quoted = rest.size >= 2 && (rest.data[0] == '\'' || rest.data[0] == '"') &&
                         rest.data[rest.size - 1] == rest.data[0];
        if (is_quoted) {
            rest = span_of(rest.data + 1, rest.size - 2);
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
           memmem(path.data, path.size, "cask/executor/", 14) != NULL;
}

void failure_read_place(struct span traceback, struct text *out_where)
{
    struct place place, best = {0};
    bool best_is_users = false;
    size_t at = 0;
    while (at < traceback.size) {
        const uint8_t *end = memchr(traceback.data + at, '\n', traceback.size - at);
        size_t size = end == NULL ? traceback.size - at : (size_t)(end - traceback.data) - at;
        if (read_place(span_of(traceback.data + at, size), &place)) {
            bool is_users = !is_library(place.path);
            if (is_users || !best_is_users) {
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
