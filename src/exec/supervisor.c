/* supervisor.c: executors in their places, spares beside them.
 *
 * The rule: every place gets an executor that is READY; spares are started a while after all places
 * have one, so they delay neither the start nor the first tasks. Those that fail to start are tried again,
 * after 1, 2, 4 … seconds. */
#include "base/alloc.h"
#include "base/error.h"
#include "exec/executor.h"

#define RETRY_SECONDS_MAX 60.0
#define SPARE_SECONDS 1.0 /* from the last place that was filled to the spares' start */

struct supervisor {
    struct io_loop *loop;
    struct supervisor_options options;
    char **strings; /* copies that the options point to; NULL-terminated environment first */
    struct executor **places;              /* executor_count; NULL: empty */
    struct VEC(struct executor *) waiting; /* spares, READY or on their way */
    struct io_timer *retry, *spare;
    uint32_t failed_count; /* ended without a place, in a row */
    void (*closed)(void *user);
    bool is_closing;
};

/* ---- options of its own ---- */

static char *copy_string(const char *string)
{
    return string == NULL ? NULL : mem_copy(string, strlen(string) + 1);
}

static void copy_options(struct supervisor *supervisor, const struct executor_options *options)
{
    struct executor_options *own = &supervisor->options.executor;
    size_t count = 0;
    *own = *options;
    while (own->environment != NULL && own->environment[count] != NULL) {
        count++;
    }
    supervisor->strings = mem_zalloc(count + 3, sizeof *supervisor->strings);
    for (size_t i = 0; i < count; i++) {
        supervisor->strings[i] = copy_string(own->environment[i]);
    }
    supervisor->strings[count + 1] = copy_string(own->python);
    supervisor->strings[count + 2] = copy_string(own->directory);
    own->environment = (const char *const *)supervisor->strings;
    own->python = supervisor->strings[count + 1];
    own->directory = supervisor->strings[count + 2];
}

static void free_strings(char **strings)
{
    size_t count = 0;
    while (strings[count] != NULL) {
        mem_free(strings[count++]);
    }
    mem_free(strings[count + 1]);
    mem_free(strings[count + 2]);
    mem_free(strings);
}

/* ---- places ---- */

static uint32_t place_of(const struct supervisor *supervisor, const struct executor *executor)
{
    uint32_t index = 0;
    while (index < supervisor->options.executor_count && supervisor->places[index] != executor) {
        index++;
    }
    return index;
}

static uint32_t empty_places(const struct supervisor *supervisor)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < supervisor->options.executor_count; i++) {
        count += supervisor->places[i] == NULL;
    }
    return count;
}

/* A READY spare, taken out of the list; NULL if there is none. */
static struct executor *take_ready(struct supervisor *supervisor)
{
    for (uint32_t i = 0; i < supervisor->waiting.count; i++) {
        struct executor *executor = supervisor->waiting.items[i];
        if (executor_is_ready(executor) && !executor_is_dying(executor)) {
            vec_swap_remove(&supervisor->waiting, i);
            return executor;
        }
    }
    return NULL;
}

static int start_one(struct supervisor *supervisor, struct text *why)
{
    struct executor *executor;
    int code = executor_start(supervisor->loop, &supervisor->options.executor, &executor, why);
    if (code == OK) {
        vec_push(&supervisor->waiting, executor);
    }
    return code;
}

static void retry_later(struct supervisor *supervisor)
{
    double delay = 1;
    for (uint32_t i = 1; i < supervisor->failed_count && delay < RETRY_SECONDS_MAX; i++) {
        delay *= 2;
    }
    io_timer_start(supervisor->retry, delay < RETRY_SECONDS_MAX ? delay : RETRY_SECONDS_MAX, 0);
}

static void report_failure(struct supervisor *supervisor, const struct executor_death *death)
{
    supervisor->failed_count++;
    retry_later(supervisor);
    supervisor->options.events->start_failed(supervisor->options.user, supervisor->failed_count,
                                             death);
}

static void start_up_to(struct supervisor *supervisor, uint32_t wanted)
{
    while (supervisor->waiting.count < wanted) {
        struct text why = {0};
        if (start_one(supervisor, &why) != OK) {
            struct executor_death death = {.end = EXECUTOR_END_START, .reason = why};
            report_failure(supervisor, &death);
            executor_death_fini(&death);
            return;
        }
    }
}

/* Start what is missing. */
static void start_missing(struct supervisor *supervisor)
{
    uint32_t empty = empty_places(supervisor);
    if (empty > 0) {
        start_up_to(supervisor, empty);
    } else {
        io_timer_start(supervisor->spare, SPARE_SECONDS, 0);
    }
}

static void on_spare(void *user)
{
    struct supervisor *supervisor = user;
    if (supervisor->failed_count == 0 && empty_places(supervisor) == 0) {
        start_up_to(supervisor, supervisor->options.spare_count);
    }
}

static void assign(struct supervisor *supervisor)
{
    for (uint32_t i = 0; i < supervisor->options.executor_count && !supervisor->is_closing; i++) {
        if (supervisor->places[i] != NULL) {
            continue;
        }
        struct executor *executor = take_ready(supervisor);
        if (executor == NULL) {
            break;
        }
        supervisor->places[i] = executor;
        supervisor->options.events->assigned(supervisor->options.user, i, executor);
    }
    if (!supervisor->is_closing && supervisor->failed_count == 0) {
        start_missing(supervisor);
    }
}

static void on_retry(void *user)
{
    struct supervisor *supervisor = user;
    if (!supervisor->is_closing) {
        uint32_t empty = empty_places(supervisor);
        start_up_to(supervisor, empty > 0 ? empty : supervisor->options.spare_count);
    }
}

/* ---- what executors say ---- */

static void on_ready(void *user, struct executor *executor)
{
    (void)executor;
    struct supervisor *supervisor = user;
    supervisor->failed_count = 0;
    assign(supervisor);
}

static void on_message(void *user, struct executor *executor, struct executor_message *message)
{
    struct supervisor *supervisor = user;
    uint32_t index = place_of(supervisor, executor);
    if (index < supervisor->options.executor_count) {
        supervisor->options.events->message(supervisor->options.user, index, executor, message);
    } else {
        executor_kill(executor, EXECUTOR_END_PROTOCOL, "it spoke before it was greeted");
    }
}

static void forget_waiting(struct supervisor *supervisor, const struct executor *executor)
{
    for (uint32_t i = 0; i < supervisor->waiting.count; i++) {
        if (supervisor->waiting.items[i] == executor) {
            vec_swap_remove(&supervisor->waiting, i);
            return;
        }
    }
}

static bool is_empty(const struct supervisor *supervisor)
{
    return supervisor->waiting.count == 0 &&
           empty_places(supervisor) == supervisor->options.executor_count;
}

static void on_died(void *user, struct executor *executor, const struct executor_death *death)
{
    struct supervisor *supervisor = user;
    uint32_t index = place_of(supervisor, executor);
    bool had_place = index < supervisor->options.executor_count;
    if (had_place) {
        supervisor->places[index] = NULL;
    } else {
        forget_waiting(supervisor, executor);
    }
    if (supervisor->is_closing) {
        if (is_empty(supervisor)) {
            supervisor->closed(supervisor->options.user);
        }
        return;
    }
    if (had_place) {
        supervisor->options.events->died(supervisor->options.user, index, death);
    } else {
        report_failure(supervisor, death);
    }
    assign(supervisor);
}

static const struct executor_events executor_events = {
    .message = on_message,
    .ready = on_ready,
    .died = on_died,
};

/* ---- what its owner asks ---- */

int supervisor_create(struct io_loop *loop, const struct supervisor_options *options,
                      struct supervisor **out_supervisor, struct text *why)
{
    ASSERT(options->executor_count > 0);
    struct supervisor *supervisor = mem_zalloc(1, sizeof *supervisor);
    supervisor->loop = loop;
    supervisor->options = *options;
    copy_options(supervisor, &options->executor);
    supervisor->options.executor.events = &executor_events;
    supervisor->options.executor.user = supervisor;
    supervisor->places = mem_zalloc(options->executor_count, sizeof *supervisor->places);
    supervisor->retry = io_timer_create(loop, on_retry, supervisor);
    supervisor->spare = io_timer_create(loop, on_spare, supervisor);
    int code = start_one(supervisor, why);
    if (code != OK) {
        supervisor_destroy(supervisor);
        return code;
    }
    start_missing(supervisor);
    *out_supervisor = supervisor;
    return OK;
}

struct executor *supervisor_at(const struct supervisor *supervisor, uint32_t index)
{
    ASSERT(index < supervisor->options.executor_count);
    return supervisor->places[index];
}

void supervisor_set_environment(struct supervisor *supervisor, const char *const *environment)
{
    char **before = supervisor->strings;
    struct executor_options options = supervisor->options.executor;
    options.environment = environment;
    copy_options(supervisor, &options);
    free_strings(before);
    while (supervisor->waiting.count > 0) {
        executor_destroy(vec_pop(&supervisor->waiting));
    }
    if (!supervisor->is_closing && supervisor->failed_count == 0) {
        start_missing(supervisor);
    }
}

void supervisor_flush(struct supervisor *supervisor)
{
    for (uint32_t i = 0; i < supervisor->options.executor_count; i++) {
        if (supervisor->places[i] != NULL) {
            executor_flush(supervisor->places[i]);
        }
    }
}

static void report_closed(void *user)
{
    struct supervisor *supervisor = user;
    supervisor->closed(supervisor->options.user);
}

void supervisor_close(struct supervisor *supervisor, double grace, void (*closed)(void *user))
{
    ASSERT(!supervisor->is_closing);
    supervisor->is_closing = true;
    supervisor->closed = closed;
    io_timer_stop(supervisor->retry);
    io_timer_stop(supervisor->spare);
    for (uint32_t i = 0; i < supervisor->options.executor_count; i++) {
        if (supervisor->places[i] != NULL) {
            executor_close(supervisor->places[i], grace);
        }
    }
    for (uint32_t i = 0; i < supervisor->waiting.count; i++) {
        executor_kill(supervisor->waiting.items[i], EXECUTOR_END_ASKED, "the worker is closing");
    }
    if (is_empty(supervisor)) {
        /* Not inside this call. The timer is the supervisor's, so destroying it is allowed. */
        io_timer_destroy(supervisor->retry);
        supervisor->retry = io_timer_create(supervisor->loop, report_closed, supervisor);
        io_timer_start(supervisor->retry, 0, 0);
    }
}

void supervisor_destroy(struct supervisor *supervisor)
{
    if (supervisor == NULL) {
        return;
    }
    for (uint32_t i = 0; i < supervisor->options.executor_count; i++) {
        if (supervisor->places[i] != NULL) {
            executor_destroy(supervisor->places[i]);
        }
    }
    for (uint32_t i = 0; i < supervisor->waiting.count; i++) {
        executor_destroy(supervisor->waiting.items[i]);
    }
    vec_fini(&supervisor->waiting);
    io_timer_destroy(supervisor->retry);
    io_timer_destroy(supervisor->spare);
    mem_free(supervisor->places);
    free_strings(supervisor->strings);
    mem_free(supervisor);
}
