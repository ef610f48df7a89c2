/* worker_directory.c: <base>/dask-scratch-space/worker-XXXXXX, with a lock beside it, as stock has it.
 *
 * The lock is the kernel's (flock): it goes with the process, however that ends, so a directory whose lock can
 * be had is a dead worker's. Source: distributed diskutils.py. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/log.h"
#include "node/worker_internal.h"

#define LOGGER "distributed.diskutils"
#define LOCK_SUFFIX ".dirlock"

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

static void remove_tree(const char *path)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT) {
        log_warning(LOGGER, "%s could not be removed: %s", path, strerror(errno));
    }
}

/* Take the lock, or −1. */
static int lock(const char *path)
{
    int file = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (file >= 0 && flock(file, LOCK_EX | LOCK_NB) != 0) {
        close(file);
        return -1;
    }
    return file;
}

/* The directory of this lock file, if its worker is dead. */
static void purge_one(const char *scratch, const char *name)
{
    struct text path = {0};
    text_printf(&path, "%s/%s", scratch, name);
    int held = lock(text_cstr(&path));
    if (held >= 0) {
        struct text directory = {0};
        text_add(&directory, span_of(path.data, path.size - strlen(LOCK_SUFFIX)));
        log_info(LOGGER, "Found stale lock file and directory '%s', purging",
                 text_cstr(&directory));
        remove_tree(text_cstr(&directory));
        unlink(text_cstr(&path));
        close(held);
        text_fini(&directory);
    }
    text_fini(&path);
}

static bool is_workers_lock(const char *name)
{
    size_t size = strlen(name), suffix = strlen(LOCK_SUFFIX);
    return strncmp(name, "worker-", 7) == 0 && size > suffix + 7 &&
           strcmp(name + size - suffix, LOCK_SUFFIX) == 0;
}

static void purge(const char *scratch)
{
    DIR *directory = opendir(scratch);
    if (directory == NULL) {
        return;
    }
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (is_workers_lock(entry->d_name)) {
            purge_one(scratch, entry->d_name);
        }
    }
    closedir(directory);
}

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
    struct text scratch = {0}, template = {0}, lock_path = {0};
    worker->directory_lock = -1;
    text_printf(&scratch, "%s/dask-scratch-space", base_of(worker));
    int code = io_directory_create(text_cstr(&scratch), why);
    char *whole = code == OK ? realpath(text_cstr(&scratch), NULL) : NULL;
    if (whole != NULL) {
        purge(whole);
        text_printf(&template, "%s/worker-XXXXXX", whole);
        if (mkdtemp(template.data) != NULL) {
            text_add(&worker->directory, text_span(&template));
            text_printf(&lock_path, "%s%s", text_cstr(&worker->directory), LOCK_SUFFIX);
            worker->directory_lock = lock(text_cstr(&lock_path));
        }
    }
    if (code == OK && worker->directory_lock < 0) {
        text_printf(why, "no directory for the worker could be made in %s: %s", text_cstr(&scratch),
                    strerror(errno));
        code = ERR_IO;
    }
    free(whole);
    text_fini(&scratch);
    text_fini(&template);
    text_fini(&lock_path);
    return code;
}

void worker_directory_remove(struct worker_node *worker)
{
    struct text lock_path = {0};
    if (worker->directory.size == 0) {
        return;
    }
    text_printf(&lock_path, "%s%s", text_cstr(&worker->directory), LOCK_SUFFIX);
    remove_tree(text_cstr(&worker->directory));
    unlink(text_cstr(&lock_path));
    if (worker->directory_lock >= 0) {
        close(worker->directory_lock);
    }
    text_fini(&lock_path);
}
