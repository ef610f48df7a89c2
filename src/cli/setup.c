/* setup.c: what commands that stay do first. */
#include "cli/setup.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "io/io.h"

void setup_log_levels(const struct config *config)
{
    const char *setting = "distributed.logging";
    const char *name, *text;
    setting = config_child(config, setting, 0, &name, &text) ? setting : "logging";
    log_set_level("distributed", LOG_INFO);
    log_set_level("distributed.client", LOG_WARNING);
    log_set_level("bokeh", LOG_ERROR);
    log_set_ring((uint32_t)config_int(config, "distributed.admin.log-length", 10000));
    for (uint32_t i = 0; config_child(config, setting, i, &name, &text); i++) {
        if (strcmp(name, "version") == 0) {
            log_warning("distributed.config",
                        "%s: a logging.config dictionary is for Python; here only "
                        "'name: level' pairs are understood",
                        setting);
            return;
        }
    }
    for (uint32_t i = 0; config_child(config, setting, i, &name, &text); i++) {
        enum log_level level;
        if (text != NULL && log_parse_level(span_of_text(text), &level)) {
            log_set_level(name, level);
        } else {
            log_warning("distributed.config", "%s: %s has no level such as 'info'", setting, name);
        }
    }
}

int setup_pid_file(const char *path, struct text *why)
{
    char line[32];
    int size = snprintf(line, sizeof line, "%ld", (long)getpid());
    return io_file_write(path, span_of(line, (size_t)size), false, why);
}

void setup_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 2 << 20);
    mallopt(M_TRIM_THRESHOLD, 32 << 20);
    /* Small pieces are merged as they are freed. Else glibc merges all at once when next a large one is freed:
     * after a million tasks that takes a sixth of a second. */
    mallopt(M_MXFAST, 0);
    /* One arena for the loop, one for all threads: what one thread gave back the next one uses. Not one for all, as
     * the loop would wait for a thread that is interrupted inside the allocator. */
    mallopt(M_ARENA_MAX, 2);
    /* Small pieces that were freed are merged at once. Else glibc merges them all when next a large one is freed:
     * after a million tasks that takes a sixth of a second. */
    mallopt(M_MXFAST, 0);
}

void setup_settings(struct config *config, const struct options *options,
                    const struct setting_option *settings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *value = options->text[settings[i].option];
        if (value != NULL) {
            config_set(config, settings[i].setting, value);
        }
    }
}
