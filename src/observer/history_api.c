/* history_api.c: the runs of the folder as a list, and each of them shown by the same pages.
 *
 * Everything below "/history/NAME/" is what a dashboard of that file would give: its tables stand in an observer of their own,
 * without ring and scheduler. A few are kept open; the one that was not asked for the longest goes first. */
#include "base/alloc.h"
#include "base/error.h"
#include "observer/history.h"
#include "observer/html.h"
#include "observer/routes.h"

#define OPEN_MAX 3u
#define OPEN_MEMORY ((size_t)96 << 20)
#define NAME_MAX_SIZE 200u

/* ---- one of them -------------------------------------------------------------------------------- */

/* A file's name without folder and suffix, and nothing else. */
static bool is_name(struct span name)
{
    for (size_t i = 0; i < name.size; i++) {
        char c = (char)name.data[i];
        bool is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                        (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
        if (!is_plain) {
            return false;
        }
    }
    return name.size > 0 && name.size <= NAME_MAX_SIZE;
}

/* Room for one more: false if all are in use. */
static bool make_room(struct observer *observer)
{
    uint32_t oldest = UINT32_MAX;
    if (observer->runs.count < OPEN_MAX) {
        return true;
    }
    for (uint32_t i = 0; i < observer->runs.count; i++) {
        const struct observer *run = observer->runs.items[i];
        bool is_free = run->uses == 0 && run->viewers.count == 0;
        if (is_free && (oldest == UINT32_MAX || run->used < observer->runs.items[oldest]->used)) {
            oldest = i;
        }
    }
    if (oldest == UINT32_MAX) {
        return false;
    }
    observer_destroy(observer->runs.items[oldest]);
    vec_swap_remove(&observer->runs, oldest);
    return true;
}

static struct observer *open_run(struct observer *observer, struct span name)
{
    struct text path = {0}, why = {0};
    text_printf(&path, "%s/%.*s.db", text_cstr(&observer->settings.history), (int)name.size,
                (const char *)name.data);
    struct observer *run =
        make_room(observer) ? observer_create_file(text_cstr(&path), OPEN_MEMORY, &why) : NULL;
    if (run != NULL) {
        const struct settings *outer = &observer->settings;
        run->outer = observer;
        text_add(&run->run_name, name);
        text_printf(&run->settings.prefix, "%s/history/%.*s", text_cstr(&outer->prefix),
                    (int)name.size, (const char *)name.data);
        text_add(&run->settings.token, text_span(&outer->token));
        text_add(&run->settings.tls_cert, text_span(&outer->tls_cert));
        run->settings.pages = outer->pages;
        vec_push(&observer->runs, run);
    }
    text_fini(&path);
    text_fini(&why);
    return run;
}

struct observer *run_of_path(struct observer *observer, struct span path, struct span *out_rest)
{
    static const char begin[] = "/history/";
    size_t skipped = sizeof begin - 1;
    *out_rest = path;
    if (path.size <= skipped || memcmp(path.data, begin, skipped) != 0) {
        return observer;
    }
    struct span name = span_of(path.data + skipped, path.size - skipped);
    const uint8_t *slash = memchr(name.data, '/', name.size);
    if (slash == NULL || observer->settings.history.size == 0) {
        return NULL;
    }
    name.size = (size_t)(slash - name.data);
    *out_rest = span_of(slash, path.size - skipped - name.size);
    struct observer *found = NULL;
    for (uint32_t i = 0; i < observer->runs.count; i++) {
        struct observer *run = observer->runs.items[i];
        found = span_equal(text_span(&run->run_name), name) ? run : found;
    }
    if (found == NULL && is_name(name)) {
        found = open_run(observer, name);
    }
    if (found != NULL) {
        found->used = observer_now();
    }
    return found;
}

/* ---- all of them -------------------------------------------------------------------------------- */

/* Of a run that is looked at, too, the list is the process's. */
static const struct observer *outer_of(const struct exchange *exchange)
{
    const struct observer *observer = exchange->observer;
    return observer->outer == NULL ? observer : observer->outer;
}

static void put_entry(const struct observer *observer, const struct history_entry *entry,
                      struct jot *jot)
{
    bool is_this = span_equal(text_span(&entry->id), text_span(&observer->tables->cluster_id));
    jot_open(jot, '{');
    jot_put_text(jot, "name", &entry->name);
    jot_put_text(jot, "id", &entry->id);
    jot_put_text(jot, "state", &entry->state);
    jot_put_text(jot, "reason", &entry->reason);
    jot_put_real(jot, "started", entry->started);
    jot_name(jot, "ended");
    if (entry->ended > 0) {
        jot_real(jot, entry->ended);
    } else {
        jot_null(jot);
    }
    jot_put_real(jot, "time", entry->time);
    jot_put_int(jot, "runs", entry->runs);
    jot_put_int(jot, "failures", entry->failures);
    jot_put_int(jot, "workers", entry->workers);
    jot_put_int(jot, "bytes", entry->bytes);
    jot_put_bool(jot, "open", entry->is_open);
    jot_put_bool(jot, "this", is_this);
    jot_name(jot, "href");
    struct text href = {0};
    text_printf(&href, "history/%s/status", text_cstr(&entry->name));
    jot_text(jot, text_span(&href));
    text_fini(&href);
    jot_close(jot, '}');
}

void api_history(struct exchange *exchange)
{
    const struct observer *observer = outer_of(exchange);
    struct text after = {0}, why = {0};
    struct history_entries entries;
    struct page page = api_page(exchange);
    text_add(&after, exchange_argument(exchange, "after"));
    /* A folder that is not there has no runs. */
    (void)!history_list(text_cstr(&observer->settings.history),
                        after.size > 0 ? text_cstr(&after) : NULL, page.limit, &entries, &why);
    struct jot jot = api_begin(exchange);
    jot_put_text(&jot, "folder", &observer->settings.history);
    jot_name(&jot, "next");
    if (entries.count == page.limit) {
        jot_text(&jot, text_span(&entries.items[entries.count - 1].name));
    } else {
        jot_null(&jot);
    }
    jot_name(&jot, "history");
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < entries.count; i++) {
        put_entry(observer, &entries.items[i], &jot);
    }
    jot_close(&jot, ']');
    api_end(exchange, &jot);
    history_entries_fini(&entries);
    text_fini(&after);
    text_fini(&why);
}

/* The same as a plain page. */
void page_history(struct exchange *exchange)
{
    static const char *const headings[] = {"Run",       "Began (UTC)", "Last (UTC)",
                                           "Tasks run", "Failures",    "Workers",
                                           "Size",      "End",         NULL};
    const struct observer *observer = outer_of(exchange);
    const char *up = exchange->observer == observer ? "" : "../../";
    struct text *out = exchange_body(exchange), why = {0};
    struct history_entries entries;
    (void)!history_list(text_cstr(&observer->settings.history), NULL, 500, &entries, &why);
    html_begin(out, "History", "", false);
    html_table(out, "Runs, newest first", headings);
    for (uint32_t i = 0; i < entries.count; i++) {
        const struct history_entry *entry = &entries.items[i];
        struct text href = {0};
        text_printf(&href, "%shistory/%s/status", up, text_cstr(&entry->name));
        html_row(out);
        html_cell_link(out, text_cstr(&href), text_span(&entry->name));
        html_cell_time(out, entry->started);
        html_cell_time(out, entry->time);
        html_cell_int(out, entry->runs);
        html_cell_int(out, entry->failures);
        html_cell_int(out, entry->workers);
        html_cell_bytes(out, (double)entry->bytes);
        html_cell(out,
                  text_span(entry->state.size > 0 && entry->reason.size == 0 ? &entry->state
                                                                             : &entry->reason));
        html_row_end(out);
        text_fini(&href);
    }
    html_table_end(out);
    html_end(out);
    exchange_answer(exchange, 200, TYPE_HTML);
    history_entries_fini(&entries);
    text_fini(&why);
}
