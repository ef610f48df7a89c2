/* worker_pages.c: a worker's pages for people: plain HTML, complete without a script or a file beside it.
 *
 * What has a history or needs Python (the profile, the task stream) is on the scheduler's dashboard, which has it of all
 * workers; here is what this process knows this moment. Every text of others is escaped. */
#include <stdio.h>

#include "node/worker_http.h"
#include "node/worker_internal.h"
#include "node/worker_transfers.h"
#include "wire/key.h"

#define TASKS_MAX 200u
#define PEERS_MAX 200u
#define PREFIXES_MAX 200u

/* ---- HTML --------------------------------------------------------------------------------------- */

static void put_escaped(struct text *out, struct span text)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = (char)text.data[i];
        switch (c) {
        case '<':
            text_add_cstr(out, "&lt;");
            break;
        case '>':
            text_add_cstr(out, "&gt;");
            break;
        case '&':
            text_add_cstr(out, "&amp;");
            break;
        case '"':
            text_add_cstr(out, "&quot;");
            break;
        default:
            text_add_char(out, (uint8_t)c < ' ' || c == 0x7f ? ' ' : c);
            break;
        }
    }
}

static void put_head(const struct worker_node *worker, struct text *out, const char *title)
{
    text_printf(out,
                "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<meta name=\"viewport\" content=\"width=device-width\">"
                "<meta http-equiv=\"refresh\" content=\"5\"><title>%s: ",
                title);
    put_escaped(out, text_span(&worker->server.address));
    text_add_cstr(
        out,
        "</title>\n<style>:root{color-scheme:light dark}body{font:13px/1.5 system-ui,sans-serif;"
        "margin:1rem}table{border-collapse:collapse;margin:0 0 1rem}caption,th{text-align:left;"
        "font-weight:600}td,th{padding:2px 12px 2px 0;vertical-align:top}td.n{text-align:right;"
        "font-variant-numeric:tabular-nums}</style></head>\n<body><nav><a href=\"status\">Status"
        "</a> <a href=\"counters\">Counters</a> <a href=\"profile\">Profile</a></nav>\n<main><h1>");
    text_printf(out, "%s</h1>\n", title);
}

static void put_end(struct text *out)
{
    text_add_cstr(out, "</main></body></html>\n");
}

static void put_table(struct text *out, const char *caption, const char *const *headings)
{
    text_printf(out, "<table><caption>%s</caption>\n<tr>", caption);
    for (; *headings != NULL; headings++) {
        text_printf(out, "<th scope=\"col\">%s</th>", *headings);
    }
    text_add_cstr(out, "</tr>\n");
}

static void put_cell(struct text *out, struct span text)
{
    text_add_cstr(out, "<td>");
    put_escaped(out, text);
    text_add_cstr(out, "</td>");
}

static void put_count(struct text *out, uint64_t count)
{
    text_printf(out, "<td class=\"n\">%llu</td>", (unsigned long long)count);
}

static void put_bytes(struct text *out, double bytes)
{
    text_add_cstr(out, "<td class=\"n\">");
    text_add_bytes_size(out, bytes);
    text_add_cstr(out, "</td>");
}

/* <tr><th>name</th> … the caller adds its cells and ends the row */
static void put_row(struct text *out, const char *name)
{
    text_printf(out, "<tr><th scope=\"row\">%s</th>", name);
}

static void end_row(struct text *out)
{
    text_add_cstr(out, "</tr>\n");
}

static void end_table(struct text *out)
{
    text_add_cstr(out, "</table>\n");
}

/* ---- status ------------------------------------------------------------------------------------- */

static void put_self(const struct worker_node *worker, struct text *out)
{
    static const char *const headings[] = {"", "", NULL};
    put_table(out, "This worker", headings);
    put_row(out, "Address");
    put_cell(out, text_span(&worker->server.address));
    end_row(out);
    put_row(out, "Status");
    put_cell(out, span_of_text(worker_phase_text(worker->status)));
    end_row(out);
    put_row(out, "Scheduler");
    put_cell(out, text_span(&worker->scheduler));
    end_row(out);
    put_row(out, "Threads");
    put_count(out, worker->options.nthreads);
    end_row(out);
    put_row(out, "Executors");
    put_count(out, worker->seats.count);
    end_row(out);
    put_row(out, "Local directory");
    put_cell(out, text_span(&worker->directory));
    end_row(out);
    end_table(out);
}

static void put_memory(struct worker_node *worker, struct text *out)
{
    static const char *const headings[] = {"Processes", "Limit", "Managed", "Spilled", NULL};
    struct store_totals stored;
    store_totals(worker->store, &stored);
    put_table(out, "Memory", headings);
    text_add_cstr(out, "<tr>");
    put_bytes(out, (double)worker_memory(worker));
    if (worker->options.memory_limit > 0) {
        put_bytes(out, (double)worker->options.memory_limit);
    } else {
        put_cell(out, SPAN("none"));
    }
    put_bytes(out, (double)stored.managed_bytes);
    put_bytes(out, (double)stored.spilled_disk_bytes);
    end_row(out);
    end_table(out);
}

static void put_running(const struct worker_node *worker, const struct worker_summary *summary,
                        struct text *out)
{
    static const char *const headings[] = {"Key", "State", "Seconds", NULL};
    uint32_t count = summary->executing_count + summary->long_running_count;
    struct text key = {0};
    put_table(out, "Running tasks", headings);
    for (uint32_t i = 0; i < count && i < TASKS_MAX; i++) {
        struct wtask_view task;
        worker_task(worker->core, worker_task_running(worker->core, i), &task);
        text_clear(&key);
        key_print(&key, task.key);
        text_add_cstr(out, "<tr>");
        put_cell(out, text_span(&key));
        put_cell(out, span_of_text(wtask_state_name(task.state)));
        text_printf(out, "<td class=\"n\">%.1f</td>",
                    task.started > 0 ? io_now() - task.started : 0);
        end_row(out);
    }
    end_table(out);
    if (count > TASKS_MAX) {
        text_printf(out, "<p>and %u more</p>\n", count - TASKS_MAX);
    }
    text_fini(&key);
}

static void put_transfers(const struct worker_node *worker, const struct worker_summary *summary,
                          struct text *out)
{
    static const char *const headings[] = {"", "Open", "Bytes", "Since it began", NULL};
    put_table(out, "Transfers", headings);
    put_row(out, "Incoming");
    put_count(out, summary->incoming_count);
    put_bytes(out, (double)summary->incoming_bytes);
    put_count(out, summary->incoming_count_total);
    end_row(out);
    put_row(out, "Outgoing");
    put_count(out, worker->outgoing_count);
    put_bytes(out, (double)worker->outgoing_bytes);
    put_count(out, worker->outgoing_count_total);
    end_row(out);
    end_table(out);
}

static void put_peers(const struct worker_node *worker, struct text *out)
{
    static const char *const headings[] = {"Address", "Has of what is wanted", "To fetch",
                                           "On the way", NULL};
    uint32_t end = worker_peer_end(worker->core), shown = 0;
    put_table(out, "Peers", headings);
    for (uint32_t i = 0; i < end && shown < PEERS_MAX; i++) {
        struct worker_peer_view peer;
        if (worker_peer(worker->core, i, &peer)) {
            text_add_cstr(out, "<tr>");
            put_cell(out, peer.address);
            put_count(out, peer.has_count);
            put_count(out, peer.needed_count);
            put_count(out, peer.in_flight_count);
            end_row(out);
            shown++;
        }
    }
    end_table(out);
}

void worker_page_status(struct worker_node *worker, struct worker_page *page)
{
    struct worker_summary summary;
    struct text *out = &page->body;
    worker_summarise(worker->core, &summary);
    put_head(worker, out, "Status");
    put_self(worker, out);
    put_memory(worker, out);
    put_running(worker, &summary, out);
    put_transfers(worker, &summary, out);
    put_peers(worker, out);
    put_end(out);
}

/* ---- counters ----------------------------------------------------------------------------------- */

static void put_prefixes(const struct worker_node *worker, struct text *out)
{
    static const char *const headings[] = {"Prefix", "State", "Tasks", "Seconds", NULL};
    struct worker_prefix_view prefix;
    put_table(out, "Tasks by prefix", headings);
    for (uint32_t i = 0; i < PREFIXES_MAX && worker_prefix(worker->core, i, io_now(), &prefix);
         i++) {
        for (unsigned state = 0; state < WTASK_STATE_COUNT; state++) {
            if (prefix.counts[state] > 0 || prefix.seconds[state] > 0) {
                text_add_cstr(out, "<tr>");
                put_cell(out, prefix.name);
                put_cell(out, span_of_text(wtask_state_name(state)));
                put_count(out, prefix.counts[state]);
                text_printf(out, "<td class=\"n\">%.3f</td>", prefix.seconds[state]);
                end_row(out);
            }
        }
    }
    end_table(out);
}

static void put_states(const struct worker_summary *summary, struct text *out)
{
    static const char *const headings[] = {"State", "Tasks", NULL};
    put_table(out, "Tasks", headings);
    for (unsigned state = 0; state < WTASK_STATE_COUNT; state++) {
        if (summary->state_counts[state] > 0) {
            text_add_cstr(out, "<tr>");
            put_cell(out, span_of_text(wtask_state_name(state)));
            put_count(out, summary->state_counts[state]);
            end_row(out);
        }
    }
    end_table(out);
}

void worker_page_counters(struct worker_node *worker, struct worker_page *page)
{
    struct worker_summary summary;
    struct text *out = &page->body;
    worker_summarise(worker->core, &summary);
    put_head(worker, out, "Counters");
    text_printf(out, "<p>%llu runs ended, %llu transitions.</p>\n",
                (unsigned long long)summary.executed_count,
                (unsigned long long)summary.transition_count);
    put_states(&summary, out);
    put_prefixes(worker, out);
    put_end(out);
}

void worker_page_profile(struct worker_node *worker, struct worker_page *page)
{
    struct text *out = &page->body;
    put_head(worker, out, "Profile");
    text_add_cstr(
        out, "<p>The profile of this worker's tasks is on the scheduler's dashboard, page Profile, "
             "where it can be had for one worker or for all.</p>\n");
    put_end(out);
}
