/* memory.c: /proc/PID/status, /proc/meminfo, the memory controllers of both cgroup versions. */
#include "store/memory.h"

#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"

enum { SMALL_FILE_MAX = 8192 };

/* A small file as text, cut where the room ends; false if it cannot be read. */
static bool read_small(const char *path, char out[SMALL_FILE_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = read(fd, out, SMALL_FILE_MAX - 1);
    close(fd);
    out[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* Bytes of the line that begins with `name` ("VmRSS:"), which says kB; 0 if there is none. */
static uint64_t line_bytes(const char *content, const char *name)
{
    size_t size = strlen(name);
    for (const char *line = content; line != NULL && *line != '\0';) {
        if (strncmp(line, name, size) == 0) {
            return strtoull(line + size, NULL, 10) * 1024;
        }
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return 0;
}

bool memory_of_process(int pid, struct memory_process *out_process)
{
    char path[64], content[SMALL_FILE_MAX];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    if (!read_small(path, content)) {
        return false;
    }
    *out_process = (struct memory_process){
        .anonymous = line_bytes(content, "RssAnon:"),
        .file = line_bytes(content, "RssFile:"),
        .shared = line_bytes(content, "RssShmem:"),
    };
    return true;
}

uint64_t memory_together(const struct memory_process *processes, uint32_t count,
                         uint64_t segment_bytes)
{
    uint64_t own = 0, shared = segment_bytes;
    for (uint32_t i = 0; i < count; i++) {
        own += processes[i].anonymous + processes[i].file;
        shared = processes[i].shared > shared ? processes[i].shared : shared;
    }
    return own + shared;
}

void memory_give_back(void)
{
    malloc_trim(0);
}

/* ---- limits of the system ---- */

/* The number in a file, if it is one (not "max") and smaller, replaces *limit. */
static void lower(const char *root, const char *path, uint64_t *limit)
{
    char content[SMALL_FILE_MAX], *end;
    struct text full = {0};
    text_printf(&full, "%s%s", root, path);
    if (read_small(text_cstr(&full), content)) {
        uint64_t number = strtoull(content, &end, 10);
        if (end != content && number > 0 && number < *limit) {
            *limit = number;
        }
    }
    text_fini(&full);
}

/* `file` of the group `path` below `base`, and of all groups above it. */
static void lower_up(const char *root, const char *base, const char *path, const char *file,
                     uint64_t *limit)
{
    struct text full = {0};
    for (size_t size = strlen(path); size > 0;) {
        text_clear(&full);
        text_printf(&full, "%s%.*s/%s", base, (int)size, path, file);
        lower(root, text_cstr(&full), limit);
        do {
            size--;
        } while (size > 0 && path[size] != '/');
    }
    text_fini(&full);
}

/* Our own groups: lines of "hierarchy:controllers:path". */
static void lower_own(const char *root, uint64_t *limit)
{
    char groups[SMALL_FILE_MAX];
    struct text path = {0};
    text_printf(&path, "%s/proc/self/cgroup", root);
    bool is_read = read_small(text_cstr(&path), groups);
    text_fini(&path);
    if (!is_read) {
        return;
    }
    char *rest = groups;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL) {
            continue;
        }
        *group++ = '\0';
        if (strcmp(controllers, ":") == 0) {
            lower_up(root, "/sys/fs/cgroup", group, "memory.max", limit);
            lower_up(root, "/sys/fs/cgroup", group, "memory.high", limit);
        } else if (strcmp(controllers, ":memory") == 0) {
            lower_up(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", limit);
        }
    }
}

uint64_t memory_system_limit(const char *root)
{
    static const char *const mounted[] = {
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.soft_limit_in_bytes",
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory.high",
        "/sys/fs/cgroup/memory.low",
    };
    char path[PATH_MAX], content[SMALL_FILE_MAX];
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    uint64_t limit = read_small(path, content) ? line_bytes(content, "MemTotal:") : 0;
    limit = limit > 0 ? limit : UINT64_MAX;
    for (size_t i = 0; i < sizeof mounted / sizeof mounted[0]; i++) {
        lower(root, mounted[i], &limit);
    }
    lower_own(root, &limit);
    struct rlimit rss;
    if (getrlimit(RLIMIT_RSS, &rss) == 0 && rss.rlim_max > 0 && rss.rlim_max < limit) {
        limit = rss.rlim_max;
    }
    return limit;
}

/* ---- --memory-limit ---- */

/* A plain number; false if it is none, or not all of it. */
static bool parse_number(const char *text, double *out_number)
{
    char *end;
    *out_number = strtod(text, &end);
    return end != text && *end == '\0';
}

int memory_parse_limit(struct span text, uint64_t system_limit, double share,
                       struct memory_limit *out_limit, struct text *why)
{
    struct text copy = {0};
    text_add(&copy, text);
    double bytes = 0;
    bool good = text.size > 0;
    if (span_equal_text(text, "auto")) {
        bytes = (double)system_limit * fmin(1, share);
    } else if (parse_number(text_cstr(&copy), &bytes)) {
        bytes = bytes <= 1 ? bytes * (double)system_limit : bytes;
    } else if (good) {
        good = text_parse_bytes(text, &bytes);
    }
    text_fini(&copy);
    if (!good || !(bytes >= 0) || isinf(bytes)) {
        text_printf(why,
                    "\"%.*s\" is no memory limit: write \"auto\", a part as 0.5, bytes as 4GB, or "
                    "0 for none",
                    (int)text.size, text.data);
        return ERR_CONFIG;
    }
    bool is_capped = bytes > (double)system_limit;
    *out_limit = (struct memory_limit){
        .bytes = is_capped ? system_limit : (uint64_t)bytes,
        .is_capped = is_capped,
    };
    return OK;
}
