/* top_session.c: see top_session.h. The loop is the link's; here is what each of its events means. */
#include "cli/top_session.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/top_draw.h"
#include "cli/top_terminal.h"

#define LANE_COLUMNS 15 /* before the buckets */
#define API "/api/cask/v1/"
/* The second is there after a sample was asked for because we look. */
#define SUMMARIES_WANTED 2u

enum tag { TAG_STREAM, TAG_ACTIONS, TAG_FAILURE, TAG_ACTED, TAG_WHOLE };

/* What --json asks for, in this order. */
static const struct part {
    const char *name, *path;
} parts[] = {
    {"summary", API "summary"},
    {"workers", API "workers?limit=1000"},
    {"groups", API "groups?limit=1000"},
    {"failures", API "failures?limit=1000"},
};

enum { PART_COUNT = sizeof parts / sizeof parts[0] };

struct session {
    const struct top_options *options;
    struct top_link *link;
    struct top_model model;
    struct top_view view;
    struct top_screen screen; /* as the terminal shows it; without cells: unknown */
    struct top_terminal terminal;
    int keys, signals;
    int exit_code;
    double waited; /* seconds, with once */
    bool is_once, is_asking, is_drawing;
    json_t *whole;
};

/* ---- the picture -------------------------------------------------------------------------------- */

static void draw(struct session *session, struct top_screen *screen)
{
    int width, height;
    top_terminal_size(&width, &height);
    top_screen_init(screen, width, height);
    screen->is_ascii = session->options->is_ascii;
    screen->is_coloured = session->options->is_coloured;
    top_draw(&session->model, &session->view, screen);
}

static void show(struct session *session)
{
    struct top_screen screen;
    struct text bytes = {0};
    draw(session, &screen);
    top_screen_paint(&screen, &session->screen, &bytes);
    if (!top_terminal_write(text_span(&bytes))) {
        session->exit_code = EXIT_FAILURE;
        top_link_stop(session->link);
    }
    text_fini(&bytes);
    top_screen_fini(&session->screen);
    session->screen = screen;
}

static void show_if_watched(struct session *session)
{
    if (!session->is_once) {
        show(session);
    }
}

static void end(struct session *session, int exit_code)
{
    session->exit_code = exit_code;
    top_link_stop(session->link);
}

/* ---- asking ------------------------------------------------------------------------------------- */

/* As wide as the screen, of the time that the newest data is of. */
static void ask_stream(struct session *session)
{
    bool is_shown = session->view.page == TOP_STREAM || session->view.page == TOP_OVERVIEW;
    struct text path = {0};
    int width, height;
    if (session->is_asking || !is_shown || !session->model.is_connected ||
        session->model.time <= 0) {
        return;
    }
    top_terminal_size(&width, &height);
    int buckets = width - LANE_COLUMNS < 1 ? 1 : width - LANE_COLUMNS;
    text_printf(&path, API "stream?lanes=worker&buckets=%d&since=%.3f&until=%.3f",
                buckets > TOP_WIDTH_MAX ? TOP_WIDTH_MAX : buckets,
                session->model.time - session->view.window, session->model.time);
    session->is_asking = true;
    top_link_ask(session->link, TAG_STREAM, text_cstr(&path), (struct span){0});
    text_fini(&path);
}

static void add_json_line(struct text *out, const char *name, const json_t *value)
{
    const char *text = json_string_value(value);
    if (text != NULL && *text != '\0') {
        text_printf(out, "%-18s %s\n", name, text);
    }
}

/* What GET failure gives, after what the list knew. */
static void failure_answered(struct session *session, struct span body)
{
    json_t *failure = json_loadb((const char *)body.data, body.size, 0, NULL);
    struct text *detail = &session->model.detail;
    const json_t *keys = json_object_get(failure, "keys");
    add_json_line(detail, "exception", json_object_get(failure, "exception"));
    add_json_line(detail, "cause", json_object_get(failure, "cause"));
    for (size_t i = 0; i < json_array_size(keys); i++) {
        add_json_line(detail, i == 0 ? "keys" : "", json_array_get(keys, i));
    }
    const char *traceback = json_string_value(json_object_get(failure, "traceback"));
    text_printf(detail, "\n%s\n", traceback == NULL ? "(no traceback)" : traceback);
    json_decref(failure);
}

static void open_detail(struct session *session)
{
    const struct top_row *row = top_view_row(&session->view, &session->model);
    struct text path = {0};
    text_clear(&session->model.detail);
    session->view.is_detail = true;
    session->view.detail_first = 0;
    top_draw_detail(&session->view, row, &session->model.detail);
    if (session->view.page == TOP_FAILURES) {
        text_printf(&path, API "failure?id=%.0f", row->numbers[FAILURE_ID]);
        top_link_ask(session->link, TAG_FAILURE, text_cstr(&path), (struct span){0});
    }
    text_fini(&path);
}

/* The action of the page on the selected row. */
static void act(struct session *session)
{
    const struct top_row *row = top_view_row(&session->view, &session->model);
    if (row == NULL) {
        return;
    }
    bool is_worker = session->view.page == TOP_WORKERS;
    json_t *body = is_worker ? json_pack("{s: [s]}", "workers", text_cstr(&row->texts[2]))
                             : json_pack("{s: i}", "failure", (int)row->numbers[FAILURE_ID]);
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    if (text == NULL) { /* an address that is no UTF-8 */
        text_add_cstr(&session->model.notice, "this cannot be named");
    } else {
        top_link_ask(session->link, TAG_ACTED,
                     is_worker ? API "actions/retire" : API "actions/retry", span_of_text(text));
    }
    free(text);
    json_decref(body);
}

static void acted(struct session *session, int status, struct span body)
{
    json_t *answer = json_loadb((const char *)body.data, body.size, 0, NULL);
    const char *error = json_string_value(json_object_get(answer, "error"));
    text_clear(&session->model.notice);
    text_printf(&session->model.notice, status == 200 ? "Done" : "Not done (%d): %s", status,
                error == NULL ? "no answer" : error);
    json_decref(answer);
}

/* ---- --json ------------------------------------------------------------------------------------- */

static void part_answered(struct session *session, int part, int status, struct span body)
{
    json_t *answer = json_loadb((const char *)body.data, body.size, 0, NULL);
    if (status != 200 || answer == NULL) {
        fprintf(stderr, "cask top: %s: status %d\n", parts[part].path, status);
        json_decref(answer);
        end(session, EXIT_FAILURE);
        return;
    }
    const json_t *list = json_object_get(answer, parts[part].name);
    json_object_set(session->whole, parts[part].name,
                    part > 0 && json_is_array(list) ? (json_t *)(uintptr_t)list : answer);
    json_decref(answer);
    if (part + 1 < PART_COUNT) {
        top_link_ask(session->link, TAG_WHOLE + part + 1, parts[part + 1].path, (struct span){0});
    } else {
        int failed = json_dumpf(session->whole, stdout, JSON_INDENT(1));
        putchar('\n');
        end(session, failed != 0 ? EXIT_FAILURE : EXIT_SUCCESS);
    }
}

static void print_once(struct session *session)
{
    struct top_screen screen;
    struct text lines = {0};
    draw(session, &screen);
    top_screen_lines(&screen, &lines);
    fputs(text_cstr(&lines), stdout);
    text_fini(&lines);
    top_screen_fini(&screen);
    end(session, EXIT_SUCCESS);
}

/* ---- events ------------------------------------------------------------------------------------- */

static void on_connected(void *user)
{
    struct session *session = user;
    top_model_connected(&session->model, true, "");
    top_link_ask(session->link, TAG_ACTIONS, API "actions", (struct span){0});
    show_if_watched(session);
}

static void on_closed(void *user, const char *why)
{
    struct session *session = user;
    const struct top_place *place = session->options->place;
    struct text trouble = {0};
    text_printf(&trouble, "%s://%s:%d%s: %s", place->is_tls ? "https" : "http",
                text_cstr(&place->host), place->port, text_cstr(&place->prefix), why);
    top_model_connected(&session->model, false, text_cstr(&trouble));
    if (session->is_once) {
        fprintf(stderr, "cask top: %s\n", text_cstr(&trouble));
        end(session, EXIT_FAILURE);
    } else {
        show(session);
    }
    text_fini(&trouble);
}

static void on_frame(void *user, struct span bytes)
{
    struct session *session = user;
    if (top_model_frame(&session->model, bytes) != OK) {
        text_clear(&session->model.notice);
        text_add_cstr(&session->model.notice, "a malformed frame came: is this an older cask?");
    }
    if (!session->is_once) {
        if (session->model.summaries == 1) {
            ask_stream(session);
        }
        show(session);
    } else if (session->model.summaries == SUMMARIES_WANTED && !session->is_drawing) {
        session->is_drawing = true;
        if (session->options->is_json) {
            top_link_ask(session->link, TAG_WHOLE, parts[0].path, (struct span){0});
        } else {
            ask_stream(session);
        }
    }
}

static void on_answered(void *user, int tag, int status, struct span body)
{
    struct session *session = user;
    if (tag >= TAG_WHOLE) {
        part_answered(session, tag - TAG_WHOLE, status, body);
        return;
    }
    if (tag == TAG_STREAM) {
        session->is_asking = false;
        if (status == 200 && top_model_stream(&session->model, body) == OK && session->is_drawing) {
            print_once(session);
        } else if (session->is_drawing) {
            fprintf(stderr, "cask top: " API "stream: status %d\n", status);
            end(session, EXIT_FAILURE);
        }
    } else if (tag == TAG_ACTIONS) {
        json_t *answer = json_loadb((const char *)body.data, body.size, 0, NULL);
        session->model.can_act = json_is_true(json_object_get(answer, "enabled"));
        json_decref(answer);
    } else if (tag == TAG_FAILURE && status == 200) {
        failure_answered(session, body);
    } else if (tag == TAG_ACTED) {
        acted(session, status, body);
    }
    show_if_watched(session);
}

static void on_tick(void *user)
{
    struct session *session = user;
    session->waited += 1;
    if (!session->is_once) {
        ask_stream(session);
        show(session);
    } else if (session->waited > session->options->timeout) {
        fprintf(stderr, "cask top: no numbers came within %.0f s\n", session->options->timeout);
        end(session, EXIT_FAILURE);
    }
}

static void suspend(struct session *session)
{
    top_terminal_leave(&session->terminal);
    kill(0, SIGTSTP); /* our guard, too; here we wait until somebody continues us */
    top_terminal_enter(&session->terminal);
    top_screen_fini(&session->screen);
}

static void take_keys(struct session *session, struct span bytes)
{
    while (bytes.size > 0) {
        switch (top_view_key(&session->view, &session->model, &bytes)) {
        case TOP_DO_QUIT:
            end(session, EXIT_SUCCESS);
            return;
        case TOP_DO_SUSPEND:
            suspend(session);
            break;
        case TOP_DO_OPEN:
            open_detail(session);
            break;
        case TOP_DO_ACT:
            act(session);
            break;
        case TOP_DO_DRAW:
        case TOP_DO_NOTHING:
            break;
        }
    }
    ask_stream(session);
    show(session);
}

static void on_readable(void *user, int descriptor)
{
    struct session *session = user;
    struct signalfd_siginfo signal;
    uint8_t few[256];
    if (descriptor == session->keys) {
        ssize_t size = read(descriptor, few, sizeof few);
        if (size > 0) {
            take_keys(session, span_of(few, (size_t)size));
        } else if (size == 0) { /* the terminal is gone */
            end(session, EXIT_FAILURE);
        }
    } else if (read(descriptor, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        if (signal.ssi_signo == SIGWINCH) {
            show(session);
        } else {
            end(session, 128 + (int)signal.ssi_signo);
        }
    }
}

/* ---- runs --------------------------------------------------------------------------------------- */

static const struct top_link_events events = {
    .connected = on_connected,
    .closed = on_closed,
    .frame = on_frame,
    .answered = on_answered,
    .readable = on_readable,
    .tick = on_tick,
};

static int session_init(struct session *session, const struct top_options *options)
{
    struct text why = {0};
    *session = (struct session){.options = options, .keys = -1, .signals = -1};
    session->exit_code = EXIT_FAILURE;
    top_view_init(&session->view);
    text_add_cstr(&session->model.address, options->address);
    int code = top_link_create(options->place, &events, session, &session->link, &why);
    if (code != OK) {
        fprintf(stderr, "cask top: %s\n", text_cstr(&why));
    }
    text_fini(&why);
    return code;
}

static int session_fini(struct session *session)
{
    if (session->link != NULL) {
        top_link_destroy(session->link);
    }
    top_screen_fini(&session->screen);
    top_view_fini(&session->view);
    top_model_fini(&session->model);
    json_decref(session->whole);
    return session->exit_code;
}

int top_session_once(const struct top_options *options)
{
    struct session session;
    if (session_init(&session, options) == OK) {
        session.is_once = true;
        session.whole = json_object();
        top_link_run(session.link);
    }
    return session_fini(&session);
}

static int watch(struct session *session)
{
    session->keys = top_terminal_keys();
    session->signals = top_terminal_signals();
    if (session->keys < 0 || session->signals < 0 ||
        !top_link_watch(session->link, session->keys) ||
        !top_link_watch(session->link, session->signals)) {
        perror("cask top: the terminal");
        return EXIT_FAILURE;
    }
    top_terminal_enter(&session->terminal);
    show(session);
    top_link_run(session->link);
    top_terminal_leave(&session->terminal);
    return session->exit_code;
}

int top_session_watch(const struct top_options *options)
{
    struct session session;
    struct top_terminal terminal;
    int exit_code = top_terminal_guard(&terminal);
    if (exit_code >= 0) {
        return exit_code;
    }
    if (session_init(&session, options) == OK) {
        session.terminal = terminal;
        session.exit_code = watch(&session);
    }
    return session_fini(&session);
}
