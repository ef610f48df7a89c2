/* comm_config.c: how a role's connections are made. */
#include "node/comm_config.h"

#include <stdio.h>

#include "base/log.h"

#define LOGGER "distributed.comm"

/* A setting of the role: distributed.comm.tls.<role>.<name>. */
static const char *role_text(const struct config *config, const char *role, const char *name)
{
    char setting[128];
    snprintf(setting, sizeof setting, "distributed.comm.tls.%s.%s", role, name);
    return config_text(config, setting, NULL);
}

static int create_tls(const struct config *config, const char *role, struct io_tls **out_tls,
                      struct text *why)
{
    const char *ca = config_text(config, "distributed.comm.tls.ca-file", NULL);
    const char *cert = role_text(config, role, "cert");
    if (ca == NULL || cert == NULL) {
        return OK; /* an address that needs TLS is refused where it is used */
    }
    struct io_tls_options options = {
        .ca = ca,
        .cert = cert,
        .key = role_text(config, role, "key"),
        .ciphers = config_text(config, "distributed.comm.tls.ciphers", NULL),
        .version_min =
            (int)(10 * config_float(config, "distributed.comm.tls.min-version", 1.2) + 0.5),
        .version_max =
            (int)(10 * config_float(config, "distributed.comm.tls.max-version", 0) + 0.5),
    };
    return io_tls_create(&options, out_tls, why);
}

int comm_settings_read(const struct config *config, const char *role, struct io_loop *loop,
                       struct comm_settings *out_settings, struct text *why)
{
    const char *compression = config_text(config, "distributed.comm.compression", NULL);
    *out_settings = (struct comm_settings){
        .loop = loop,
        .connect_timeout = config_seconds(config, "distributed.comm.timeouts.connect", 30),
        .require_encryption = config_bool(config, "distributed.comm.require-encryption", false),
    };
    if (compression != NULL && strcmp(compression, "auto") == 0) {
        out_settings->compression = COMPRESS_LZ4;
    } else if (compression != NULL && strcmp(compression, "false") != 0 &&
               !compress_find(span_of_text(compression), &out_settings->compression)) {
        log_warning(LOGGER, "Unknown compression '%s' (distributed.comm.compression): none is used",
                    compression);
    }
    return create_tls(config, role, &out_settings->tls, why);
}
