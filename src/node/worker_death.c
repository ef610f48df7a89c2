/* worker_death.c: what the death of an executor means for the tasks that were in it.
 *
 * Whose doing it was gets the blame: the task whose thread got the signal; if nobody knows, all that ran. Who is
 * blamed is tried again, as often as Dask tries a task whose worker dies (allowed-failures), then it fails with
 * KilledWorker, which has every attempt's certificate. cask's scheduler counts (task-died), as the next attempt may
 * be elsewhere; stock's would not know of it, so then the attempts are made and counted here. All others run again,
 * without blame. */
#include <unistd.h>

#include "base/log.h"
#include "node/killed_worker.h"
#include "node/worker_run.h"
#include "wire/pickle_make.h"

#define LOGGER "distributed.worker"
#define CERTIFICATE_MAX 16384u /* bytes that travel */
#define ATTEMPTS_TOLD_MAX 20u  /* … of each of so many */
#define OUTPUT_TOLD_MAX 2048u  /* bytes of what a task printed last */
#define DEATHS_MAX 10000u      /* keys; then the oldest are forgotten */

/* The deaths with one key. */
struct deaths {
    uint32_t count;
    bool
        is_of_exports; /* its value was being serialised: it counts on when the task has run again */
    struct text told;
};

static uint32_t allowed_failures(const struct worker_node *worker)
{
    int64_t allowed = config_int(worker->config, "distributed.scheduler.allowed-failures", 3);
    return allowed < 0 ? 0 : (uint32_t)(allowed < UINT32_MAX ? allowed : UINT32_MAX);
}

static void deaths_free(struct deaths *deaths)
{
    text_fini(&deaths->told);
    mem_free(deaths);
}

/* Those of the key, or NULL. */
static struct deaths *deaths_of(const struct worker_node *worker, struct span key)
{
    const struct map_entry *entry =
        worker->deaths.count == 0 ? NULL : map_find(&worker->deaths, key);
    return entry == NULL ? NULL : entry->value.pointer;
}

static void forget(struct worker_node *worker, struct span key)
{
    deaths_free(deaths_of(worker, key));
    map_remove(&worker->deaths, key);
}

void worker_deaths_clear(struct worker_node *worker)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&worker->deaths, &cursor)) != NULL;) {
        deaths_free(entry->value.pointer);
    }
    map_fini(&worker->deaths);
}

void worker_death_forget(struct worker_node *worker, const struct object *object)
{
    const struct deaths *deaths = deaths_of(worker, object->key);
    if (deaths != NULL && !deaths->is_of_exports) {
        forget(worker, object->key);
    }
}

void worker_death_exported(struct worker_node *worker, const struct object *object)
{
    const struct deaths *deaths = deaths_of(worker, object->key);
    if (deaths != NULL && deaths->is_of_exports) {
        forget(worker, object->key);
    }
}

static struct deaths *count_death(struct worker_node *worker, struct span key,
                                  const struct text *certificate)
{
    bool is_new;
    uint32_t cursor = 0;
    struct map_entry *entry = map_put(&worker->deaths, key, &is_new);
    if (is_new) {
        entry->value.pointer = mem_zalloc(1, sizeof(struct deaths));
    }
    struct deaths *deaths = entry->value.pointer;
    if (worker->deaths.count > DEATHS_MAX) {
        forget(worker, map_next(&worker->deaths, &cursor)->name);
    }
    if (++deaths->count <= ATTEMPTS_TOLD_MAX) {
        text_add_cstr(&deaths->told, deaths->count == 1 ? "" : "\n");
        text_add(&deaths->told, text_span(&worker->server.address));
        text_add_cstr(&deaths->told, " (name: ");
        key_repr(&deaths->told, slice_span(worker->name));
        text_add_cstr(&deaths->told, "), ");
        text_add_utc(&deaths->told, io_now() + worker->link.delay);
        text_add_cstr(&deaths->told, ": ");
        text_add(&deaths->told, text_span(certificate));
    }
    return deaths;
}

/* ---- certificates ------------------------------------------------------------------------------ */

static void name_task(void *user, uint64_t handle, struct text *out)
{
    const struct worker_node *worker = user;
    const struct object *object = object_find(&worker->objects, handle);
    if (object != NULL) {
        key_repr(out, object->key);
    } else {
        text_add_cstr(out, "that is not known any more");
    }
}

void worker_death_print(struct worker_node *worker, const struct executor_death *death,
                        struct text *out)
{
    executor_death_print(death, name_task, worker, out);
}

/* ---- blame ------------------------------------------------------------------------------------- */

static const struct executor_victim *victim_of(const struct executor_death *death, uint64_t handle)
{
    for (uint32_t i = 0; i < death->victims.count; i++) {
        if (death->victims.items[i].handle == handle) {
            return &death->victims.items[i];
        }
    }
    return NULL;
}

static bool has_culprit(const struct executor_death *death)
{
    for (uint32_t i = 0; i < death->victims.count; i++) {
        if (death->victims.items[i].is_culprit) {
            return true;
        }
    }
    return false;
}

static bool is_guilty(const struct executor_death *death, const struct executor_victim *victim)
{
    if (victim == NULL || death->end == EXECUTOR_END_ASKED || death->end == EXECUTOR_END_CANCEL ||
        death->end == EXECUTOR_END_TIMEOUT) {
        return false; /* it had not begun, or we ended it for another's sake */
    }
    if (has_culprit(death)) {
        return victim->is_culprit;
    }
    /* A signal in the loop's thread, where no coroutine ran: a plugin's, an actor's, client.run's. */
    return death->fault_signal == 0 || death->fault_thread != (uint32_t)death->pid;
}

/* What those printed who may have done it. */
static void add_output(struct worker_node *worker, const struct executor_death *death,
                       struct text *out)
{
    for (uint32_t i = 0; i < death->victims.count; i++) {
        const struct executor_victim *victim = &death->victims.items[i];
        const struct object *object = object_find(&worker->objects, victim->handle);
        if (object != NULL && object->run != NULL && object->run->output.size > 0 &&
            is_guilty(death, victim)) {
            text_add_cstr(out, "last output of task ");
            key_repr(out, object->key);
            text_add_cstr(out, ":\n");
            text_add(out, worker_output_end(&object->run->output, OUTPUT_TOLD_MAX));
            text_add_char(out, '\n');
        }
    }
}

/* As it travels: lines after the first are indented, the end is cut off. */
static void write_certificate(struct worker_node *worker, const struct executor_death *death,
                              struct text *out)
{
    struct text whole = {0};
    worker_death_print(worker, death, &whole);
    add_output(worker, death, &whole);
    size_t size = whole.size < CERTIFICATE_MAX ? whole.size : CERTIFICATE_MAX;
    for (size_t i = 0; i < size; i++) {
        bool is_last = i + 1 == whole.size;
        if (whole.data[i] != '\n') {
            text_add_char(out, whole.data[i]);
        } else if (!is_last) {
            text_add_cstr(out, "\n    ");
        }
    }
    text_add_cstr(out, size < whole.size ? " …" : "");
    text_fini(&whole);
}

/* It has had too many deaths, which are forgotten: who wants it again begins anew. */
static void fail_killed(struct worker_node *worker, struct object *object, struct blob *about)
{
    struct deaths *deaths = deaths_of(worker, object->key);
    map_remove(&worker->deaths, object->key);
    struct text pickle = {0}, shown = {0};
    const struct killed_worker killed = {
        .key = object->key,
        .worker = {.address = text_span(&worker->server.address),
                   .name = slice_span(worker->name),
                   .nanny = text_span(&worker->nanny.address),
                   .server_id = text_span(&worker->id),
                   .pid = (uint32_t)getpid(),
                   .nthreads = worker->options.nthreads},
        .allowed_failures = allowed_failures(worker),
        .attempt_count = deaths->count,
        .attempts = text_span(&deaths->told),
        .has_crashes = true,
    };
    killed_worker_write(&killed, &pickle, &shown);
    struct executor_error error = {.exception = text_span(&pickle),
                                   .exception_text = text_span(&shown),
                                   .traceback_text = SPAN("")};
    worker_run_fail(worker, object, &error, about);
    text_fini(&pickle);
    text_fini(&shown);
    deaths_free(deaths);
}

bool worker_death_forbids(struct worker_node *worker, struct object *object)
{
    const struct deaths *deaths = deaths_of(worker, object->key);
    if (deaths == NULL || !deaths->is_of_exports || deaths->count <= allowed_failures(worker)) {
        return false;
    }
    fail_killed(worker, object, NULL);
    return true;
}

/* What a run that died cost, as far as that is known. */
static struct executor_message message_of(const struct executor_death *death,
                                          const struct executor_victim *victim)
{
    return (struct executor_message){.ledger = {.start = victim->start,
                                                .stop = io_now(),
                                                .thread = victim->thread,
                                                .rss_peak = death->rss_peak}};
}

/* Once more, in this worker, if its inputs are still here. The core need not know. */
static void try_again(struct worker_node *worker, struct object *object)
{
    struct worker_run *run = object->run;
    if (run->is_seceded) {
        worker_run_stopped(worker, object);
        return;
    }
    worker->seats.items[run->seat].running--;
    run->state = RUN_WAITS;
    run->seat = SEAT_NONE;
    run->limit = LIMIT_NONE;
}

/* The end of a run by the end of its executor. */
struct dying {
    const struct executor_death *death;
    const struct executor_victim *victim; /* NULL: it was not on the board any more */
    const struct text *certificate;
};

static void blame(struct worker_node *worker, struct object *object, const struct dying *dying)
{
    struct executor_message ended = message_of(dying->death, dying->victim);
    worker_record(worker, object->key, object->run, "died", &ended.ledger);
    if (worker->link.counts_deaths) {
        const struct worker_crash crash = {object->run->run_id, text_span(dying->certificate)};
        worker->crash = &crash;
        worker_run_stopped(worker, object);
        worker->crash = NULL;
    } else if (count_death(worker, object->key, dying->certificate)->count <=
               allowed_failures(worker)) {
        try_again(worker, object);
    } else {
        struct blob *about = worker_about(worker, &ended, NULL, 0);
        fail_killed(worker, object, about);
        blob_unref(about);
    }
}

/* It was over its time, and did not stop when it was told to. */
static void time_out(struct worker_node *worker, struct object *object, const struct dying *dying)
{
    const struct executor_victim unknown = {.start = io_now()};
    struct executor_message ended =
        message_of(dying->death, dying->victim == NULL ? &unknown : dying->victim);
    struct text said = {0}, utf8 = {0}, pickle = {0}, repr = {0};
    text_printf(&said, "the task ran for longer than its timeout of %g s, and did not stop: ",
                object->run->timeout);
    text_add(&said, text_span(dying->certificate));
    msgpack_add_utf8(&utf8, text_span(&said));
    pickle_make_exception(&pickle, "builtins", "TimeoutError", text_span(&utf8));
    text_add_cstr(&repr, "TimeoutError(");
    key_repr_text(&repr, text_span(&utf8));
    text_add_char(&repr, ')');
    struct executor_error error = {.exception = text_span(&pickle),
                                   .exception_text = text_span(&repr),
                                   .traceback_text = SPAN("")};
    struct blob *about = worker_about(worker, &ended, NULL, 0);
    worker_record(worker, object->key, object->run, "timed out", &ended.ledger);
    worker_run_fail(worker, object, &error, about);
    blob_unref(about);
    text_fini(&said);
    text_fini(&utf8);
    text_fini(&pickle);
    text_fini(&repr);
}

/* ---- the end of all that it had ---------------------------------------------------------------- */

/* Values that could not be serialised without a crash: they will be made again, but not for ever. */
static void blame_exports(struct worker_node *worker, const struct executor_death *death,
                          const struct text *certificate)
{
    for (uint32_t i = 0; i < death->victims.count; i++) {
        const struct executor_victim *victim = &death->victims.items[i];
        const struct object *object = object_find(&worker->objects, victim->handle);
        if (victim->is_export && object != NULL && is_guilty(death, victim)) {
            count_death(worker, object->key, certificate)->is_of_exports = true;
        }
    }
}

struct died_runs VEC(uint64_t);

/* The runs that were in it. Those that had not been sent find another seat. */
static void collect_runs(struct worker_node *worker, uint32_t seat, struct died_runs *out)
{
    for (uint32_t i = 0; i < worker->runs.count; i++) {
        struct worker_run *run = object_find(&worker->objects, worker->runs.items[i])->run;
        if (run->seat == seat && run->state == RUN_FETCHES) {
            run->state = RUN_WAITS;
            run->seat = SEAT_NONE;
            worker_run_let_inputs_go(worker, run);
        } else if (run->seat == seat) {
            vec_push(out, worker->runs.items[i]);
        }
    }
}

/* End those of `runs` that have themselves to blame; what is left ran beside them. */
static void end_guilty(struct worker_node *worker, const struct executor_death *death,
                       const struct text *certificate, struct died_runs *runs)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < runs->count; i++) {
        struct object *object = object_find(&worker->objects, runs->items[i]);
        struct dying dying = {death, victim_of(death, object->handle), certificate};
        bool is_ours = death->end == EXECUTOR_END_TIMEOUT || death->end == EXECUTOR_END_CANCEL;
        object->known = 0;
        if (is_ours && object->run->limit == LIMIT_TIMED_OUT) {
            time_out(worker, object, &dying);
        } else if (object->run->state == RUN_SENT && is_guilty(death, dying.victim)) {
            blame(worker, object, &dying);
        } else {
            runs->items[left++] = object->handle;
        }
    }
    runs->count = left;
}

/* The guilty first: the scheduler takes a task for one that does not run here any more when it hears that an input
 * is lost, and would pass over what is said of its end. */
void worker_runs_died(struct worker_node *worker, uint32_t seat, const struct executor_death *death)
{
    struct text certificate = {0};
    struct died_runs runs = {0};
    write_certificate(worker, death, &certificate);
    collect_runs(worker, seat, &runs);
    blame_exports(worker, death, &certificate);
    end_guilty(worker, death, &certificate, &runs);
    struct worker_event event = worker_event_of(WORKER_EVENT_DATA_LOST);
    event.of.data_lost.keys = objects_seat_died(worker, seat);
    event.stimulus = worker_stimulus(worker, "executor-died");
    if (event.of.data_lost.keys.count > 0) {
        log_warning(LOGGER, "%u values were lost with an executor", event.of.data_lost.keys.count);
        worker_apply(worker, &event);
    }
    for (uint32_t i = 0; i < runs.count; i++) {
        struct object *object = object_find(&worker->objects, runs.items[i]);
        if (object != NULL && object->run != NULL) {
            worker_run_stopped(worker, object);
        }
    }
    vec_fini(&runs);
    text_fini(&certificate);
}
