/* top_fetch.c: see top_fetch.h. */
#include "cli/top_fetch.h"

#include "base/error.h"

struct fetch {
    struct top_link *link;
    const char *path;
    struct text *body, *why;
    bool is_asked, is_done;
};

static void on_connected(void *user)
{
    struct fetch *fetch = user;
    if (!fetch->is_asked) {
        struct text path = {0};
        fetch->is_asked = true;
        text_printf(&path, "/api/cask/v1/%s", fetch->path);
        top_link_ask(fetch->link, 0, text_cstr(&path), (struct span){0});
        text_fini(&path);
    }
}

static void on_closed(void *user, const char *why)
{
    struct fetch *fetch = user;
    text_printf(fetch->why, "the dashboard: %s", why);
    top_link_stop(fetch->link);
}

static void on_answered(void *user, int tag, int status, struct span body)
{
    struct fetch *fetch = user;
    (void)tag; /* there is one question */
    fetch->is_done = status == 200;
    if (fetch->is_done) {
        text_add(fetch->body, body);
    } else {
        text_printf(fetch->why, "the dashboard answers %d: %.*s", status,
                    (int)(body.size < 300 ? body.size : 300), (const char *)body.data);
    }
    top_link_stop(fetch->link);
}

static void on_frame(void *user, struct span bytes)
{
    (void)user; /* nothing was subscribed to */
    (void)bytes;
}

static void on_readable(void *user, int descriptor)
{
    (void)user; /* nothing is watched */
    (void)descriptor;
}

static void on_tick(void *user)
{
    (void)user; /* the link gives up by itself */
}

int top_fetch(const struct top_place *place, const char *path, struct text *out_body,
              struct text *why)
{
    static const struct top_link_events events = {.connected = on_connected,
                                                  .closed = on_closed,
                                                  .frame = on_frame,
                                                  .answered = on_answered,
                                                  .readable = on_readable,
                                                  .tick = on_tick};
    struct fetch fetch = {.path = path, .body = out_body, .why = why};
    int code = top_link_create(place, &events, &fetch, &fetch.link, why);
    if (code != OK) {
        return code;
    }
    top_link_run(fetch.link);
    top_link_destroy(fetch.link);
    return fetch.is_done ? OK : ERR_IO;
}
