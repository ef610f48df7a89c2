/* loop.c: the loop and what needs no socket: turns, posts, pool work, signals, timers, clocks.
 *
 * The turn hook runs in libuv's prepare phase: after the sockets, closings and timers of a turn and
 * just before it sleeps, so everything that happened is flushed once and nothing waits asleep.
 * libuv takes the time to sleep after that phase, so what the hook starts is seen. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sys/random.h>
#include <time.h>

#include "base/alloc.h"
#include "io/internal.h"

#define LONG_TURN_SECONDS 0.005

struct io_timer {
    uv_timer_t handle;
    struct io_loop *loop;
    void (*due)(void *user);
    void *user;
};

struct io_task {
    uv_work_t request;
    void (*work)(void *user);
    void (*done)(void *user);
    void *user;
};

/* ---- how long turns take ---- */

static uint64_t thread_cpu(void)
{
    struct timespec now;
    int code = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    ASSERT(code == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The CPU clock costs a system call, so it is read once in CPU_LOOK of work only: a long turn is read at its
 * end, and what was before it counts at most so much. */
static void measure_turn(struct io_loop *loop)
{
    enum { CPU_LOOK = 200 * 1000 };
    struct io_turns *turns = &loop->turns;
    uint64_t now = uv_hrtime();
    uint64_t slept = uv_metrics_idle_time(&loop->uv);
    uint64_t went_by = now - loop->turn_began;
    uint64_t asleep = slept - loop->turn_slept;
    uint64_t busy = went_by > asleep ? went_by - asleep : 0;
    loop->turn_began = now;
    loop->turn_slept = slept;
    turns->count++;
    turns->busy += (double)busy * 1e-9;
    turns->longest_busy = fmax(turns->longest_busy, (double)busy * 1e-9);
    loop->busy_since += busy;
    if (loop->busy_since >= CPU_LOOK) {
        uint64_t cpu = thread_cpu();
        double spent = fmin((double)(cpu - loop->cpu_before), (double)loop->busy_since) * 1e-9;
        turns->longest_cpu = fmax(turns->longest_cpu, spent);
        turns->long_count += spent > LONG_TURN_SECONDS;
        loop->cpu_before = cpu;
        loop->busy_since = 0;
    }
}

void io_loop_turns(struct io_loop *loop, bool reset, struct io_turns *out_turns)
{
    *out_turns = loop->turns;
    if (reset) {
        loop->turns = (struct io_turns){0};
    }
}

static void on_before_sleep(uv_prepare_t *handle)
{
    struct io_loop *loop = handle->data;
    if (loop->turn != NULL) {
        loop->turn(loop->turn_user);
    }
    measure_turn(loop);
}

static void on_ready_idle(uv_idle_t *handle)
{
    struct io_loop *loop = handle->data;
    struct io_stream *stream = loop->ready;
    loop->ready = NULL;
    uv_idle_stop(handle);
    while (stream != NULL) {
        /* No stream is freed here: that happens in libuv's closing phase. */
        struct io_stream *next = stream->ready_next;
        stream->ready_next = NULL;
        stream->ready = false;
        io_stream_pump(stream);
        stream = next;
    }
}

void io_loop_ready(struct io_loop *loop, struct io_stream *stream)
{
    if (stream->ready) {
        return;
    }
    stream->ready = true;
    stream->ready_next = loop->ready;
    loop->ready = stream;
    uv_idle_start(&loop->ready_idle, on_ready_idle);
}

static struct io_posted *take_posted(struct io_loop *loop)
{
    uv_mutex_lock(&loop->mutex);
    struct io_posted *first = loop->posted_first;
    loop->posted_first = NULL;
    loop->posted_last = NULL;
    uv_mutex_unlock(&loop->mutex);
    return first;
}

/* True if there was something. */
static bool run_posted(struct io_loop *loop)
{
    struct io_posted *posted = take_posted(loop);
    bool any = posted != NULL;
    while (posted != NULL) {
        struct io_posted *next = posted->next;
        posted->function(posted->user);
        mem_free(posted);
        posted = next;
    }
    return any;
}

static void on_wake(uv_async_t *handle)
{
    run_posted(handle->data);
}

void io_post(struct io_loop *loop, void (*function)(void *user), void *user)
{
    ASSERT(function != NULL);
    struct io_posted *posted = mem_alloc(sizeof *posted);
    *posted = (struct io_posted){.function = function, .user = user};
    uv_mutex_lock(&loop->mutex);
    if (loop->posted_last == NULL) {
        loop->posted_first = posted;
    } else {
        loop->posted_last->next = posted;
    }
    loop->posted_last = posted;
    /* Sent under the lock, so that the loop cannot run the function and go before we are done. */
    int code = uv_async_send(&loop->wake);
    uv_mutex_unlock(&loop->mutex);
    ASSERT(code == 0);
}

static void require(int code)
{
    ASSERT(code == 0);
}

struct io_loop *io_loop_create(void)
{
    struct io_loop *loop = mem_zalloc(1, sizeof *loop);
    /* A peer that goes away while we write must cost a connection, not the process. */
    signal(SIGPIPE, SIG_IGN);
    require(uv_loop_init(&loop->uv));
    require(uv_loop_configure(&loop->uv, UV_METRICS_IDLE_TIME));
    require(uv_mutex_init(&loop->mutex));
    require(uv_prepare_init(&loop->uv, &loop->before_sleep));
    require(uv_idle_init(&loop->uv, &loop->ready_idle));
    require(uv_async_init(&loop->uv, &loop->wake, on_wake));
    loop->before_sleep.data = loop;
    loop->ready_idle.data = loop;
    loop->wake.data = loop;
    require(uv_prepare_start(&loop->before_sleep, on_before_sleep));
    uv_unref((uv_handle_t *)&loop->before_sleep);
    uv_unref((uv_handle_t *)&loop->wake);
    return loop;
}

void io_loop_run(struct io_loop *loop)
{
    loop->turn_began = uv_hrtime();
    loop->turn_slept = uv_metrics_idle_time(&loop->uv);
    loop->cpu_before = thread_cpu();
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    /* What happened after the last sleep has not had its turn. A stop in there has no run to stop,
     * and must not stop the next one. */
    loop->ending = true;
    on_before_sleep(&loop->before_sleep);
    loop->ending = false;
}

void io_loop_stop(struct io_loop *loop)
{
    if (!loop->ending) {
        uv_stop(&loop->uv);
    }
}

static void on_signal_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

/* Abort all there is, until nothing is left and nothing more is posted. */
static void drain(struct io_loop *loop)
{
    bool busy = true;
    while (busy) {
        for (struct io_stream *stream = loop->streams; stream != NULL; stream = stream->next) {
            io_stream_abort(stream);
        }
        while (loop->listeners != NULL) {
            io_listener_close(loop->listeners);
        }
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        busy = run_posted(loop) || loop->streams != NULL || loop->listeners != NULL;
    }
}

void io_loop_destroy(struct io_loop *loop)
{
    loop->turn = NULL;
    while (loop->signals != NULL) {
        struct io_signal *watch = loop->signals;
        loop->signals = watch->next;
        int number = watch->handle.signum;
        uv_close((uv_handle_t *)&watch->handle, on_signal_closed);
        signal(number, SIG_IGN); /* who ends already is not killed while it clears away */
    }
    drain(loop);
    uv_close((uv_handle_t *)&loop->before_sleep, NULL);
    uv_close((uv_handle_t *)&loop->ready_idle, NULL);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    require(uv_loop_close(&loop->uv));
    uv_mutex_destroy(&loop->mutex);
    ASSERT(loop->posted_first == NULL);
    while (loop->chunk_count > 0) {
        mem_free(loop->chunks[--loop->chunk_count]);
    }
    mem_free(loop);
}

void io_loop_on_turn(struct io_loop *loop, void (*turn)(void *user), void *user)
{
    loop->turn = turn;
    loop->turn_user = user;
}

uint8_t *io_loop_take_chunk(struct io_loop *loop)
{
    if (loop->chunk_count > 0) {
        return loop->chunks[--loop->chunk_count];
    }
    return mem_alloc(IO_CHUNK_SIZE);
}

void io_loop_give_chunk(struct io_loop *loop, uint8_t *chunk)
{
    ASSERT(chunk != NULL);
    if (loop->chunk_count < IO_CHUNKS_KEPT) {
        loop->chunks[loop->chunk_count++] = chunk;
    } else {
        mem_free(chunk);
    }
}

static double clock_seconds(clockid_t clock)
{
    struct timespec now;
    require(clock_gettime(clock, &now));
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double io_now(void)
{
    return clock_seconds(CLOCK_REALTIME);
}

double io_monotonic(void)
{
    return clock_seconds(CLOCK_MONOTONIC);
}

void io_entropy(void *out_data, size_t size)
{
    uint8_t *data = out_data;
    while (size > 0) {
        ssize_t got = getrandom(data, size, 0);
        ASSERT(got > 0 || errno == EINTR);
        if (got > 0) {
            data += got;
            size -= (size_t)got;
        }
    }
}

static void on_work(uv_work_t *request)
{
    struct io_task *task = request->data;
    task->work(task->user);
}

static void on_worked(uv_work_t *request, int status)
{
    ASSERT(status == 0);
    struct io_task *task = request->data;
    task->done(task->user);
    mem_free(task);
}

void io_work(struct io_loop *loop, void (*work)(void *user), void (*done)(void *user), void *user)
{
    ASSERT(work != NULL);
    ASSERT(done != NULL);
    struct io_task *task = mem_zalloc(1, sizeof *task);
    task->work = work;
    task->done = done;
    task->user = user;
    task->request.data = task;
    require(uv_queue_work(&loop->uv, &task->request, on_work, on_worked));
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct io_signal *watch = handle->data;
    watch->caught(watch->user, number);
}

void io_on_signal(struct io_loop *loop, int signal_number, void (*caught)(void *user, int number),
                  void *user)
{
    ASSERT(caught != NULL);
    struct io_signal *watch = mem_zalloc(1, sizeof *watch);
    watch->caught = caught;
    watch->user = user;
    watch->handle.data = watch;
    require(uv_signal_init(&loop->uv, &watch->handle));
    require(uv_signal_start(&watch->handle, on_signal, signal_number));
    uv_unref((uv_handle_t *)&watch->handle);
    watch->next = loop->signals;
    loop->signals = watch;
}

static uint64_t milliseconds(double seconds)
{
    ASSERT(seconds >= 0);
    /* About 300 years; also keeps infinity out of the conversion. */
    double bounded = seconds < 1e10 ? seconds : 1e10;
    double count = bounded * 1000;
    uint64_t whole = (uint64_t)count;
    return whole + ((double)whole < count);
}

void io_loop_start_timer(uv_timer_t *timer, uv_timer_cb due, double delay, double repeat)
{
    uv_update_time(timer->loop);
    require(uv_timer_start(timer, due, milliseconds(delay), milliseconds(repeat)));
}

static void on_timer(uv_timer_t *handle)
{
    struct io_timer *timer = handle->data;
    timer->due(timer->user);
}

struct io_timer *io_timer_create(struct io_loop *loop, void (*due)(void *user), void *user)
{
    ASSERT(due != NULL);
    struct io_timer *timer = mem_zalloc(1, sizeof *timer);
    timer->loop = loop;
    timer->due = due;
    timer->user = user;
    timer->handle.data = timer;
    require(uv_timer_init(&loop->uv, &timer->handle));
    return timer;
}

void io_timer_start(struct io_timer *timer, double delay, double repeat)
{
    io_loop_start_timer(&timer->handle, on_timer, delay, repeat);
}

void io_timer_stop(struct io_timer *timer)
{
    require(uv_timer_stop(&timer->handle));
}

static void on_timer_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

void io_timer_destroy(struct io_timer *timer)
{
    if (timer == NULL) {
        return;
    }
    uv_close((uv_handle_t *)&timer->handle, on_timer_closed);
}
