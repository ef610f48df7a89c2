/* worker_directory.c: <base>/dask-scratch-space/worker-…, the worker's own directory, as stock has it. Its
 * life and what the dead leave are store/scratch.h's. */
#include <stdlib.h>

#include "base/log.h"
#include "node/worker_internal.h"
#include "store/scratch.h"

#define LOGGER "distributed.diskutils"

/* Where: --local-directory, else the setting temporary-directory, else where temporary files go. */
static const char *base_of(const struct worker_node *worker)
{
    const char *told = worker->options.local_directory;
    const char *environment = getenv("TMPDIR");
    if (told == NULL) {
        told = config_text(worker->config, "temporary-directory", NULL);
    }
    if (told == NULL) {
        told = environment != NULL && environment[0] != '\0' ? environment : "/tmp";
    }
    return told;
}

int worker_directory_make(struct worker_node *worker, struct text *why)
{
    struct text base = {0};
    text_printf(&base, "%s/dask-scratch-space", base_of(worker));
    int code = io_directory_create(text_cstr(&base), why);
    char *whole = code == OK ? realpath(text_cstr(&base), NULL) : NULL;
    if (whole != NULL) {
        uint32_t removed = scratch_remove_dead(whole);
        if (removed > 0) {
            log_info(LOGGER, "Removed %u directories of workers that are dead from '%s'", removed,
                     whole);
        }
    }
    code = code == OK ? scratch_create(whole == NULL ? text_cstr(&base) : whole,
                                       &worker->scratch_directory, why)
                      : code;
    if (code == OK) {
        text_add_cstr(&worker->directory, scratch_path(worker->scratch_directory));
    }
    free(whole);
    text_fini(&base);
    return code;
}

void worker_directory_remove(struct worker_node *worker)
{
    scratch_destroy(worker->scratch_directory);
    worker->scratch_directory = NULL;
}
