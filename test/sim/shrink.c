/* shrink.c: try smaller options one after the other, and keep what still fails. The random choices shift
 * with them, so the failure found may be another one; it is small all the same. */
#include "sim/shrink.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/cluster.h"

bool run_fails(const struct options *options)
{
    pid_t child = fork();
    if (child == 0) {
        uint64_t steps = 0;
        int nowhere = open("/dev/null", O_WRONLY);
        dup2(nowhere, STDOUT_FILENO);
        dup2(nowhere, STDERR_FILENO);
        cluster_run(options, &steps);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status != 0;
}

static bool try(struct options *options, struct options smaller)
{
    smaller.verbose = false;
    if (!run_fails(&smaller)) {
        return false;
    }
    *options = smaller;
    return true;
}

static void shrink_number(struct options *options, uint32_t *number, uint32_t least)
{
    for (uint32_t cut = *number / 2; cut > 0; cut /= 2) {
        while (*number >= least + cut) {
            uint32_t kept = *number;
            *number -= cut;
            struct options smaller = *options;
            if (!try(options, smaller)) {
                *number = kept;
                break;
            }
        }
    }
}

struct options shrink(struct options options)
{
    for (uint32_t bit = 1; bit < FEATURE_ALL; bit <<= 1) {
        struct options smaller = options;
        smaller.features &= ~bit;
        if (smaller.features != options.features) {
            try(&options, smaller);
        }
    }
    shrink_number(&options, &options.clients, 1);
    shrink_number(&options, &options.workers, 1);
    shrink_number(&options, &options.steps, 10);
    return options;
}
