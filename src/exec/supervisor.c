/* supervisor.c: executors in their places, spares beside them.
 *
 * The rule: every place gets an executor that is READY; spares are started a while after all places
 * have one, so they delay neither the start nor the first tasks. Those that fail to start are tried again,
 * after 1, 2, 4 … seconds.
 *
 * With `forks` one spare, the seed, comes first and gets no place: it forks the others, which share its memory. A seed
 * with births under way is never just dropped: whom it has made by then would be nobody's. */
#include "base/alloc.h"
#include "base/error.h"
#include "exec/executor.h"

#define RETRY_SECONDS_MAX 60.0
#define SPARE_SECONDS 1.0  /* from the last place that was filled to the spares' start */
#define BIRTH_SECONDS 60.0 /* unless options.executor.start_seconds says so */

/* An executor that forks others. */
struct seed {
    struct executor *executor;                /* NULL: there is none */
    struct VEC(struct executor_birth) births; /* asked for, in order, and not yet answered */
    bool is_unfit;                            /* it has said that it cannot */
};

struct supervisor {
    struct io_loop *loop;
    struct supervisor_options options;
    char **strings; /* copies that the options point to; NULL-terminated environment first */
    struct executor **places;              /* executor_count; NULL: empty */
    struct VEC(struct executor *) waiting; /* spares, READY or on their way */
    struct seed seed;                      /* with options.forks */
    struct VEC(
        struct seed) retired; /* of a former environment; here until all births are answered */
    uint64_t birth_count;     /* ever asked for */
    struct io_timer *retry, *spare, *birth;
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

static void report_refusal(struct supervisor *supervisor, struct text *take_why)
{
    struct executor_death death = {.end = EXECUTOR_END_START, .reason = *take_why};
    report_failure(supervisor, &death);
    executor_death_fini(&death);
}

static void start_up_to(struct supervisor *supervisor, uint32_t wanted)
{
    while (supervisor->waiting.count < wanted) {
        struct text why = {0};
        if (start_one(supervisor, &why) != OK) {
            report_refusal(supervisor, &why);
            return;
        }
    }
}

/* No user code runs in it, and what it holds is everybody's: it stays in our cgroup. */
static int start_seed(struct supervisor *supervisor, struct text *why)
{
    struct executor_options options = supervisor->options.executor;
    options.cgroups = NULL;
    return executor_start(supervisor->loop, &options, &supervisor->seed.executor, why);
}

/* Start the seed, or have it fork. */
static void fork_up_to(struct supervisor *supervisor, uint32_t wanted)
{
    struct seed *seed = &supervisor->seed;
    double seconds = supervisor->options.executor.start_seconds;
    struct text why = {0};
    int code = OK;
    if (seed->executor == NULL) {
        code = start_seed(supervisor, &why);
    }
    if (code == OK && (!executor_is_ready(seed->executor) || seed->is_unfit)) {
        return; /* it will say so */
    }
    while (code == OK && supervisor->waiting.count + seed->births.count < wanted) {
        struct executor_birth birth;
        code = executor_ask_birth(seed->executor, ++supervisor->birth_count, &birth, &why);
        if (code == OK) {
            vec_push(&seed->births, birth);
            io_timer_start(supervisor->birth, seconds > 0 ? seconds : BIRTH_SECONDS, 0);
        }
    }
    if (code != OK) {
        report_refusal(supervisor, &why);
    }
}

/* Executors without a place: `wanted` of them, and the seed. */
static void have(struct supervisor *supervisor, uint32_t wanted)
{
    if (supervisor->options.forks) {
        fork_up_to(supervisor, wanted);
    } else {
        start_up_to(supervisor, wanted);
    }
}

/* The seed is a spare. */
static uint32_t spares_wanted(const struct supervisor *supervisor)
{
    return supervisor->options.spare_count - supervisor->options.forks;
}

/* Start what is missing. */
static void start_missing(struct supervisor *supervisor)
{
    uint32_t empty = empty_places(supervisor);
    if (empty > 0) {
        have(supervisor, empty);
    } else {
        io_timer_start(supervisor->spare, SPARE_SECONDS, 0);
    }
}

static void on_spare(void *user)
{
    struct supervisor *supervisor = user;
    if (supervisor->failed_count == 0 && empty_places(supervisor) == 0) {
        have(supervisor, spares_wanted(supervisor));
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
        have(supervisor, empty > 0 ? empty : spares_wanted(supervisor));
    }
}

/* ---- births ---- */

static void close_births(struct seed *seed)
{
    for (uint32_t i = 0; i < seed->births.count; i++) {
        executor_birth_fini(&seed->births.items[i]);
    }
    vec_fini(&seed->births);
}

/* NULL: this executor forks nobody. */
static struct seed *seed_of(struct supervisor *supervisor, const struct executor *executor)
{
    if (supervisor->seed.executor == executor) {
        return &supervisor->seed;
    }
    for (uint32_t i = 0; i < supervisor->retired.count; i++) {
        if (supervisor->retired.items[i].executor == executor) {
            return &supervisor->retired.items[i];
        }
    }
    return NULL;
}

static bool is_ours(const struct supervisor *supervisor, int pid)
{
    for (uint32_t i = 0; i < supervisor->options.executor_count; i++) {
        if (supervisor->places[i] != NULL && executor_process_id(supervisor->places[i]) == pid) {
            return true;
        }
    }
    for (uint32_t i = 0; i < supervisor->waiting.count; i++) {
        if (executor_process_id(supervisor->waiting.items[i]) == pid) {
            return true;
        }
    }
    return false;
}

/* Each executor is started from now on; the seed is one like any other. */
static void give_forking_up(struct supervisor *supervisor)
{
    struct executor *executor = supervisor->seed.executor;
    vec_fini(&supervisor->seed.births);
    supervisor->seed = (struct seed){0};
    supervisor->options.forks = false;
    executor_enclose(executor, supervisor->options.executor.cgroups);
    vec_push(&supervisor->waiting, executor);
    assign(supervisor);
}

/* A seed has forked process `pid`. */
static void take_birth(struct supervisor *supervisor, struct seed *seed,
                       struct executor_birth *birth, int pid)
{
    struct executor *executor;
    struct text why = {0};
    birth->ends.pid = pid;
    int code =
        executor_born(supervisor->loop, &supervisor->options.executor, birth, &executor, &why);
    if (code == OK && seed != &supervisor->seed) {
        executor_destroy(executor); /* its environment is a former one */
    } else if (code == OK) {
        vec_push(&supervisor->waiting, executor);
    } else if (seed == &supervisor->seed) {
        report_refusal(supervisor, &why);
        return;
    }
    text_fini(&why);
}

static void forked(struct supervisor *supervisor, struct seed *seed,
                   const struct executor_message *message)
{
    int pid = message->number > INT32_MAX ? 0 : (int)message->number;
    bool is_current = seed == &supervisor->seed;
    if (seed->births.count == 0 || (pid > 0 && is_ours(supervisor, pid))) {
        executor_kill(seed->executor, EXECUTOR_END_PROTOCOL, "it forked unasked");
        return;
    }
    struct executor_birth birth = seed->births.items[0];
    memmove(seed->births.items, seed->births.items + 1,
            --seed->births.count * sizeof *seed->births.items);
    if (pid > 0) {
        take_birth(supervisor, seed, &birth, pid);
    } else {
        executor_birth_fini(&birth);
        if (is_current && !seed->is_unfit) {
            struct text why = {0};
            text_add(&why, message->text);
            supervisor->options.events->cannot_fork(supervisor->options.user, text_cstr(&why));
            text_fini(&why);
        }
        seed->is_unfit = true;
    }
    if (seed->births.count == 0 && !is_current) {
        executor_kill(seed->executor, EXECUTOR_END_ASKED, "the environment has changed");
    } else if (seed->births.count == 0 && seed->is_unfit && !supervisor->is_closing) {
        give_forking_up(supervisor);
    }
}

/* A seed did not answer. */
static void on_birth(void *user)
{
    struct supervisor *supervisor = user;
    static const char reason[] = "it did not fork in time";
    if (supervisor->seed.births.count > 0) {
        executor_kill(supervisor->seed.executor, EXECUTOR_END_START, reason);
    }
    for (uint32_t i = 0; i < supervisor->retired.count; i++) {
        executor_kill(supervisor->retired.items[i].executor, EXECUTOR_END_START, reason);
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
    struct seed *seed = seed_of(supervisor, executor);
    if (index < supervisor->options.executor_count) {
        supervisor->options.events->message(supervisor->options.user, index, executor, message);
    } else if (seed != NULL && message->op == EXECUTOR_FORKED) {
        forked(supervisor, seed, message);
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
    return supervisor->waiting.count == 0 && supervisor->seed.executor == NULL &&
           supervisor->retired.count == 0 &&
           empty_places(supervisor) == supervisor->options.executor_count;
}

/* A seed has ended, or another executor that had no place. True: that was to be. */
static bool forget_unplaced(struct supervisor *supervisor, const struct executor *executor)
{
    struct seed *seed = seed_of(supervisor, executor);
    if (seed == NULL) {
        forget_waiting(supervisor, executor);
        return false;
    }
    close_births(seed);
    if (seed == &supervisor->seed) {
        supervisor->seed = (struct seed){0};
        return false;
    }
    vec_swap_remove(&supervisor->retired, (uint32_t)(seed - supervisor->retired.items));
    return true;
}

static void on_died(void *user, struct executor *executor, const struct executor_death *death)
{
    struct supervisor *supervisor = user;
    uint32_t index = place_of(supervisor, executor);
    bool had_place = index < supervisor->options.executor_count;
    bool was_meant = false;
    if (had_place) {
        supervisor->places[index] = NULL;
    } else {
        was_meant = forget_unplaced(supervisor, executor);
    }
    if (supervisor->is_closing) {
        if (is_empty(supervisor)) {
            supervisor->closed(supervisor->options.user);
        }
        return;
    }
    if (had_place) {
        supervisor->options.events->died(supervisor->options.user, index, death);
    } else if (!was_meant) {
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
    ASSERT(!options->forks || options->spare_count > 0);
    struct supervisor *supervisor = mem_zalloc(1, sizeof *supervisor);
    supervisor->loop = loop;
    supervisor->options = *options;
    copy_options(supervisor, &options->executor);
    supervisor->options.executor.events = &executor_events;
    supervisor->options.executor.user = supervisor;
    supervisor->places = mem_zalloc(options->executor_count, sizeof *supervisor->places);
    supervisor->retry = io_timer_create(loop, on_retry, supervisor);
    supervisor->spare = io_timer_create(loop, on_spare, supervisor);
    supervisor->birth = io_timer_create(loop, on_birth, supervisor);
    int code = options->forks ? start_seed(supervisor, why) : start_one(supervisor, why);
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

static void destroy_seed(struct seed *seed)
{
    if (seed->executor != NULL) {
        executor_destroy(seed->executor);
    }
    close_births(seed);
}

/* No executor comes of it any more. */
static void retire_seed(struct supervisor *supervisor)
{
    if (supervisor->seed.births.count > 0) {
        vec_push(&supervisor->retired, supervisor->seed);
    } else {
        destroy_seed(&supervisor->seed);
    }
    supervisor->seed = (struct seed){0};
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
    retire_seed(supervisor);
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
    static const char closing[] = "the worker is closing";
    ASSERT(!supervisor->is_closing);
    supervisor->is_closing = true;
    supervisor->closed = closed;
    io_timer_stop(supervisor->retry);
    io_timer_stop(supervisor->spare);
    io_timer_stop(supervisor->birth);
    for (uint32_t i = 0; i < supervisor->options.executor_count; i++) {
        if (supervisor->places[i] != NULL) {
            executor_close(supervisor->places[i], grace);
        }
    }
    for (uint32_t i = 0; i < supervisor->waiting.count; i++) {
        executor_kill(supervisor->waiting.items[i], EXECUTOR_END_ASKED, closing);
    }
    if (supervisor->seed.executor != NULL) {
        executor_kill(supervisor->seed.executor, EXECUTOR_END_ASKED, closing);
    }
    for (uint32_t i = 0; i < supervisor->retired.count; i++) {
        executor_kill(supervisor->retired.items[i].executor, EXECUTOR_END_ASKED, closing);
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
    destroy_seed(&supervisor->seed);
    for (uint32_t i = 0; i < supervisor->retired.count; i++) {
        destroy_seed(&supervisor->retired.items[i]);
    }
    vec_fini(&supervisor->retired);
    io_timer_destroy(supervisor->retry);
    io_timer_destroy(supervisor->spare);
    io_timer_destroy(supervisor->birth);
    mem_free(supervisor->places);
    free_strings(supervisor->strings);
    mem_free(supervisor);
}
