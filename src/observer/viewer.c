/* viewer.c: WebSockets: what waits, and when it goes.
 *
 * A frame is made when the browser can take it, from what is known then; so a slow one gets fewer frames, each of them
 * new, and nothing piles up. */
#include "observer/viewer.h"

#include "base/alloc.h"

#define ANSWERS_MAX 64u
#define WAITING_BYTES_MAX (256u * 1024)
#define STALLED_SECONDS 30

struct viewer *viewer_create(struct observer *observer, struct lws *wsi, enum viewer_kind kind)
{
    struct viewer *viewer = mem_zalloc(1, sizeof *viewer);
    viewer->observer = observer;
    viewer->wsi = wsi;
    viewer->kind = kind;
    vec_push(&observer->viewers, viewer);
    if (kind == VIEWER_EVENTS) {
        observer_drain(observer);
        eventstream_open(viewer);
    }
    return viewer;
}

void viewer_destroy(struct viewer *viewer)
{
    struct observer *observer = viewer->observer;
    for (uint32_t i = 0; i < observer->viewers.count; i++) {
        if (observer->viewers.items[i] == viewer) {
            vec_swap_remove(&observer->viewers, i);
            break;
        }
    }
    vec_fini(&viewer->subscriptions);
    vec_fini(&viewer->sizes);
    text_fini(&viewer->answer);
    mem_free(viewer);
}

bool viewer_say(struct viewer *viewer, struct span text)
{
    static const char room[LWS_PRE];
    if (viewer->answer.size + text.size > WAITING_BYTES_MAX) {
        return false;
    }
    text_add(&viewer->answer, span_of(room, sizeof room));
    text_add(&viewer->answer, text);
    vec_push(&viewer->sizes, (uint32_t)text.size);
    lws_callback_on_writable(viewer->wsi);
    return true;
}

bool viewer_message(struct viewer *viewer, struct span message)
{
    if (viewer->sizes.count >= ANSWERS_MAX && viewer->kind == VIEWER_LIVE) {
        return false; /* it asks and does not listen */
    }
    bool goes_on = viewer->kind == VIEWER_LIVE ? live_message(viewer, message)
                                               : eventstream_message(viewer, message);
    lws_callback_on_writable(viewer->wsi);
    return goes_on;
}

static bool write_message(struct viewer *viewer, char *data, size_t size,
                          enum lws_write_protocol how)
{
    viewer->observer->bytes_sent += size;
    lws_set_timeout(viewer->wsi, PENDING_TIMEOUT_USER_OK, STALLED_SECONDS);
    bool fine = lws_write(viewer->wsi, (unsigned char *)data, size, how) >= 0;
    if (fine && !lws_partial_buffered(viewer->wsi)) {
        lws_set_timeout(viewer->wsi, NO_PENDING_TIMEOUT, 0);
    }
    return fine;
}

/* The oldest text message. */
static bool write_answer(struct viewer *viewer)
{
    uint32_t size = viewer->sizes.items[0];
    if (!write_message(viewer, viewer->answer.data + LWS_PRE, size, LWS_WRITE_TEXT)) {
        return false;
    }
    size_t gone = (size_t)LWS_PRE + size;
    viewer->answer.size -= gone;
    memmove(viewer->answer.data, viewer->answer.data + gone, viewer->answer.size);
    viewer->sizes.count--;
    memmove(viewer->sizes.items, viewer->sizes.items + 1,
            viewer->sizes.count * sizeof *viewer->sizes.items);
    return true;
}

static bool write_frame(struct viewer *viewer)
{
    static const char room[LWS_PRE];
    struct text frame = {0};
    text_add(&frame, span_of(room, sizeof room));
    bool goes_on = true;
    if (live_next(viewer, observer_now(), &frame)) {
        goes_on =
            write_message(viewer, frame.data + LWS_PRE, frame.size - LWS_PRE, LWS_WRITE_BINARY);
        if (live_is_due(viewer, observer_now())) {
            lws_callback_on_writable(viewer->wsi);
        }
    }
    text_fini(&frame);
    return goes_on;
}

bool viewer_writable(struct viewer *viewer)
{
    if (lws_partial_buffered(viewer->wsi)) {
        lws_callback_on_writable(viewer->wsi);
        return true;
    }
    lws_set_timeout(viewer->wsi, NO_PENDING_TIMEOUT, 0);
    if (viewer->sizes.count > 0) {
        bool goes_on = write_answer(viewer);
        lws_callback_on_writable(viewer->wsi);
        return goes_on;
    }
    return viewer->kind != VIEWER_LIVE || write_frame(viewer);
}

void viewers_beat(struct observer *observer)
{
    double now = observer_now();
    for (uint32_t i = 0; i < observer->viewers.count; i++) {
        struct viewer *viewer = observer->viewers.items[i];
        if (viewer->kind == VIEWER_EVENTS && !eventstream_tell(viewer)) {
            lws_set_timeout(viewer->wsi, PENDING_TIMEOUT_CLOSE_SEND, 1); /* it does not read */
        } else if (viewer->kind == VIEWER_LIVE && live_is_due(viewer, now)) {
            lws_callback_on_writable(viewer->wsi);
        }
    }
}
