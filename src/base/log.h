/* log.h: log lines in the format of Python's logging as Dask sets it up:
 *   2026-11-22 10:00:00,123 - distributed.scheduler - INFO - text
 * Levels a logger name come from Dask's `logging:` configuration. Lines go to stderr and to a ring
 * that get_logs reads. The one mutable global of cask; cores must not log. */
#ifndef CASK_BASE_LOG_H
#define CASK_BASE_LOG_H

#include "base/assert.h"
#include "base/span.h"

enum log_level {
    LOG_DEBUG = 10,
    LOG_INFO = 20,
    LOG_WARNING = 30,
    LOG_ERROR = 40,
    LOG_CRITICAL = 50
};

struct log_line {
    double time; /* seconds since the epoch */
    enum log_level level;
    const char *logger; /* static or interned: lives as long as the process */
    const char *text;   /* the whole formatted line; valid until the ring overwrites it */
};

/* Write one line if `logger`'s level allows it; what the text has of further lines is indented, control
 * characters are spelled out. `logger` is a dotted name ("distributed.core"). */
void log_write(enum log_level level, const char *logger, const char *format, ...) PRINTF_LIKE(3, 4);

#define log_debug(logger, ...) log_write(LOG_DEBUG, (logger), __VA_ARGS__)
#define log_info(logger, ...) log_write(LOG_INFO, (logger), __VA_ARGS__)
#define log_warning(logger, ...) log_write(LOG_WARNING, (logger), __VA_ARGS__)
#define log_error(logger, ...) log_write(LOG_ERROR, (logger), __VA_ARGS__)

/* Level of `logger` and what is below it (longest prefix wins); copies the name. */
void log_set_level(const char *logger, enum log_level level);
/* "info", "WARNING", "30" …; false if it is none. */
bool log_parse_level(struct span text, enum log_level *out_level);
const char *log_level_name(enum log_level level);
/* Number of lines the ring keeps, from admin.log-length; 0 keeps none. Default 10,000. */
void log_set_ring(uint32_t line_count);
/* The `index`th newest line in the ring (0 = newest); false past the oldest. */
bool log_recent(uint32_t index, struct log_line *out_line);

#endif
