/* top_draw.h: the picture of `cask top`: model and view in, cells out. Pure. */
#ifndef CASK_CLI_TOP_DRAW_H
#define CASK_CLI_TOP_DRAW_H

#include "cli/top_screen.h"
#include "cli/top_view.h"

void top_draw(const struct top_model *model, const struct top_view *view,
              struct top_screen *screen);
/* Lines about the selected row of the page, for model's detail. */
void top_draw_detail(const struct top_view *view, const struct top_row *row, struct text *out);

/* ---- top_draw_lists.c: rows `first` … `end − 1` of the screen ---- */
void top_draw_list(const struct top_model *model, const struct top_view *view,
                   struct top_screen *screen, int first, int end);
/* `view` NULL: without selection, the newest `end − first − 1` rows of `page`. */
void top_draw_stream(const struct top_model *model, const struct top_view *view,
                     struct top_screen *screen, int first, int end);

/* "812 MiB", "1.2k", "3.1 s": what people read, into `out`. What is no number: "-". */
void top_print_bytes(double bytes, char out[16]);
void top_print_count(double count, char out[16]);
void top_print_seconds(double seconds, char out[16]);

#endif
