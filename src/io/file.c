/* file.c: small files, whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "io/internal.h"

/* Add "cannot `verb` 'path': reason" from errno. */
static int refuse(const char *verb, const char *path, struct text *why)
{
    int code = errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    text_printf(why, "cannot %s '%s': %s", verb, path, io_errno_text(errno));
    return code;
}

static int too_large(const char *path, size_t size_max, struct text *why)
{
    text_printf(why, "cannot read '%s': it has more than %zu bytes", path, size_max);
    return ERR_LIMIT;
}

/* A buffer twice as large, with the same content; takes `content`. */
static struct buf *grow(struct buf *content, size_t capacity_max)
{
    size_t capacity = content->capacity * 2 < capacity_max ? content->capacity * 2 : capacity_max;
    struct buf *grown = buf_create(capacity);
    memcpy(grown->data, content->data, content->size);
    grown->size = content->size;
    buf_unref(content);
    return grown;
}

int io_file_read(const char *path, size_t size_max, struct buf **out_content, struct text *why)
{
    ASSERT(size_max < SIZE_MAX / 2);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return refuse("read", path, why);
    }
    /* One byte more than is allowed tells that there is more. Sizes that stat reports are not
     * trusted: files in /proc have none. */
    size_t capacity_max = size_max + 1;
    struct buf *content = buf_create(capacity_max < 4096 ? capacity_max : 4096);
    ssize_t got = 1;
    while (got != 0 && content->size <= size_max) {
        if (content->size == content->capacity) {
            content = grow(content, capacity_max);
        }
        got = read(fd, content->data + content->size, content->capacity - content->size);
        if (got < 0 && errno != EINTR) {
            break;
        }
        content->size += got > 0 ? (size_t)got : 0;
    }
    int code = OK;
    if (got < 0) {
        code = refuse("read", path, why);
    } else if (content->size > size_max) {
        code = too_large(path, size_max, why);
    }
    close(fd);
    if (code != OK) {
        buf_unref(content);
        return code;
    }
    *out_content = content;
    return OK;
}

/* 0, or -1 and errno. */
static int write_all(int fd, struct span content)
{
    while (content.size > 0) {
        ssize_t put = write(fd, content.data, content.size);
        if (put < 0 && errno != EINTR) {
            return -1;
        }
        if (put > 0) {
            content.data += put;
            content.size -= (size_t)put;
        }
    }
    return 0;
}

/* The directory's entry for a renamed file is on disk only after this. */
static int sync_directory_of(const char *path)
{
    struct text directory = {0};
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        text_add_cstr(&directory, ".");
    } else {
        text_add(&directory, span_of(path, (size_t)(slash - path) + 1));
    }
    int fd = open(text_cstr(&directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    text_fini(&directory);
    if (fd < 0) {
        return -1;
    }
    int code = fsync(fd);
    int errno_value = errno;
    close(fd);
    errno = errno_value;
    return code;
}

static int fill_temporary(const char *path, struct span content, bool sync)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    int code = write_all(fd, content);
    if (code == 0 && sync) {
        code = fsync(fd);
    }
    int errno_value = errno;
    if (close(fd) != 0 && code == 0) {
        return -1;
    }
    errno = errno_value;
    return code;
}

int io_file_write(const char *path, struct span content, bool sync, struct text *why)
{
    uint64_t nonce;
    io_entropy(&nonce, sizeof nonce);
    struct text temporary = {0};
    text_printf(&temporary, "%s.%016llx.tmp", path, (unsigned long long)nonce);
    int code = OK;
    if (fill_temporary(text_cstr(&temporary), content, sync) != 0 ||
        rename(text_cstr(&temporary), path) != 0 || (sync && sync_directory_of(path) != 0)) {
        code = refuse("write", path, why);
        unlink(text_cstr(&temporary));
    }
    text_fini(&temporary);
    return code;
}

int io_file_remove(const char *path, struct text *why)
{
    return unlink(path) == 0 ? OK : refuse("remove", path, why);
}

int io_directory_create(const char *path, struct text *why)
{
    struct text part = {0};
    int code = OK;
    for (const char *at = path; *at != '\0' && code == OK;) {
        const char *slash = strchr(at + 1, '/');
        size_t size = slash == NULL ? strlen(path) : (size_t)(slash - path);
        text_clear(&part);
        text_add(&part, span_of(path, size));
        if (mkdir(text_cstr(&part), 0700) != 0 && errno != EEXIST) {
            code = refuse("make directory", text_cstr(&part), why);
        }
        at = path + size;
    }
    struct stat status;
    if (code == OK && (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))) {
        errno = ENOTDIR;
        code = refuse("make directory", path, why);
    }
    text_fini(&part);
    return code;
}
