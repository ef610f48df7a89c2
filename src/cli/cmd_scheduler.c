/* cmd_scheduler.c: `cask scheduler`: options to settings, then the node runs until it is closed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/setup.h"
#include "io/io.h"
#include "node/config.h"
#include "node/idle.h"
#include "node/scheduler_node.h"

#define LOGGER "distributed.scheduler"

/* Options that are settings by another name. */
static void apply_settings(const struct options *options, struct config *config)
{
    static const struct setting_option settings[] = {
        {OPTION_SCHEDULER_TLS_CA_FILE, "distributed.comm.tls.ca-file"},
        {OPTION_SCHEDULER_TLS_CERT, "distributed.comm.tls.scheduler.cert"},
        {OPTION_SCHEDULER_TLS_KEY, "distributed.comm.tls.scheduler.key"},
        {OPTION_SCHEDULER_IDLE_TIMEOUT, "distributed.scheduler.idle-timeout"},
        {OPTION_SCHEDULER_DASHBOARD_LINGER, "cask.dashboard.linger"},
        {OPTION_SCHEDULER_HISTORY, "cask.history.path"},
    };
    setup_settings(config, options, settings, sizeof settings / sizeof settings[0]);
}

/* --preload replaces the setting's list, as in stock. */
static void apply_preload(const struct options *options, struct config *config)
{
    if (options->many[0] != NULL) {
        config_set_list(config, "distributed.scheduler.preload", options->many);
        config_set_list(config, "distributed.scheduler.preload-argv", options->arguments);
    }
}

/* Certificates without a host mean a secure listener, as in stock. */
static const char *host_of(const struct options *options)
{
    const char *host = options->text[OPTION_SCHEDULER_HOST];
    bool has_tls = options->text[OPTION_SCHEDULER_TLS_CA_FILE] != NULL ||
                   options->text[OPTION_SCHEDULER_TLS_CERT] != NULL ||
                   options->text[OPTION_SCHEDULER_TLS_KEY] != NULL;
    return has_tls && (host == NULL || *host == '\0') ? "tls://" : host;
}

/* Only a `cask` gives its own path for the dashboard's process: another program that has a scheduler in it would start
 * itself again and again. */
static const char *own_path(void)
{
    static char path[4096];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    if (size <= 0) {
        log_warning(LOGGER, "There is no dashboard, as /proc/self/exe cannot be read");
        return NULL;
    }
    return path;
}

static int serve(const struct options *options, struct config *config, struct text *why)
{
    const struct node_options wanted = {
        .listen = {.host = host_of(options),
                   .interface = options->text[OPTION_SCHEDULER_INTERFACE],
                   .protocol = options->text[OPTION_SCHEDULER_PROTOCOL],
                   .port = options->text[OPTION_SCHEDULER_PORT],
                   .contact_address = options->text[OPTION_SCHEDULER_CONTACT_ADDRESS]},
        .scheduler_file = options->text[OPTION_SCHEDULER_SCHEDULER_FILE],
        .observer = {.program = own_path(),
                     .address = options->text[OPTION_SCHEDULER_DASHBOARD_ADDRESS],
                     .prefix = options->text[OPTION_SCHEDULER_DASHBOARD_PREFIX],
                     .pages = options->is_on[OPTION_SCHEDULER_DASHBOARD] != SWITCH_OFF},
    };
    struct node *node;
    log_info(LOGGER, "-----------------------------------------------");
    log_info(LOGGER, "cask " CASK_VERSION);
    log_info(LOGGER, "-----------------------------------------------");
    if (node_create(config, &wanted, &node, why) != OK) {
        return EXIT_FAILURE;
    }
    struct idle_watch *watch = idle_watch_create(node);
    int exit_code = node_run(node);
    log_info(LOGGER, "Stopped scheduler at '%s'", text_cstr(&node->server.address));
    idle_watch_destroy(watch);
    node_destroy(node);
    log_info(LOGGER, "End scheduler");
    return exit_code;
}

static int run(const struct options *options, struct config *config, struct text *why)
{
    const char *pid_file = options->text[OPTION_SCHEDULER_PID_FILE];
    bool has_pid_file = pid_file != NULL && *pid_file != '\0';
    if (has_pid_file && setup_pid_file(pid_file, why) != OK) {
        return EXIT_FAILURE;
    }
    setup_memory();
    int exit_code = serve(options, config, why);
    if (has_pid_file) {
        unlink(pid_file); /* it may be gone already */
    }
    return exit_code;
}

/* What cannot be meant; gives the exit code, or −1 to go on. */
static int refuse(const struct options *options)
{
    if (options->is_on[OPTION_SCHEDULER_JUPYTER] == SWITCH_ON) {
        fprintf(
            stderr,
            "cask scheduler: --jupyter: there is no Python in this scheduler to serve a notebook; "
            "start jupyter beside it and connect with dask.distributed.Client\n");
        return 2;
    }
    const char *timeout = options->text[OPTION_SCHEDULER_IDLE_TIMEOUT];
    double seconds;
    if (timeout != NULL && !text_parse_seconds(span_of_text(timeout), &seconds)) {
        return options_complain(COMMAND_SCHEDULER,
                                "--idle-timeout takes a duration such as 1h, not", timeout);
    }
    if (options->argument_count > 0 && options->many[0] == NULL) {
        return options_complain(COMMAND_SCHEDULER,
                                "arguments are for --preload modules; there is none for",
                                options->arguments[0]);
    }
    return -1;
}

int cmd_scheduler(int argc, char **argv)
{
    struct options options;
    struct config *config;
    struct text why = {0};
    int exit_code = options_parse(COMMAND_SCHEDULER, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    exit_code = refuse(&options);
    if (exit_code >= 0) {
        options_fini(&options);
        return exit_code;
    }
    exit_code = EXIT_FAILURE;
    if (config_create(&config, &why) == OK) {
        setup_log_levels(config);
        apply_settings(&options, config);
        apply_preload(&options, config);
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
