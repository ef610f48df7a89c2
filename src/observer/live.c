/* live.c: WS api/cask/v1/live: subscriptions, and the frame of each channel. Protocol: docs/observer.md. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "observer/jot.h"
#include "observer/singles.h"
#include "observer/viewer.h"
#include "wire/key.h"

#define RATE_DEFAULT 2.0
#define RATE_MIN 0.1
#define RATE_MAX 10.0
#define STREAM_FIRST 1000u
#define STREAM_ROWS_MAX 4096u
#define LOGS_FIRST 200u
/* Without news, in case rates still fall; and for so long after the last data of what has ended. */
#define SUMMARY_SECONDS 2.0
#define SETTLED_SECONDS 10.0
/* Tables of which much changes are sent less often: at this rate, but not less often than that. */
#define TABLE_BYTES_A_SECOND 8192.0
#define TABLE_SECONDS_MAX 2.0

/* ---- what the browser says ---------------------------------------------------------------------- */

static enum channel channel_of(const char *name)
{
    static const char *const names[CHANNEL_COUNT] = {"",       "summary",  "workers", "groups",
                                                     "stream", "failures", "logs",    "findings"};
    for (int i = 1; i < CHANNEL_COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            return (enum channel)i;
        }
    }
    return CHANNEL_NONE;
}

static bool complain(struct viewer *viewer, const char *why, json_int_t id)
{
    struct text text = {0};
    struct jot jot = jot_on(&text);
    jot_open(&jot, '{');
    jot_put_cstr(&jot, "error", why);
    jot_put_int(&jot, "id", id);
    jot_close(&jot, '}');
    bool fine = viewer_say(viewer, text_span(&text));
    text_fini(&text);
    return fine;
}

static void unsubscribe(struct viewer *viewer, json_int_t id)
{
    for (uint32_t i = 0; i < viewer->subscriptions.count; i++) {
        if (viewer->subscriptions.items[i].id == id) {
            vec_swap_remove(&viewer->subscriptions, i);
            return;
        }
    }
}

static bool subscribe(struct viewer *viewer, const json_t *message, const char *name)
{
    json_int_t id = json_integer_value(json_object_get(message, "id"));
    double rate = json_number_value(json_object_get(message, "hz"));
    enum channel channel = channel_of(name);
    if (channel == CHANNEL_NONE) {
        return complain(viewer, "there is no such channel", id);
    }
    if (id < 1 || id > UINT16_MAX) {
        return complain(viewer, "an id is a number from 1 to 65535", id);
    }
    unsubscribe(viewer, id);
    if (viewer->subscriptions.count >= SUBSCRIPTIONS_MAX) {
        return complain(viewer, "these are too many subscriptions", id);
    }
    rate = rate <= 0         ? RATE_DEFAULT
           : rate < RATE_MIN ? RATE_MIN
           : rate > RATE_MAX ? RATE_MAX
                             : rate;
    const json_t *parameters = json_object_get(message, "p");
    struct subscription subscription = {
        .channel = channel,
        .id = (uint16_t)id,
        .wants_keys = json_is_true(json_object_get(parameters, "keys")),
        .pause = 1 / rate,
    };
    vec_push(&viewer->subscriptions, subscription);
    observer_wake(viewer->observer);
    return true;
}

static bool pong(struct viewer *viewer, const json_t *ping)
{
    struct text text = {0};
    text_printf(&text, "{\"pong\": %lld}", (long long)json_integer_value(ping));
    bool fine = viewer_say(viewer, text_span(&text));
    text_fini(&text);
    return fine;
}

bool live_message(struct viewer *viewer, struct span text)
{
    json_t *message = json_loadb((const char *)text.data, text.size, 0, NULL);
    const char *name = json_string_value(json_object_get(message, "sub"));
    const json_t *unsub = json_object_get(message, "unsub");
    const json_t *pause = json_object_get(message, "pause");
    const json_t *ping = json_object_get(message, "ping");
    bool goes_on = true;
    if (name != NULL) {
        goes_on = subscribe(viewer, message, name);
    } else if (json_is_integer(unsub)) {
        unsubscribe(viewer, json_integer_value(unsub));
    } else if (json_is_boolean(pause)) {
        viewer->is_paused = json_is_true(pause);
    } else if (ping != NULL) {
        goes_on = pong(viewer, ping);
    } else {
        goes_on = complain(viewer, "this is no message", 0);
    }
    json_decref(message);
    return goes_on;
}

/* ---- frames: each fills columns; false: nothing is new ------------------------------------------ */

#define T_F64 COLUMN_F64
#define T_F32 COLUMN_F32
#define T_U32 COLUMN_U32
#define T_U8 COLUMN_U8
#define T_TEXT COLUMN_TEXT
#define BEGIN(columns, types) columns_begin((columns), (types), sizeof(types) / sizeof((types)[0]))

struct making {
    const struct observer *observer;
    const struct tables *tables;
    struct subscription *subscription;
    struct columns columns;
    enum frame_mode mode;
    double now;
};

static bool make_summary(struct making *making)
{
    static const enum column_type types[] = {
        T_U8,  T_U32, T_U32, T_U32, T_U32, T_U32, T_U32, T_U32,  T_U32, T_U32, T_U32, T_U32,
        T_U32, T_U32, T_U32, T_F64, T_F64, T_F32, T_F32, T_F32,  T_F64, T_F64, T_F64, T_F64,
        T_F64, T_F64, T_F64, T_F32, T_F32, T_F64, T_F32, T_TEXT, T_U32, T_U32};
    const struct tables *tables = making->tables;
    const struct record_totals *totals = &tables->totals;
    struct columns *columns = &making->columns;
    double rates[3], up = totals->time - tables->started;
    tables_rates(tables, making->now, rates);
    BEGIN(columns, types);
    columns_int(columns, tables->state);
    uint32_t counts[] = {totals->workers, (uint32_t)totals->threads,
                         totals->idle,    totals->saturated,
                         totals->paused,  totals->workers - totals->paused - totals->running,
                         totals->clients};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        columns_int(columns, counts[i]);
    }
    for (int i = 0; i < RECORD_STATES - 1; i++) {
        columns_int(columns, totals->tasks[i]);
    }
    double reals[] = {(double)tables->runs.next,
                      (double)tables->failures_seen,
                      rates[0],
                      rates[1],
                      rates[2],
                      totals->occupancy,
                      (double)totals->memory_limit,
                      (double)totals->process,
                      (double)totals->managed,
                      (double)totals->unmanaged_old,
                      (double)totals->unmanaged_recent,
                      (double)totals->spilled,
                      totals->longest,
                      up > 0 ? totals->busy / up : 0,
                      (double)ring_dropped(&making->observer->ring),
                      tables_threads_busy(tables, making->now)};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        columns_real(columns, reals[i]);
    }
    columns_text(columns, text_span(&tables->reason));
    columns_int(columns, tables->graphs_total);
    columns_int(columns, totals->desired > 0 ? (uint64_t)totals->desired : 0);
    return true;
}

static void put_worker(struct columns *columns, const struct worker_row *row)
{
    const struct record_worker_sample *sample = &row->sample;
    columns_int(columns, row->id);
    columns_text(columns, text_span(&row->status));
    columns_text(columns, text_span(&row->name));
    columns_text(columns, text_span(&row->address));
    columns_int(columns, row->nthreads);
    int64_t sizes[] = {row->memory_limit,     sample->process,          sample->managed,
                       sample->unmanaged_old, sample->unmanaged_recent, sample->spilled};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        columns_real(columns, (double)sizes[i]);
    }
    columns_real(columns, (double)sample->cpu);
    columns_int(columns, sample->processing);
    columns_int(columns, sample->executing);
    columns_int(columns, sample->has_what);
    columns_real(columns, sample->occupancy);
    columns_real(columns, (double)sample->net_read);
    columns_real(columns, (double)sample->net_write);
    columns_real(columns, (double)sample->disk_read);
    columns_real(columns, (double)sample->disk_write);
    columns_int(columns, sample->fds);
    columns_real(columns, sample->last_seen);
    columns_real(columns, (double)row->runs);
    columns_int(columns, row->failures);
    columns_real(columns, row->busy);
    columns_real(columns, row->removed);
}

/* Columns of what hardly ever changes: later frames have them only if it did. */
#define WORKER_TOLD 0x3eu /* status … memory limit */
#define GROUP_TOLD 0x06u  /* name, prefix */

/* The first frame has all that are known, also those that left: what they did is still shown. Later ones have those that
 * changed. */
static bool make_workers(struct making *making)
{
    static const enum column_type types[] = {T_U32, T_TEXT, T_TEXT, T_TEXT, T_U32, T_F64, T_F64,
                                             T_F64, T_F64,  T_F64,  T_F64,  T_F32, T_U32, T_U32,
                                             T_U32, T_F64,  T_F32,  T_F32,  T_F32, T_F32, T_U32,
                                             T_F64, T_F64,  T_U32,  T_F64,  T_F64};
    BEGIN(&making->columns, types);
    bool is_first = !making->subscription->has_begun, is_told = is_first;
    for (uint32_t i = 0; i < making->tables->workers.count; i++) {
        const struct worker_row *row = making->tables->workers.items[i];
        if (row != NULL && (is_first || row->tick > making->subscription->seen)) {
            put_worker(&making->columns, row);
            is_told = is_told || row->told > making->subscription->seen;
        }
    }
    making->columns.left_out = is_told ? 0 : WORKER_TOLD;
    making->mode = is_first ? MODE_REPLACE : MODE_UPSERT;
    return is_first || making->columns.rows > 0;
}

static void put_group(struct making *making, const struct group_row *row)
{
    struct columns *columns = &making->columns;
    columns_int(columns, row->id);
    columns_text(columns, text_span(&row->name));
    columns_text(columns, span_of_text(tables_prefix_name(making->tables, row->prefix)));
    columns_int(columns, row->sample.size);
    for (int i = 0; i < RECORD_STATES; i++) {
        columns_int(columns, row->sample.states[i]);
    }
    columns_real(columns, (double)row->runs);
    columns_int(columns, row->failures);
    columns_real(columns, row->stats.sum);
    columns_real(columns, (double)row->sample.nbytes);
    columns_real(columns, row->sample.start);
    columns_real(columns, row->sample.stop);
}

static void put_single(struct making *making, const struct single_row *row)
{
    struct columns *columns = &making->columns;
    struct span name = span_of_text(tables_prefix_name(making->tables, row->prefix));
    columns_int(columns, row->id);
    columns_text(columns, name);
    columns_text(columns, name);
    columns_int(columns, row->size);
    for (int i = 0; i < RECORD_STATES; i++) {
        columns_int(columns, row->states[i]);
    }
    columns_real(columns, (double)row->runs);
    columns_int(columns, row->failures);
    columns_real(columns, row->seconds);
    columns_real(columns, (double)row->nbytes);
    columns_real(columns, 0);
    columns_real(columns, 0);
}

/* True: there are others than in the frame before, whose names are to be told. */
static bool put_singles(struct making *making, bool all)
{
    struct single_rows singles = {0};
    uint64_t who = 0;
    singles_list(making->tables, &singles);
    for (uint32_t i = 0; i < singles.count; i++) {
        who = who * 31 + singles.items[i].id;
        if (all || singles.items[i].tick > making->subscription->seen) {
            put_single(making, &singles.items[i]);
        }
    }
    vec_fini(&singles);
    bool is_new = making->subscription->singles != who;
    making->subscription->singles = who;
    return is_new;
}

static bool make_groups(struct making *making)
{
    static const enum column_type types[] = {T_U32, T_TEXT, T_TEXT, T_U32, T_U32, T_U32,
                                             T_U32, T_U32,  T_U32,  T_U32, T_U32, T_U32,
                                             T_F64, T_U32,  T_F64,  T_F64, T_F64, T_F64};
    BEGIN(&making->columns, types);
    bool is_first = !making->subscription->has_begun, is_told = is_first;
    for (uint32_t i = 0; i < making->tables->groups.count; i++) {
        const struct group_row *row = making->tables->groups.items[i];
        if (is_first || row->tick > making->subscription->seen) {
            put_group(making, row);
            is_told = is_told || row->told > making->subscription->seen;
        }
    }
    is_told = put_singles(making, is_first) || is_told;
    making->columns.left_out = is_told ? 0 : GROUP_TOLD;
    making->mode = is_first ? MODE_REPLACE : MODE_UPSERT;
    return is_first || making->columns.rows > 0;
}

static bool make_stream(struct making *making)
{
    static const enum column_type types[] = {T_F64, T_U32, T_U32, T_U32, T_F64, T_F32,
                                             T_F32, T_F32, T_F32, T_U8,  T_U32, T_TEXT};
    const struct runs *runs = &making->tables->runs;
    struct subscription *subscription = making->subscription;
    struct columns *columns = &making->columns;
    uint64_t n = subscription->has_begun     ? subscription->seen
                 : runs->next > STREAM_FIRST ? runs->next - STREAM_FIRST
                                             : 0;
    if (n > runs->next || runs->next - n > STREAM_ROWS_MAX) { /* it cannot follow: the newest */
        n = runs->next > STREAM_ROWS_MAX ? runs->next - STREAM_ROWS_MAX : 0;
        subscription->sequence += subscription->has_begun;
    }
    n = n < runs_first(runs) ? runs_first(runs) : n;
    columns_begin(columns, types, subscription->wants_keys ? 12 : 11);
    struct text key = {0};
    for (struct run run; runs_at(runs, n, &run); n++) {
        columns_real(columns, (double)n);
        columns_int(columns, run.worker);
        columns_int(columns, run.lane);
        columns_int(columns, singles_group(run.group, run.prefix));
        columns_real(columns, run.start);
        columns_real(columns, (double)run.duration);
        columns_real(columns, (double)run.transfer);
        columns_real(columns, (double)run.deserialize);
        columns_real(columns, (double)run.disk);
        columns_int(columns, run.is_erred);
        columns_int(columns, run.prefix);
        if (subscription->wants_keys) {
            text_clear(&key);
            key_print(&key, run.key);
            columns_text(columns, text_span(&key));
        }
    }
    text_fini(&key);
    subscription->seen = runs->next;
    making->mode = MODE_APPEND;
    return columns->rows > 0 || !subscription->has_begun;
}

static bool make_failures(struct making *making)
{
    static const enum column_type types[] = {T_U32, T_TEXT, T_TEXT, T_TEXT, T_TEXT,
                                             T_F64, T_F64,  T_F64,  T_U8};
    struct columns *columns = &making->columns;
    BEGIN(columns, types);
    bool is_first = !making->subscription->has_begun;
    for (uint32_t i = 0; i < making->tables->failures.count; i++) {
        const struct failure_row *row = making->tables->failures.items[i];
        if (!is_first && row->tick <= making->subscription->seen) {
            continue;
        }
        columns_int(columns, row->id);
        columns_text(columns, span_of_text(tables_prefix_name(making->tables, row->prefix)));
        columns_text(columns, text_span(&row->type));
        columns_text(columns, text_span(&row->message));
        columns_text(columns, text_span(&row->where));
        columns_real(columns, (double)row->count);
        columns_real(columns, row->first);
        columns_real(columns, row->last);
        columns_int(columns, row->cause);
    }
    making->mode = is_first ? MODE_REPLACE : MODE_UPSERT;
    return is_first || columns->rows > 0;
}

static void put_finding(struct making *making, const struct finding_row *row, struct text *detail)
{
    struct columns *columns = &making->columns;
    struct jot jot = jot_on(detail);
    text_clear(detail);
    jot_open(&jot, '{');
    finding_put_detail(making->tables, row, &jot);
    jot_close(&jot, '}');
    columns_int(columns, row->id);
    columns_text(columns, span_of_text(finding_name(row->kind)));
    columns_int(columns, finding_severity(row->kind));
    columns_text(columns, text_span(&row->sentence));
    columns_text(columns, span_of_text(finding_advice(row->kind)));
    columns_text(columns, text_span(&row->link));
    columns_real(columns, (double)row->count);
    columns_real(columns, row->first);
    columns_real(columns, row->last);
    columns_int(columns, row->is_active);
    columns_text(columns, text_span(detail));
}

static bool make_findings(struct making *making)
{
    static const enum column_type types[] = {T_U32, T_TEXT, T_U8,  T_TEXT, T_TEXT, T_TEXT,
                                             T_F64, T_F64,  T_F64, T_U8,   T_TEXT};
    const struct findings *findings = &making->tables->findings;
    struct text detail = {0};
    BEGIN(&making->columns, types);
    bool is_first = !making->subscription->has_begun;
    for (uint32_t i = 0; i < findings->rows.count; i++) {
        const struct finding_row *row = findings->rows.items[i];
        if (is_first || row->tick > making->subscription->seen) {
            put_finding(making, row, &detail);
        }
    }
    text_fini(&detail);
    making->mode = is_first ? MODE_REPLACE : MODE_UPSERT;
    return is_first || making->columns.rows > 0;
}

static bool make_logs(struct making *making)
{
    static const enum column_type types[] = {T_F64, T_F64, T_U8, T_TEXT, T_TEXT};
    const struct lines *lines = &making->tables->logs;
    struct subscription *subscription = making->subscription;
    struct columns *columns = &making->columns;
    uint64_t n = subscription->has_begun    ? subscription->seen
                 : lines->next > LOGS_FIRST ? lines->next - LOGS_FIRST
                                            : 0;
    n = n < lines_first(lines) || n > lines->next ? lines_first(lines) : n;
    BEGIN(columns, types);
    for (const struct line_row *row; (row = lines_at(lines, n)) != NULL; n++) {
        columns_real(columns, (double)row->n);
        columns_real(columns, row->time);
        columns_int(columns, row->level);
        columns_text(columns, text_span(&row->name));
        columns_text(columns, text_span(&row->text));
    }
    subscription->seen = lines->next;
    making->mode = MODE_APPEND;
    return columns->rows > 0 || !subscription->has_begun;
}

typedef bool make_function(struct making *making);

static make_function *const makers[CHANNEL_COUNT] = {
    [CHANNEL_SUMMARY] = make_summary,   [CHANNEL_WORKERS] = make_workers,
    [CHANNEL_GROUPS] = make_groups,     [CHANNEL_STREAM] = make_stream,
    [CHANNEL_FAILURES] = make_failures, [CHANNEL_LOGS] = make_logs,
    [CHANNEL_FINDINGS] = make_findings,
};

/* True: it has something to say, and has said it. */
static bool make(struct viewer *viewer, struct subscription *subscription, double now,
                 struct text *out)
{
    struct making making = {.observer = viewer->observer,
                            .tables = viewer->observer->tables,
                            .subscription = subscription,
                            .mode = MODE_REPLACE,
                            .now = now};
    uint64_t tick = making.tables->tick;
    bool is_rows = subscription->channel != CHANNEL_STREAM && subscription->channel != CHANNEL_LOGS;
    bool is_new = makers[subscription->channel](&making);
    subscription->due = now + subscription->pause;
    subscription->beat = now + SUMMARY_SECONDS;
    if (is_rows) {
        subscription->seen = tick;
    }
    if (is_new) {
        const struct frame_head head = {.mode = making.mode,
                                        .channel = (uint16_t)subscription->channel,
                                        .subscription = subscription->id,
                                        .sequence = subscription->sequence++,
                                        .time = making.tables->time};
        size_t before = out->size;
        columns_write(&making.columns, &head, out);
        if (making.mode == MODE_UPSERT) {
            double seconds = (double)(out->size - before) / TABLE_BYTES_A_SECOND;
            subscription->due = now + fmax(subscription->pause, fmin(seconds, TABLE_SECONDS_MAX));
        }
        subscription->has_begun = true;
    }
    columns_fini(&making.columns);
    return is_new;
}

/* A summary changes while nothing happens, in its rates, until these are none. */
static bool has_beat(const struct observer *observer, const struct subscription *subscription,
                     double now)
{
    const struct tables *tables = observer->tables;
    bool is_over = tables->state != CLUSTER_RUNNING || observer->ring.shared == NULL;
    return subscription->beat <= now && !(is_over && now > tables->time + SETTLED_SECONDS);
}

/* It is time for its next frame, and there may be something in it. */
static bool is_due(const struct observer *observer, const struct subscription *subscription,
                   double now)
{
    const struct tables *tables = observer->tables;
    if (subscription->due > now || !subscription->has_begun) {
        return subscription->due <= now;
    }
    switch (subscription->channel) {
    case CHANNEL_STREAM:
        return subscription->seen != tables->runs.next;
    case CHANNEL_LOGS:
        return subscription->seen != tables->logs.next;
    case CHANNEL_SUMMARY:
        return subscription->seen != tables->tick || has_beat(observer, subscription, now);
    default:
        return subscription->seen != tables->tick;
    }
}

bool live_is_due(const struct viewer *viewer, double now)
{
    for (uint32_t i = 0; i < viewer->subscriptions.count && !viewer->is_paused; i++) {
        if (is_due(viewer->observer, &viewer->subscriptions.items[i], now)) {
            return true;
        }
    }
    return false;
}

bool live_next(struct viewer *viewer, double now, struct text *out)
{
    if (viewer->is_paused) {
        return false;
    }
    for (uint32_t i = 0; i < viewer->subscriptions.count; i++) {
        uint32_t at = (viewer->turn + i) % viewer->subscriptions.count;
        struct subscription *subscription = &viewer->subscriptions.items[at];
        if (is_due(viewer->observer, subscription, now) && make(viewer, subscription, now, out)) {
            viewer->turn = at + 1;
            return true;
        }
    }
    return false;
}
