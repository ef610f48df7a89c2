/* config.h: settings: Dask's YAML files, DASK_… environment variables and the command line, as one tree.
 *
 * Search order and merging as dask.config (lowest first): *.yaml, *.yml and *.json in $DASK_ROOT_CONFIG or
 * /etc/dask, in <python prefix>/etc/dask, in ~/.config/dask, in $DASK_CONFIG (a file or directory);
 * DASK_INTERNAL_INHERIT_CONFIG; DASK_A__B__C=value (a Python literal, or else a string); what was set
 * explicitly. Defaults stand where a setting is read. Names are dotted and take - and _ alike; former names
 * move to their new ones. Source: dask/config.py, distributed/config.py, distributed/distributed.yaml. */
#ifndef CASK_NODE_CONFIG_H
#define CASK_NODE_CONFIG_H

#include "base/span.h"
#include "base/text.h"

struct config;

/* Read everything. ERR_CONFIG: a file is malformed; why names it and the line. */
int config_create(struct config **out_config, struct text *why) __attribute__((warn_unused_result));
void config_destroy(struct config *config);
/* Set `name` ("distributed.scheduler.worker-ttl") from text, read as a variable of the environment is. */
void config_set(struct config *config, const char *name, const char *value);
/* The same for a list of texts, NULL-terminated. */
void config_set_list(struct config *config, const char *name, const char *const *values);

/* Each gives `absent` if the setting is missing or null; a value of the wrong kind is logged and counts as
 * missing. Strings are valid as long as the config. */
const char *config_text(const struct config *config, const char *name, const char *absent);
int64_t config_int(const struct config *config, const char *name, int64_t absent);
double config_float(const struct config *config, const char *name, double absent);
bool config_bool(const struct config *config, const char *name, bool absent);
/* "100 ms", 5, "2h" … in seconds. `null`, false and "inf" give infinity where `absent` is infinity. */
double config_seconds(const struct config *config, const char *name, double absent);
/* "64 MiB" … in bytes. */
double config_bytes(const struct config *config, const char *name, double absent);
/* The setting is there and says no: false, off, 0 … as config_bool has it. */
bool config_is_false(const struct config *config, const char *name);
/* The setting is there and null: switched off, where missing would mean the default. */
bool config_is_null(const struct config *config, const char *name);
/* Children of a mapping, in order; false past the end. */
bool config_child(const struct config *config, const char *name, uint32_t index,
                  const char **out_key, const char **out_value);
/* Items of a list. */
bool config_item(const struct config *config, const char *name, uint32_t index,
                 const char **out_value);
/* What was set explicitly, as variables of the environment ("DASK_A__B_C=value") from which a child reads the
 * same; in the order of setting. NULL past the end. */
const char *config_variable(const struct config *config, uint32_t index);
/* The subtree as msgpack, appended; for children that must see the same settings. */
void config_write(const struct config *config, const char *name, struct text *out_msgpack);

#endif
