/* setup.h: what commands that stay (scheduler, worker) do first. */
#ifndef CASK_CLI_SETUP_H
#define CASK_CLI_SETUP_H

#include "base/assert.h"
#include "cli/options.h"
#include "node/config.h"

/* distributed.logging or logging: {name: level}, above Dask's own defaults. */
void setup_log_levels(const struct config *config);
/* --pid-file. ERR_IO and why. */
int setup_pid_file(const char *path, struct text *why) MUST_USE;
/* Large arrays get pages of their own, so that they grow without being copied, and go back to the system. */
void setup_memory(void);

/* An option that is a setting by another name. */
struct setting_option {
    enum option_id option;
    const char *setting;
};

/* Those of `count` options that were given replace their settings. */
void setup_settings(struct config *config, const struct options *options,
                    const struct setting_option *settings, size_t count);

#endif
