/* spill_support.h: a directory for spill files, and a system whose calls fail as a test wants. */
#ifndef CASK_TEST_UNIT_STORE_SPILL_SUPPORT_H
#define CASK_TEST_UNIT_STORE_SPILL_SUPPORT_H

#include "unit/store/support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/prng.h"
#include "store/spill_system.h"

struct faults {
    struct spill_system system;
    int open_error, write_error, read_error; /* errno, 0: works */
    uint32_t writes_good;                    /* that still work before write_error */
    size_t part_max; /* at most so much at a time, and each second call EINTR; 0: all */
    bool interrupted;
    uint32_t write_count;
};

static inline int faults_open(void *user, const char *path, int flags)
{
    struct faults *faults = user;
    errno = faults->open_error;
    return errno != 0 ? -1 : spill_real_system.open(NULL, path, flags);
}

static inline bool faults_interrupt(struct faults *faults, size_t *size)
{
    if (faults->part_max == 0) {
        return false;
    }
    faults->interrupted = !faults->interrupted;
    *size = *size < faults->part_max ? *size : faults->part_max;
    errno = EINTR;
    return faults->interrupted;
}

static inline ssize_t faults_write(void *user, int fd, const void *data, size_t size,
                                   uint64_t offset)
{
    struct faults *faults = user;
    faults->write_count++;
    if (faults->write_error != 0 && faults->writes_good-- == 0) {
        faults->writes_good = 0;
        errno = faults->write_error;
        return -1;
    }
    return faults_interrupt(faults, &size) ? -1
                                           : spill_real_system.write(NULL, fd, data, size, offset);
}

static inline ssize_t faults_read(void *user, int fd, void *data, size_t size, uint64_t offset)
{
    struct faults *faults = user;
    errno = faults->read_error;
    if (errno != 0) {
        return -1;
    }
    return faults_interrupt(faults, &size) ? -1
                                           : spill_real_system.read(NULL, fd, data, size, offset);
}

static inline void faults_init(struct faults *faults)
{
    *faults = (struct faults){
        .system = {faults_open, faults_write, faults_read, faults},
    };
}

/* "/tmp/cask-test-spill-PID", which spill_destroy removes. */
static inline const char *spill_directory(void)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/cask-test-spill-%d", (int)getpid());
    return path;
}

/* Files in there; -1: there is no such directory. Their bytes to *out_bytes, which may be NULL. */
static inline int spill_files(uint64_t *out_bytes)
{
    DIR *directory = opendir(spill_directory());
    if (directory == NULL) {
        return -1;
    }
    int count = 0;
    uint64_t bytes = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        struct stat status;
        if (entry->d_name[0] != '.') {
            assert_int_equal(fstatat(dirfd(directory), entry->d_name, &status, 0), 0);
            assert_int_equal(status.st_mode & 0777, 0600);
            bytes += (uint64_t)status.st_size;
            count++;
        }
    }
    closedir(directory);
    if (out_bytes != NULL) {
        *out_bytes = bytes;
    }
    return count;
}

/* Change one byte of file `number`, as a broken disk would. */
static inline void spoil(uint32_t number, uint64_t offset)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%u.spill", spill_directory(), number);
    int fd = open(path, O_RDWR);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

/* A frame of `size` bytes: random ones, or such as compress well. */
static inline struct slice make_frame(size_t size, bool is_random, uint64_t seed)
{
    struct buf *buf = buf_create(size);
    struct prng prng;
    prng_init(&prng, seed);
    for (size_t i = 0; i < size; i++) {
        buf->data[i] = is_random ? (uint8_t)(prng_unit(&prng) * 256) : (uint8_t)(i / 300 + seed);
    }
    buf->size = size;
    return (struct slice){buf->data, size, buf};
}

static inline struct store_value *frames_value(const size_t *sizes, uint32_t count, bool is_random,
                                               uint64_t seed)
{
    struct blob *blob = blob_create(slice_copy(SERIALIZED), count);
    for (uint32_t i = 0; i < count; i++) {
        blob->frames[i] = make_frame(sizes[i], is_random, seed + i);
    }
    return store_value_create(blob);
}

static inline struct store_value *sized_value(size_t size, bool is_random, uint64_t seed)
{
    return frames_value(&size, 1, is_random, seed);
}

static inline void assert_same_value(const struct store_value *a, const struct store_value *b)
{
    assert_int_equal(a->blob->frame_count, b->blob->frame_count);
    assert_true(span_equal(slice_span(a->blob->value), slice_span(b->blob->value)));
    for (uint32_t i = 0; i < a->blob->frame_count; i++) {
        assert_true(span_equal(slice_span(a->blob->frames[i]), slice_span(b->blob->frames[i])));
    }
}

#endif
