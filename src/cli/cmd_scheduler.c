/* cmd_scheduler.c: `cask scheduler`: options to settings, then the node runs until it is closed. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "io/io.h"
#include "node/config.h"
#include "node/scheduler_node.h"

#define LOGGER "distributed.scheduler"

/* logging: {name: level}; Dask's own defaults below. */
static void set_log_levels(const struct config *config)
{
    const char *name, *text;
    log_set_level("distributed", LOG_INFO);
    log_set_level("distributed.client", LOG_WARNING);
    log_set_level("bokeh", LOG_ERROR);
    for (uint32_t i = 0; config_child(config, "logging", i, &name, &text); i++) {
        enum log_level level;
        if (text != NULL && log_parse_level(span_of_text(text), &level)) {
            log_set_level(name, level);
        } else if (strcmp(name, "version") == 0) {
            log_warning("distributed.config", "logging: a logging.config dictionary is for Python; here only "
                                              "'name: level' pairs are understood");
            return;
        } else {
            log_warning("distributed.config", "logging: %s has no level such as 'info'", name);
        }
    }
    log_set_ring((uint32_t)config_int(config, "distributed.admin.log-length", 10000));
}

/* Options that are settings by another name. */
static void apply_settings(const struct options *options, struct config *config)
{
    static const struct {
        enum option_id option;
        const char *setting;
    } settings[] = {
        {OPTION_SCHEDULER_TLS_CA_FILE, "distributed.comm.tls.ca-file"},
        {OPTION_SCHEDULER_TLS_CERT, "distributed.comm.tls.scheduler.cert"},
        {OPTION_SCHEDULER_TLS_KEY, "distributed.comm.tls.scheduler.key"},
        {OPTION_SCHEDULER_IDLE_TIMEOUT, "distributed.scheduler.idle-timeout"},
        {OPTION_SCHEDULER_DASHBOARD_PREFIX, "distributed.scheduler.dashboard.prefix"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        const char *value = options->text[settings[i].option];
        if (value != NULL) {
            config_set(config, settings[i].setting, value);
        }
    }
}

/* "8786,8787" as a NULL-terminated list; NULL: not given. The text is changed. */
static const char **split_ports(char *text)
{
    if (text == NULL) {
        return NULL;
    }
    const char **ports = mem_zalloc(strlen(text) + 2, sizeof *ports);
    uint32_t count = 0;
    for (char *port = strtok(text, ","); port != NULL; port = strtok(NULL, ",")) {
        ports[count++] = port;
    }
    return ports;
}

static int write_pid_file(const char *path, struct text *why)
{
    char line[32];
    int size = snprintf(line, sizeof line, "%ld\n", (long)getpid());
    return io_file_write(path, span_of(line, (size_t)size), false, why);
}

static int run(const struct options *options, struct config *config, struct text *why)
{
    const char *port_text = options->text[OPTION_SCHEDULER_PORT];
    char *port_copy = port_text == NULL ? NULL : mem_copy(port_text, strlen(port_text) + 1);
    const char **ports = split_ports(port_copy);
    const char *pid_file = options->text[OPTION_SCHEDULER_PID_FILE];
    struct node_options wanted = {
        .host = options->text[OPTION_SCHEDULER_HOST],
        .interface = options->text[OPTION_SCHEDULER_INTERFACE],
        .protocol = options->text[OPTION_SCHEDULER_PROTOCOL],
        .contact_address = options->text[OPTION_SCHEDULER_CONTACT_ADDRESS],
        .scheduler_file = options->text[OPTION_SCHEDULER_SCHEDULER_FILE],
        .ports = ports,
        .dashboard_address = options->is_on[OPTION_SCHEDULER_DASHBOARD] == SWITCH_OFF
                                 ? ""
                                 : options->text[OPTION_SCHEDULER_DASHBOARD_ADDRESS],
        .preload = options->many,
        .preload_argv = options->arguments,
    };
    struct node *node = NULL;
    int code = pid_file == NULL ? OK : write_pid_file(pid_file, why);
    if (code == OK) {
        code = node_create(config, &wanted, &node, why);
    }
    int exit_code = EXIT_FAILURE;
    if (code == OK) {
        exit_code = node_run(node);
        log_info(LOGGER, "End scheduler");
        node_destroy(node);
    }
    if (pid_file != NULL) {
        unlink(pid_file); /* it may be gone already */
    }
    mem_free(ports);
    mem_free(port_copy);
    return code == OK ? exit_code : EXIT_FAILURE;
}

int cmd_scheduler(int argc, char **argv)
{
    struct options options;
    struct config *config;
    struct text why = {0};
    int done = options_parse(COMMAND_SCHEDULER, argc, argv, &options);
    if (done >= 0) {
        return done;
    }
    if (options.is_on[OPTION_SCHEDULER_JUPYTER] == SWITCH_ON) {
        fprintf(stderr, "cask scheduler: --jupyter: there is no Python in this scheduler to serve a notebook; "
                        "start jupyter beside it and connect with dask.distributed.Client\n");
        options_fini(&options);
        return 2;
    }
    int exit_code = EXIT_FAILURE;
    if (config_create(&config, &why) == OK) {
        set_log_levels(config);
        apply_settings(&options, config);
        exit_code = run(&options, config, &why);
        config_destroy(config);
    }
    if (why.size > 0) {
        fprintf(stderr, "cask scheduler: %s\n", text_cstr(&why));
    }
    text_fini(&why);
    options_fini(&options);
    return exit_code;
}
