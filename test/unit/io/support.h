/* support.h: what the tests of io share: a loop that stops at a condition, and one end of a stream
 * that remembers everything it was told. */
#ifndef CASK_TEST_UNIT_IO_SUPPORT_H
#define CASK_TEST_UNIT_IO_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/error.h"
#include "io/io.h"

/* ---- running until something holds ---- */

struct wait {
    struct io_loop *loop;
    bool (*holds)(void *user);
    void *user;
};

static inline void wait_turn(void *user)
{
    struct wait *wait = user;
    if (wait->holds(wait->user)) {
        io_loop_stop(wait->loop);
    }
}

static inline void wait_late(void *user)
{
    (void)user;
    fprintf(stderr, "the condition did not come to hold in 60 s\n");
    abort();
}

static inline void run_until(struct io_loop *loop, bool (*holds)(void *user), void *user)
{
    struct wait wait = {loop, holds, user};
    struct io_timer *watchdog = io_timer_create(loop, wait_late, NULL);
    io_timer_start(watchdog, 60, 0);
    io_loop_on_turn(loop, wait_turn, &wait);
    io_loop_run(loop);
    assert_true(holds(user));
    io_loop_on_turn(loop, NULL, NULL);
    io_timer_destroy(watchdog);
}

/* ---- one end of a stream ---- */

struct side {
    struct io_stream *stream;
    struct text received; /* bytes, or the messages one after the other */
    uint64_t received_size;
    uint32_t message_count;
    uint64_t done_count;
    uint32_t pressure_on;
    uint32_t pressure_off;
    bool opened;
    uint32_t closed_count;
    int code;
    char text[512];
    uint8_t space[65536];
    bool discard;                                           /* count only */
    void (*on_bytes)(struct side *side, struct span bytes); /* or NULL */
};

static inline void side_opened(void *user)
{
    struct side *side = user;
    assert_false(side->opened);
    side->opened = true;
}

static inline void side_space(void *user, uint8_t **out_data, size_t *out_size)
{
    struct side *side = user;
    *out_data = side->space;
    *out_size = sizeof side->space;
}

static inline void side_take(struct side *side, struct span bytes)
{
    assert_int_equal(side->closed_count, 0);
    side->received_size += bytes.size;
    if (!side->discard) {
        text_add(&side->received, bytes);
    }
    if (side->on_bytes != NULL) {
        side->on_bytes(side, bytes);
    }
}

static inline void side_read(void *user, size_t size)
{
    struct side *side = user;
    assert_true(size > 0);
    side_take(side, span_of(side->space, size));
}

static inline void side_message(void *user, struct buf *message)
{
    struct side *side = user;
    side->message_count++;
    side_take(side, span_of(message->data, message->size));
    buf_unref(message);
}

static inline void side_pressure(void *user, bool on)
{
    struct side *side = user;
    if (on) {
        side->pressure_on++;
    } else {
        side->pressure_off++;
    }
}

static inline void side_closed(void *user, int code, const char *text)
{
    struct side *side = user;
    side->closed_count++;
    assert_int_equal(side->closed_count, 1);
    side->code = code;
    snprintf(side->text, sizeof side->text, "%s", text);
    side->stream = NULL;
}

static inline void side_done(void *owner)
{
    struct side *side = owner;
    side->done_count++;
}

static const struct io_stream_events side_events = {
    .opened = side_opened,
    .space = side_space,
    .read = side_read,
    .message = side_message,
    .pressure = side_pressure,
    .closed = side_closed,
};

static inline void side_fini(struct side *side)
{
    text_fini(&side->received);
}

static inline void side_write(struct side *side, const char *text)
{
    struct span part = span_of_text(text);
    io_stream_write(side->stream, &part, 1, NULL, NULL);
}

/* Send back whatever comes. */
static inline void side_echo(struct side *side, struct span bytes)
{
    io_stream_write(side->stream, &bytes, 1, NULL, NULL);
}

static inline bool side_is_closed(void *user)
{
    const struct side *side = user;
    return side->closed_count > 0;
}

static inline bool side_is_opened(void *user)
{
    const struct side *side = user;
    return side->opened || side->closed_count > 0;
}

static inline bool side_has_stream(void *user)
{
    const struct side *side = user;
    return side->stream != NULL || side->closed_count > 0;
}

/* ---- a listener that gives its first peer to a side ---- */

struct service {
    struct io_loop *loop;
    struct io_listener *listener;
    struct io_address address;
    struct side side; /* the accepted end */
    uint32_t accepted_count;
    uint32_t refused_count;
    int code;
    char text[512];
};

static inline void service_accepted(void *user, struct io_stream *stream)
{
    struct service *service = user;
    service->accepted_count++;
    if (service->accepted_count > 1) {
        io_stream_abort(stream);
        return;
    }
    service->side.stream = stream;
    io_stream_start(stream, &side_events, &service->side);
}

static inline void service_refused(void *user, int code, const char *text)
{
    struct service *service = user;
    service->refused_count++;
    service->code = code;
    snprintf(service->text, sizeof service->text, "%s", text);
}

static const struct io_listen_events service_events = {
    .accepted = service_accepted,
    .refused = service_refused,
};

static inline void service_open(struct service *service, struct io_loop *loop,
                                enum io_transport transport, const char *host, struct io_tls *tls)
{
    memset(service, 0, sizeof *service);
    service->loop = loop;
    struct io_address wanted = {.transport = transport};
    snprintf(wanted.host, sizeof wanted.host, "%s", host);
    struct text why = {0};
    int code = io_listen(loop, &wanted, tls, &service->listener, &why);
    if (code != OK) {
        fail_msg("%s", text_cstr(&why));
    }
    text_fini(&why);
    service->address = *io_listener_address(service->listener);
    io_listener_start(service->listener, &service_events, service);
}

static inline void service_close(struct service *service)
{
    io_listener_close(service->listener);
    service->listener = NULL;
}

static inline bool service_has_refused(void *user)
{
    const struct service *service = user;
    return service->refused_count > 0;
}

static inline bool service_has_accepted(void *user)
{
    const struct service *service = user;
    return service->accepted_count > 0;
}

#endif
