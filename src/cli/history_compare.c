/* history_compare.c: `cask history compare`: two runs, prefix by prefix.
 *
 * A prefix's time is what its tasks computed and waited for inputs. The difference is split into what more (or fewer) tasks
 * make, at the earlier run's mean, and what slower (or faster) ones make: the two add up. Quantiles are exact where the
 * runs are still in the file, else to within a half octave. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/map.h"
#include "cli/history_command.h"
#include "cli/history_print.h"

enum side { EARLIER, LATER, SIDES };

/* A prefix in one of the runs. */
struct figures {
    double runs, failures, compute, transfer, p50, p90;
    struct VEC(float) durations;
};

struct line {
    struct text name;
    struct figures sides[SIDES];
    double by_count, by_speed, by_transfer;
};

struct whole {
    double seconds, workers, threads, runs, failures, compute, transfer;
};

struct comparison {
    struct VEC(struct line *) lines;
    struct map places;
    struct whole whole[SIDES];
    enum side side; /* which is being read */
    bool is_exact[SIDES];
};

/* ---- reading ------------------------------------------------------------------------------------ */

static struct line *line_of(struct comparison *comparison, struct span name)
{
    bool is_new;
    struct map_entry *entry = map_put(&comparison->places, name, &is_new);
    if (is_new) {
        struct line *line = mem_zalloc(1, sizeof *line);
        text_add(&line->name, name);
        entry->value.number = comparison->lines.count;
        vec_push(&comparison->lines, line);
    }
    return comparison->lines.items[entry->value.number];
}

static bool take_prefix(void *user, const struct history_row *row)
{
    struct comparison *comparison = user;
    struct figures *figures = &line_of(comparison, row->values[0].text)->sides[comparison->side];
    double *places[] = {&figures->runs,     &figures->failures, &figures->compute,
                        &figures->transfer, &figures->p50,      &figures->p90};
    for (uint32_t i = 0; i < 6; i++) {
        *places[i] = row->values[i + 1].real;
    }
    return true;
}

static bool take_run(void *user, const struct history_row *row)
{
    struct comparison *comparison = user;
    struct figures *figures = &line_of(comparison, row->values[0].text)->sides[comparison->side];
    vec_push(&figures->durations, (float)row->values[1].real);
    return true;
}

static bool take_whole(void *user, const struct history_row *row)
{
    struct comparison *comparison = user;
    struct whole *whole = &comparison->whole[comparison->side];
    double *places[] = {&whole->seconds, &whole->workers, &whole->threads};
    for (uint32_t i = 0; i < 3; i++) {
        *places[i] = row->values[i].real;
    }
    return true;
}

static int shorter_first(const void *a, const void *b)
{
    float one, other;
    memcpy(&one, a, sizeof one);
    memcpy(&other, b, sizeof other);
    return (one > other) - (one < other);
}

static void set_quantiles(struct figures *figures)
{
    uint32_t count = figures->durations.count;
    if (count > 0) {
        qsort(figures->durations.items, count, sizeof(float), shorter_first);
        figures->p50 = (double)figures->durations.items[(count - 1) / 2];
        figures->p90 = (double)figures->durations.items[(uint32_t)((count - 1) * 0.9)];
    }
}

static int read_side(struct comparison *comparison, enum side side, struct history_view *view,
                     struct text *why)
{
    comparison->side = side;
    int code = history_view_ask(
        view, "SELECT name, runs, failures, total, transfer, p50, p90 FROM prefixes", take_prefix,
        comparison, why);
    if (code == OK) {
        code = history_view_ask(view,
                                "SELECT (SELECT max(stop) - min(start) FROM run_chunks), count(*), "
                                "sum(nthreads) FROM workers WHERE runs > 0",
                                take_whole, comparison, why);
    }
    code = code == OK ? history_view_ask(view, "SELECT prefix, duration FROM runs", take_run,
                                         comparison, why)
                      : code;
    comparison->is_exact[side] = true;
    struct whole *whole = &comparison->whole[side];
    for (uint32_t i = 0; i < comparison->lines.count; i++) {
        struct figures *figures = &comparison->lines.items[i]->sides[side];
        bool is_whole = figures->durations.count >= figures->runs;
        comparison->is_exact[side] = comparison->is_exact[side] && is_whole;
        if (is_whole) {
            set_quantiles(figures);
        }
        whole->runs += figures->runs;
        whole->failures += figures->failures;
        whole->compute += figures->compute;
        whole->transfer += figures->transfer;
    }
    return code;
}

/* ---- comparing ---------------------------------------------------------------------------------- */

static double mean(const struct figures *figures)
{
    return figures->runs > 0 ? figures->compute / figures->runs : 0;
}

static void explain(struct line *line)
{
    const struct figures *before = &line->sides[EARLIER], *after = &line->sides[LATER];
    double at = before->runs > 0 ? mean(before) : mean(after);
    line->by_count = (after->runs - before->runs) * at;
    line->by_speed = after->compute - before->compute - line->by_count;
    line->by_transfer = after->transfer - before->transfer;
}

static double difference(const struct line *line)
{
    return line->by_count + line->by_speed + line->by_transfer;
}

static int largest_first(const void *a, const void *b)
{
    const struct line *one, *other;
    memcpy(&one, a, sizeof one);
    memcpy(&other, b, sizeof other);
    double first = fabs(difference(one)), second = fabs(difference(other));
    return first != second ? (first < second) - (first > second)
                           : strcmp(text_cstr(&one->name), text_cstr(&other->name));
}

/* What most of the difference is. */
static const char *cause_of(const struct line *line)
{
    const struct figures *before = &line->sides[EARLIER], *after = &line->sides[LATER];
    double count = fabs(line->by_count), speed = fabs(line->by_speed),
           transfer = fabs(line->by_transfer);
    if (before->runs == 0 || after->runs == 0) {
        return before->runs == 0 ? "new" : "gone";
    }
    if (count + speed + transfer < 1e-6) {
        return "as before";
    }
    if (transfer >= count && transfer >= speed) {
        return line->by_transfer > 0 ? "waits longer for inputs" : "waits less for inputs";
    }
    if (count >= speed) {
        return line->by_count > 0 ? "more tasks" : "fewer tasks";
    }
    return line->by_speed > 0 ? "each takes longer" : "each is faster";
}

/* ---- printing ----------------------------------------------------------------------------------- */

static json_t *figures_json(const struct figures *figures)
{
    return json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "runs", figures->runs, "failures",
                     figures->failures, "total", figures->compute, "mean", mean(figures), "p50",
                     figures->p50, "p90", figures->p90, "transfer", figures->transfer);
}

static json_t *whole_json(const struct comparison *comparison, enum side side)
{
    const struct whole *whole = &comparison->whole[side];
    return json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:b}", "seconds", whole->seconds, "workers",
                     whole->workers, "threads", whole->threads, "runs", whole->runs, "failures",
                     whole->failures, "total", whole->compute, "transfer", whole->transfer, "exact",
                     comparison->is_exact[side]);
}

static void print_json(const struct comparison *comparison, double change, bool is_slower)
{
    json_t *lines = json_array();
    for (uint32_t i = 0; i < comparison->lines.count; i++) {
        const struct line *line = comparison->lines.items[i];
        json_t *object = json_pack(
            "{s:o,s:o,s:f,s:f,s:f,s:f,s:s}", "earlier", figures_json(&line->sides[EARLIER]),
            "later", figures_json(&line->sides[LATER]), "difference", difference(line), "by_count",
            line->by_count, "by_speed", line->by_speed, "by_transfer", line->by_transfer, "cause",
            cause_of(line));
        json_object_set_new(object, "prefix", history_json_text(text_span(&line->name)));
        json_array_append_new(lines, object);
    }
    json_t *all = json_pack("{s:o,s:o,s:f,s:b,s:o}", "earlier", whole_json(comparison, EARLIER),
                            "later", whole_json(comparison, LATER), "change", change, "slower",
                            is_slower, "prefixes", lines);
    history_print_json(all);
    json_decref(all);
}

static void put_pair(struct sheet *sheet, const char *name, const double values[SIDES],
                     bool is_seconds)
{
    sheet_put(sheet, name);
    for (int side = 0; side < SIDES; side++) {
        struct text *cell = sheet_cell(sheet);
        if (is_seconds) {
            history_print_seconds(values[side], cell);
        } else {
            text_printf(cell, "%.0f", values[side]);
        }
    }
    struct text *cell = sheet_cell(sheet);
    if (values[EARLIER] > 0) {
        text_printf(cell, "%+.0f%%", (values[LATER] / values[EARLIER] - 1) * 100);
    }
}

static void print_whole(const struct comparison *comparison)
{
    const struct whole *a = &comparison->whole[EARLIER], *b = &comparison->whole[LATER];
    const struct {
        const char *name;
        double values[SIDES];
        bool is_seconds;
    } rows[] = {
        {"from first to last run", {a->seconds, b->seconds}, true},
        {"computed", {a->compute, b->compute}, true},
        {"waited for inputs", {a->transfer, b->transfer}, true},
        {"tasks run", {a->runs, b->runs}, false},
        {"failures", {a->failures, b->failures}, false},
        {"workers", {a->workers, b->workers}, false},
        {"threads", {a->threads, b->threads}, false},
    };
    struct sheet sheet = {.column_count = 4};
    static const char *const headings[] = {"", "earlier", "later", "change"};
    for (int i = 0; i < 4; i++) {
        sheet_put(&sheet, headings[i]);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put_pair(&sheet, rows[i].name, rows[i].values, rows[i].is_seconds);
    }
    sheet_print(&sheet);
    sheet_fini(&sheet);
}

static void put_change(struct sheet *sheet, double earlier, double later, const char *format)
{
    text_printf(sheet_cell(sheet), format, earlier);
    text_printf(sheet_cell(sheet), format, later);
}

static void print_lines(const struct comparison *comparison, uint32_t limit)
{
    static const char *const headings[] = {"task",  "difference", "because", "runs",  "later",
                                           "p50 s", "later",      "p90 s",   "later", "inputs",
                                           "later", "failed",     "later"};
    enum { COLUMNS = sizeof headings / sizeof headings[0] };
    struct sheet sheet = {.column_count = COLUMNS};
    for (int i = 0; i < COLUMNS; i++) {
        sheet_put(&sheet, headings[i]);
    }
    for (uint32_t i = 0; i < comparison->lines.count && i < limit; i++) {
        const struct line *line = comparison->lines.items[i];
        const struct figures *a = &line->sides[EARLIER], *b = &line->sides[LATER];
        sheet_put(&sheet, text_cstr(&line->name));
        text_printf(sheet_cell(&sheet), "%+.3g s", difference(line));
        sheet_put(&sheet, cause_of(line));
        put_change(&sheet, a->runs, b->runs, "%.0f");
        put_change(&sheet, a->p50, b->p50, "%.3g");
        put_change(&sheet, a->p90, b->p90, "%.3g");
        put_change(&sheet, a->transfer, b->transfer, "%.3g");
        put_change(&sheet, a->failures, b->failures, "%.0f");
    }
    puts("\nWhat makes the difference, the largest first");
    sheet_print(&sheet);
    if (!comparison->is_exact[EARLIER] || !comparison->is_exact[LATER]) {
        puts("Quantiles are rounded to half octaves where the runs themselves are gone.");
    }
    sheet_fini(&sheet);
}

static void comparison_fini(struct comparison *comparison)
{
    for (uint32_t i = 0; i < comparison->lines.count; i++) {
        struct line *line = comparison->lines.items[i];
        text_fini(&line->name);
        for (int side = 0; side < SIDES; side++) {
            vec_fini(&line->sides[side].durations);
        }
        mem_free(line);
    }
    vec_fini(&comparison->lines);
    map_fini(&comparison->places);
}

int history_compare(struct history_view *earlier, struct history_view *later,
                    const struct options *options, struct text *why)
{
    const char *given = options->text[OPTION_HISTORY_THRESHOLD];
    double threshold = given == NULL ? 10 : strtod(given, NULL);
    struct comparison comparison = {0};
    int code = read_side(&comparison, EARLIER, earlier, why);
    code = code == OK ? read_side(&comparison, LATER, later, why) : code;
    if (code != OK) {
        comparison_fini(&comparison);
        return -1;
    }
    for (uint32_t i = 0; i < comparison.lines.count; i++) {
        explain(comparison.lines.items[i]);
    }
    if (comparison.lines.count > 0) {
        qsort(comparison.lines.items, comparison.lines.count, sizeof *comparison.lines.items,
              largest_first);
    }
    const struct whole *a = &comparison.whole[EARLIER], *b = &comparison.whole[LATER];
    double before = a->compute + a->transfer, after = b->compute + b->transfer;
    double change = before > 0 ? (after / before - 1) * 100 : 0;
    bool is_slower = change > threshold;
    if (options->is_on[OPTION_HISTORY_JSON] == SWITCH_ON) {
        print_json(&comparison, change, is_slower);
    } else {
        print_whole(&comparison);
        print_lines(&comparison, history_limit(options));
    }
    comparison_fini(&comparison);
    return is_slower ? 1 : EXIT_SUCCESS;
}
