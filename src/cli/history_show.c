/* history_show.c: `cask history show`. The figures are SQL; what people read is rounded there, JSON is not. */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "cli/history_command.h"
#include "cli/history_print.h"

static const struct section {
    const char *name, *title, *people, *programs; /* people: LIMIT is appended */
} sections[] = {
    {"workers", "Workers",
     "SELECT coalesce(nullif(name, ''), address) AS worker, nthreads AS threads, runs, failures, "
     "printf('%.1f s', busy) AS computed, status, reason FROM workers ORDER BY removed > 0, id",
     "SELECT id, address, name, host, nthreads, memory_limit, added, removed, reason, runs, "
     "failures, "
     "busy FROM workers ORDER BY id"},
    {"prefixes", "What took the time",
     "SELECT name, runs, failures AS failed, printf('%.2f s', total) AS total, printf('%.4g', min) "
     "AS min, "
     "printf('%.4g', p50) AS \"50 %\", printf('%.4g', p90) AS \"90 %\", printf('%.4g', max) AS "
     "max, "
     "printf('%.2f s', transfer) AS transfer FROM prefixes ORDER BY prefixes.total DESC",
     "SELECT name, runs, failures, total, min, p50, p90, p99, max, transfer, nbytes FROM prefixes "
     "ORDER BY total DESC"},
    {"failures", "What failed",
     "SELECT count, (SELECT name FROM prefixes WHERE id = prefix) AS task, type, message, place "
     "FROM failures "
     "ORDER BY count DESC",
     "SELECT id, count, (SELECT name FROM prefixes WHERE id = prefix) AS prefix, cause, type, "
     "message, "
     "place, first, last, keys, exception, traceback FROM failures ORDER BY count DESC"},
};

enum { SECTION_COUNT = sizeof sections / sizeof sections[0] };

/* The rows of meta by name. */
static json_t *facts_of(struct history_view *view, struct text *why)
{
    json_t *rows = history_json(view,
                                "SELECT name, value FROM meta WHERE typeof(value) <> 'blob' AND "
                                "name NOT LIKE 'writer_%' AND name <> 'ring_tail'",
                                why);
    json_t *facts = rows == NULL ? NULL : json_object();
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        json_object_set(facts, json_string_value(json_object_get(row, "name")),
                        json_object_get(row, "value"));
    }
    json_decref(rows);
    return facts;
}

static double number_of(const json_t *facts, const char *name)
{
    return json_number_value(json_object_get(facts, name));
}

static void print_facts(const json_t *facts)
{
    struct text started = {0}, lasted = {0};
    const char *reason = json_string_value(json_object_get(facts, "reason"));
    history_print_time(number_of(facts, "started"), &started);
    history_print_seconds(number_of(facts, "time") - number_of(facts, "started"), &lasted);
    printf("%s at %s\nbegan %s, took %s; %s%s%s\n", json_string_value(json_object_get(facts, "id")),
           json_string_value(json_object_get(facts, "address")), text_cstr(&started),
           text_cstr(&lasted), json_string_value(json_object_get(facts, "state")),
           reason != NULL && *reason != '\0' ? ": " : "", reason == NULL ? "" : reason);
    static const char *const counted[] = {"run", "failure", "transfer", "graph"};
    static const char *const names[] = {"runs", "failures", "transfers", "graphs"};
    for (int i = 0; i < 4; i++) {
        double count = number_of(facts, names[i]);
        printf("%s%.0f %s", i == 0 ? "" : ", ", count, count == 1 ? counted[i] : names[i]);
    }
    putchar('\n');
    double lost = number_of(facts, "lost"), missed = number_of(facts, "missed");
    if (lost > 0 || missed > 0) {
        printf("incomplete: %.0f records found no room in the ring, %.0f runs came faster than the "
               "disk\n",
               lost, missed);
    }
    text_fini(&started);
    text_fini(&lasted);
}

static int show_json(struct history_view *view, json_t *facts, struct text *why)
{
    json_t *whole = json_object();
    json_object_set(whole, "run", facts);
    bool fine = true;
    for (int i = 0; i < SECTION_COUNT && fine; i++) {
        json_t *rows = history_json(view, sections[i].programs, why);
        fine = rows != NULL && json_object_set_new(whole, sections[i].name, rows) == 0;
    }
    if (fine) {
        history_print_json(whole);
    }
    json_decref(whole);
    return fine ? EXIT_SUCCESS : -1;
}

static int show_people(struct history_view *view, const json_t *facts, unsigned limit,
                       struct text *why)
{
    int code = OK;
    print_facts(facts);
    for (int i = 0; i < SECTION_COUNT && code == OK; i++) {
        struct text sql = {0};
        text_printf(&sql, "%s LIMIT %u", sections[i].people, limit);
        code = history_print_table(view, sections[i].title, text_cstr(&sql), why);
        text_fini(&sql);
    }
    return code == OK ? EXIT_SUCCESS : -1;
}

int history_show(struct history_view *view, const struct options *options, struct text *why)
{
    json_t *facts = facts_of(view, why);
    if (facts == NULL) {
        return -1;
    }
    int code = options->is_on[OPTION_HISTORY_JSON] == SWITCH_ON
                   ? show_json(view, facts, why)
                   : show_people(view, facts, history_limit(options), why);
    json_decref(facts);
    return code;
}
