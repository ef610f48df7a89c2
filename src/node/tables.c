/* tables.c: each table once more as rows of text: heads, each followed by its parts. */
#include "node/tables.h"

#include "wire/msgpack.h"

enum { COLUMNS_MAX = 4 };

struct row {
    bool is_head;
    const char *columns[COLUMNS_MAX]; /* NULL: fewer */
};

struct table {
    const char *name;
    const char *head_names[COLUMNS_MAX]; /* NULL: fewer */
    const char
        *part_names[COLUMNS_MAX]; /* the first names the list of parts; NULL: there are none */
    const struct row *rows;
    size_t row_count;
};

struct move {
    const char *from, *to, *function;
};

/* Each machine's tables: columns as TABLES and STATE_TABLES name them. */

static const struct row STATES[] = {
#define STATE(id, wire, meaning) {true, {#id, wire, meaning}},
#include "core/scheduler/states.def"
};

static const struct move MOVES[] = {
#define MOVE(from, to, function) {#from, #to, #function},
#include "core/scheduler/states.def"
};

static const struct row WORKER_STATES[] = {
#define STATE(id, wire, meaning) {true, {#id, wire, meaning}},
#include "core/worker/states.def"
};

static const struct move WORKER_MOVES[] = {
#define MOVE(from, to, function) {#from, #to, #function},
#include "core/worker/states.def"
};

static const struct row MESSAGES[] = {
#define MESSAGE(ID, name, op, port) {true, {op, #port, #name}},
#define FIELD(type, c_name, wire, need, default_) {false, {wire, #type, #need}},
#include "wire/messages.def"
};

#define PART(type, name) {false, {#name, #type}},

static const struct row EVENTS[] = {
#define EVENT(ID, name, FIELDS) {true, {#name}}, FIELDS(PART)
#include "core/scheduler/events.def"
};

static const struct row ACTIONS[] = {
#define ACTION(ID, name, FIELDS) {true, {#name}}, FIELDS(PART)
#include "core/scheduler/actions.def"
};

static const struct row WORKER_EVENTS[] = {
#define EVENT(ID, name, FIELDS) {true, {#name}}, FIELDS(PART)
#include "core/worker/events.def"
};

static const struct row WORKER_ACTIONS[] = {
#define ACTION(ID, name, FIELDS) {true, {#name}}, FIELDS(PART)
#include "core/worker/actions.def"
};

static const struct row ERRORS[] = {
#define ERROR(id, number, meaning, try_) {true, {#id, #number, meaning, try_}},
#include "base/error.def"
};

#define ROWS(array) array, sizeof(array) / sizeof((array)[0])

static const struct table TABLES[] = {
    {"messages", {"op", "port", "struct"}, {"fields", "name", "type", "need"}, ROWS(MESSAGES)},
    {"events", {"name"}, {"fields", "name", "type"}, ROWS(EVENTS)},
    {"actions", {"name"}, {"fields", "name", "type"}, ROWS(ACTIONS)},
    {"worker-events", {"name"}, {"fields", "name", "type"}, ROWS(WORKER_EVENTS)},
    {"worker-actions", {"name"}, {"fields", "name", "type"}, ROWS(WORKER_ACTIONS)},
    {"errors", {"name", "number", "meaning", "advice"}, {NULL}, ROWS(ERRORS)},
};

static const struct state_table {
    const char *name;
    const struct row *states; /* id, name, meaning */
    size_t state_count;
    const struct move *moves; /* by the states' ids */
    size_t move_count;
} STATE_TABLES[] = {
    {"states", ROWS(STATES), ROWS(MOVES)},
    {"worker-states", ROWS(WORKER_STATES), ROWS(WORKER_MOVES)},
};

enum {
    TABLE_COUNT = sizeof TABLES / sizeof TABLES[0],
    STATE_TABLE_COUNT = sizeof STATE_TABLES / sizeof STATE_TABLES[0],
};

static void write_pair(struct text *out, const char *name, const char *value)
{
    msgpack_write_cstr(out, name);
    msgpack_write_cstr(out, value);
}

static uint32_t name_count(const char *const *names)
{
    uint32_t count = 0;
    while (count < COLUMNS_MAX && names[count] != NULL) {
        count++;
    }
    return count;
}

static uint32_t part_count(const struct table *table, size_t head)
{
    uint32_t count = 0;
    while (head + 1 + count < table->row_count && !table->rows[head + 1 + count].is_head) {
        count++;
    }
    return count;
}

static void write_head(struct text *out, const struct table *table, size_t head)
{
    const struct row *row = &table->rows[head];
    uint32_t count = name_count(table->head_names);
    bool has_parts = table->part_names[0] != NULL;
    msgpack_write_map(out, count + has_parts);
    for (uint32_t i = 0; i < count; i++) {
        write_pair(out, table->head_names[i], row->columns[i]);
    }
    if (has_parts) {
        msgpack_write_cstr(out, table->part_names[0]);
        msgpack_write_array(out, part_count(table, head));
    }
}

static void write_part(struct text *out, const struct table *table, const struct row *row)
{
    const char *const *names = table->part_names + 1;
    uint32_t count = name_count(table->part_names) - 1;
    msgpack_write_map(out, count);
    for (uint32_t i = 0; i < count; i++) {
        write_pair(out, names[i], row->columns[i]);
    }
}

static void write_table(struct text *out, const struct table *table)
{
    uint32_t head_count = 0;
    for (size_t i = 0; i < table->row_count; i++) {
        head_count += table->rows[i].is_head;
    }
    msgpack_write_array(out, head_count);
    for (size_t i = 0; i < table->row_count; i++) {
        if (table->rows[i].is_head) {
            write_head(out, table, i);
        } else {
            write_part(out, table, &table->rows[i]);
        }
    }
}

static const char *state_name(const struct state_table *table, const char *id)
{
    size_t i = 0;
    while (strcmp(table->states[i].columns[0], id) != 0) {
        i++;
        ASSERT(i < table->state_count);
    }
    return table->states[i].columns[1];
}

static void write_moves(struct text *out, const struct state_table *table, const char *from)
{
    uint32_t count = 0;
    for (size_t i = 0; i < table->move_count; i++) {
        count += strcmp(table->moves[i].from, from) == 0;
    }
    msgpack_write_array(out, count);
    for (size_t i = 0; i < table->move_count; i++) {
        if (strcmp(table->moves[i].from, from) == 0) {
            msgpack_write_map(out, 2);
            write_pair(out, "to", state_name(table, table->moves[i].to));
            write_pair(out, "function", table->moves[i].function);
        }
    }
}

static void write_states(struct text *out, const struct state_table *table)
{
    msgpack_write_array(out, (uint32_t)table->state_count);
    for (size_t i = 0; i < table->state_count; i++) {
        msgpack_write_map(out, 3);
        write_pair(out, "name", table->states[i].columns[1]);
        write_pair(out, "meaning", table->states[i].columns[2]);
        msgpack_write_cstr(out, "moves");
        write_moves(out, table, table->states[i].columns[0]);
    }
}

static const struct state_table *find_states(const char *name)
{
    for (size_t i = 0; i < STATE_TABLE_COUNT; i++) {
        if (strcmp(name, STATE_TABLES[i].name) == 0) {
            return &STATE_TABLES[i];
        }
    }
    return NULL;
}

bool tables_write(const char *name, struct text *out)
{
    const struct state_table *states = find_states(name);
    if (states != NULL) {
        write_states(out, states);
        return true;
    }
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (strcmp(name, TABLES[i].name) == 0) {
            write_table(out, &TABLES[i]);
            return true;
        }
    }
    return false;
}

bool tables_dot(const char *name, struct text *out)
{
    const struct state_table *table = find_states(name);
    if (table == NULL) {
        return false;
    }
    text_add_cstr(out, "digraph states {\n    node [shape=box, fontname=\"sans-serif\"];\n");
    for (size_t i = 0; i < table->state_count; i++) {
        text_printf(out, "    \"%s\" [tooltip=\"%s\"];\n", table->states[i].columns[1],
                    table->states[i].columns[2]);
    }
    for (size_t i = 0; i < table->move_count; i++) {
        const struct move *move = &table->moves[i];
        text_printf(out, "    \"%s\" -> \"%s\" [tooltip=\"%s\"];\n", state_name(table, move->from),
                    state_name(table, move->to), move->function);
    }
    text_add_cstr(out, "}\n");
    return true;
}
