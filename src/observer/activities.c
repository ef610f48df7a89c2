/* activities.c: see activities.h. */
#include "observer/activities.h"

#include <math.h>

#include "observer/tables_internal.h"
#include "wire/msgpack.h"

/* Functions × activities; beyond, what has no row yet is added up. */
#define ACTIVITIES_MAX 4096u
#define NAME_BYTES_MAX 512u

enum { CONTEXT, FUNCTION, ACTIVITY, UNIT, PARTS };

void activities_clear(struct tables *tables)
{
    for (uint32_t i = 0; i < tables->activities.count; i++) {
        struct activity_row *row = tables->activities.items[i];
        text_fini(&row->context);
        text_fini(&row->function);
        text_fini(&row->activity);
        text_fini(&row->unit);
        mem_free(row);
    }
    vec_fini(&tables->activities);
    map_fini(&tables->activity_places);
}

struct activity_row *activities_make(struct tables *tables, const struct span name[PARTS])
{
    bool is_full = tables->activities.count >= ACTIVITIES_MAX;
    const struct span others[PARTS] = {name[CONTEXT], SPAN("(others)"), SPAN("(others)"),
                                       name[UNIT]};
    struct text joined = {0};
    for (int i = 0; i < PARTS; i++) {
        text_add(&joined, name[i]);
        text_add_char(&joined, '\0');
    }
    struct map_entry *entry = map_find(&tables->activity_places, text_span(&joined));
    if (entry == NULL && is_full && !span_equal(name[FUNCTION], others[FUNCTION])) {
        text_fini(&joined);
        return activities_make(tables, others);
    }
    if (entry == NULL) {
        struct activity_row *row = mem_zalloc(1, sizeof *row);
        text_add(&row->context, name[CONTEXT]);
        text_add(&row->function, name[FUNCTION]);
        text_add(&row->activity, name[ACTIVITY]);
        text_add(&row->unit, name[UNIT]);
        entry = map_put(&tables->activity_places, text_span(&joined), NULL);
        entry->value.number = tables->activities.count;
        vec_push(&tables->activities, row);
    }
    text_fini(&joined);
    return tables->activities.items[entry->value.number];
}

/* A part of a name as text: activities that users name may be anything. */
static bool read_part(struct msgpack_reader *reader, struct text *out)
{
    struct span value;
    struct text printed = {0};
    if (msgpack_read_value(reader, &value) != OK) {
        return false;
    }
    if (!table_print_key(&printed, value)) {
        text_add_char(&printed, '?');
    }
    struct span text = text_span(&printed);
    text_add(out, span_of(text.data, text.size < NAME_BYTES_MAX ? text.size : NAME_BYTES_MAX));
    text_fini(&printed);
    return true;
}

/* (context, function, activity, unit), or without the function. False: it is another's name. */
static bool read_name(struct span name, struct text parts[PARTS])
{
    struct msgpack_reader reader = msgpack_reader(name);
    uint32_t count;
    if (msgpack_read_array(&reader, &count) != OK || (count != PARTS && count != PARTS - 1)) {
        return false;
    }
    for (int i = 0; i < PARTS; i++) {
        bool is_absent = i == FUNCTION && count != PARTS;
        if (!is_absent && !read_part(&reader, &parts[i])) {
            return false;
        }
    }
    return true;
}

static void add(struct tables *tables, struct span name, double number)
{
    struct text parts[PARTS] = {0};
    if (read_name(name, parts)) {
        struct span spans[PARTS];
        for (int i = 0; i < PARTS; i++) {
            spans[i] = text_span(&parts[i]);
        }
        struct activity_row *row = activities_make(tables, spans);
        row->total += number;
        row->tick = tables->tick;
    }
    for (int i = 0; i < PARTS; i++) {
        text_fini(&parts[i]);
    }
}

void activities_apply(struct tables *tables, struct span pairs)
{
    struct msgpack_reader reader = msgpack_reader(pairs);
    struct span name;
    double number;
    while (reader.at < reader.end && msgpack_read_value(&reader, &name) == OK &&
           msgpack_read_float(&reader, &number) == OK) {
        if (isfinite(number)) {
            add(tables, name, number);
        }
    }
}
