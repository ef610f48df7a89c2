/* log.c: levels by logger, lines to stderr, the newest ones in a ring.
 *
 * The only mutable global of cask. A mutex guards it, as helper threads may log as well; the text
 * that log_recent() lends is stable only for the thread that runs the node, between its own lines. */
#include "base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/text.h"
#include "base/vec.h"

enum {
    LOG_RING_DEFAULT = 10000,
};

/* Python's NOTSET: as the parent logger. */
#define LOG_LEVEL_UNSET ((enum log_level)0)

struct level_rule {
    char *logger;
    enum log_level level;
};

static struct {
    pthread_mutex_t mutex;
    struct VEC(struct level_rule) rules;
    struct log_line *lines; /* ring_size of them; texts are owned */
    uint32_t ring_size;
    uint32_t next;  /* where the next line goes */
    uint32_t count; /* lines present */
} state = {.mutex = PTHREAD_MUTEX_INITIALIZER, .ring_size = LOG_RING_DEFAULT};

static const struct {
    const char *name;
    enum log_level level;
} LEVELS[] = {
    {"DEBUG", LOG_DEBUG},    {"INFO", LOG_INFO},          {"WARNING", LOG_WARNING},
    {"ERROR", LOG_ERROR},    {"CRITICAL", LOG_CRITICAL},  {"WARN", LOG_WARNING},
    {"FATAL", LOG_CRITICAL}, {"NOTSET", LOG_LEVEL_UNSET},
};

enum { LEVEL_COUNT = sizeof LEVELS / sizeof LEVELS[0] };

/* Dask's defaults (distributed/config.py, _initialize_logging_old_style). */
static const struct {
    const char *logger;
    enum log_level level;
} DEFAULTS[] = {
    {"cask", LOG_INFO},
    {"distributed", LOG_INFO},
    {"distributed.client", LOG_WARNING},
    {"distributed.gc", LOG_WARNING},
};

enum { DEFAULT_COUNT = sizeof DEFAULTS / sizeof DEFAULTS[0] };

const char *log_level_name(enum log_level level)
{
    for (size_t i = 0; i < LEVEL_COUNT; i++) {
        if (LEVELS[i].level == level) {
            return LEVELS[i].name;
        }
    }
    return "UNKNOWN";
}

bool log_parse_level(struct span text, enum log_level *out_level)
{
    char name[16];
    if (text.size == 0 || text.size >= sizeof name) {
        return false;
    }
    bool number = true;
    for (size_t i = 0; i < text.size; i++) {
        char c = (char)text.data[i];
        number = number && c >= '0' && c <= '9';
        name[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    name[text.size] = '\0';
    if (number && text.size <= 4) {
        *out_level = (enum log_level)atoi(name);
        return true;
    }
    for (size_t i = 0; i < LEVEL_COUNT; i++) {
        if (strcmp(LEVELS[i].name, name) == 0) {
            *out_level = LEVELS[i].level;
            return true;
        }
    }
    return false;
}

/* Length of `rule` if it is `logger` or one of its dotted parents; 0 for the root; -1 if neither. */
static int match_length(const char *rule, const char *logger)
{
    size_t size = strlen(rule);
    if (size == 0) {
        return 0;
    }
    bool parent = strncmp(rule, logger, size) == 0 && (logger[size] == '\0' || logger[size] == '.');
    return parent ? (int)size : -1;
}

static void set_rule(const char *logger, enum log_level level)
{
    for (uint32_t i = 0; i < state.rules.count; i++) {
        if (strcmp(state.rules.items[i].logger, logger) == 0) {
            state.rules.items[i].level = level;
            return;
        }
    }
    char *name = mem_copy(logger, strlen(logger) + 1);
    vec_push(&state.rules, (struct level_rule){name, level});
}

static void set_defaults_once(void)
{
    for (size_t i = 0; state.rules.count < DEFAULT_COUNT && i < DEFAULT_COUNT; i++) {
        set_rule(DEFAULTS[i].logger, DEFAULTS[i].level);
    }
}

/* The rule of the longest name wins; Python's root logger starts at WARNING. */
static enum log_level level_of(const char *logger)
{
    enum log_level level = LOG_WARNING;
    int best = -1;
    for (uint32_t i = 0; i < state.rules.count; i++) {
        const struct level_rule *rule = &state.rules.items[i];
        int length = rule->level == LOG_LEVEL_UNSET ? -1 : match_length(rule->logger, logger);
        if (length > best) {
            best = length;
            level = rule->level;
        }
    }
    return level;
}

void log_set_level(const char *logger, enum log_level level)
{
    pthread_mutex_lock(&state.mutex);
    set_defaults_once();
    set_rule(logger, level);
    pthread_mutex_unlock(&state.mutex);
}

static void ring_free(void)
{
    for (uint32_t i = 0; state.lines != NULL && i < state.ring_size; i++) {
        mem_free((void *)(uintptr_t)state.lines[i].text);
    }
    mem_free(state.lines);
    state.lines = NULL;
    state.next = 0;
    state.count = 0;
}

void log_set_ring(uint32_t line_count)
{
    pthread_mutex_lock(&state.mutex);
    ring_free();
    state.ring_size = line_count;
    pthread_mutex_unlock(&state.mutex);
}

/* Takes over `line.text`. */
static void ring_add(struct log_line line)
{
    if (state.ring_size == 0) {
        mem_free((void *)(uintptr_t)line.text);
        return;
    }
    if (state.lines == NULL) {
        state.lines = mem_zalloc(state.ring_size, sizeof *state.lines);
    }
    struct log_line *place = &state.lines[state.next];
    mem_free((void *)(uintptr_t)place->text);
    *place = line;
    state.next = (state.next + 1) % state.ring_size;
    state.count += state.count < state.ring_size;
}

bool log_recent(uint32_t index, struct log_line *out_line)
{
    pthread_mutex_lock(&state.mutex);
    bool found = index < state.count;
    if (found) {
        *out_line = state.lines[(state.next + state.ring_size - 1 - index) % state.ring_size];
    }
    pthread_mutex_unlock(&state.mutex);
    return found;
}

/* "2026-11-22 10:00:00,123": local time, milliseconds cut off as Python does. */
static void add_time(struct text *text, const struct timespec *now)
{
    struct tm local;
    char date[32];
    localtime_r(&now->tv_sec, &local);
    strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &local);
    text_printf(text, "%s,%03ld", date, now->tv_nsec / 1000000);
}

/* Peers name clients, tasks and errors, and no name may look like a line of its own or command a terminal:
 * further lines are indented, control characters (also those of C1, as UTF-8) spelled out. */
static void add_harmless(struct text *text, struct span said)
{
    for (size_t i = 0; i < said.size; i++) {
        uint8_t byte = said.data[i];
        bool is_c1 = byte == 0xc2 && i + 1 < said.size && said.data[i + 1] < 0xa0;
        if (byte == '\n') {
            text_add_cstr(text, "\n    ");
        } else if ((byte < ' ' && byte != '\t') || byte == 0x7f || is_c1) {
            i += is_c1;
            text_printf(text, "\\x%02x", said.data[i]);
        } else {
            text_add_char(text, (char)byte);
        }
    }
}

void log_write(enum log_level level, const char *logger, const char *format, ...)
{
    pthread_mutex_lock(&state.mutex);
    set_defaults_once();
    bool wanted = level >= level_of(logger);
    pthread_mutex_unlock(&state.mutex);
    if (!wanted) {
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct text text = {0}, said = {0};
    va_list arguments;
    va_start(arguments, format);
    text_vprintf(&said, format, arguments);
    va_end(arguments);
    add_time(&text, &now);
    text_printf(&text, " - %s - %s - ", logger, log_level_name(level));
    add_harmless(&text, text_span(&said));
    text_add_char(&text, '\n');
    text_fini(&said);

    pthread_mutex_lock(&state.mutex);
    (void)fwrite(text.data, 1, text.size, stderr); /* if stderr is gone, nobody is left to tell */
    text.data[text.size - 1] = '\0';
    ring_add((struct log_line){
        .time = (double)now.tv_sec + (double)now.tv_nsec * 1e-9,
        .level = level,
        .logger = logger,
        .text = text.data,
    });
    pthread_mutex_unlock(&state.mutex);
}
