/* spill: values to disk and back through src/store, and the same bytes written and read raw, in turn.
 *
 *     spill DIRECTORY SIZE COUNT [ROUNDS]
 *
 * COUNT values of one frame of SIZE random bytes are put, all are evicted, then all are asked for. Raw: one new
 * file, write() and read() of 1 MiB at a time. Nothing is synced, so both are the page cache's speed. Prints
 * one JSON object: bytes a second of the best round, and CPU seconds of the store's rounds. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/prng.h"
#include "io/io.h"
#include "store/store.h"

enum { RAW_PART = 1 << 20 };

struct bench {
    struct io_loop *loop;
    struct store *store;
    struct store_waiter *waiters;
    struct buf *bytes; /* of all values */
    size_t size;
    uint32_t count, answered;
};

static void fail(const char *what)
{
    fprintf(stderr, "spill: %s\n", what);
    exit(1);
}

static void on_export(void *user, uint32_t executor, uint64_t handle)
{
    (void)user;
    (void)executor;
    (void)handle;
    fail("nothing is live here");
}

static void on_release(void *user, uint64_t handle)
{
    (void)user;
    (void)handle;
}

static void on_lost(void *user, struct span key, int code, const char *why)
{
    (void)user;
    (void)key;
    (void)code;
    fail(why);
}

static void on_trouble(void *user, int code, const char *why)
{
    (void)user;
    (void)code;
    fail(why);
}

static const struct store_events events = {on_export, on_release, on_lost, on_trouble};

static void on_answer(struct store_waiter *waiter, struct store_value *value, int code,
                      const char *why)
{
    (void)waiter;
    if (code != 0 || value == NULL) {
        fail(why);
    }
}

static struct span key_of(const uint32_t *number)
{
    return span_of(number, sizeof *number);
}

static void on_turn(void *user)
{
    struct bench *bench = user;
    struct store_totals totals;
    store_totals(bench->store, &totals);
    bool is_reading = bench->answered > 0;
    if (totals.leaving_bytes == 0 && totals.disk_count == (is_reading ? 0 : bench->count)) {
        io_loop_stop(bench->loop);
    }
}

static void put_all(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->count; i++) {
        struct blob *blob = blob_create(slice_copy(SPAN("\x81\xae__Serialized__\x01")), 1);
        blob->frames[0] =
            slice_create(bench->bytes, span_of(bench->bytes->data + i * bench->size, bench->size));
        store_put(bench->store, &(struct store_item){.key = key_of(&i),
                                                     .nbytes = bench->size,
                                                     .executor = STORE_NO_EXECUTOR,
                                                     .handle = i,
                                                     .value = store_value_create(blob)});
    }
}

static void get_all(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->count; i++) {
        struct store_value *value;
        bench->waiters[i] = (struct store_waiter){.answer = on_answer};
        if (store_get(bench->store, key_of(&i), &bench->waiters[i], &value) != STORE_LATER) {
            fail("it is not on disk");
        }
        bench->answered++;
    }
}

static void best(double *fastest, double start)
{
    double seconds = io_monotonic() - start;
    if (*fastest == 0 || seconds < *fastest) {
        *fastest = seconds;
    }
}

static void run_store(struct bench *bench, const char *directory, double *spill, double *unspill)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/store", directory);
    bench->loop = io_loop_create();
    bench->answered = 0;
    struct store_options options = {.directory = path, .compression = COMPRESS_LZ4};
    bench->store = store_create(bench->loop, &options, &events, bench);
    io_loop_on_turn(bench->loop, on_turn, bench);
    put_all(bench);
    double start = io_monotonic();
    store_evict(bench->store, UINT64_MAX);
    io_loop_run(bench->loop);
    best(spill, start);
    start = io_monotonic();
    get_all(bench);
    io_loop_run(bench->loop);
    best(unspill, start);
    store_destroy(bench->store);
    io_loop_destroy(bench->loop);
}

static void run_raw(const struct bench *bench, const char *directory, double *spill,
                    double *unspill)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/raw", directory);
    size_t total = bench->size * bench->count;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    double start = io_monotonic();
    for (size_t at = 0; at < total; at += RAW_PART) {
        size_t part = total - at < RAW_PART ? total - at : RAW_PART;
        if (write(fd, bench->bytes->data + at, part) != (ssize_t)part) {
            fail("raw write");
        }
    }
    best(spill, start);
    uint8_t *into = mem_alloc(total);
    lseek(fd, 0, SEEK_SET);
    start = io_monotonic();
    for (size_t at = 0; at < total; at += RAW_PART) {
        size_t part = total - at < RAW_PART ? total - at : RAW_PART;
        if (read(fd, into + at, part) != (ssize_t)part) {
            fail("raw read");
        }
    }
    best(unspill, start);
    mem_free(into);
    close(fd);
    unlink(path);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fail("usage: spill DIRECTORY SIZE COUNT [ROUNDS]");
    }
    struct bench bench = {.size = strtoull(argv[2], NULL, 10),
                          .count = (uint32_t)strtoul(argv[3], NULL, 10)};
    int rounds = argc > 4 ? atoi(argv[4]) : 3;
    size_t total = bench.size * bench.count;
    bench.bytes = buf_create(total);
    struct prng prng;
    prng_init(&prng, 1);
    for (size_t at = 0; at < total; at += sizeof(double)) {
        double random = prng_unit(&prng);
        size_t left = total - at;
        memcpy(bench.bytes->data + at, &random, left < sizeof random ? left : sizeof random);
    }
    bench.bytes->size = total;
    bench.waiters = mem_zalloc(bench.count, sizeof *bench.waiters);
    double seconds[4] = {0}, cpu = 0;
    for (int i = 0; i < rounds; i++) {
        run_raw(&bench, argv[1], &seconds[0], &seconds[1]);
        double before = cpu_seconds();
        run_store(&bench, argv[1], &seconds[2], &seconds[3]);
        cpu += cpu_seconds() - before;
    }
    printf("{\"raw_write\": %.0f, \"raw_read\": %.0f, \"spill\": %.0f, \"unspill\": %.0f, "
           "\"cpu_seconds\": %.3f}\n",
           (double)total / seconds[0], (double)total / seconds[1], (double)total / seconds[2],
           (double)total / seconds[3], cpu / rounds);
    mem_free(bench.waiters);
    buf_unref(bench.bytes);
    return 0;
}
