/* html.h: plain HTML pages: complete without a script, every text escaped. */
#ifndef CASK_OBSERVER_HTML_H
#define CASK_OBSERVER_HTML_H

#include "base/text.h"

/* The text as text: no byte of it is markup. */
void html_text(struct text *out, struct span text);
/* A part of a URL's path or query. */
void html_url_part(struct text *out, struct span text);
/* Everything before the content. `up`: "", "../" …: the way back to the prefix. */
void html_begin(struct text *out, const char *title, const char *up, bool refreshes);
void html_end(struct text *out);

/* <table> with these headings, then rows of cells. */
void html_table(struct text *out, const char *caption, const char *const *headings);
void html_table_end(struct text *out);
void html_row(struct text *out);
void html_row_end(struct text *out);
void html_cell(struct text *out, struct span text);
/* With a link; `href` was made with html_url_part. */
void html_cell_link(struct text *out, const char *href, struct span text);
void html_cell_int(struct text *out, int64_t value);
void html_cell_bytes(struct text *out, double bytes);
void html_cell_seconds(struct text *out, double seconds);
/* A time since the epoch, UTC; 0: nothing. */
void html_cell_time(struct text *out, double time);

#endif
