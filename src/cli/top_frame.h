/* top_frame.h: reading the frames of `WS api/cask/v1/live`. Layout: docs/observer.md. */
#ifndef CASK_CLI_TOP_FRAME_H
#define CASK_CLI_TOP_FRAME_H

#include "base/assert.h"
#include "base/span.h"

#define TOP_COLUMNS 34

enum top_mode { TOP_REPLACE, TOP_UPSERT, TOP_APPEND };
enum top_channel {
    TOP_CHANNEL_NONE,
    TOP_CHANNEL_SUMMARY,
    TOP_CHANNEL_WORKERS,
    TOP_CHANNEL_GROUPS,
    TOP_CHANNEL_STREAM,
    TOP_CHANNEL_FAILURES
};

struct top_column {
    uint8_t type; /* 0: not in the frame */
    bool is_same; /* one value, which all rows have */
    struct span data;
};

/* A frame that was checked; it points into its bytes. */
struct top_frame {
    enum top_mode mode;
    uint16_t channel;
    uint32_t rows;
    double time;
    struct top_column columns[TOP_COLUMNS]; /* by number */
};

/* ERR_MALFORMED: a length in it is wrong. Columns of later versions are left out. */
int top_frame_read(struct span bytes, struct top_frame *out_frame) MUST_USE;
/* 0 if the frame lacks the column, or it is none of numbers. */
double top_frame_number(const struct top_frame *frame, uint32_t column, uint32_t row);
/* Empty if the frame lacks the column, or it is none of texts. */
struct span top_frame_text(const struct top_frame *frame, uint32_t column, uint32_t row);
/* Whether the frame has the column: what did not change may be left out of an upsert. */
bool top_frame_has(const struct top_frame *frame, uint32_t column);
bool top_frame_is_text(const struct top_frame *frame, uint32_t column);

#endif
