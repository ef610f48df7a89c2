/* report.c: GET api/cask/v1/report.html: the pages and what they would ask for, in one file that needs no network.
 *
 * The answers are those of the routes themselves: each is asked for by an exchange without a connection, one after the
 * other, as some ask the scheduler first. Data goes into the page's place for it, packed. */
#include "observer/report.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "observer/assets.h"
#include "observer/routes.h"

#define FAILURES_MAX 100u
#define STRIP_BUCKETS 1000
#define STRIP_THREADS_MAX 128u
#define SERIES_POINTS 600.0
#define SHELL "report-shell.html"
#define PLACE "<!--DATA-->"

struct report {
    struct exchange *exchange; /* who wants it */
    struct VEC(struct text) paths;
    uint32_t at;
    struct text data;
    struct jot jot;
    struct report_span span;
};

static void report_free(struct report *report)
{
    for (uint32_t i = 0; i < report->paths.count; i++) {
        text_fini(&report->paths.items[i]);
    }
    vec_fini(&report->paths);
    text_fini(&report->data);
    mem_free(report);
}

/* ---- what is asked ------------------------------------------------------------------------------ */

static void want(struct report *report, const char *format, ...) PRINTF_LIKE(2, 3);

static void want(struct report *report, const char *format, ...)
{
    va_list arguments;
    vec_push(&report->paths, (struct text){0});
    va_start(arguments, format);
    text_vprintf(&report->paths.items[report->paths.count - 1], format, arguments);
    va_end(arguments);
}

static void want_strips(struct report *report)
{
    const struct tables *tables = report->exchange->observer->tables;
    uint64_t threads = 0;
    for (uint32_t i = 0; i < tables->workers.count; i++) {
        threads += tables->workers.items[i] == NULL ? 0 : tables->workers.items[i]->nthreads;
    }
    want(report, "stream?since=%.6f&until=%.6f&buckets=%d&lanes=%s", report->span.since,
         report->span.until, STRIP_BUCKETS, threads > STRIP_THREADS_MAX ? "worker" : "thread");
}

static void want_all(struct report *report)
{
    static const char *const plain[] = {"summary",
                                        "workers?gone=1&limit=1000",
                                        "groups?limit=1000",
                                        "prefixes?limit=1000",
                                        "failures?limit=1000",
                                        "findings",
                                        "logs?limit=1000",
                                        "events?limit=100",
                                        "graphs?limit=100",
                                        "transfers",
                                        "activities",
                                        "statuses?limit=1000"};
    const struct tables *tables = report->exchange->observer->tables;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        want(report, "%s", plain[i]);
    }
    double seconds = report->span.until - report->span.since;
    want(report, "series?since=%.0f&step=%.0f", floor(report->span.since),
         fmin(fmax(ceil(seconds / SERIES_POINTS), 1), 600));
    for (uint32_t i = 0; i < tables->failures.count && i < FAILURES_MAX; i++) {
        want(report, "failure?id=%u", tables->failures.items[tables->failures.count - 1 - i]->id);
    }
    if (!report_keeps_all(report_count_runs(&tables->runs, report->span))) {
        want_strips(report);
    }
}

/* ---- asking ------------------------------------------------------------------------------------- */

static void ask_next(struct report *report);

static void took(struct exchange *inner, void *user)
{
    struct report *report = user;
    struct span body =
        span_of(inner->body.data + inner->body_begin, inner->body.size - inner->body_begin);
    if (inner->status == 200) {
        jot_name(&report->jot, text_cstr(&report->paths.items[report->at]));
        jot_raw(&report->jot, body);
    }
    report->at++;
    ask_next(report);
}

/* "path?a=1&b=2"; our own, so nothing is escaped in it. */
static struct exchange *exchange_for(struct report *report, const struct text *path)
{
    struct exchange *inner = mem_zalloc(1, sizeof *inner);
    const char *at = text_cstr(path);
    size_t size = strcspn(at, "?");
    inner->observer = report->exchange->observer;
    inner->method = METHOD_GET;
    inner->done = took;
    inner->done_user = report;
    text_add_cstr(&inner->path, "/api/cask/v1/");
    text_add(&inner->path, span_of(at, size));
    for (at += size; *at != '\0' && inner->argument_count < EXCHANGE_ARGUMENTS_MAX; at += size) {
        at++;
        size = strcspn(at, "&");
        text_add(&inner->arguments[inner->argument_count++], span_of(at, size));
    }
    return inner;
}

static void answer(struct report *report)
{
    struct exchange *exchange = report->exchange;
    const struct asset *shell = asset_find(SPAN(SHELL));
    const char *place =
        shell == NULL ? NULL : memmem(shell->data, shell->size, PLACE, strlen(PLACE));
    exchange->is_waiting = false;
    if (place == NULL) {
        exchange_fail(exchange, 501, "this cask was built without its pages");
        return;
    }
    size_t before = (size_t)(place - (const char *)shell->data);
    struct text *body = exchange_body(exchange);
    text_add(body, span_of(shell->data, before));
    if (!report_pack(text_span(&report->data), body)) {
        exchange_fail(exchange, 503, "there is no memory to pack the report");
        return;
    }
    before += strlen(PLACE);
    text_add(body, span_of(shell->data + before, shell->size - before));
    exchange->is_report = true;
    exchange_answer(exchange, 200, TYPE_HTML);
}

static void ask_next(struct report *report)
{
    if (report->at < report->paths.count) {
        route(exchange_for(report, &report->paths.items[report->at]));
        return;
    }
    jot_close(&report->jot, '}');
    jot_name(&report->jot, "runs");
    report_put_runs(report->exchange->observer->tables, report->span, &report->jot);
    jot_close(&report->jot, '}');
    answer(report);
    report_free(report);
}

/* The window that is asked for, or all that is remembered. */
static struct report_span span_of_exchange(const struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    double first = tables->started > 0 ? tables->started : tables->time;
    return (struct report_span){.since = exchange_number(exchange, "since", first),
                                .until = exchange_number(exchange, "until", tables->time)};
}

void api_report(struct exchange *exchange)
{
    struct report *report = mem_zalloc(1, sizeof *report);
    report->exchange = exchange;
    report->span = span_of_exchange(exchange);
    report->jot = jot_on(&report->data);
    exchange->is_waiting = true;
    jot_open(&report->jot, '{');
    jot_put_int(&report->jot, "format", 1);
    jot_put_real(&report->jot, "made", observer_now());
    jot_put_real(&report->jot, "since", report->span.since);
    jot_put_real(&report->jot, "until", report->span.until);
    jot_name(&report->jot, "answers");
    jot_open(&report->jot, '{');
    want_all(report);
    ask_next(report);
}
