/* info.c: stock's /info pages and the plain form of the dashboard's pages: server-rendered, complete without a script.
 * Source: distributed http/scheduler/info.py and its templates. */
#include <stdio.h>

#include "base/log.h"
#include "observer/html.h"
#include "observer/routes.h"
#include "wire/key.h"
#include "wire/msgpack.h"

#define ROWS_MAX 1000u

/* "../" for each '/' in the path but the first. */
static const char *way_up(const struct exchange *exchange)
{
    static const char ups[] = "../../../../../../../../";
    uint32_t depth = 0;
    struct span path = text_span(&exchange->path);
    /* A part that was decoded may hold slashes, which are one step to the browser all the same. */
    size_t part_begin =
        exchange->part.size == 0 ? path.size : (size_t)(exchange->part.data - path.data);
    for (size_t i = 1; i < path.size && i < part_begin; i++) {
        depth += path.data[i] == '/';
    }
    return ups + sizeof ups - 1 - (size_t)3 * (depth > 8 ? 8 : depth);
}

static struct text *begin(struct exchange *exchange, const char *title, bool refreshes)
{
    struct text *out = exchange_body(exchange);
    html_begin(out, title, way_up(exchange), refreshes);
    const struct tables *tables = exchange->observer->tables;
    if (tables->state != CLUSTER_RUNNING) {
        text_add_cstr(out, "<p class=\"bad\" role=\"alert\"><strong>The scheduler has ended: ");
        html_text(out, text_span(&tables->reason));
        text_add_cstr(out, "</strong></p>\n");
    }
    return out;
}

static void finish(struct exchange *exchange)
{
    html_end(exchange_body(exchange));
    exchange_answer(exchange, 200, TYPE_HTML);
}

/* A link's address in a buffer of its own; the caller frees it. */
static struct text link_to(struct exchange *exchange, const char *folder, struct span name)
{
    struct text href = {0};
    text_printf(&href, "%sinfo/%s/", way_up(exchange), folder);
    html_url_part(&href, name);
    text_add_cstr(&href, ".html");
    return href;
}

static void cell_link(struct exchange *exchange, const char *folder, const struct text *name)
{
    struct text href = link_to(exchange, folder, text_span(name));
    html_cell_link(exchange_body(exchange), text_cstr(&href), text_span(name));
    text_fini(&href);
}

/* ---- tables ------------------------------------------------------------------------------------- */

static void put_workers(struct exchange *exchange, bool gone)
{
    static const char *const headings[] = {
        "Worker",  "Name",       "Status",    "Threads", "CPU %",    "Memory",          "Limit",
        "Spilled", "Processing", "In memory", "Runs",    "Failures", "Last seen (UTC)", NULL};
    const struct tables *tables = exchange->observer->tables;
    struct text *out = exchange_body(exchange);
    html_table(out, gone ? "Workers that left" : "Workers", headings);
    uint32_t count = 0;
    for (uint32_t i = 0; i < tables->workers.count && count < ROWS_MAX; i++) {
        const struct worker_row *row = tables->workers.items[i];
        if (row == NULL || (row->removed > 0) != gone) {
            continue;
        }
        html_row(out);
        cell_link(exchange, "worker", &row->address);
        html_cell(out, text_span(&row->name));
        html_cell(out,
                  gone && row->reason.size > 0 ? text_span(&row->reason) : text_span(&row->status));
        html_cell_int(out, row->nthreads);
        html_cell_int(out, (int64_t)row->sample.cpu);
        html_cell_bytes(out, (double)row->sample.process);
        html_cell_bytes(out, (double)row->memory_limit);
        html_cell_bytes(out, (double)row->sample.spilled);
        html_cell_int(out, row->sample.processing);
        html_cell_int(out, row->sample.has_what);
        html_cell_int(out, (int64_t)row->runs);
        html_cell_int(out, (int64_t)row->failures);
        html_cell_time(out, gone ? row->removed : row->sample.last_seen);
        html_row_end(out);
        count++;
    }
    html_table_end(out);
}

static void put_totals(struct exchange *exchange)
{
    static const char *const headings[] = {"Workers", "Threads",   "Processing", "Queued",
                                           "Waiting", "No worker", "In memory",  "Erred",
                                           "Memory",  "Clients",   "Runs/s",     NULL};
    const struct tables *tables = exchange->observer->tables;
    const struct record_totals *totals = &tables->totals;
    struct text *out = exchange_body(exchange);
    double rates[3];
    tables_rates(tables, observer_now(), rates);
    html_table(out, "Cluster", headings);
    html_row(out);
    html_cell_int(out, totals->workers);
    html_cell_int(out, (int64_t)totals->threads);
    html_cell_int(out, totals->tasks[4]);
    html_cell_int(out, totals->tasks[3]);
    html_cell_int(out, totals->tasks[1]);
    html_cell_int(out, totals->tasks[2]);
    html_cell_int(out, totals->tasks[5]);
    html_cell_int(out, totals->tasks[6]);
    html_cell_bytes(out, (double)totals->process);
    html_cell_int(out, totals->clients);
    html_cell_int(out, (int64_t)rates[0]);
    html_row_end(out);
    html_table_end(out);
}

static void put_prefixes(struct exchange *exchange)
{
    static const char *const headings[] = {"Prefix",    "Waiting", "Queued", "Processing",
                                           "In memory", "Erred",   "Runs",   "Failures",
                                           "Median",    "Total",   "Bytes",  NULL};
    const struct tables *tables = exchange->observer->tables;
    struct text *out = exchange_body(exchange);
    html_table(out, "Progress by prefix", headings);
    for (uint32_t i = 0; i < tables->prefixes.count && i < ROWS_MAX; i++) {
        const struct prefix_row *row = tables->prefixes.items[i];
        if (row == NULL) {
            continue;
        }
        html_row(out);
        html_cell(out, text_span(&row->name));
        static const int shown[] = {1, 3, 4, 5, 6};
        for (size_t s = 0; s < sizeof shown / sizeof shown[0]; s++) {
            html_cell_int(out, row->sample.states[shown[s]]);
        }
        html_cell_int(out, (int64_t)row->runs);
        html_cell_int(out, (int64_t)row->failures);
        html_cell_seconds(out, stats_quantile(&row->stats, 0.5));
        html_cell_seconds(out, row->stats.sum);
        html_cell_bytes(out, (double)row->sample.nbytes);
        html_row_end(out);
    }
    html_table_end(out);
}

static void put_failures(struct exchange *exchange)
{
    static const char *const headings[] = {"Count",       "Prefix",     "Exception", "Where",
                                           "First (UTC)", "Last (UTC)", "Keys",      NULL};
    const struct tables *tables = exchange->observer->tables;
    struct text *out = exchange_body(exchange);
    html_table(out, "Failures", headings);
    for (uint32_t i = tables->failures.count; i-- > 0;) {
        const struct failure_row *row = tables->failures.items[i];
        html_row(out);
        html_cell_int(out, (int64_t)row->count);
        html_cell(out, span_of_text(tables_prefix_name(tables, row->prefix)));
        text_add_cstr(out, "<td><details><summary>");
        html_text(out, text_span(&row->exception));
        text_add_cstr(out, "</summary><pre>");
        html_text(out, text_span(&row->traceback));
        text_add_cstr(out, "</pre></details></td>");
        html_cell(out, text_span(&row->where));
        html_cell_time(out, row->first);
        html_cell_time(out, row->last);
        text_add_cstr(out, "<td>");
        for (uint32_t k = 0; k < row->key_count; k++) {
            struct text href = link_to(exchange, "task", text_span(&row->keys[k]));
            text_printf(out, "<a href=\"%s\">", text_cstr(&href));
            html_text(out, text_span(&row->keys[k]));
            text_add_cstr(out, "</a><br>");
            text_fini(&href);
        }
        text_add_cstr(out, "</td>");
        html_row_end(out);
    }
    html_table_end(out);
}

/* The newest runs of a worker (0: of all) that has `key` (empty: of any). */
static void put_runs(struct exchange *exchange, uint32_t worker, uint32_t count_max)
{
    static const char *const headings[] = {"Key",      "Worker", "Start (UTC)", "Duration",
                                           "Transfer", "Bytes",  "Status",      NULL};
    const struct tables *tables = exchange->observer->tables;
    struct text *out = exchange_body(exchange);
    uint32_t count = 0, looked_at = 0;
    html_table(out, "Runs, newest first", headings);
    for (uint64_t n = tables->runs.next;
         n > runs_first(&tables->runs) && count < count_max && looked_at < 1000000; looked_at++) {
        struct run run;
        const struct worker_row *on;
        if (!runs_at(&tables->runs, --n, &run) || (worker != 0 && run.worker != worker)) {
            continue;
        }
        on = tables_worker(tables, run.worker);
        struct text key = {0};
        key_print(&key, run.key);
        html_row(out);
        cell_link(exchange, "task", &key);
        html_cell(out, on == NULL ? SPAN("") : text_span(&on->address));
        html_cell_time(out, run.start);
        html_cell_seconds(out, (double)run.duration);
        html_cell_seconds(out, (double)run.transfer);
        html_cell_bytes(out, (double)run.nbytes);
        html_cell(out, run.is_erred ? SPAN("error") : SPAN("ok"));
        html_row_end(out);
        text_fini(&key);
        count++;
    }
    html_table_end(out);
}

static void put_lines(struct exchange *exchange, const struct lines *lines, const char *caption)
{
    static const char *const headings[] = {"Time (UTC)", "From", "What", NULL};
    struct text *out = exchange_body(exchange);
    html_table(out, caption, headings);
    uint32_t count = 0;
    for (uint64_t n = lines->next; n > lines_first(lines) && count < ROWS_MAX; count++) {
        const struct line_row *row = lines_at(lines, --n);
        html_row(out);
        html_cell_time(out, row->time);
        html_cell(out, text_span(&row->name));
        text_add_cstr(out, "<td><pre>");
        html_text(out, text_span(&row->text));
        text_add_cstr(out, "</pre></td>");
        html_row_end(out);
    }
    html_table_end(out);
}

/* ---- pages -------------------------------------------------------------------------------------- */

static void overview_sampled(struct exchange *exchange)
{
    begin(exchange, "Overview", true);
    put_totals(exchange);
    if (exchange->observer->tables->failures.count > 0) {
        put_failures(exchange);
    }
    put_prefixes(exchange);
    put_workers(exchange, false);
    finish(exchange);
}

void page_overview(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, overview_sampled);
}

static void workers_sampled(struct exchange *exchange)
{
    begin(exchange, "Workers", true);
    put_workers(exchange, false);
    put_workers(exchange, true);
    finish(exchange);
}

void info_workers(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, workers_sampled);
}

void info_failures(struct exchange *exchange)
{
    begin(exchange, "Exceptions", false);
    put_failures(exchange);
    finish(exchange);
}

static void logs_sampled(struct exchange *exchange)
{
    begin(exchange, "Logs", false);
    put_lines(exchange, &exchange->observer->tables->logs, "The scheduler's log, newest first");
    finish(exchange);
}

void info_logs(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, logs_sampled);
}

void page_runs(struct exchange *exchange)
{
    begin(exchange, "Tasks", true);
    put_runs(exchange, 0, 200);
    finish(exchange);
}

static void groups_sampled(struct exchange *exchange)
{
    static const char *const headings[] = {"Group",      "Prefix",    "Size",  "Waiting",
                                           "Processing", "In memory", "Erred", "Runs",
                                           "Depends on", NULL};
    static const int shown[] = {1, 4, 5, 6};
    const struct tables *tables = exchange->observer->tables;
    struct text *out = begin(exchange, "Groups", true);
    put_prefixes(exchange);
    html_table(out, "Groups of several tasks", headings);
    for (uint32_t i = 0; i < tables->groups.count && i < ROWS_MAX; i++) {
        const struct group_row *row = tables->groups.items[i];
        html_row(out);
        html_cell(out, text_span(&row->name));
        html_cell(out, span_of_text(tables_prefix_name(tables, row->prefix)));
        html_cell_int(out, row->sample.size);
        for (size_t s = 0; s < sizeof shown / sizeof shown[0]; s++) {
            html_cell_int(out, row->sample.states[shown[s]]);
        }
        html_cell_int(out, (int64_t)row->runs);
        text_add_cstr(out, "<td>");
        for (uint32_t d = 0; d < row->dependencies.count && d < 20; d++) {
            const struct group_row *other = tables_group(tables, row->dependencies.items[d]);
            html_text(out, other == NULL ? SPAN("") : text_span(&other->name));
            text_add_cstr(out, "<br>");
        }
        text_add_cstr(out, "</td>");
        html_row_end(out);
    }
    html_table_end(out);
    finish(exchange);
}

void page_groups(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, groups_sampled);
}

void page_events(struct exchange *exchange)
{
    begin(exchange, "Events", true);
    put_lines(exchange, &exchange->observer->tables->events, "Events, newest first");
    finish(exchange);
}

/* ---- one worker --------------------------------------------------------------------------------- */

/* libwebsockets makes one slash of two, also of decoded ones: "tcp:/127.0.0.1:1". */
static struct worker_row *worker_of(const struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct worker_row *row = tables_worker_by_address(tables, exchange->part);
    const uint8_t *joint = memmem(exchange->part.data, exchange->part.size, ":/", 2);
    if (row == NULL && joint != NULL) {
        struct text address = {0};
        size_t before = (size_t)(joint - exchange->part.data) + 2;
        text_add(&address, span_of(exchange->part.data, before));
        text_add_char(&address, '/');
        text_add(&address, span_of(exchange->part.data + before, exchange->part.size - before));
        row = tables_worker_by_address(tables, text_span(&address));
        text_fini(&address);
    }
    return row;
}

static void worker_sampled(struct exchange *exchange)
{
    const struct worker_row *row = worker_of(exchange);
    if (row == NULL) {
        exchange_fail(exchange, 404, "there is no such worker");
        return;
    }
    struct text title = {0};
    text_printf(&title, "Worker: %s", text_cstr(&row->address));
    struct text *out = begin(exchange, text_cstr(&title), true);
    text_fini(&title);
    static const char *const folders[] = {"logs", "call-stacks"};
    for (int i = 0; i < 2; i++) {
        struct text href = link_to(exchange, folders[i], text_span(&row->address));
        text_printf(out, "<p><a href=\"%s\">%s</a></p>\n", text_cstr(&href),
                    i == 0 ? "Logs" : "Call stacks");
        text_fini(&href);
    }
    if (row->dashboard != 0) {
        text_printf(out, "<p><a href=\"../../proxy/%u/", row->dashboard);
        html_url_part(out, text_span(&row->host));
        text_add_cstr(out, "/status\">Its own dashboard</a></p>\n");
    }
    static const char *const headings[] = {
        "Status", "Threads", "Process", "Managed",         "Unmanaged",   "Recent", "Spilled",
        "Limit",  "PID",     "Nanny",   "Local directory", "Added (UTC)", NULL};
    html_table(out, "Now", headings);
    html_row(out);
    html_cell(out, text_span(&row->status));
    html_cell_int(out, row->nthreads);
    html_cell_bytes(out, (double)row->sample.process);
    html_cell_bytes(out, (double)row->sample.managed);
    html_cell_bytes(out, (double)row->sample.unmanaged_old);
    html_cell_bytes(out, (double)row->sample.unmanaged_recent);
    html_cell_bytes(out, (double)row->sample.spilled);
    html_cell_bytes(out, (double)row->memory_limit);
    html_cell_int(out, row->pid);
    html_cell(out, text_span(&row->nanny));
    html_cell(out, text_span(&row->directory));
    html_cell_time(out, row->added);
    html_row_end(out);
    html_table_end(out);
    put_runs(exchange, row->id, 100);
    finish(exchange);
}

void info_worker(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, worker_sampled);
}

/* Any value, as Python writes it. */
static void put_value(struct exchange *exchange, struct span answer, const char *none)
{
    struct text *out = exchange_body(exchange), text = {0};
    if (answer.data == NULL || msgpack_is_nil(answer)) {
        text_printf(out, "<p>%s</p>\n", none);
        return;
    }
    msgpack_print(&text, answer, (size_t)1 << 20);
    text_add_cstr(out, "<pre>");
    html_text(out, text_span(&text));
    text_add_cstr(out, "</pre>\n");
    text_fini(&text);
}

/* The first value of {address: [(level, line) …]} as lines. */
static void worker_logs_answered(struct exchange *exchange, struct span answer)
{
    struct msgpack_reader reader = msgpack_reader(answer);
    struct text *out = begin(exchange, "Logs", false);
    struct span name, level, line;
    uint32_t count, lines, parts;
    bool fine = answer.data != NULL && msgpack_read_map(&reader, &count) == OK && count > 0 &&
                msgpack_read_value(&reader, &name) == OK &&
                msgpack_read_array(&reader, &lines) == OK;
    text_add_cstr(out, "<pre>");
    for (uint32_t i = 0; fine && i < lines; i++) {
        fine = msgpack_read_array(&reader, &parts) == OK && parts == 2 &&
               msgpack_read_value(&reader, &level) == OK && msgpack_read_str(&reader, &line) == OK;
        if (fine) {
            html_text(out, line);
            text_add_char(out, '\n');
        }
    }
    text_add_cstr(out, fine ? "</pre>\n" : "</pre><p>The worker does not answer.</p>\n");
    finish(exchange);
}

static void stacks_answered(struct exchange *exchange, struct span answer)
{
    begin(exchange, "Call stacks", false);
    put_value(exchange, answer, "Nothing runs there.");
    finish(exchange);
}

static void ask_worker(struct exchange *exchange, const char *op, ask_function *then)
{
    const struct worker_row *row = worker_of(exchange);
    if (row == NULL || row->removed > 0) {
        exchange_fail(exchange, 404, "there is no such worker");
        return;
    }
    struct text more = {0};
    msgpack_write_cstr(&more, "workers");
    msgpack_write_array(&more, 1);
    msgpack_write_str_lossy(&more, text_span(&row->address));
    struct ask ask = {.op = op, .more = text_span(&more), .more_count = 1, .then = then};
    ask_scheduler(exchange, &ask);
    text_fini(&more);
}

void info_worker_logs(struct exchange *exchange)
{
    ask_worker(exchange, "worker_logs", worker_logs_answered);
}

void info_worker_stacks(struct exchange *exchange)
{
    ask_worker(exchange, "call_stack", stacks_answered);
}

/* ---- one task ----------------------------------------------------------------------------------- */

static bool is_known(struct span answer)
{
    struct span raw;
    bool known = false;
    if (msgpack_find(answer, "known", &raw) == OK) {
        struct msgpack_reader reader = msgpack_reader(raw);
        known = msgpack_read_bool(&reader, &known) == OK && known;
    }
    return known;
}

static bool find_str(struct span map, const char *name, struct span *out_text)
{
    struct span raw;
    if (msgpack_find(map, name, &raw) != OK) {
        return false;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    return msgpack_read_str(&reader, out_text) == OK;
}

/* Failures of which it is a sample; true: there is one. */
static bool put_own_failures(struct exchange *exchange, struct span key)
{
    const struct tables *tables = exchange->observer->tables;
    struct text *out = exchange_body(exchange);
    bool found = false;
    for (uint32_t i = 0; i < tables->failures.count; i++) {
        const struct failure_row *row = tables->failures.items[i];
        for (uint32_t k = 0; k < row->key_count; k++) {
            if (!span_equal(text_span(&row->keys[k]), key)) {
                continue;
            }
            text_add_cstr(out, "<section class=\"bad\"><h2>");
            html_text(out, text_span(&row->exception));
            text_add_cstr(out, "</h2><pre>");
            html_text(out, text_span(&row->traceback));
            text_add_cstr(out, "</pre></section>\n");
            found = true;
        }
    }
    return found;
}

static bool ran(const struct tables *tables, struct span key)
{
    struct text keys[2] = {{0}, {0}};
    bool found = false;
    ask_text_key(key, &keys[0]);
    bool is_tuple = ask_parse_tuple(key, &keys[1]);
    for (uint64_t n = tables->runs.next; n > runs_first(&tables->runs) && !found;) {
        struct run run;
        found = runs_at(&tables->runs, --n, &run) &&
                (span_equal(run.key, text_span(&keys[0])) ||
                 (is_tuple && span_equal(run.key, text_span(&keys[1]))));
    }
    text_fini(&keys[0]);
    text_fini(&keys[1]);
    return found;
}

static void task_answered(struct exchange *exchange, struct span answer)
{
    struct span key = exchange->part, summary;
    bool known = answer.data != NULL && is_known(answer);
    if (!known && !ran(exchange->observer->tables, key)) {
        exchange_fail(exchange, 404, "there is no such task");
        return;
    }
    struct text title = {0};
    text_add_cstr(&title, "Task: ");
    text_add(&title, key);
    struct text *out = begin(exchange, text_cstr(&title), false);
    text_fini(&title);
    put_own_failures(exchange, key);
    if (known && find_str(answer, "summary", &summary)) {
        text_add_cstr(out, "<p>");
        html_text(out, summary);
        text_add_cstr(out, "</p>\n");
    } else {
        text_add_cstr(out, "<p>The scheduler does not know it any more.</p>\n");
    }
    struct text href = {0};
    text_printf(&href, "%sapi/cask/v1/task?key=", way_up(exchange));
    html_url_part(&href, key);
    text_printf(out, "<p><a href=\"%s\">All that is known, as JSON</a></p>\n", text_cstr(&href));
    text_fini(&href);
    finish(exchange);
}

void info_task(struct exchange *exchange)
{
    struct ask ask = {.op = "explain",
                      .name = "key",
                      .key_text = exchange->part,
                      .is_known = is_known,
                      .then = task_answered};
    ask_scheduler(exchange, &ask);
}

static void task_stack_known(struct exchange *exchange, struct span answer)
{
    if (answer.data != NULL && !is_known(answer)) {
        exchange_fail(exchange, 404, "there is no such task");
        return;
    }
    struct ask ask = {.op = "call_stack",
                      .name = "keys",
                      .is_list = true,
                      .key_text = exchange->part,
                      .then = stacks_answered};
    ask_scheduler(exchange, &ask);
}

void info_task_stack(struct exchange *exchange)
{
    struct ask ask = {.op = "explain",
                      .name = "key",
                      .key_text = exchange->part,
                      .is_known = is_known,
                      .then = task_stack_known};
    ask_scheduler(exchange, &ask);
}
