/* top_screen.h: a screen of cells, and the bytes that bring a terminal from one to the next.
 *
 * What others wrote (keys, messages, names) reaches a cell only as characters known to take one or two columns; all
 * else is written out: "\n", "\x1b", "\u202e". So no text can move the cursor or hide another. */
#ifndef CASK_CLI_TOP_SCREEN_H
#define CASK_CLI_TOP_SCREEN_H

#include "base/text.h"

#define TOP_WIDTH_MAX 1000
#define TOP_HEIGHT_MAX 500

enum top_style {
    STYLE_PLAIN = 0,
    STYLE_RED = 1, /* colours: one of these */
    STYLE_GREEN = 2,
    STYLE_YELLOW = 3,
    STYLE_BLUE = 4,
    STYLE_COLOUR = 7,
    STYLE_BOLD = 8, /* and any of these */
    STYLE_REVERSE = 16
};

struct top_cell {
    uint32_t code; /* 0: the right half of the one before */
    uint8_t style;
};

struct top_screen {
    int width, height;
    bool is_ascii; /* of ours, too: no bars, no blocks */
    bool is_coloured;
    struct top_cell *cells;
};

/* Blank. Sizes beyond the limits are cut. */
void top_screen_init(struct top_screen *screen, int width, int height);
void top_screen_fini(struct top_screen *screen);
void top_screen_clear(struct top_screen *screen);

/* A stretch of one row that is written from left to right; what does not fit is left out. */
struct top_pen {
    struct top_screen *screen;
    int row, column, end; /* end: the first column that is not its own */
    uint8_t style;
};

struct top_pen top_pen_at(struct top_screen *screen, int row, int column, int end);
/* One character of our own. */
void top_pen_code(struct top_pen *pen, uint32_t code);
/* Our own text. */
void top_pen_say(struct top_pen *pen, const char *text);
void top_pen_printf(struct top_pen *pen, const char *format, ...) PRINTF_LIKE(2, 3);
/* A text of others; if it does not fit, its last character there is '~'. */
void top_pen_text(struct top_pen *pen, struct span text);
/* Blanks up to `column`. */
void top_pen_fill(struct top_pen *pen, int column);
/* `share` (0…1) of `width` columns filled. */
void top_pen_bar(struct top_pen *pen, double share, int width);
/* One column as high as `share`, by an eighth. */
void top_pen_level(struct top_pen *pen, double share);

/* What brings a terminal that shows `before` (NULL: unknown) to show `screen`. */
void top_screen_paint(const struct top_screen *screen, const struct top_screen *before,
                      struct text *out);
/* Its characters as lines, without styles and trailing blanks. */
void top_screen_lines(const struct top_screen *screen, struct text *out);

#endif
