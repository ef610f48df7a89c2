/* cmd_worker.c: `cask worker`: options to settings, then the worker runs until it is closed. Several of them
 * are processes of their own, whose parent does nothing but wait. */
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/setup.h"
#include "node/worker_node.h"
#include "store/memory.h"
#include "wire/address.h"

#define LOGGER "distributed.dask_worker"

enum { WORKERS_MAX = 1024, NTHREADS_MAX = 4096, EXECUTORS_MAX = 64, HOST_MAX = IO_HOST_MAX + 2 };

/* One of the workers to be launched, and what its options point to. */
struct launch {
    const struct options *options;
    struct config *config;
    struct text scheduler, name, port, nanny_port;
    const char **preload, **preload_nanny; /* NULL-terminated */
    char host[HOST_MAX];
    uint32_t index, count; /* of this worker, of all */
    uint32_t nthreads;
    uint64_t memory_limit;
};

/* ---- numbers ----------------------------------------------------------------------------------- */

/* The CPUs that this process may use. */
static uint32_t cpu_count(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
    return count > 0 ? (uint32_t)count : 1;
}

static bool read_count(const char *text, long least, long most, long *out)
{
    char *end;
    long number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || number < least || number > most) {
        return false;
    }
    *out = number;
    return true;
}

/* Source: distributed deploy/utils.py, nprocesses_nthreads. */
static uint32_t automatic_workers(uint32_t cpus)
{
    uint32_t count = cpus;
    for (uint32_t i = cpus; cpus > 4 && (uint64_t)i * i >= cpus; i--) {
        count = cpus % i == 0 ? i : count;
    }
    return count;
}

static bool read_workers(const struct options *options, uint32_t *out_count)
{
    const char *text = options->text[OPTION_WORKER_NWORKERS];
    long number = 1, cpus = cpu_count();
    if (text != NULL && strcmp(text, "auto") == 0) {
        number = automatic_workers((uint32_t)cpus);
    } else if (text != NULL && !read_count(text, -cpus, WORKERS_MAX, &number)) {
        return false;
    }
    number = number < 0 ? cpus + 1 + number : number;
    *out_count = (uint32_t)number;
    return number > 0;
}

static bool read_threads(const struct options *options, uint32_t workers, uint32_t *out_count)
{
    const char *text = options->text[OPTION_WORKER_NTHREADS];
    const char *wanted = options->text[OPTION_WORKER_NWORKERS];
    bool is_automatic = wanted != NULL && strcmp(wanted, "auto") == 0;
    long number = 0;
    if (text != NULL && !is_automatic && !read_count(text, 0, NTHREADS_MAX, &number)) {
        return false;
    }
    if (number == 0) {
        number = (long)(cpu_count() / workers);
    }
    *out_count = number > 0 ? (uint32_t)number : 1;
    return true;
}

static int complain(const char *option, const char *value)
{
    return options_complain(COMMAND_WORKER, option, value == NULL ? "" : value);
}

/* An exit code, or −1 to go on. */
static int read_memory(const char *text, uint32_t nthreads, uint64_t *out_bytes)
{
    struct memory_limit limit;
    struct text why = {0};
    text = text == NULL ? "auto" : text;
    int code = memory_parse_limit(span_of_text(text), memory_system_limit(""),
                                  (double)nthreads / cpu_count(), &limit, &why);
    int exit_code =
        code == OK
            ? -1
            : complain("--memory-limit is a number of bytes, a fraction or 'auto', not", text);
    if (code == OK && limit.is_capped) {
        struct text size = {0};
        text_add_bytes_size(&size, (double)limit.bytes);
        log_warning(LOGGER, "Ignoring provided memory limit %s due to system memory limit of %s",
                    text, text_cstr(&size));
        text_fini(&size);
    }
    if (code == OK) {
        *out_bytes = limit.bytes;
    }
    text_fini(&why);
    return exit_code;
}

/* The option's text as seconds; the setting without it; 0: neither. */
static bool read_seconds(const struct launch *launch, enum option_id option, const char *setting,
                         double *out_seconds)
{
    const char *text = launch->options->text[option];
    *out_seconds = 0;
    if (text == NULL) {
        double seconds = config_seconds(launch->config, setting, 0);
        *out_seconds = isfinite(seconds) ? seconds : 0;
        return true;
    }
    return text_parse_seconds(span_of_text(text), out_seconds);
}

/* ---- one worker -------------------------------------------------------------------------------- */

/* "3000", or the index-th of "3000:3026". */
static bool pick_port(const char *text, uint32_t index, struct text *out)
{
    long first, last;
    const char *colon = text == NULL ? NULL : strchr(text, ':');
    if (text == NULL) {
        return true;
    }
    if (colon == NULL) {
        text_add_cstr(out, index == 0 ? text : "0");
        return true;
    }
    char few[16];
    snprintf(few, sizeof few, "%.*s", (int)(colon - text < 15 ? colon - text : 15), text);
    if (!read_count(few, 1, 65535, &first) || !read_count(colon + 1, first, 65535, &last) ||
        last - first < (long)index) {
        return false;
    }
    text_printf(out, "%ld", first + (long)index);
    return true;
}

/* Without a host: the address that this machine shows towards the scheduler. */
static const char *host_of(const struct launch *launch, char found[HOST_MAX])
{
    const struct options *options = launch->options;
    const char *listen = options->text[OPTION_WORKER_LISTEN_ADDRESS];
    struct address scheduler;
    if (listen != NULL || options->text[OPTION_WORKER_HOST] != NULL) {
        return listen != NULL ? listen : options->text[OPTION_WORKER_HOST];
    }
    if (options->text[OPTION_WORKER_INTERFACE] != NULL ||
        address_parse(text_span(&launch->scheduler), ADDRESS_TCP, 0, &scheduler) != OK ||
        scheduler.scheme == ADDRESS_UNIX) {
        return NULL;
    }
    if (strcmp(scheduler.host, "localhost") == 0) {
        return "127.0.0.1";
    }
    char shown[IO_HOST_MAX];
    io_outward_address(io_is_numeric(scheduler.host) ? scheduler.host : NULL, shown);
    bool is_v6 = strchr(shown, ':') != NULL;
    snprintf(found, HOST_MAX, is_v6 ? "[%s]" : "%s", shown);
    return found;
}

/* The scheme of the scheduler's address, unless one is asked for. */
static const char *protocol_of(const struct launch *launch, struct text *scheme)
{
    const char *wanted = launch->options->text[OPTION_WORKER_PROTOCOL];
    const char *host = launch->options->text[OPTION_WORKER_HOST];
    const char *scheduler = text_cstr(&launch->scheduler);
    const char *end = strstr(scheduler, "://");
    const char *listen = launch->options->text[OPTION_WORKER_LISTEN_ADDRESS];
    host = listen != NULL ? listen : host;
    if (wanted != NULL || (host != NULL && strstr(host, "://") != NULL) || end == NULL ||
        strncmp(scheduler, "unix", 4) == 0) {
        return wanted;
    }
    text_add(scheme, span_of(scheduler, (size_t)(end - scheduler)));
    return text_cstr(scheme);
}

/* Fill what a worker is told; an exit code, or −1 to go on. */
static int read_launch(struct launch *launch, struct worker_options *out, struct text *scheme)
{
    const struct options *options = launch->options;
    const char *executors = options->text[OPTION_WORKER_EXECUTORS];
    const char *name = options->text[OPTION_WORKER_NAME];
    long executor_count = 1;
    double lifetime, stagger;
    if (!pick_port(options->text[OPTION_WORKER_PORT], launch->index, &launch->port) ||
        !pick_port(options->text[OPTION_WORKER_NANNY_PORT], launch->index, &launch->nanny_port)) {
        return complain("not a port, or not a range with one for each worker:",
                        options->text[OPTION_WORKER_PORT]);
    }
    if (executors != NULL && !read_count(executors, 1, EXECUTORS_MAX, &executor_count)) {
        return complain("--executors is a number from 1 to 64, not", executors);
    }
    if (!read_seconds(launch, OPTION_WORKER_LIFETIME, "distributed.worker.lifetime.duration",
                      &lifetime) ||
        !read_seconds(launch, OPTION_WORKER_LIFETIME_STAGGER, "distributed.worker.lifetime.stagger",
                      &stagger) ||
        !read_seconds(launch, OPTION_WORKER_DEATH_TIMEOUT, "distributed.worker.death-timeout",
                      &out->death_timeout)) {
        return complain("not a duration: --lifetime, --lifetime-stagger or --death-timeout", "");
    }
    if (name != NULL && launch->count > 1) {
        text_printf(&launch->name, "%s-%u", name, launch->index);
        name = text_cstr(&launch->name);
    }
    uint32_t random;
    io_entropy(&random, sizeof random);
    enum option_switch restart = options->is_on[OPTION_WORKER_LIFETIME_RESTART];
    out->scheduler = text_cstr(&launch->scheduler);
    out->listen = (struct listen_options){
        .host = host_of(launch, launch->host),
        .interface = options->text[OPTION_WORKER_INTERFACE],
        .protocol = protocol_of(launch, scheme),
        .port = launch->port.size > 0 ? text_cstr(&launch->port) : NULL,
        .contact_address = options->text[OPTION_WORKER_CONTACT_ADDRESS],
    };
    out->nanny_port = launch->nanny_port.size > 0 ? text_cstr(&launch->nanny_port) : NULL;
    out->name = name;
    out->local_directory = options->text[OPTION_WORKER_LOCAL_DIRECTORY];
    out->resources = options->text[OPTION_WORKER_RESOURCES];
    out->preload = launch->preload;
    out->preload_nanny = launch->preload_nanny;
    out->worker_class = options->text[OPTION_WORKER_CLASS];
    out->nthreads = launch->nthreads;
    out->executors =
        (uint32_t)executor_count < launch->nthreads ? (uint32_t)executor_count : launch->nthreads;
    out->memory_limit = launch->memory_limit;
    out->lifetime = lifetime > 0 ? fmax(0.001, lifetime + stagger * (random / 0x1p31 - 1)) : 0;
    out->lifetime_restart =
        restart == SWITCH_UNSET
            ? config_bool(launch->config, "distributed.worker.lifetime.restart", false)
            : restart == SWITCH_ON;
    out->has_dashboard = options->is_on[OPTION_WORKER_DASHBOARD] != SWITCH_OFF;
    out->dashboard_address = options->text[OPTION_WORKER_DASHBOARD_ADDRESS];
    out->dashboard_prefix = options->text[OPTION_WORKER_DASHBOARD_PREFIX];
    out->has_nanny = options->is_on[OPTION_WORKER_NANNY] != SWITCH_OFF;
    return -1;
}

static int serve(struct launch *launch, const char *const *preload_argv)
{
    struct worker_options options = {.preload_argv = preload_argv};
    struct text why = {0}, scheme = {0};
    int exit_code = read_launch(launch, &options, &scheme);
    struct worker_node *worker;
    if (exit_code >= 0) {
        text_fini(&scheme);
        return exit_code;
    }
    exit_code = EXIT_FAILURE;
    if (worker_node_create(launch->config, &options, &worker, &why) == OK) {
        exit_code = worker_node_run(worker);
        worker_node_destroy(worker);
        log_info(LOGGER, "End worker");
    } else {
        fprintf(stderr, "cask worker: %s\n", text_cstr(&why));
    }
    text_fini(&why);
    text_fini(&scheme);
    text_fini(&launch->name);
    text_fini(&launch->port);
    text_fini(&launch->nanny_port);
    return exit_code;
}

/* ---- several ----------------------------------------------------------------------------------- */

static void pass_signals(sigset_t *out_set)
{
    sigemptyset(out_set);
    sigaddset(out_set, SIGINT);
    sigaddset(out_set, SIGTERM);
    sigaddset(out_set, SIGCHLD);
    sigprocmask(SIG_BLOCK, out_set, NULL);
}

/* Wait for all of them; signals that ask us to end are passed on. */
static int wait_for_all(const pid_t *children, uint32_t count, const sigset_t *set)
{
    int exit_code = EXIT_SUCCESS;
    for (uint32_t left = count; left > 0;) {
        int number, status;
        sigwait(set, &number);
        for (uint32_t i = 0; number != SIGCHLD && i < count; i++) {
            kill(children[i], number);
        }
        for (pid_t ended; left > 0 && (ended = waitpid(-1, &status, WNOHANG)) > 0; left--) {
            bool is_fine = WIFEXITED(status) && WEXITSTATUS(status) == 0;
            exit_code = is_fine ? exit_code : EXIT_FAILURE;
        }
    }
    return exit_code;
}

static int launch_all(struct launch *launch, const char *const *preload_argv)
{
    pid_t children[WORKERS_MAX];
    pid_t parent = getpid();
    sigset_t set;
    if (launch->count == 1) {
        return serve(launch, preload_argv);
    }
    pass_signals(&set);
    for (uint32_t i = 0; i < launch->count; i++) {
        children[i] = fork();
        if (children[i] < 0) {
            perror("cask worker: fork");
            launch->count = i;
        } else if (children[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            sigprocmask(SIG_UNBLOCK, &set, NULL);
            launch->index = i;
            return getppid() == parent ? serve(launch, preload_argv) : EXIT_FAILURE;
        }
    }
    return wait_for_all(children, launch->count, &set);
}

/* ---- the command ------------------------------------------------------------------------------- */

static void apply_settings(const struct options *options, struct config *config)
{
    static const struct setting_option settings[] = {
        {OPTION_WORKER_TLS_CA_FILE, "distributed.comm.tls.ca-file"},
        {OPTION_WORKER_TLS_CERT, "distributed.comm.tls.worker.cert"},
        {OPTION_WORKER_TLS_KEY, "distributed.comm.tls.worker.key"},
    };
    setup_settings(config, options, settings, sizeof settings / sizeof settings[0]);
}

/* What cannot be meant; an exit code, or −1 to go on. */
static int refuse(const struct options *options)
{
    if (options->text[OPTION_WORKER_LISTEN_ADDRESS] != NULL &&
        (options->text[OPTION_WORKER_PORT] != NULL || options->text[OPTION_WORKER_HOST] != NULL)) {
        return complain("--listen-address goes without --worker-port and --host:",
                        options->text[OPTION_WORKER_LISTEN_ADDRESS]);
    }
    const char *protocol = options->text[OPTION_WORKER_PROTOCOL];
    const char *scheduler = options->argument_count > 0 ? options->arguments[0] : "";
    if ((protocol != NULL && strcmp(protocol, "unix") == 0) ||
        strncmp(scheduler, "unix:", 5) == 0) {
        return complain("user code cannot connect to addresses of this kind, as Dask has no such:",
                        "unix");
    }
    if (options->argument_count > 1 && options->text[OPTION_WORKER_PRELOAD] == NULL) {
        return complain("arguments are for --preload modules; there is none for",
                        options->arguments[1]);
    }
    return -1;
}

/* Numbers that hold for all workers; an exit code, or −1 to go on. */
static int read_sizes(struct launch *launch)
{
    const struct options *options = launch->options;
    const char *memory = options->text[OPTION_WORKER_MEMORY_LIMIT];
    if (!read_workers(options, &launch->count)) {
        return complain("--nworkers must be at least one worker, not",
                        options->text[OPTION_WORKER_NWORKERS]);
    }
    if (!read_threads(options, launch->count, &launch->nthreads)) {
        return complain("--nthreads is a number of threads, not",
                        options->text[OPTION_WORKER_NTHREADS]);
    }
    return read_memory(memory, launch->nthreads, &launch->memory_limit);
}

static int find_scheduler(struct launch *launch, struct text *why)
{
    const struct options *options = launch->options;
    const struct ask_options where = {
        .address = options->argument_count > 0 ? options->arguments[0] : NULL,
        .scheduler_file = options->text[OPTION_WORKER_SCHEDULER_FILE],
    };
    if (where.address == NULL && where.scheduler_file == NULL &&
        config_text(launch->config, "scheduler-address", NULL) == NULL) {
        text_add_cstr(why, "which scheduler? Give its address: cask worker tcp://HOST:8786, or "
                           "--scheduler-file");
        return ERR_CONFIG;
    }
    return ask_find_address(launch->config, &where, &launch->scheduler, why);
}

static int run(struct launch *launch, struct text *why)
{
    const struct options *options = launch->options;
    const char *pid_file = options->text[OPTION_WORKER_PID_FILE];
    bool has_pid_file = pid_file != NULL && *pid_file != '\0';
    int exit_code = read_sizes(launch);
    if (exit_code >= 0) {
        return exit_code;
    }
    if (find_scheduler(launch, why) != OK ||
        (has_pid_file && setup_pid_file(pid_file, why) != OK)) {
        return EXIT_FAILURE;
    }
    setup_memory();
    launch->preload = options_values(options, OPTION_WORKER_PRELOAD);
    launch->preload_nanny = options_values(options, OPTION_WORKER_PRELOAD_NANNY);
    pid_t parent = getpid();
    exit_code = launch_all(launch, options->argument_count > 1 ? options->arguments + 1 : NULL);
    if (has_pid_file && getpid() == parent) {
        unlink(pid_file); /* it may be gone already */
    }
    return exit_code;
}

int cmd_worker(int argc, char **argv)
{
    struct options options;
    struct launch launch = {.options = &options};
    struct text why = {0};
    int exit_code = options_parse(COMMAND_WORKER, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    exit_code = refuse(&options);
    if (exit_code >= 0) {
        options_fini(&options);
        return exit_code;
    }
    exit_code = EXIT_FAILURE;
    if (config_create(&launch.config, &why) == OK) {
        setup_log_levels(launch.config);
        apply_settings(&options, launch.config);
        exit_code = run(&launch, &why);
        config_destroy(launch.config);
    }
    if (why.size > 0) {
        fprintf(stderr, "cask worker: %s\n", text_cstr(&why));
    }
    text_fini(&why);
    text_fini(&launch.scheduler);
    mem_free(launch.preload);
    mem_free(launch.preload_nanny);
    options_fini(&options);
    return exit_code;
}
