/* History: what the tables had is what comes back from the file, whoever ended when; and that no file can do harm. */
#include "observer/history.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/prng.h"
#include "observer/activities.h"
#include "observer/history_chunk.h"
#include "observer/history_internal.h"
#include "unit/observer/make_record.h"
#include "wire/msgpack.h"

#define STARTED 1795000000.5
#define MEMORY ((size_t)16 << 20)

/* A cluster that is kept in a folder of its own. */
struct story {
    char folder[64];
    struct history_options options;
    struct tables *tables;
    struct history *history;
    union any_record record;
    uint64_t tail; /* records so far: stands for the ring's */
    double now;
};

/* With the story's tables, which the file fills if there is one. */
static void keep(struct story *story, uint64_t expected_tail)
{
    struct text why = {0};
    uint64_t tail;
    int code = history_create(&story->options, story->tables, &story->history, &tail, &why);
    assert_string_equal(text_cstr(&why), "");
    assert_int_equal(code, OK);
    assert_int_equal(tail, expected_tail);
}

static struct story *begin(void)
{
    struct story *story = calloc(1, sizeof *story);
    strcpy(story->folder, "/tmp/cask-history-XXXXXX");
    assert_non_null(mkdtemp(story->folder));
    story->options = (struct history_options){.folder = story->folder,
                                              .cluster_id = "Scheduler-1",
                                              .started = STARTED,
                                              .bytes_max = 1e12};
    story->now = STARTED;
    story->tables = tables_create(MEMORY);
    return story;
}

static void path_of(const struct story *story, struct text *out)
{
    history_path(&story->options, out);
}

static void end(struct story *story)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", story->folder);
    assert_int_equal(system(command), 0);
    tables_destroy(story->tables);
    free(story);
}

static void *make(struct story *story, enum record_kind kind, struct span text)
{
    return make_record(&story->record, kind, text);
}

static void apply(struct story *story)
{
    tables_apply(story->tables, &story->record);
    if (story->history != NULL) {
        history_take(story->history, story->tables, &story->record);
    }
    story->tail++;
}

static void tell_begin(struct story *story)
{
    struct text text = {0};
    msgpack_write_map(&text, 1);
    msgpack_write_cstr(&text, "id");
    msgpack_write_cstr(&text, story->options.cluster_id);
    struct record_begin *record = make(story, RECORD_BEGIN, text_span(&text));
    record->time = STARTED;
    record->started = story->options.started;
    record->pid = 4711;
    apply(story);
    text_fini(&text);
}

static void tell_worker(struct story *story, uint32_t id, const char *address)
{
    struct text text = {0};
    msgpack_write_array(&text, 6);
    msgpack_write_cstr(&text, address);
    for (int i = 0; i < 4; i++) {
        msgpack_write_cstr(&text, "x");
    }
    msgpack_write_map(&text, 0);
    struct record_worker_added *record = make(story, RECORD_WORKER_ADDED, text_span(&text));
    record->worker = id;
    record->nthreads = 2;
    record->added = STARTED;
    apply(story);
    text_fini(&text);
}

static void tell_names(struct story *story)
{
    struct record_prefix *prefix = make(story, RECORD_PREFIX, SPAN("inc"));
    prefix->id = 1;
    apply(story);
    struct record_group *group = make(story, RECORD_GROUP, SPAN("inc-layer"));
    group->id = 9;
    group->prefix = 1;
    apply(story);
    group = make(story, RECORD_GROUP, SPAN("sum-layer"));
    group->id = 10;
    apply(story);
    struct record_edge *edge = make(story, RECORD_EDGE, SPAN(""));
    edge->group = 10;
    edge->dependency = 9;
    apply(story);
}

static void tell_runs(struct story *story, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct text key = {0};
        msgpack_write_array(&key, 2);
        msgpack_write_cstr(&key, "inc-layer");
        msgpack_write_uint(&key, story->tables->runs.next);
        struct record_run *record = make(story, RECORD_RUN, text_span(&key));
        record->head.flags = i % 100 == 99 ? RUN_ERRED : 0;
        record->worker = 1 + i % 2;
        record->prefix = 1;
        record->group = 9;
        record->start = STARTED + 0.001 * (double)story->tables->runs.next;
        record->stop = record->start + 0.25;
        record->thread = 77 + i % 3;
        record->transfer = 0.125F;
        record->nbytes = i % 7 == 0 ? -1 : (int64_t)i * 1000;
        apply(story);
        text_fini(&key);
    }
}

static void tell_failure(struct story *story, const char *exception)
{
    static const char traceback[] = "  File \"/h/a.py\", line 3, in f\n";
    uint32_t id = story->tables->texts_gone + story->tables->texts.count;
    struct record_text *text = make(story, RECORD_TEXT, span_of_text(exception));
    text->id = id + 1;
    apply(story);
    text = make(story, RECORD_TEXT, span_of(traceback, sizeof traceback - 1));
    text->id = id + 2;
    apply(story);
    struct record_failure *record = make(story, RECORD_FAILURE, SPAN("\xa5inc-1"));
    record->time = STARTED + 5;
    record->worker = 1;
    record->prefix = 1;
    record->exception = id + 1;
    record->traceback = id + 2;
    apply(story);
}

static void tell_others(struct story *story)
{
    struct record_log *log = make(story, RECORD_LOG, SPAN("logger\0a line"));
    log->time = STARTED + 1;
    log->level = 30;
    apply(story);
    struct record_event *event = make(story, RECORD_EVENT,
                                      SPAN("\xa3"
                                           "all\x01"));
    event->time = STARTED + 2;
    apply(story);
    struct record_graph *graph = make(story, RECORD_GRAPH, SPAN("fine"));
    graph->time = STARTED + 3;
    graph->tasks = 12;
    apply(story);
    struct record_transfer *transfer = make(story, RECORD_TRANSFER, SPAN(""));
    transfer->worker = 2;
    transfer->source = 1;
    transfer->start = STARTED;
    transfer->stop = STARTED + 0.5;
    apply(story);
    make(story, RECORD_ACTIVITIES,
         SPAN("\x94\xa7"
              "execute\xa3inc\xaathread-cpu\xa7seconds\x02"));
    apply(story);
    struct record_totals *totals = make(story, RECORD_TOTALS, SPAN(""));
    totals->time = STARTED + 4;
    totals->workers = 2;
    totals->tasks[3] = 8;
    apply(story);
}

/* Until everything is in the file. */
static void commit(struct story *story)
{
    uint64_t kept = 0;
    for (int i = 0; i < 10000 && kept != story->tail; i++) {
        story->now += 1;
        kept = history_beat(story->history, story->tables, story->tail, story->now);
        usleep(1000);
    }
    assert_int_equal(kept, story->tail);
}

static void finish(struct story *story)
{
    history_destroy(story->history, story->tables, story->tail);
    story->history = NULL;
}

static void assert_same_runs(const struct runs *a, const struct runs *b)
{
    assert_int_equal(a->next, b->next);
    assert_int_equal(runs_first(a), runs_first(b));
    for (uint64_t n = runs_first(a); n < a->next; n++) {
        struct run one, other;
        assert_true(runs_at(a, n, &one) && runs_at(b, n, &other));
        assert_true(span_equal(one.key, other.key));
        assert_true(one.start - other.start < 1e-6 && other.start - one.start < 1e-6);
        assert_true(one.duration == other.duration && one.transfer == other.transfer);
        assert_int_equal(one.worker, other.worker);
        assert_int_equal(one.prefix, other.prefix);
        assert_int_equal(one.group, other.group);
        assert_int_equal(one.lane, other.lane);
        assert_int_equal(one.is_erred, other.is_erred);
        assert_int_equal(one.nbytes, other.nbytes);
    }
}

static void assert_same(const struct tables *a, const struct tables *b)
{
    assert_string_equal(text_cstr(&a->cluster_id), text_cstr(&b->cluster_id));
    assert_true(a->started == b->started && a->time == b->time);
    assert_int_equal(a->pid, b->pid);
    const struct worker_row *worker = tables_worker(a, 1), *like = tables_worker(b, 1);
    assert_string_equal(text_cstr(&worker->address), text_cstr(&like->address));
    assert_int_equal(worker->runs, like->runs);
    assert_true(worker->busy == like->busy);
    assert_int_equal(worker->threads.count, like->threads.count);
    const struct prefix_row *prefix = tables_prefix(a, 1), *same = tables_prefix(b, 1);
    assert_string_equal(text_cstr(&prefix->name), text_cstr(&same->name));
    assert_int_equal(prefix->runs, same->runs);
    assert_int_equal(prefix->failures, same->failures);
    assert_memory_equal(&prefix->stats, &same->stats, sizeof prefix->stats);
    assert_memory_equal(&tables_group(a, 9)->stats, &tables_group(b, 9)->stats,
                        sizeof(struct stats));
    assert_int_equal(tables_group(b, 10)->dependencies.items[0], 9);
    assert_int_equal(a->failures.count, b->failures.count);
    assert_int_equal(a->failures_seen, b->failures_seen);
    assert_string_equal(text_cstr(&a->failures.items[0]->message),
                        text_cstr(&b->failures.items[0]->message));
    assert_string_equal(text_cstr(&a->failures.items[0]->keys[0]),
                        text_cstr(&b->failures.items[0]->keys[0]));
    assert_int_equal(a->logs.next, b->logs.next);
    assert_string_equal(text_cstr(&lines_at(&b->logs, 0)->text), "a line");
    assert_int_equal(lines_at(&b->graphs, 0)->tasks, 12);
    assert_string_equal(text_cstr(&lines_at(&b->events, 0)->text), "1");
    assert_int_equal(b->transfers.items[0].count, 1);
    assert_int_equal(b->activities.count, 1);
    assert_string_equal(text_cstr(&b->activities.items[0]->activity), "thread-cpu");
    assert_true(b->activities.items[0]->total == 2);
    assert_int_equal(a->totals.tasks[3], b->totals.tasks[3]);
    const struct second_row *second = tables_second(b, (uint64_t)STARTED + 4);
    assert_non_null(second);
    assert_int_equal(second->queued, 8);
    assert_int_equal(tables_second(a, (uint64_t)STARTED + 1)->runs,
                     tables_second(b, (uint64_t)STARTED + 1)->runs);
    assert_same_runs(&a->runs, &b->runs);
}

static void tell_all(struct story *story)
{
    tell_begin(story);
    tell_worker(story, 1, "tcp://a:1");
    tell_worker(story, 2, "tcp://a:2");
    tell_names(story);
    tell_runs(story, 5000);
    tell_failure(story, "ValueError('x')");
    tell_others(story);
}

/* A life that ended in good order, seen again. */
static void test_whole_life(void **state)
{
    (void)state;
    struct story *story = begin();
    struct text path = {0}, why = {0};
    struct stat status;
    keep(story, 0);
    tell_all(story);
    commit(story);
    tell_runs(story, 4000);
    struct record_end *record = make(story, RECORD_END, SPAN("scheduler-close"));
    record->time = STARTED + 60;
    apply(story);
    finish(story);
    path_of(story, &path);
    assert_int_equal(stat(text_cstr(&path), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    struct tables *again = tables_create(MEMORY);
    assert_int_equal(history_load(text_cstr(&path), again, &why), OK);
    assert_same(story->tables, again);
    assert_int_equal(again->state, CLUSTER_ENDED);
    assert_string_equal(text_cstr(&again->reason), "scheduler-close");
    tables_destroy(again);
    text_fini(&path);
    text_fini(&why);
    end(story);
}

/* An observer sees everything, and is killed before it wrote the last of it. */
static void live_and_be_killed(struct story *story)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        keep(story, 0);
        tell_all(story);
        commit(story);
        tell_runs(story, 10);
        tell_failure(story, "KeyError('lost?')");
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void start_anew(struct story *story)
{
    tables_destroy(story->tables);
    story->tables = tables_create(MEMORY);
    story->tail = 0;
}

/* The next observer of the same scheduler reads the ring from where the file ends, and goes on. */
static void test_observer_killed(void **state)
{
    (void)state;
    struct story *story = begin();
    struct text path = {0}, why = {0};
    tell_all(story); /* only to count */
    uint64_t committed = story->tail;
    start_anew(story);
    live_and_be_killed(story);
    keep(story, committed);
    assert_int_equal(story->tables->runs.next, 5000);
    tell_runs(story, 10);
    tell_failure(story, "KeyError('lost?')");
    tell_begin(story);
    assert_int_equal(story->tables->runs.next, 5010);
    assert_true(tables_worker(story->tables, 1)->removed > 0);
    tell_worker(story, 1, "tcp://a:1");
    assert_true(tables_worker(story->tables, 1)->removed == 0);
    assert_int_equal(tables_worker(story->tables, 1)->runs, 2505);
    finish(story);
    struct tables *again = tables_create(MEMORY);
    path_of(story, &path);
    assert_int_equal(history_load(text_cstr(&path), again, &why), OK);
    assert_same(story->tables, again);
    assert_int_equal(again->failures_seen, 2);
    assert_int_equal(again->state, CLUSTER_DIED); /* nobody said how it ended */
    tables_destroy(again);
    text_fini(&path);
    text_fini(&why);
    end(story);
}

static int64_t ask(const char *path, const char *sql)
{
    sqlite3 *file;
    struct text why = {0};
    assert_int_equal(history_file_read(path, &file, &why), OK);
    sqlite3_stmt *row = history_select(file, sql);
    assert_non_null(row);
    assert_int_equal(sqlite3_step(row), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(row, 0);
    sqlite3_finalize(row);
    sqlite3_close(file);
    return value;
}

/* Runs are kept whole, however they came: in pieces that one commit each makes, or many chunks at once. */
static void test_pieces(void **state)
{
    (void)state;
    struct story *story = begin();
    struct text path = {0};
    keep(story, 0);
    path_of(story, &path);
    tell_begin(story);
    tell_worker(story, 1, "tcp://a:1");
    static const uint32_t sizes[] = {1, 4094, 1, 5, 8187, 4096, 20000, 3};
    int64_t whole = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        tell_runs(story, sizes[i]);
        commit(story);
        whole += sizes[i];
        assert_int_equal(ask(text_cstr(&path), "SELECT sum(count) FROM run_chunks"), whole);
    }
    assert_int_equal(ask(text_cstr(&path), "SELECT count(*) FROM run_chunks WHERE count = 4096"),
                     whole / RUNS_CHUNK);
    finish(story);
    text_fini(&path);
    end(story);
}

/* Nothing happens: nothing is written. Samples alone, as pages ask for them, do not count. */
static void test_idle(void **state)
{
    (void)state;
    struct story *story = begin();
    struct text path = {0};
    keep(story, 0);
    path_of(story, &path);
    tell_all(story);
    commit(story);
    commit(story);
    struct stat before, after;
    struct text log = {0};
    text_printf(&log, "%s-wal", text_cstr(&path));
    story->now += 60;
    assert_int_equal(stat(text_cstr(&log), &before), 0);
    for (int i = 0; i < 100; i++) {
        struct record_totals *totals = make(story, RECORD_TOTALS, SPAN(""));
        totals->time = STARTED + 100 + i;
        apply(story);
        story->now += 0.5;
        uint64_t kept = history_beat(story->history, story->tables, story->tail, story->now);
        assert_int_equal(kept, story->tail);
    }
    assert_int_equal(stat(text_cstr(&log), &after), 0);
    assert_true(before.st_size == after.st_size && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    finish(story);
    text_fini(&log);
    text_fini(&path);
    end(story);
}

/* A disk that takes nothing: nobody waits, the rest goes on, and what is still there is written when it is over. */
static void test_full_disk(void **state)
{
    (void)state;
    struct story *story = begin();
    struct text path = {0};
    keep(story, 0);
    path_of(story, &path);
    tell_all(story);
    commit(story);
    sqlite3 *other;
    struct text why = {0};
    assert_int_equal(history_file_write(text_cstr(&path), &other, &why), OK);
    assert_int_equal(history_run(other, "BEGIN IMMEDIATE", &why), OK); /* so no other can write */
    tell_runs(story, 100);
    bool is_full = false;
    for (int i = 0; i < 10000 && !is_full; i++) {
        story->now += 1;
        uint64_t kept = history_beat(story->history, story->tables, story->tail, story->now);
        assert_int_not_equal(kept, story->tail);
        is_full = history_state(story->history, story->now).is_full;
        usleep(1000);
    }
    assert_true(is_full);
    tell_runs(story, 100);
    assert_int_equal(history_run(other, "COMMIT", &why), OK);
    sqlite3_close(other);
    commit(story);
    assert_int_equal(ask(text_cstr(&path), "SELECT sum(count) FROM run_chunks"), 5200);
    assert_int_equal(history_state(story->history, story->now).missed, 0);
    finish(story);
    text_fini(&path);
    text_fini(&why);
    end(story);
}

/* More lines than the tables keep: the newest come back from the file under their numbers, and others go on from there. */
static void test_many_lines(void **state)
{
    (void)state;
    struct story *story = begin();
    struct text path = {0}, why = {0};
    keep(story, 0);
    tell_begin(story);
    for (int i = 0; i < 13000; i++) {
        struct record_event *event = make(story, RECORD_EVENT,
                                          SPAN("\xa3"
                                               "all\x01"));
        event->time = STARTED + i;
        apply(story);
        if (i % 4000 == 0) {
            commit(story);
        }
    }
    finish(story);
    path_of(story, &path);
    struct tables *again = tables_create(MEMORY);
    assert_int_equal(history_load(text_cstr(&path), again, &why), OK);
    assert_int_equal(again->events.next, 13000);
    assert_int_equal(lines_first(&again->events), 8000);
    for (uint64_t n = 8000; n < 13000; n++) {
        assert_int_equal(lines_at(&again->events, n)->n, n);
        assert_true(lines_at(&again->events, n)->time == STARTED + (double)n);
    }
    tables_apply(again, &story->record);
    assert_int_equal(lines_at(&again->events, 13000)->n, 13000);
    assert_null(lines_at(&again->events, 8000));
    tables_destroy(again);
    text_fini(&path);
    text_fini(&why);
    end(story);
}

/* A file of before there were activities is read as it is, and gets their table when it is written to again. */
static void test_older_version(void **state)
{
    (void)state;
    struct story *story = begin();
    struct text path = {0}, why = {0};
    keep(story, 0);
    tell_all(story);
    finish(story);
    path_of(story, &path);
    sqlite3 *file;
    assert_int_equal(history_file_write(text_cstr(&path), &file, &why), OK);
    assert_int_equal(history_run(file,
                                 "DROP TABLE activities; DROP TABLE failed_inputs; DROP TABLE "
                                 "failed_values; PRAGMA user_version = 1",
                                 &why),
                     OK);
    history_file_close(file);
    struct tables *again = tables_create(MEMORY);
    assert_int_equal(history_load(text_cstr(&path), again, &why), OK);
    assert_int_equal(again->runs.next, story->tables->runs.next);
    assert_int_equal(again->activities.count, 0);
    tables_destroy(again);
    assert_int_equal(history_file_write(text_cstr(&path), &file, &why), OK);
    assert_int_equal(history_version(file), HISTORY_VERSION);
    assert_int_equal(history_run(file, "SELECT * FROM activities", &why), OK);
    history_file_close(file);
    text_fini(&path);
    text_fini(&why);
    end(story);
}

/* What a newer cask wrote, and what is no history at all, is refused with a reason. */
static void test_other_files(void **state)
{
    (void)state;
    struct story *story = begin();
    struct text path = {0}, why = {0};
    keep(story, 0);
    tell_all(story);
    finish(story);
    path_of(story, &path);
    sqlite3 *file;
    assert_int_equal(history_file_write(text_cstr(&path), &file, &why), OK);
    assert_int_equal(history_run(file, "PRAGMA user_version = 99", &why), OK);
    history_file_close(file);
    assert_int_equal(history_load(text_cstr(&path), story->tables, &why), ERR_UNSUPPORTED);
    assert_non_null(strstr(text_cstr(&why), "newer"));
    assert_int_equal(history_file_write(text_cstr(&path), &file, &why), ERR_UNSUPPORTED);
    FILE *other = fopen(text_cstr(&path), "w");
    fputs("not a database, but long enough to look like one: 0123456789 0123456789 0123456789 "
          "0123456789",
          other);
    fclose(other);
    assert_int_not_equal(history_load(text_cstr(&path), story->tables, &why), OK);
    text_fini(&path);
    text_fini(&why);
    end(story);
}

/* Chunks are columns with lengths: any bytes are refused or read, within their bounds. */
static void test_damaged_chunks(void **state)
{
    (void)state;
    struct story *story = begin();
    tell_begin(story);
    tell_runs(story, 300);
    struct runs_chunk *read = calloc(1, sizeof *read);
    struct prng prng;
    enum chunk_codec codec;
    prng_init(&prng, 7);
    for (int packs = 0; packs < 2; packs++) {
        struct text whole = {0};
        chunk_encode(story->tables->runs.chunks.items[0], 0, packs == 1, &whole, &codec);
        assert_int_equal(codec, packs == 1 ? CHUNK_ZSTD : CHUNK_RAW);
        struct chunk_row row = {.codec = codec, .count = 300, .data = text_span(&whole)};
        assert_int_equal(chunk_decode(&row, read), OK);
        row.count = RUNS_CHUNK + 1;
        assert_int_equal(chunk_decode(&row, read), ERR_CORRUPT);
        row.count = 300;
        for (int i = 0; i < 3000; i++) {
            size_t at = prng_below(&prng, (uint32_t)whole.size);
            char was = whole.data[at];
            whole.data[at] = (char)prng_next(&prng);
            row.data.size = prng_below(&prng, 4) == 0 ? at : whole.size;
            (void)!chunk_decode(&row, read); /* whatever it says, it stays within */
            whole.data[at] = was;
        }
        text_fini(&whole);
    }
    text_fini(&read->keys);
    free(read);
    end(story);
}

/* Too much in the folder: the oldest lose their runs first, then go; what somebody writes to stays. */
static void test_tidy(void **state)
{
    (void)state;
    struct story *story = begin();
    struct text why = {0}, path = {0};
    struct history_tidied tidied;
    char id[32];
    for (int i = 0; i < 3; i++) {
        start_anew(story);
        snprintf(id, sizeof id, "S-%d", i);
        story->options.cluster_id = id;
        story->options.started = STARTED + i;
        keep(story, 0);
        tell_all(story);
        tell_runs(story, 50000);
        finish(story);
    }
    start_anew(story);
    story->options.cluster_id = "open";
    story->options.started = STARTED - 1000; /* the oldest, but it is written to */
    keep(story, 0);
    tell_all(story);
    commit(story);
    assert_int_equal(history_tidy(&story->options, false, &tidied, &why), OK);
    assert_int_equal(tidied.stripped, 0);
    assert_int_equal(tidied.bytes_before, tidied.bytes_after);
    story->options.bytes_max = (double)tidied.bytes_before - 1000;
    assert_int_equal(history_tidy(&story->options, true, &tidied, &why), OK);
    assert_int_equal(tidied.stripped, 1);
    assert_int_equal(history_tidy(&story->options, false, &tidied, &why), OK);
    assert_int_equal(tidied.stripped, 1);
    assert_int_equal(tidied.removed, 0);
    struct tables *again = tables_create(MEMORY);
    assert_int_equal(history_find(story->folder, "20261118", &path, &why), ERR_NOT_FOUND);
    text_clear(&why);
    struct history_entries entries;
    assert_int_equal(history_list(story->folder, NULL, UINT32_MAX, &entries, &why), OK);
    assert_int_equal(entries.count, 4);
    assert_string_equal(text_cstr(&entries.items[0].id), "S-2");
    assert_true(entries.items[3].is_open);
    const char *oldest = text_cstr(&entries.items[2].path);
    assert_int_equal(history_load(oldest, again, &why), OK);
    assert_int_equal(again->runs.next, 0);
    assert_int_equal(again->failures_seen, 1); /* kept longest */
    assert_int_equal(tables_prefix(again, 1)->runs, 55000);
    history_entries_fini(&entries);
    tables_destroy(again);
    story->options.bytes_max = 0;
    assert_int_equal(history_tidy(&story->options, false, &tidied, &why), OK);
    assert_int_equal(tidied.removed, 3);
    assert_int_equal(history_list(story->folder, NULL, UINT32_MAX, &entries, &why), OK);
    assert_int_equal(entries.count, 1);
    history_entries_fini(&entries);
    finish(story);
    text_fini(&path);
    text_fini(&why);
    end(story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_life),     cmocka_unit_test(test_observer_killed),
        cmocka_unit_test(test_pieces),         cmocka_unit_test(test_idle),
        cmocka_unit_test(test_full_disk),      cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_damaged_chunks), cmocka_unit_test(test_tidy),
        cmocka_unit_test(test_older_version),  cmocka_unit_test(test_many_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
