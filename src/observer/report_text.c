/* report_text.c: GET api/cask/v1/report.txt, .md, .json: what went wrong and how long what took, to be read without a
 * browser, or by a program. */
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "observer/routes.h"

#define FINDINGS_SHOWN 20u
#define FAILURES_SHOWN 20u
#define PREFIXES_SHOWN 30u
#define MESSAGE_SHOWN 200u

enum form { FORM_TEXT, FORM_MARKDOWN };

struct page_text {
    const struct observer *observer;
    const struct tables *tables;
    struct text *out;
    enum form form;
};

/* ---- words -------------------------------------------------------------------------------------- */

/* One line; in Markdown, nothing in it means anything. */
static void put_words(struct page_text *page, struct span words)
{
    for (size_t i = 0; i < words.size && i < MESSAGE_SHOWN; i++) {
        char c = (char)words.data[i];
        if (page->form == FORM_MARKDOWN && c != '\0' && strchr("\\`*_{}[]<>#|&~", c) != NULL) {
            text_add_char(page->out, '\\');
        }
        text_add_char(page->out, (unsigned char)c < ' ' || c == 0x7f ? ' ' : c);
    }
    text_add_cstr(page->out, words.size > MESSAGE_SHOWN ? " …" : "");
}

static void put_title(struct page_text *page, const char *title)
{
    text_printf(page->out, page->form == FORM_MARKDOWN ? "\n## %s\n\n" : "\n%s\n", title);
}

static void put_duration(struct text *out, double seconds)
{
    if (seconds >= 100) {
        text_printf(out, "%.0f min", seconds / 60);
    } else if (seconds >= 1 || seconds <= 0) {
        text_printf(out, "%.3g s", seconds > 0 ? seconds : 0);
    } else {
        text_printf(out, "%.3g ms", seconds * 1e3);
    }
}

/* ---- parts -------------------------------------------------------------------------------------- */

/* "1 run, " */
static void put_counted(struct page_text *page, uint64_t count, const char *what)
{
    text_printf(page->out, "%llu %s%s, ", (unsigned long long)count, what, count == 1 ? "" : "s");
}

static void put_head(struct page_text *page)
{
    static const char *const states[] = {"running", "ended", "died"};
    const struct tables *tables = page->tables;
    text_add_cstr(page->out, page->form == FORM_MARKDOWN ? "# Report\n\n" : "");
    put_words(page, text_span(&tables->cluster_id));
    text_add_cstr(page->out, " at ");
    put_words(page, text_span(&tables->address));
    text_printf(page->out, ", %s", states[tables->state]);
    if (tables->reason.size > 0) {
        text_add_cstr(page->out, ": ");
        put_words(page, text_span(&tables->reason));
    }
    text_add_char(page->out, '\n');
    put_counted(page, tables->runs.next, "run");
    put_counted(page, tables->failures_seen, "failure");
    text_printf(page->out, "%u worker%s (%u gone), up ", tables->totals.workers,
                tables->totals.workers == 1 ? "" : "s", tables->gone_count);
    put_duration(page->out, tables->time - tables->started);
    text_add_char(page->out, '\n');
}

static void put_findings(struct page_text *page)
{
    const struct findings *findings = &page->tables->findings;
    const char *sign = page->form == FORM_MARKDOWN ? "- **%s** " : "  %-8s ";
    if (findings->rows.count > 0) {
        put_title(page, "Findings");
    }
    uint32_t shown = 0;
    for (int severity = FINDING_ERROR; severity >= FINDING_NOTE; severity--) {
        for (uint32_t i = 0; i < findings->rows.count && shown < FINDINGS_SHOWN; i++) {
            const struct finding_row *row = findings->rows.items[i];
            if ((int)finding_severity(row->kind) == severity) {
                text_printf(page->out, sign, finding_severity_name(finding_severity(row->kind)));
                put_words(page, text_span(&row->sentence));
                text_add_cstr(page->out, page->form == FORM_MARKDOWN ? " " : "\n           → ");
                put_words(page, span_of_text(finding_advice(row->kind)));
                text_add_char(page->out, '\n');
                shown++;
            }
        }
    }
}

static void put_failures(struct page_text *page)
{
    const struct tables *tables = page->tables;
    if (tables->failures.count > 0) {
        put_title(page, "Failures");
    }
    for (uint32_t i = 0; i < tables->failures.count && i < FAILURES_SHOWN; i++) {
        const struct failure_row *row = tables->failures.items[tables->failures.count - 1 - i];
        text_printf(page->out, page->form == FORM_MARKDOWN ? "- %llu × " : "  %6llu × ",
                    (unsigned long long)row->count);
        put_words(page, text_span(&row->type));
        text_add_cstr(page->out, ": ");
        put_words(page, text_span(&row->message));
        text_add_cstr(page->out, "; ");
        put_words(page, span_of_text(tables_prefix_name(tables, row->prefix)));
        if (row->where.size > 0) {
            text_add_cstr(page->out, ", ");
            put_words(page, text_span(&row->where));
        }
        if (row->key_count > 0) {
            text_add_cstr(page->out, "; ");
            put_words(page, text_span(&row->keys[0]));
        }
        text_add_char(page->out, '\n');
    }
}

static int by_time(const void *one, const void *other)
{
    double a = (*(const struct prefix_row *const *)one)->stats.sum,
           b = (*(const struct prefix_row *const *)other)->stats.sum;
    return (a < b) - (a > b);
}

static void put_prefix(struct page_text *page, const struct prefix_row *row)
{
    bool is_table = page->form == FORM_MARKDOWN;
    double numbers[] = {row->stats.sum,
                        row->stats.count > 0 ? row->stats.sum / (double)row->stats.count : 0,
                        row->stats.max};
    text_add_cstr(page->out, is_table ? "| " : "  ");
    size_t begin = page->out->size;
    put_words(page, text_span(&row->name));
    while (!is_table && page->out->size - begin < 30) {
        text_add_char(page->out, ' ');
    }
    text_printf(page->out, is_table ? " | %llu | %llu" : " %9llu %9llu",
                (unsigned long long)row->runs, (unsigned long long)row->failures);
    for (int i = 0; i < 3; i++) {
        struct text number = {0};
        put_duration(&number, numbers[i]);
        text_printf(page->out, is_table ? " | %s" : " %10s", text_cstr(&number));
        text_fini(&number);
    }
    text_add_cstr(page->out, is_table ? " |\n" : "\n");
}

static void put_prefixes(struct page_text *page)
{
    struct VEC(const struct prefix_row *) rows = {0};
    for (uint32_t i = 0; i < page->tables->prefixes.count; i++) {
        if (page->tables->prefixes.items[i] != NULL) {
            vec_push(&rows, page->tables->prefixes.items[i]);
        }
    }
    if (rows.count > 0) {
        qsort(rows.items, rows.count, sizeof *rows.items, by_time);
        put_title(page, "Tasks");
        text_add_cstr(page->out, page->form == FORM_MARKDOWN
                                     ? "| tasks | runs | failures | in all | each | longest |\n"
                                       "|---|---:|---:|---:|---:|---:|\n"
                                     : "                                      runs  failures     "
                                       "in all       each    longest\n");
    }
    for (uint32_t i = 0; i < rows.count && i < PREFIXES_SHOWN; i++) {
        put_prefix(page, rows.items[i]);
    }
    vec_fini(&rows);
}

/* ---- answers ------------------------------------------------------------------------------------ */

static void answer(struct exchange *exchange, enum form form)
{
    struct page_text page = {exchange->observer, exchange->observer->tables,
                             exchange_body(exchange), form};
    put_head(&page);
    put_findings(&page);
    put_failures(&page);
    put_prefixes(&page);
    exchange_answer(exchange, 200, form == FORM_TEXT ? TYPE_TEXT : "text/markdown; charset=utf-8");
}

static void text_sampled(struct exchange *exchange)
{
    answer(exchange, FORM_TEXT);
}

static void markdown_sampled(struct exchange *exchange)
{
    answer(exchange, FORM_MARKDOWN);
}

static void json_sampled(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct jot jot = api_begin(exchange);
    jot_name(&jot, "summary");
    jot_open(&jot, '{');
    api_put_summary(exchange->observer, &jot);
    jot_close(&jot, '}');
    jot_name(&jot, "findings");
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < tables->findings.rows.count; i++) {
        finding_put(tables, tables->findings.rows.items[i], &jot);
    }
    jot_close(&jot, ']');
    jot_name(&jot, "failures");
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < tables->failures.count; i++) {
        api_put_failure(tables, tables->failures.items[i], &jot);
    }
    jot_close(&jot, ']');
    api_end(exchange, &jot);
}

void api_report_text(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, text_sampled);
}

void api_report_markdown(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, markdown_sampled);
}

void api_report_json(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, json_sampled);
}
