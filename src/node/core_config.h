/* core_config.h: the settings of the core, read from Dask's configuration. */
#ifndef CASK_NODE_CORE_CONFIG_H
#define CASK_NODE_CORE_CONFIG_H

#include "core/scheduler/scheduler.h"
#include "node/config.h"

/* Fill `out_config`; names point into `config` or are owned by out_config. The seed is left 0. */
void core_config_read(const struct config *config, struct scheduler_config *out_config);
void core_config_fini(struct scheduler_config *config);

#endif
