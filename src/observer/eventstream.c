/* eventstream.c: WS /eventstream: what happens as JSON texts, as stock's cluster map reads them.
 * Source: distributed diagnostics/websocket.py, http/scheduler/info.py EventstreamHandler. */
#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "observer/jot.h"
#include "observer/viewer.h"
#include "wire/key.h"

/* Of one beat; who cannot follow misses some. */
#define RUNS_MAX 500u

/* The rest of a message that began with json_open. */
static bool say(struct viewer *viewer, struct text *text, struct jot *jot, const char *name)
{
    jot_put_cstr(jot, "name", name);
    jot_close(jot, '}');
    bool fine = viewer_say(viewer, text_span(text));
    text_clear(text);
    return fine;
}

static bool say_one(struct viewer *viewer, const char *name, const char *field, const char *value)
{
    struct text text = {0};
    struct jot jot = jot_on(&text);
    jot_open(&jot, '{');
    if (field != NULL) {
        jot_put_cstr(&jot, field, value);
    }
    bool fine = say(viewer, &text, &jot, name);
    text_fini(&text);
    return fine;
}

void eventstream_open(struct viewer *viewer)
{
    const struct tables *tables = viewer->observer->tables;
    viewer->runs_seen = tables->runs.next;
    viewer->events_seen = tables->events.next;
    viewer->graphs_seen = tables->graphs.next;
    for (uint32_t i = 0; i < tables->workers.count; i++) {
        const struct worker_row *row = tables->workers.items[i];
        if (row != NULL && row->removed == 0 &&
            !say_one(viewer, "add_worker", "worker", text_cstr(&row->address))) {
            return; /* it will be closed at the next beat, when it has not read */
        }
    }
}

bool eventstream_message(struct viewer *viewer, struct span message)
{
    json_t *given = json_loadb((const char *)message.data, message.size, 0, NULL);
    const char *name = json_string_value(json_object_get(given, "name"));
    bool is_ping = name != NULL && strcmp(name, "ping") == 0;
    json_decref(given);
    if (!is_ping) {
        return given != NULL;
    }
    char stamp[64], whole[96];
    double now = observer_now();
    time_t seconds = (time_t)now;
    struct tm parts;
    localtime_r(&seconds, &parts);
    strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &parts);
    snprintf(whole, sizeof whole, "%s.%06d", stamp, (int)((now - (double)seconds) * 1e6));
    return say_one(viewer, "pong", "timestamp", whole);
}

/* ---- runs --------------------------------------------------------------------------------------- */

/* Stable for a prefix; of colours that differ for everybody's eyes (Okabe and Ito). */
static const char *color_of(const char *prefix)
{
    static const char *const colors[] = {"#0072b2", "#e69f00", "#009e73", "#cc79a7",
                                         "#56b4e9", "#f0e442", "#999999"};
    uint64_t hash = span_hash(span_of_text(prefix));
    return colors[hash % (sizeof colors / sizeof colors[0])];
}

struct part {
    const char *action, *color;
    double start, stop;
};

static bool say_part(struct viewer *viewer, const struct run *run, const struct part *part)
{
    const struct tables *tables = viewer->observer->tables;
    const struct worker_row *worker = tables_worker(tables, run->worker);
    struct text text = {0}, key = {0};
    struct jot jot = jot_on(&text);
    key_print(&key, run->key);
    jot_open(&jot, '{');
    jot_put_text(&jot, "key", &key);
    jot_put_cstr(&jot, "color", part->color);
    jot_put_cstr(&jot, "worker", worker == NULL ? "" : text_cstr(&worker->address));
    jot_name(&jot, "thread");
    if (worker != NULL && run->lane < worker->threads.count) {
        jot_int(&jot, (int64_t)worker->threads.items[run->lane]);
    } else {
        jot_null(&jot);
    }
    jot_put_int(&jot, "nbytes", run->nbytes);
    jot_put_cstr(&jot, "status", run->is_erred ? "error" : "OK");
    jot_put_cstr(&jot, "action", part->action);
    jot_put_real(&jot, "start", part->start);
    jot_put_real(&jot, "stop", part->stop);
    bool fine = say(viewer, &text, &jot, "transition");
    text_fini(&text);
    text_fini(&key);
    return fine;
}

static bool say_run(struct viewer *viewer, const struct run *run)
{
    const char *prefix = tables_prefix_name(viewer->observer->tables, run->prefix);
    double start = run->start, stop = start + (double)run->duration;
    double loaded = start - (double)run->deserialize, came = loaded - (double)run->transfer;
    const struct part parts[] = {
        {"transfer", "red", came, loaded},
        {"deserialize", "gray", loaded, start},
        {"compute", run->is_erred ? "black" : color_of(prefix), start, stop},
    };
    bool fine = true;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && fine; i++) {
        if (parts[i].stop > parts[i].start) {
            fine = say_part(viewer, run, &parts[i]);
        }
    }
    return fine;
}

/* ---- the others --------------------------------------------------------------------------------- */

/* Of the topic "all": who came, who left. */
static bool say_event(struct viewer *viewer, const struct line_row *row)
{
    static const struct {
        const char *action, *name, *field;
    } kinds[] = {
        {"add-worker", "add_worker", "worker"},
        {"remove-worker", "remove_worker", "worker"},
        {"add-client", "add_client", "client"},
        {"remove-client", "remove_client", "client"},
    };
    if (!span_equal_text(text_span(&row->name), "all")) {
        return true;
    }
    json_t *event = json_loadb(row->text.data, row->text.size, 0, NULL);
    const char *action = json_string_value(json_object_get(event, "action"));
    bool fine = true;
    for (size_t i = 0; action != NULL && i < sizeof kinds / sizeof kinds[0]; i++) {
        const char *value = json_string_value(json_object_get(event, kinds[i].field));
        if (strcmp(action, kinds[i].action) == 0 && value != NULL) {
            fine = say_one(viewer, kinds[i].name, kinds[i].field, value);
        }
    }
    json_decref(event);
    return fine;
}

bool eventstream_tell(struct viewer *viewer)
{
    const struct tables *tables = viewer->observer->tables;
    bool fine = true;
    for (; viewer->events_seen < tables->events.next && fine; viewer->events_seen++) {
        const struct line_row *row = lines_at(&tables->events, viewer->events_seen);
        fine = row == NULL || say_event(viewer, row);
    }
    for (; viewer->graphs_seen < tables->graphs.next && fine; viewer->graphs_seen++) {
        const struct line_row *row = lines_at(&tables->graphs, viewer->graphs_seen);
        fine = row == NULL || say_one(viewer, "update_graph", "client", text_cstr(&row->name));
    }
    if (tables->runs.next - viewer->runs_seen > RUNS_MAX) {
        viewer->runs_seen = tables->runs.next - RUNS_MAX;
    }
    for (struct run run; fine && runs_at(&tables->runs, viewer->runs_seen, &run);
         viewer->runs_seen++) {
        fine = say_run(viewer, &run);
    }
    return fine;
}
