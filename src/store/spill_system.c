/* spill_system.c: the real system calls, and what their errors mean. */
#include "store/spill_system.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

static int open_file(void *user, const char *path, int flags)
{
    (void)user;
    return open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static ssize_t write_file(void *user, int fd, const void *data, size_t size, uint64_t offset)
{
    (void)user;
    return pwrite(fd, data, size, (off_t)offset);
}

static ssize_t read_file(void *user, int fd, void *data, size_t size, uint64_t offset)
{
    (void)user;
    return pread(fd, data, size, (off_t)offset);
}

const struct spill_system spill_real_system = {
    .open = open_file,
    .write = write_file,
    .read = read_file,
};

int spill_refuse(const char *what, const char *path, struct text *why)
{
    int number = errno;
    text_printf(why, "cannot %s %s: %s", what, path, strerrordesc_np(number));
    switch (number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_NO_SPACE;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
        return ERR_BUSY;
    case ENOENT:
        return ERR_NOT_FOUND;
    default:
        return ERR_IO;
    }
}

int spill_write_at(const struct spill_system *system, int fd, struct span bytes, uint64_t offset)
{
    while (bytes.size > 0) {
        ssize_t put = system->write(system->user, fd, bytes.data, bytes.size, offset);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            errno = put == 0 ? EIO : errno;
            return -1;
        }
        bytes = span_of(bytes.data + put, bytes.size - (size_t)put);
        offset += (uint64_t)put;
    }
    return 0;
}

int spill_read_at(const struct spill_system *system, int fd, uint8_t *data, size_t size,
                  uint64_t offset)
{
    for (size_t at = 0; at < size;) {
        ssize_t got = system->read(system->user, fd, data + at, size - at, offset + at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got == 0 ? 1 : -1;
        }
        at += (size_t)got;
    }
    return 0;
}
