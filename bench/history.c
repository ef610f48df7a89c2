/* history.c: what history costs: CPU a run of the thread that writes and of the loop, bytes a run, and how long until the first
 * page of the file is there.
 *
 *     build/bench/history [RUNS] [collections|futures]
 *
 * Runs come as 10,000 a second would: a commit each 5,000 of them, made as soon as the one before is done, so CPU time counts and
 * not the clock. Keys are those of collections, ('sum-…', i, j), or those of submit and map, which end in 32 random digits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/prng.h"
#include "observer/history.h"
#include "wire/msgpack.h"

#define RUNS_DEFAULT 10000000u
#define RUNS_A_COMMIT 5000u
#define WORKERS 100u
#define PREFIXES 20u
#define STARTED 1795000000.0
#define MEMORY ((size_t)96 << 20)

struct bench {
    struct tables *tables;
    struct history *history;
    struct prng prng;
    union any_record record;
    bool has_random_keys;
    double now;
};

static double seconds_of(int who)
{
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void *make(struct bench *bench, enum record_kind kind, struct span text)
{
    uint32_t own = record_struct_slots(kind);
    memset(&bench->record, 0, (size_t)own * RECORD_SLOT_BYTES);
    bench->record.head = (struct record_head){
        .kind = (uint8_t)kind,
        .slots = (uint8_t)(own + (text.size + RECORD_SLOT_BYTES - 1) / RECORD_SLOT_BYTES),
        .text_size = (uint32_t)text.size};
    memcpy(bench->record.bytes + (size_t)own * RECORD_SLOT_BYTES, text.data, text.size);
    return &bench->record;
}

static void apply(struct bench *bench)
{
    tables_apply(bench->tables, &bench->record);
    history_take(bench->history, bench->tables, &bench->record);
}

static void tell_cluster(struct bench *bench)
{
    struct text text = {0};
    msgpack_write_map(&text, 1);
    msgpack_write_cstr(&text, "id");
    msgpack_write_cstr(&text, "Scheduler-bench");
    struct record_begin *begin = make(bench, RECORD_BEGIN, text_span(&text));
    begin->started = STARTED;
    apply(bench);
    for (uint32_t id = 1; id <= WORKERS; id++) {
        text_clear(&text);
        msgpack_write_array(&text, 6);
        for (int i = 0; i < 5; i++) {
            msgpack_write_cstr(&text, "tcp://10.0.0.1:40000");
        }
        msgpack_write_map(&text, 0);
        struct record_worker_added *worker = make(bench, RECORD_WORKER_ADDED, text_span(&text));
        worker->worker = id;
        worker->added = STARTED;
        apply(bench);
    }
    for (uint32_t id = 1; id <= PREFIXES; id++) {
        text_clear(&text);
        text_printf(&text, "prefix-%u", id);
        struct record_prefix *prefix = make(bench, RECORD_PREFIX, text_span(&text));
        prefix->id = id;
        apply(bench);
    }
    text_fini(&text);
}

static void write_key(struct bench *bench, uint32_t prefix, uint32_t n, struct text *key)
{
    char name[64];
    if (bench->has_random_keys) {
        snprintf(name, sizeof name, "prefix-%u-%08x%08x%08x%08x", prefix, prng_next(&bench->prng),
                 prng_next(&bench->prng), prng_next(&bench->prng), prng_next(&bench->prng));
        msgpack_write_cstr(key, name);
        return;
    }
    snprintf(name, sizeof name, "prefix-%u-%032x", prefix, prefix * 2654435761u);
    msgpack_write_array(key, 3);
    msgpack_write_cstr(key, name);
    msgpack_write_uint(key, n / PREFIXES / 1000);
    msgpack_write_uint(key, n / PREFIXES % 1000);
}

/* Durations between half and one and a half times the prefix's, ends as they come at 10,000/s. */
static void tell_run(struct bench *bench, uint32_t n)
{
    struct text key = {0};
    uint32_t prefix = 1 + n % PREFIXES;
    write_key(bench, prefix, n, &key);
    double duration = 0.01 * prefix * (0.5 + (double)prng_next(&bench->prng) / 4294967296.0);
    struct record_run *run = make(bench, RECORD_RUN, text_span(&key));
    run->worker = 1 + prng_below(&bench->prng, WORKERS);
    run->prefix = prefix;
    run->stop = STARTED + n * 1e-4 + 1e-5 * prng_below(&bench->prng, 10);
    run->start = run->stop - duration;
    run->thread = prng_below(&bench->prng, 4);
    run->nbytes = 8000;
    run->transfer = prefix % 3 == 0 ? 0.001F * (float)prng_below(&bench->prng, 10) : 0;
    apply(bench);
    text_fini(&key);
}

static void commit(struct bench *bench, uint64_t tail)
{
    bench->now += 0.5;
    while (history_beat(bench->history, bench->tables, tail, bench->now) != tail) {
        struct timespec pause = {.tv_nsec = 200000};
        nanosleep(&pause, NULL);
        bench->now += 1e-3;
    }
}

static void report(const char *what, double value, const char *unit)
{
    printf("%-44s %10.3f %s\n", what, value, unit);
}

static void write_runs(struct bench *bench, const struct history_options *options, uint32_t count)
{
    struct text why = {0};
    uint64_t tail;
    bench->tables = tables_create(MEMORY);
    if (history_create(options, bench->tables, &bench->history, &tail, &why) != OK) {
        fprintf(stderr, "%s\n", text_cstr(&why));
        exit(EXIT_FAILURE);
    }
    tell_cluster(bench);
    double beats = 0;
    for (uint32_t n = 0; n < count; n++) {
        tell_run(bench, n);
        if ((n + 1) % RUNS_A_COMMIT == 0) {
            double before = seconds_of(RUSAGE_THREAD);
            commit(bench, n + 1);
            beats += seconds_of(RUSAGE_THREAD) - before;
        }
    }
    history_destroy(bench->history, bench->tables, count);
    double thread = seconds_of(RUSAGE_SELF) - seconds_of(RUSAGE_THREAD);
    report("writer, of a core at 10,000 runs/s", thread / count * 1e6, "%");
    report("handing over, of a core at 10,000 runs/s", beats / count * 1e6, "%");
    tables_destroy(bench->tables);
    text_fini(&why);
}

static void read_runs(const char *folder, uint32_t count)
{
    struct text path = {0}, why = {0};
    struct timespec begin, end;
    struct stat status;
    struct tables *tables = tables_create(MEMORY);
    if (history_find(folder, "last", &path, &why) != OK || stat(text_cstr(&path), &status) != 0) {
        fprintf(stderr, "%s\n", text_cstr(&why));
        exit(EXIT_FAILURE);
    }
    report("file, of 10 M runs", (double)status.st_size / count * 10, "MB");
    double before = seconds_of(RUSAGE_SELF);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    int code = history_load(text_cstr(&path), tables, &why);
    clock_gettime(CLOCK_MONOTONIC, &end);
    report("until its tables are there",
           (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9, "s");
    report("  CPU", seconds_of(RUSAGE_SELF) - before, "s");
    printf("%llu runs known, the newest %llu in memory%s\n", (unsigned long long)tables->runs.next,
           (unsigned long long)(tables->runs.next - runs_first(&tables->runs)),
           code == OK ? "" : text_cstr(&why));
    tables_destroy(tables);
    unlink(text_cstr(&path));
    text_fini(&path);
    text_fini(&why);
}

int main(int argc, char **argv)
{
    struct bench *bench = calloc(1, sizeof *bench);
    uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : RUNS_DEFAULT;
    char folder[] = "/tmp/cask-bench-history-XXXXXX";
    bench->has_random_keys = argc > 2 && strcmp(argv[2], "futures") == 0;
    bench->now = STARTED;
    prng_init(&bench->prng, 1);
    if (mkdtemp(folder) == NULL) {
        perror(folder);
        return EXIT_FAILURE;
    }
    const struct history_options options = {
        .folder = folder, .cluster_id = "bench", .started = STARTED, .bytes_max = 1e12};
    write_runs(bench, &options, count);
    read_runs(folder, count);
    rmdir(folder);
    free(bench);
    return EXIT_SUCCESS;
}
