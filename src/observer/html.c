/* html.c: see html.h. */
#include "observer/html.h"

#include <stdio.h>
#include <time.h>

#include "wire/msgpack.h"

void html_text(struct text *out, struct span text)
{
    struct text clean = {0};
    if (!msgpack_is_utf8(text)) { /* what is not text is shown as such */
        for (size_t i = 0; i < text.size; i++) {
            text_add_char(&clean, text.data[i] < 0x80 ? (char)text.data[i] : '?');
        }
        text = text_span(&clean);
    }
    for (size_t i = 0; i < text.size; i++) {
        char c = (char)text.data[i];
        const char *entity = c == '&'    ? "&amp;"
                             : c == '<'  ? "&lt;"
                             : c == '>'  ? "&gt;"
                             : c == '"'  ? "&quot;"
                             : c == '\'' ? "&#39;"
                                         : NULL;
        bool is_control = (uint8_t)c < 0x20 && c != '\n' && c != '\t';
        if (entity != NULL) {
            text_add_cstr(out, entity);
        } else {
            text_add_char(out, is_control ? ' ' : c);
        }
    }
    text_fini(&clean);
}

void html_url_part(struct text *out, struct span text)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = (char)text.data[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
        if (is_plain) {
            text_add_char(out, c);
        } else {
            text_printf(out, "%%%02X", (uint8_t)c);
        }
    }
}

static const char style[] =
    ":root{color-scheme:light dark;font:13px/1.4 system-ui,sans-serif}"
    "body{margin:0 auto;max-width:80rem;padding:0 1rem 2rem}"
    "nav a{margin-right:1rem}table{border-collapse:collapse;margin:1rem 0;width:100%}"
    "caption{text-align:left;font-weight:600;padding:.3rem 0}"
    "th,td{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #8886;"
    "font-variant-numeric:tabular-nums;vertical-align:top}"
    "td.n{text-align:right}pre{white-space:pre-wrap;overflow-wrap:anywhere}"
    ".bad{border-left:.3rem solid #d55e00;padding-left:.6rem}";

void html_begin(struct text *out, const char *title, const char *up, bool refreshes)
{
    static const struct {
        const char *path, *name;
    } links[] = {{"status", "Overview"},
                 {"info/main/workers.html", "Workers"},
                 {"tasks", "Tasks"},
                 {"groups", "Groups"},
                 {"info/main/exceptions.html", "Failures"},
                 {"info/main/logs.html", "Logs"},
                 {"events", "Events"}};
    text_add_cstr(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                       "<meta name=\"viewport\" content=\"width=device-width\">\n");
    if (refreshes) {
        text_add_cstr(out, "<meta http-equiv=\"refresh\" content=\"5\">\n");
    }
    text_add_cstr(out, "<title>");
    html_text(out, span_of_text(title));
    text_printf(out, "</title>\n<style>%s</style></head>\n<body><nav aria-label=\"Pages\">\n",
                style);
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        text_printf(out, "<a href=\"%s%s\">%s</a>\n", up, links[i].path, links[i].name);
    }
    text_add_cstr(out, "</nav><main><h1>");
    html_text(out, span_of_text(title));
    text_add_cstr(out, "</h1>\n");
}

void html_end(struct text *out)
{
    text_add_cstr(out, "</main></body></html>\n");
}

void html_table(struct text *out, const char *caption, const char *const *headings)
{
    text_printf(out, "<table><caption>%s</caption><thead><tr>", caption);
    for (; *headings != NULL; headings++) {
        text_printf(out, "<th scope=\"col\">%s</th>", *headings);
    }
    text_add_cstr(out, "</tr></thead><tbody>\n");
}

void html_table_end(struct text *out)
{
    text_add_cstr(out, "</tbody></table>\n");
}

void html_row(struct text *out)
{
    text_add_cstr(out, "<tr>");
}

void html_row_end(struct text *out)
{
    text_add_cstr(out, "</tr>\n");
}

void html_cell(struct text *out, struct span text)
{
    text_add_cstr(out, "<td>");
    html_text(out, text);
    text_add_cstr(out, "</td>");
}

void html_cell_link(struct text *out, const char *href, struct span text)
{
    text_printf(out, "<td><a href=\"%s\">", href);
    html_text(out, text);
    text_add_cstr(out, "</a></td>");
}

void html_cell_int(struct text *out, int64_t value)
{
    text_printf(out, "<td class=\"n\">%lld</td>", (long long)value);
}

void html_cell_bytes(struct text *out, double bytes)
{
    text_add_cstr(out, "<td class=\"n\">");
    text_add_bytes_size(out, bytes);
    text_add_cstr(out, "</td>");
}

void html_cell_seconds(struct text *out, double seconds)
{
    double size = seconds < 0 ? -seconds : seconds;
    text_add_cstr(out, "<td class=\"n\">");
    if (size >= 1) {
        text_printf(out, "%.2f s", seconds);
    } else if (size >= 1e-3) {
        text_printf(out, "%.2f ms", seconds * 1e3);
    } else {
        text_printf(out, "%.0f us", seconds * 1e6);
    }
    text_add_cstr(out, "</td>");
}

void html_cell_time(struct text *out, double time)
{
    struct tm parts;
    time_t whole = (time_t)time;
    char few[64] = "";
    if (time > 0 && time < 1e11 && gmtime_r(&whole, &parts) != NULL) {
        strftime(few, sizeof few, "%Y-%m-%d %H:%M:%S", &parts);
    }
    text_printf(out, "<td>%s</td>", few);
}
