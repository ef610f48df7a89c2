/* scratch.c: directories with locks.
 *
 * A lock file is made and locked before its directory is made, and removed after it. So a directory without a lock
 * file does not exist, and a lock that can be taken has no living owner, but for the moment between
 * making and locking: an owner that finds its file gone or locked then tries another name. That the
 * process of the name is dead is asked as well: a lock of a network's file system may be each host's own. */
#include "store/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "io/io.h"

enum { ATTEMPTS = 100, TREE_FDS = 16 };

static const char prefix[] = "worker-";
static const char suffix[] = ".dirlock";

struct scratch {
    struct text path;
    struct text lock_path;
    int lock;
};

/* ---- who is who ---- */

/* Cut the last "-…" off `name`; NULL: there is none. */
static char *cut_field(char *name)
{
    char *dash = strrchr(name, '-');
    if (dash == NULL) {
        return NULL;
    }
    *dash = '\0';
    return dash + 1;
}

/* The name is one of ours, of this host, and its process does not live. */
static bool is_dead(const char *lock_name)
{
    char name[NAME_MAX + 1], host[IO_HOST_MAX];
    size_t size = strlen(lock_name), ending = sizeof suffix - 1;
    if (size <= ending || size > NAME_MAX || strcmp(lock_name + size - ending, suffix) != 0 ||
        strncmp(lock_name, prefix, sizeof prefix - 1) != 0) {
        return false;
    }
    memcpy(name, lock_name, size - ending);
    name[size - ending] = '\0';
    const char *nonce = cut_field(name);
    const char *start = nonce == NULL ? NULL : cut_field(name);
    const char *pid = start == NULL ? NULL : cut_field(name);
    io_host_name(host);
    if (pid == NULL || strlen(name) < sizeof prefix - 1 ||
        strcmp(name + sizeof prefix - 1, host) != 0) {
        return false;
    }
    long number = strtol(pid, NULL, 10);
    uint64_t started = strtoull(start, NULL, 10);
    return number > 0 && started > 0 && number <= INT32_MAX &&
           io_process_started((int)number) != started;
}

/* ---- removing ---- */

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *at)
{
    (void)status;
    (void)kind;
    (void)at;
    remove(path); /* what cannot be removed stays, with the directories above it */
    return 0;
}

static void remove_tree(const char *path)
{
    nftw(path, remove_entry, TREE_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* The file that is open is the one of that name, and it is ours. */
static bool is_same_file(int fd, const char *path)
{
    struct stat open_one, named;
    return fstat(fd, &open_one) == 0 && lstat(path, &named) == 0 && S_ISREG(named.st_mode) &&
           open_one.st_ino == named.st_ino && open_one.st_dev == named.st_dev &&
           named.st_uid == geteuid();
}

static bool remove_if_free(const char *lock_path)
{
    int fd = open(lock_path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool is_ours = flock(fd, LOCK_EX | LOCK_NB) == 0 && is_same_file(fd, lock_path);
    if (is_ours) {
        struct text path = {0};
        text_add(&path, span_of(lock_path, strlen(lock_path) - (sizeof suffix - 1)));
        remove_tree(text_cstr(&path));
        /* If a part of it is left, so is the lock file: the next one tries again. */
        is_ours = access(text_cstr(&path), F_OK) != 0 && unlink(lock_path) == 0;
        text_fini(&path);
    }
    close(fd);
    return is_ours;
}

uint32_t scratch_remove_dead(const char *base)
{
    DIR *directory = opendir(base);
    if (directory == NULL) {
        return 0;
    }
    uint32_t count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (is_dead(entry->d_name)) {
            struct text path = {0};
            text_printf(&path, "%s/%s", base, entry->d_name);
            count += remove_if_free(text_cstr(&path));
            text_fini(&path);
        }
    }
    closedir(directory);
    return count;
}

/* ---- one's own ---- */

static void forget(struct scratch *scratch)
{
    text_fini(&scratch->path);
    text_fini(&scratch->lock_path);
    mem_free(scratch);
}

/* 0, 1: another name must be tried, or -1 and errno. */
static int try_name(struct scratch *scratch, const char *base)
{
    char host[IO_HOST_MAX];
    uint64_t nonce;
    io_host_name(host);
    io_entropy(&nonce, sizeof nonce);
    text_clear(&scratch->path);
    text_clear(&scratch->lock_path);
    text_printf(&scratch->path, "%s/%s%s-%d-%llu-%08x", base, prefix, host, (int)getpid(),
                (unsigned long long)io_process_started(getpid()), (unsigned)nonce);
    text_printf(&scratch->lock_path, "%s%s", text_cstr(&scratch->path), suffix);
    const char *lock_path = text_cstr(&scratch->lock_path);
    int fd = open(lock_path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno == EEXIST ? 1 : -1;
    }
    /* Without locks the directory is used all the same; nobody will think it free. */
    bool is_locked = flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    int code = is_locked && is_same_file(fd, lock_path) ? 0 : 1;
    if (code == 0 && mkdir(text_cstr(&scratch->path), 0700) != 0) {
        int number = errno;
        unlink(lock_path);
        errno = number;
        code = number == EEXIST ? 1 : -1;
    }
    if (code != 0) {
        int number = errno;
        close(fd);
        errno = number;
        return code;
    }
    scratch->lock = fd;
    return 0;
}

int scratch_create(const char *base, struct scratch **out_scratch, struct text *why)
{
    int code = io_directory_create(base, why);
    if (code != OK) {
        return code;
    }
    struct scratch *scratch = mem_zalloc(1, sizeof *scratch);
    int result = 1;
    for (int i = 0; i < ATTEMPTS && result > 0; i++) {
        result = try_name(scratch, base);
    }
    if (result != 0) {
        text_printf(why, "cannot make a directory in %s: %s", base, strerrordesc_np(errno));
        forget(scratch);
        return ERR_IO;
    }
    *out_scratch = scratch;
    return OK;
}

const char *scratch_path(const struct scratch *scratch)
{
    return text_cstr(&scratch->path);
}

void scratch_destroy(struct scratch *scratch)
{
    if (scratch == NULL) {
        return;
    }
    remove_tree(text_cstr(&scratch->path));
    unlink(text_cstr(&scratch->lock_path));
    close(scratch->lock);
    forget(scratch);
}
