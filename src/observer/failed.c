/* failed.c: see failed.h. What came from a worker is somebody's: bytes stay bytes, and of its JSON only what is known here
 * goes on, with its type checked. */
#include "observer/failed.h"

#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "wire/json.h"
#include "wire/msgpack.h"

/* ---- rows --------------------------------------------------------------------------------------- */

static void row_fini(struct failed_row *row)
{
    text_fini(&row->key);
    text_fini(&row->description);
}

void failed_rows_fini(struct failed_rows *rows)
{
    for (uint32_t i = 0; i < rows->count; i++) {
        row_fini(&rows->items[i]);
    }
    vec_fini(rows);
}

const struct failed_row *failed_rows_find(const struct failed_rows *rows, struct span key)
{
    for (uint32_t i = rows->count; i-- > 0;) {
        if (span_equal(text_span(&rows->items[i].key), key)) {
            return &rows->items[i];
        }
    }
    return NULL;
}

static void forget(struct failed_rows *rows, uint32_t place)
{
    row_fini(&rows->items[place]);
    rows->count--;
    memmove(rows->items + place, rows->items + place + 1,
            (rows->count - place) * sizeof rows->items[0]);
}

void failed_rows_put(struct failed_rows *rows, struct span key, double time,
                     struct text *take_description)
{
    const struct failed_row *known = failed_rows_find(rows, key);
    if (known != NULL) {
        forget(rows, (uint32_t)(known - rows->items));
    } else if (rows->count == FAILED_ROWS_MAX) {
        forget(rows, 0);
    }
    struct failed_row row = {.time = time, .description = *take_description};
    *take_description = (struct text){0};
    text_add(&row.key, key);
    vec_push(rows, row);
}

/* ---- reading ------------------------------------------------------------------------------------ */

static bool find(struct span map, const char *name, struct msgpack_reader *out_reader)
{
    struct span raw;
    bool is_there = msgpack_find(map, name, &raw) == OK && !msgpack_is_nil(raw);
    *out_reader = msgpack_reader(is_there ? raw : (struct span){0});
    return is_there;
}

static json_t *json_of(struct span text)
{
    json_t *value = json_stringn((const char *)text.data, text.size);
    return value == NULL ? json_null() : value;
}

/* A str of the map, or null. */
static json_t *text_of(struct span map, const char *name)
{
    struct msgpack_reader reader;
    struct span text;
    bool is_there = find(map, name, &reader) && msgpack_read_str(&reader, &text) == OK;
    return is_there ? json_of(text) : json_null();
}

/* `value` (borrowed, may be NULL) if it is of that type, else null. */
static json_t *only(json_t *value, json_type type)
{
    return value != NULL && json_typeof(value) == type ? json_incref(value) : json_null();
}

/* A list whose items are strings, or lists of strings if `is_deep`; else an empty one. */
static json_t *strings(json_t *list, bool is_deep)
{
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_array_get(list, i);
        if (is_deep && json_is_array(item)) {
            json_array_append_new(out, strings(item, false));
        } else if (!is_deep && json_is_string(item)) {
            json_array_append(out, item);
        }
    }
    return out;
}

/* An object whose values are strings. */
static json_t *names(json_t *object)
{
    json_t *out = json_object(), *value;
    const char *name;
    json_object_foreach(object, name, value)
    {
        if (json_is_string(value)) {
            json_object_set(out, name, value);
        }
    }
    return out;
}

/* What the worker answered: [description, pickle of the task, [pickle or nil, …]]. */
struct look {
    json_t *description; /* owned; NULL: there is none */
    struct span spec;
    struct msgpack_reader values;
    uint32_t value_count;
};

static int read_look(struct span bytes, struct look *out)
{
    struct msgpack_reader reader = msgpack_reader(bytes);
    struct span description, raw;
    uint32_t count;
    int code = msgpack_read_array(&reader, &count);
    code = code == OK && count != 3 ? ERR_MALFORMED : code;
    code = code == OK ? msgpack_read_str(&reader, &description) : code;
    code = code == OK && description.size > FAILED_DESCRIPTION_BYTES_MAX ? ERR_LIMIT : code;
    code = code == OK ? msgpack_read_value(&reader, &raw) : code;
    if (code == OK && !msgpack_is_nil(raw)) {
        struct msgpack_reader at = msgpack_reader(raw);
        code = msgpack_read_bin(&at, &out->spec);
    }
    code = code == OK ? msgpack_read_array(&reader, &out->value_count) : code;
    if (code == OK) {
        out->values = reader;
        out->description = json_loadb((const char *)description.data, description.size, 0, NULL);
    }
    return code;
}

/* The next of the look's values, if it has one. */
static bool next_value(struct look *look, struct span *out_data)
{
    struct span raw;
    if (look->value_count == 0 || msgpack_read_value(&look->values, &raw) != OK) {
        look->value_count = 0;
        return false;
    }
    look->value_count--;
    struct msgpack_reader reader = msgpack_reader(raw);
    return !msgpack_is_nil(raw) && msgpack_read_bin(&reader, out_data) == OK;
}

static json_t *task_of(const struct look *look, bool is_kept)
{
    json_t *task = json_object_get(look->description, "task");
    json_t *out = json_object();
    json_object_set_new(out, "function", only(json_object_get(task, "function"), JSON_STRING));
    json_object_set_new(out, "args", strings(json_object_get(task, "args"), false));
    json_object_set_new(out, "kwargs", names(json_object_get(task, "kwargs")));
    json_object_set_new(out, "why", only(json_object_get(task, "why"), JSON_STRING));
    json_object_set_new(out, "kept", json_boolean(is_kept));
    return out;
}

/* [str(key), nbytes, type] of the scheduler, and what the worker says of its value. */
static json_t *input_of(struct msgpack_reader *reader, json_t *seen, json_t *why, bool is_kept)
{
    static const char *const said[] = {"shape", "dtype", "repr"};
    struct span key, type;
    uint32_t count;
    int64_t nbytes;
    if (msgpack_read_array(reader, &count) != OK || count != 3 ||
        msgpack_read_str(reader, &key) != OK || msgpack_read_int(reader, &nbytes) != OK ||
        msgpack_read_str(reader, &type) != OK) {
        return NULL;
    }
    json_t *out = json_object(), *its_type = json_object_get(seen, "type");
    json_object_set_new(out, "key", json_of(key));
    json_object_set_new(out, "nbytes", nbytes < 0 ? json_null() : json_integer(nbytes));
    json_object_set_new(out, "type",
                        json_is_string(its_type) ? json_incref(its_type)
                        : type.size > 0          ? json_of(type)
                                                 : json_null());
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        json_object_set_new(out, said[i], only(json_object_get(seen, said[i]), JSON_STRING));
    }
    json_object_set_new(out, "kept", json_boolean(is_kept));
    json_object_set_new(out, "why",
                        is_kept        ? json_null()
                        : seen == NULL ? json_incref(why)
                                       : only(json_object_get(seen, "why"), JSON_STRING));
    return out;
}

/* ERR_MALFORMED: the scheduler's list of inputs is none. */
static int read_inputs(struct span told, struct look *look, json_t *out, struct failed_told *into)
{
    struct msgpack_reader reader;
    uint32_t count = 0;
    json_t *list = json_array(), *why = json_object_get(out, "why");
    json_t *seen = json_object_get(look->description, "inputs");
    bool is_fine = find(told, "inputs", &reader) && msgpack_read_array(&reader, &count) == OK &&
                   count <= FAILED_INPUTS_MAX;
    for (uint32_t i = 0; is_fine && i < count; i++) {
        struct span data;
        bool is_kept = next_value(look, &data);
        json_t *input = input_of(&reader, json_array_get(seen, i), why, is_kept);
        is_fine = input != NULL && json_array_append_new(list, input) == 0;
        if (is_fine && is_kept) {
            into->values[into->value_count++] = (struct failed_value){i, data};
        }
    }
    json_object_set_new(out, "inputs", list);
    return is_fine ? OK : ERR_MALFORMED;
}

/* What its runs cost and printed: a list of objects; null: the worker keeps no such records. */
static json_t *attempts_of(struct span told)
{
    static const char *const numbers[] = {"start",      "stop",          "cpu_user",
                                          "cpu_system", "rss_peak",      "rss_growth",
                                          "read_bytes", "written_bytes", "output_bytes"};
    struct span raw;
    struct text text = {0};
    bool is_there = msgpack_find(told, "attempts", &raw) == OK && !msgpack_is_nil(raw) &&
                    json_from_msgpack(&text, raw, 0);
    json_t *list = is_there ? json_loadb((const char *)text.data, text.size, 0, NULL) : NULL;
    text_fini(&text);
    if (!json_is_array(list)) {
        json_decref(list);
        return json_null();
    }
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(list) && i < FAILED_ATTEMPTS_MAX; i++) {
        json_t *item = json_array_get(list, i), *attempt = json_object();
        for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
            json_t *value = json_object_get(item, numbers[k]);
            json_object_set_new(attempt, numbers[k],
                                json_is_number(value) ? json_incref(value) : json_null());
        }
        json_object_set_new(attempt, "status", only(json_object_get(item, "status"), JSON_STRING));
        json_object_set_new(attempt, "output", only(json_object_get(item, "output"), JSON_STRING));
        json_array_append_new(out, attempt);
    }
    json_decref(list);
    return out;
}

int failed_read(struct span told, struct failed_told *out)
{
    struct msgpack_reader reader;
    struct look look = {0};
    struct span bytes;
    uint64_t total = 0;
    *out = (struct failed_told){0};
    if (!find(told, "key", &reader) || msgpack_read_str(&reader, &out->key) != OK ||
        !find(told, "time", &reader) || msgpack_read_float(&reader, &out->time) != OK ||
        !find(told, "total", &reader) || msgpack_read_uint(&reader, &total) != OK) {
        return ERR_MALFORMED;
    }
    if (find(told, "spec", &reader) && msgpack_read_bin(&reader, &out->spec) != OK) {
        out->spec = (struct span){0};
    }
    json_t *all = json_object();
    json_object_set_new(all, "why", text_of(told, "why"));
    if (find(told, "look", &reader) && msgpack_read_bin(&reader, &bytes) == OK) {
        if (read_look(bytes, &look) == OK) {
            out->spec = look.spec;
        } else {
            json_object_set_new(all, "why", json_string("its worker's answer makes no sense"));
            look = (struct look){0};
        }
    }
    json_object_set_new(all, "key", json_of(out->key));
    json_object_set_new(all, "time", json_real(out->time));
    json_object_set_new(all, "worker", text_of(told, "worker"));
    json_object_set_new(all, "task", task_of(&look, out->spec.data != NULL));
    int code = read_inputs(told, &look, all, out);
    json_object_set_new(all, "total", json_integer((json_int_t)total));
    json_object_set_new(all, "python",
                        only(json_object_get(look.description, "python"), JSON_STRING));
    json_object_set_new(all, "packages", names(json_object_get(look.description, "packages")));
    json_object_set_new(all, "log", strings(json_object_get(look.description, "log"), true));
    json_object_set_new(all, "attempts", attempts_of(told));
    char *text = code == OK ? json_dumps(all, JSON_COMPACT) : NULL;
    code = code == OK && text == NULL ? ERR_MALFORMED : code;
    if (code == OK) {
        text_add_cstr(&out->description, text);
    }
    free(text);
    json_decref(all);
    json_decref(look.description);
    return code;
}
