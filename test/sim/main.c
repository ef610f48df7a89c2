/* main.c: sim [--seed N] [--seeds N] [--steps N] [--workers N] [--clients N] [--features MASK] [--verbose]
 * [--keep-going]: run seeds, one after the other. A failing one is shrunk and reported with the command that
 * shows it again. Some seeds are run twice: the transcripts must be the same. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/cluster.h"
#include "sim/shrink.h"

#define TWICE_EVERY 10u

/* Shared with the process that runs the seeds. */
struct progress {
    uint64_t seed, steps;
};

static void on_abort(int number)
{
    const struct sim *sim = cluster_now();
    if (sim != NULL) {
        print_last_lines(sim);
    }
    signal(number, SIG_DFL);
}

static int usage(void)
{
    fputs("usage: sim [--seed N] [--seeds N] [--steps N] [--workers N] [--clients N] [--features "
          "MASK]\n"
          "           [--verbose] [--keep-going]\n",
          stderr);
    return 2;
}

static void run_seed(struct options options)
{
    uint64_t steps = 0;
    uint64_t hash = cluster_run(&options, &steps);
    if (options.seed % TWICE_EVERY == 0) {
        options.verbose = false;
        if (cluster_run(&options, &steps) != hash) {
            fprintf(stderr, "sim: seed %" PRIu64 ": two runs differ\n", options.seed);
            exit(1);
        }
    }
}

/* Seeds from progress->seed up to `end`, in a process of its own; its exit status. */
static int run_seeds(struct options options, uint64_t end, struct progress *progress)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, on_abort);
        for (; progress->seed < end; progress->seed++) {
            options.seed = progress->seed;
            run_seed(options);
        }
        fflush(stdout);
        exit(0); /* not _exit: leaks are looked for */
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

static void report(struct options options)
{
    options = shrink(options);
    printf("failed: sim --seed %" PRIu64
           " --steps %u --workers %u --clients %u --features 0x%x --verbose\n",
           options.seed, options.steps, options.workers, options.clients, options.features);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"seed", 1, NULL, 's'},    {"seeds", 1, NULL, 'n'},      {"steps", 1, NULL, 't'},
        {"workers", 1, NULL, 'w'}, {"clients", 1, NULL, 'c'},    {"features", 1, NULL, 'f'},
        {"verbose", 0, NULL, 'v'}, {"keep-going", 0, NULL, 'k'}, {NULL, 0, NULL, 0}};
    struct options options = {
        .seed = 1, .workers = 6, .clients = 3, .steps = 1500, .features = FEATURE_ALL};
    uint64_t seeds = 1, failures = 0;
    bool keep_going = false;
    for (int letter; (letter = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        uint64_t number = optarg == NULL ? 0 : strtoull(optarg, NULL, 0);
        switch (letter) {
        case 's':
            options.seed = number;
            break;
        case 'n':
            seeds = number;
            break;
        case 't':
            options.steps = (uint32_t)number;
            break;
        case 'w':
            options.workers = number > WORKERS_MAX ? WORKERS_MAX : (uint32_t)number;
            break;
        case 'c':
            options.clients = number > CLIENTS_MAX ? CLIENTS_MAX : (uint32_t)number;
            break;
        case 'f':
            options.features = (uint32_t)number;
            break;
        case 'v':
            options.verbose = true;
            break;
        case 'k':
            keep_going = true;
            break;
        default:
            return usage();
        }
    }
    if (optind != argc || options.workers == 0 || options.clients == 0) {
        return usage();
    }
    struct progress *progress =
        mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t end = options.seed + seeds;
    progress->seed = options.seed;
    while (progress->seed < end && run_seeds(options, end, progress) != 0) {
        failures++;
        options.seed = progress->seed++;
        if (keep_going) {
            printf("failed: seed %" PRIu64 "\n", options.seed);
            continue;
        }
        if (!options.verbose) {
            report(options);
        }
        break;
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " failed\n", seeds, failures);
    return failures > 0;
}
