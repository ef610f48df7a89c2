/* history_trace.c: `cask history trace`: runs for the viewers that others made.
 *
 * chrome: the Trace Event Format's JSON object: a process a worker, a thread a lane; complete events ("X", microseconds) for
 * computing and, before it, reading from disk, fetching inputs, deserializing; instants ("i") for workers that came and left.
 * speedscope: its file format 0.0.1, an evented profile a lane; there nothing may overlap, so only computing is shown, and
 * what clocks make overlap is cut. Both are written as they are read: no run is kept. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/map.h"
#include "base/vec.h"
#include "cli/history_command.h"
#include "cli/history_print.h"

struct tracing {
    FILE *out;
    bool has_event;
    struct map frames; /* name → number */
    /* the lane that is being written, of speedscope */
    int64_t worker, lane;
    bool is_open;
    double stop;
};

/* ---- chrome ------------------------------------------------------------------------------------- */

/* One event of the list; it is released. */
static void put_event(struct tracing *tracing, json_t *event)
{
    fputs(tracing->has_event ? ",\n" : "\n", tracing->out);
    json_dumpf(event, tracing->out, JSON_COMPACT);
    json_decref(event);
    tracing->has_event = true;
}

static void put_name(struct tracing *tracing, const char *what, json_int_t worker, json_int_t lane,
                     json_t *name)
{
    put_event(tracing, json_pack("{s:s,s:s,s:I,s:I,s:{s:o}}", "name", what, "ph", "M", "pid",
                                 worker, "tid", lane, "args", "name", name));
}

static bool take_worker(void *user, const struct history_row *row)
{
    struct tracing *tracing = user;
    put_name(tracing, "process_name", row->values[0].integer, 0,
             history_json_text(row->values[1].text));
    return true;
}

static bool take_worker_event(void *user, const struct history_row *row)
{
    struct tracing *tracing = user;
    json_t *event = json_pack("{s:s,s:s,s:s,s:f,s:I,s:i,s:s}", "ph", "i", "cat", "worker", "s", "p",
                              "ts", row->values[0].real * 1e6, "pid",
                              (json_int_t)row->values[1].integer, "tid", 0, "name", "worker");
    json_object_set_new(event, "name", history_json_text(row->values[2].text));
    json_object_set_new(event, "args",
                        json_pack("{s:o}", "text", history_json_text(row->values[3].text)));
    put_event(tracing, event);
    return true;
}

struct part {
    const char *category;
    double start, seconds;
    json_t *name, *arguments; /* taken */
};

static void put_part(struct tracing *tracing, const struct history_row *row,
                     const struct part *part)
{
    put_event(tracing, json_pack("{s:s,s:s,s:f,s:f,s:I,s:I,s:o,s:o}", "ph", "X", "cat",
                                 part->category, "ts", part->start * 1e6, "dur",
                                 part->seconds * 1e6, "pid", (json_int_t)row->values[0].integer,
                                 "tid", (json_int_t)row->values[1].integer, "name", part->name,
                                 "args", part->arguments));
}

/* worker_id, lane, start, duration, prefix, key, nbytes, status, deserialize, transfer, disk. */
static bool take_event(void *user, const struct history_row *row)
{
    static const char *const before[] = {"deserialize", "transfer", "disk"};
    struct tracing *tracing = user;
    double start = row->values[2].real;
    json_t *arguments = json_pack("{s:o,s:I,s:o}", "key", history_json_text(row->values[5].text),
                                  "nbytes", (json_int_t)row->values[6].integer, "status",
                                  history_json_text(row->values[7].text));
    struct part part = {"compute", start, row->values[3].real,
                        history_json_text(row->values[4].text), arguments};
    put_part(tracing, row, &part);
    for (int i = 0; i < 3; i++) {
        double seconds = row->values[8 + i].real;
        if (seconds > 0) {
            start -= seconds;
            part = (struct part){before[i], start, seconds, json_string(before[i]), json_object()};
            put_part(tracing, row, &part);
        }
    }
    return ferror(tracing->out) == 0;
}

static int write_chrome(struct tracing *tracing, struct history_view *view, struct text *why)
{
    fputs("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [", tracing->out);
    int code = history_view_ask(view, "SELECT id, coalesce(nullif(name, ''), address) FROM workers",
                                take_worker, tracing, why);
    if (code == OK) {
        code = history_view_ask(view,
                                "SELECT time, worker, what, text FROM worker_events ORDER BY time",
                                take_worker_event, tracing, why);
    }
    if (code == OK) {
        code =
            history_view_ask(view,
                             "SELECT worker_id, lane, start, duration, coalesce(prefix, ''), key, "
                             "nbytes, status, deserialize, transfer, disk FROM runs",
                             take_event, tracing, why);
    }
    fputs("\n]}\n", tracing->out);
    return code;
}

/* ---- speedscope --------------------------------------------------------------------------------- */

static bool take_frame(void *user, const struct history_row *row)
{
    struct tracing *tracing = user;
    bool is_new;
    struct map_entry *entry = map_put(&tracing->frames, row->values[0].text, &is_new);
    if (is_new) {
        entry->value.number = tracing->frames.count - 1;
        put_event(tracing, json_pack("{s:o}", "name", history_json_text(row->values[0].text)));
    }
    return true;
}

static void close_lane(struct tracing *tracing)
{
    if (tracing->is_open) {
        fprintf(tracing->out, "\n], \"endValue\": %.6f}", tracing->stop);
        tracing->is_open = false;
    }
}

static void open_lane(struct tracing *tracing, const struct history_row *row)
{
    struct text name = {0};
    text_add(&name, row->values[5].text);
    text_printf(&name, " thread %lld", (long long)row->values[1].integer);
    json_t *title = history_json_text(text_span(&name));
    fputs(tracing->has_event ? ",\n" : "\n", tracing->out);
    fputs("{\"type\": \"evented\", \"unit\": \"seconds\", \"name\": ", tracing->out);
    json_dumpf(title, tracing->out, JSON_ENCODE_ANY);
    fprintf(tracing->out, ", \"startValue\": %.6f, \"events\": [", row->values[2].real);
    json_decref(title);
    text_fini(&name);
    tracing->worker = row->values[0].integer;
    tracing->lane = row->values[1].integer;
    tracing->stop = row->values[2].real;
    tracing->is_open = true;
    tracing->has_event = false;
}

/* worker_id, lane, start, stop, prefix, worker's name; sorted by the first three. */
static bool take_stretch(void *user, const struct history_row *row)
{
    struct tracing *tracing = user;
    bool is_new = !tracing->is_open || tracing->worker != row->values[0].integer ||
                  tracing->lane != row->values[1].integer;
    if (is_new) {
        tracing->has_event = tracing->is_open;
        close_lane(tracing);
        open_lane(tracing, row);
    }
    double start = fmax(row->values[2].real, tracing->stop),
           stop = fmax(row->values[3].real, start);
    const struct map_entry *frame = map_find(&tracing->frames, row->values[4].text);
    if (frame != NULL) {
        int number = (int)frame->value.number;
        put_event(tracing, json_pack("{s:s,s:i,s:f}", "type", "O", "frame", number, "at", start));
        put_event(tracing, json_pack("{s:s,s:i,s:f}", "type", "C", "frame", number, "at", stop));
        tracing->stop = stop;
    }
    return ferror(tracing->out) == 0;
}

static int write_speedscope(struct tracing *tracing, struct history_view *view, struct text *why)
{
    fputs("{\"$schema\": \"https://www.speedscope.app/file-format-schema.json\", \"exporter\": "
          "\"cask " CASK_VERSION "\", \"shared\": {\"frames\": [",
          tracing->out);
    int code =
        history_view_ask(view, "SELECT name FROM prefixes ORDER BY id", take_frame, tracing, why);
    tracing->has_event = false;
    fputs("\n]}, \"profiles\": [", tracing->out);
    if (code == OK) {
        code = history_view_ask(view,
                                "SELECT worker_id, lane, start, stop, coalesce(prefix, ''), "
                                "coalesce(worker, '') FROM runs WHERE start > 0 ORDER BY 1, 2, 3",
                                take_stretch, tracing, why);
    }
    close_lane(tracing);
    fputs("\n]}\n", tracing->out);
    return code;
}

/* ---- either ------------------------------------------------------------------------------------- */

int history_trace(struct history_view *view, const struct options *options, struct text *why)
{
    const char *path = options->text[OPTION_HISTORY_OUTPUT];
    const char *format = options->text[OPTION_HISTORY_FORMAT];
    bool is_speedscope = format != NULL && strcmp(format, "speedscope") == 0;
    if (format != NULL && !is_speedscope && strcmp(format, "chrome") != 0) {
        return options_complain(COMMAND_HISTORY, "--format is chrome or speedscope, not", format);
    }
    struct tracing tracing = {.out = path == NULL ? stdout : fopen(path, "we")};
    if (tracing.out == NULL) {
        text_printf(why, "%s: %s", path, strerror(errno));
        return -1;
    }
    int code =
        is_speedscope ? write_speedscope(&tracing, view, why) : write_chrome(&tracing, view, why);
    bool fine = fflush(tracing.out) == 0 && ferror(tracing.out) == 0;
    fine = (path == NULL || fclose(tracing.out) == 0) && fine;
    map_fini(&tracing.frames);
    if (code == OK && !fine) {
        text_printf(why, "%s: %s", path == NULL ? "standard output" : path, strerror(errno));
    }
    return code == OK && fine ? EXIT_SUCCESS : -1;
}
