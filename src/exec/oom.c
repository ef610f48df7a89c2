/* oom.c: reading cgroup files and /dev/kmsg. Each may be absent or forbidden: then nothing is known. */
#include "exec/oom.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define RECORD_SIZE 8192 /* the kernel's longest record */
#define RECORDS_MAX 100000
#define OFFER_SCORE 500L /* as if it had half of the memory more than it has */
#define OOM_SCORE_MAX 1000L

/* A small file as text; false if it cannot be read. */
static bool read_small(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = read(fd, out, size - 1);
    close(fd);
    out[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* The number after `name` at the beginning of a line. */
static uint64_t number_after(const char *content, const char *name)
{
    size_t size = strlen(name);
    for (const char *line = content; line != NULL && *line != '\0';) {
        if (strncmp(line, name, size) == 0 && line[size] == ' ') {
            return strtoull(line + size + 1, NULL, 10);
        }
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return 0;
}

static bool read_in(const char *directory, const char *file, char *out, size_t size)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    return read_small(path, out, size);
}

static uint64_t number_of(const char *directory, const char *file)
{
    char content[256];
    if (!read_in(directory, file, content, sizeof content)) {
        return 0;
    }
    uint64_t number = strtoull(content, NULL, 10); /* "max" is 0 */
    return number < UINT64_MAX / 4 ? number : 0;   /* v1 writes "no limit" as a huge number */
}

bool oom_read_group(const char *directory, bool is_v2, struct oom_state *out)
{
    static const struct {
        const char *events, *current, *max, *peak;
    } files[] = {
        {"memory.oom_control", "memory.usage_in_bytes", "memory.limit_in_bytes",
         "memory.max_usage_in_bytes"},
        {"memory.events", "memory.current", "memory.max", "memory.peak"}, /* peak: since 5.19 */
    };
    char content[1024];
    *out = (struct oom_state){0};
    if (!read_in(directory, files[is_v2].events, content, sizeof content)) {
        return false;
    }
    out->kills = number_after(content, "oom_kill");
    out->current = number_of(directory, files[is_v2].current);
    out->max = number_of(directory, files[is_v2].max);
    out->peak = number_of(directory, files[is_v2].peak);
    return true;
}

/* The group `path` below `base`; inside a container that path may be seen as the root. */
static bool read_below(const char *base, const char *path, bool is_v2, struct oom_state *out)
{
    char directory[PATH_SIZE];
    snprintf(directory, sizeof directory, "%s%s", base, path);
    return oom_read_group(directory, is_v2, out) || oom_read_group(base, is_v2, out);
}

void oom_read(struct oom_state *out)
{
    *out = (struct oom_state){0};
    char groups[PATH_SIZE];
    if (!read_small("/proc/self/cgroup", groups, sizeof groups)) {
        return;
    }
    /* hierarchy:controllers:path */
    bool known = false;
    char *rest = groups;
    for (char *line; !known && (line = strsep(&rest, "\n")) != NULL;) {
        char *controllers = strchr(line, ':');
        char *path = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (path == NULL) {
            continue;
        }
        *path++ = '\0';
        if (strncmp(line, "0:", 2) == 0) {
            known = read_below("/sys/fs/cgroup", path, true, out);
        } else if (strcmp(controllers + 1, "memory") == 0) {
            known = read_below("/sys/fs/cgroup/memory", path, false, out);
        }
    }
}

/* "6,339,5140900,-;text": level, number, microseconds of the monotonic clock, flags; the text. */
static bool is_about(const char *record, int pid, double since, const char **out_text)
{
    const char *text = strchr(record, ';');
    const char *comma = strchr(record, ',');
    comma = comma == NULL ? NULL : strchr(comma + 1, ',');
    if (text == NULL || comma == NULL || comma > text || strtod(comma + 1, NULL) / 1e6 < since) {
        return false;
    }
    char wanted[64];
    snprintf(wanted, sizeof wanted, "Killed process %d ", pid);
    *out_text = text + 1;
    return strstr(text, wanted) != NULL;
}

void oom_offer(int pid)
{
    char path[64], content[32];
    if (!read_small("/proc/self/oom_score_adj", content, sizeof content)) {
        return;
    }
    long score = strtol(content, NULL, 10) + OFFER_SCORE;
    int size =
        snprintf(content, sizeof content, "%ld", score < OOM_SCORE_MAX ? score : OOM_SCORE_MAX);
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, content,
                     (size_t)size); /* refused: it is as likely to be taken as we are */
        close(fd);
    }
}

void oom_read_kernel_log(int pid, double since, struct text *out)
{
    int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    char record[RECORD_SIZE];
    for (int i = 0; i < RECORDS_MAX; i++) {
        ssize_t got = read(fd, record, sizeof record - 1);
        if (got < 0 && (errno == EPIPE || errno == EINTR)) {
            continue; /* records were overwritten meanwhile */
        }
        if (got <= 0) {
            break;
        }
        record[got] = '\0';
        const char *text;
        if (is_about(record, pid, since, &text)) {
            text_clear(out);
            text_add(out, span_of(text, strcspn(text, "\n")));
        }
    }
    close(fd);
}
