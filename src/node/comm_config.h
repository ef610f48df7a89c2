/* comm_config.h: how a role's connections are made, by the settings distributed.comm.…
 * Source: distributed/security.py, comm/core.py; distributed.yaml. */
#ifndef CASK_NODE_COMM_CONFIG_H
#define CASK_NODE_COMM_CONFIG_H

#include "node/comm.h"
#include "node/config.h"

/* Settings for `role` ("scheduler", "worker"), its certificate included: settings->tls is the caller's to
 * destroy, NULL without a CA file and a certificate. ERR_TLS: why names the file. */
int comm_settings_read(const struct config *config, const char *role, struct io_loop *loop,
                       struct comm_settings *out_settings, struct text *why) MUST_USE;

#endif
