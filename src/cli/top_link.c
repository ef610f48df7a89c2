/* top_link.c: see top_link.h. */
#include "cli/top_link.h"

#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/vec.h"

#define PAUSE_SECONDS 1
#define ANSWER_SECONDS 30
#define FRAME_BYTES_MAX ((size_t)64 << 20)
#define BODY_BYTES_MAX ((size_t)16 << 20)
#define REQUESTS_MAX 16u

static const char *const subscriptions[] = {
    "{\"sub\": \"summary\", \"id\": 1, \"hz\": 2}",
    "{\"sub\": \"workers\", \"id\": 2, \"hz\": 1}",
    "{\"sub\": \"groups\", \"id\": 3, \"hz\": 1}",
    "{\"sub\": \"failures\", \"id\": 4, \"hz\": 2}",
};

struct request {
    struct top_link *link;
    int tag, status;
    struct text body, answer;
    bool is_post;
};

struct top_link {
    const struct top_place *place;
    const struct top_link_events *events;
    void *user;
    struct lws_context *context;
    struct lws_vhost *vhost;
    struct lws *live; /* NULL: none */
    lws_sorted_usec_list_t again, beat;
    struct text frame;
    struct VEC(struct request *) requests;
    size_t said; /* of the subscriptions */
    bool is_stopped, is_ending;
};

/* ---- where -------------------------------------------------------------------------------------- */

static void set_token(const char *query, struct top_place *place)
{
    const char *token = strstr(query, "token=");
    if (token != NULL && (token == query || token[-1] == '?' || token[-1] == '&')) {
        token += strlen("token=");
        text_clear(&place->token);
        text_add(&place->token, span_of(token, strcspn(token, "&#")));
    }
}

bool top_place_parse(const char *url, struct top_place *out_place)
{
    bool is_tls = strncmp(url, "https://", 8) == 0;
    if (!is_tls && strncmp(url, "http://", 7) != 0) {
        return false;
    }
    url += is_tls ? 8 : 7;
    bool is_quoted = *url == '[';
    size_t host = is_quoted ? strcspn(url, "]") : strcspn(url, ":/?#");
    text_add(&out_place->host, span_of(url + is_quoted, host - is_quoted));
    url += host + (is_quoted && url[host] == ']');
    out_place->is_tls = is_tls;
    out_place->port = is_tls ? 443 : 80;
    if (*url == ':') {
        char *end;
        unsigned long port = strtoul(url + 1, &end, 10);
        if (end == url + 1 || port == 0 || port > UINT16_MAX) {
            return false;
        }
        out_place->port = (int)port;
        url = end;
    }
    struct span path = span_of(url, strcspn(url, "?#"));
    if (path.size >= 7 && memcmp(path.data + path.size - 7, "/status", 7) == 0) {
        path.size -= 7;
    }
    while (path.size > 0 && path.data[path.size - 1] == '/') {
        path.size--;
    }
    text_add(&out_place->prefix, path);
    set_token(url + strcspn(url, "?#"), out_place);
    return out_place->host.size > 0 && (path.size == 0 || path.data[0] == '/');
}

void top_place_fini(struct top_place *place)
{
    text_fini(&place->host);
    text_fini(&place->prefix);
    text_fini(&place->token);
    text_fini(&place->ca);
}

/* ---- connecting --------------------------------------------------------------------------------- */

static struct lws *connect_to(struct top_link *link, const char *path, const char *method,
                              struct request *request)
{
    const struct top_place *place = link->place;
    struct text full = {0}, host = {0};
    text_add(&full, text_span(&place->prefix));
    text_add_cstr(&full, path);
    bool is_six = strchr(text_cstr(&place->host), ':') != NULL;
    text_printf(&host, is_six ? "[%s]:%d" : "%s:%d", text_cstr(&place->host), place->port);
    struct lws_client_connect_info info = {
        .context = link->context,
        .vhost = link->vhost,
        .address = text_cstr(&place->host),
        .port = place->port,
        .path = text_cstr(&full),
        .host = text_cstr(&host),
        .method = method,
        .local_protocol_name = request == NULL ? "live" : "request",
        .ssl_connection = place->is_tls ? LCCSCF_USE_SSL : 0,
        .userdata = request,
    };
    struct lws *wsi = lws_client_connect_via_info(&info);
    text_fini(&full);
    text_fini(&host);
    return wsi;
}

static void try_again(lws_sorted_usec_list_t *timer)
{
    struct top_link *link = lws_container_of(timer, struct top_link, again);
    link->said = 0;
    text_clear(&link->frame);
    link->live = connect_to(link, "/api/cask/v1/live", NULL, NULL);
}

static void lost(struct top_link *link, const char *why)
{
    link->live = NULL;
    if (!link->is_ending) {
        link->events->closed(link->user, why);
        lws_sul_schedule(link->context, 0, &link->again, try_again, PAUSE_SECONDS * LWS_US_PER_SEC);
    }
}

static void beat(lws_sorted_usec_list_t *timer)
{
    struct top_link *link = lws_container_of(timer, struct top_link, beat);
    link->events->tick(link->user);
    lws_sul_schedule(link->context, 0, &link->beat, beat, LWS_US_PER_SEC);
}

/* ---- the library's callbacks -------------------------------------------------------------------- */

struct room {
    unsigned char **at, *end;
};

static int add_header(const struct room *room, const char *name, const char *value)
{
    size_t length = strlen(name) + strlen(value) + 4;
    if (length >= (size_t)(room->end - *room->at)) {
        return -1;
    }
    *room->at += snprintf((char *)*room->at, length + 1, "%s: %s\r\n", name, value);
    return 0;
}

static int add_token(const struct top_link *link, const struct room *room)
{
    struct text value = {0};
    if (link->place->token.size == 0) {
        return 0;
    }
    text_printf(&value, "Bearer %s", text_cstr(&link->place->token));
    int code = add_header(room, "Authorization", text_cstr(&value));
    text_fini(&value);
    return code;
}

static int say(struct top_link *link, struct lws *wsi)
{
    unsigned char space[LWS_PRE + 128];
    if (link->said < sizeof subscriptions / sizeof subscriptions[0]) {
        const char *text = subscriptions[link->said++];
        size_t size = strlen(text);
        memcpy(space + LWS_PRE, text, size);
        if (lws_write(wsi, space + LWS_PRE, size, LWS_WRITE_TEXT) < (int)size) {
            return -1;
        }
        lws_callback_on_writable(wsi);
    }
    return 0;
}

static int take_frame(struct top_link *link, struct lws *wsi, struct span part)
{
    if (link->frame.size + part.size > FRAME_BYTES_MAX) {
        return -1;
    }
    text_add(&link->frame, part);
    if (lws_remaining_packet_payload(wsi) > 0 || !lws_is_final_fragment(wsi)) {
        return 0;
    }
    if (lws_frame_is_binary(wsi)) {
        link->events->frame(link->user, text_span(&link->frame));
    }
    text_clear(&link->frame);
    return 0;
}

static struct top_link *link_of(struct lws *wsi)
{
    return lws_context_user(lws_get_context(wsi));
}

static int on_live(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                   size_t size)
{
    (void)user;
    struct top_link *link = link_of(wsi);
    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        return add_token(link, &(struct room){in, *(unsigned char **)in + size});
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        link->events->connected(link->user);
        lws_callback_on_writable(wsi);
        return 0;
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        return say(link, wsi);
    case LWS_CALLBACK_CLIENT_RECEIVE:
        return take_frame(link, wsi, span_of(in, size));
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        lost(link, in == NULL ? "it cannot be reached" : in);
        return 0;
    case LWS_CALLBACK_CLIENT_CLOSED:
        lost(link, "the dashboard closed the connection");
        return 0;
    default:
        return 0;
    }
}

static void finish(struct request *request, int status, struct span body)
{
    struct top_link *link = request->link;
    for (uint32_t i = 0; i < link->requests.count; i++) {
        if (link->requests.items[i] == request) {
            vec_swap_remove(&link->requests, i);
            break;
        }
    }
    if (!link->is_ending) {
        link->events->answered(link->user, request->tag, status, body);
    }
    text_fini(&request->body);
    text_fini(&request->answer);
    mem_free(request);
}

static int add_headers(struct request *request, struct lws *wsi, const struct room *room)
{
    char length[32];
    int code = add_token(request->link, room);
    if (!request->is_post || code != 0) {
        return code;
    }
    snprintf(length, sizeof length, "%zu", request->body.size);
    lws_client_http_body_pending(wsi, 1);
    bool fine = add_header(room, "Content-Type", "application/json") == 0 &&
                add_header(room, "Content-Length", length) == 0 &&
                add_header(room, "X-Cask-Action", "1") == 0;
    return fine ? 0 : -1;
}

static int write_body(struct request *request, struct lws *wsi)
{
    struct text space = {0};
    static const char room[LWS_PRE];
    text_add(&space, span_of(room, sizeof room));
    text_add(&space, text_span(&request->body));
    int size = (int)request->body.size;
    int written =
        lws_write(wsi, (unsigned char *)space.data + LWS_PRE, (size_t)size, LWS_WRITE_HTTP_FINAL);
    text_fini(&space);
    lws_client_http_body_pending(wsi, 0);
    return written < size ? -1 : 0;
}

static int read_body(struct lws *wsi)
{
    char space[LWS_PRE + 16384], *at = space + LWS_PRE;
    int size = (int)sizeof space - LWS_PRE;
    return lws_http_client_read(wsi, &at, &size) < 0 ? -1 : 0;
}

/* LONG: one case for each event of the library. */
static int on_request(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                      size_t size)
{
    struct request *request = user;
    if (request == NULL) {
        return 0;
    }
    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        return add_headers(request, wsi, &(struct room){in, *(unsigned char **)in + size});
    case LWS_CALLBACK_CLIENT_HTTP_WRITEABLE:
        return request->is_post ? write_body(request, wsi) : 0;
    case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
        request->status = (int)lws_http_client_http_response(wsi);
        lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, ANSWER_SECONDS);
        return 0;
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
        return read_body(wsi);
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
        if (request->answer.size + size > BODY_BYTES_MAX) {
            return -1;
        }
        text_add(&request->answer, span_of(in, size));
        return 0;
    case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
        lws_set_wsi_user(wsi, NULL);
        finish(request, request->status, text_span(&request->answer));
        return -1;
    case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
        lws_set_wsi_user(wsi, NULL);
        finish(request, 0, SPAN("the dashboard closed the connection"));
        return 0;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        lws_set_wsi_user(wsi, NULL);
        finish(request, 0, in == NULL ? SPAN("it cannot be reached") : span_of_text(in));
        return 0;
    default:
        return 0;
    }
}

static int on_readable(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                       size_t size)
{
    (void)user;
    (void)in;
    (void)size;
    struct top_link *link = link_of(wsi);
    if (reason == LWS_CALLBACK_RAW_RX_FILE) {
        link->events->readable(link->user, (int)lws_get_socket_fd(wsi));
        return link->is_stopped ? -1 : 0;
    }
    return 0;
}

/* ---- the link ----------------------------------------------------------------------------------- */

static const struct lws_protocols protocols[] = {
    {.name = "live", .callback = on_live, .rx_buffer_size = 16384},
    {.name = "request", .callback = on_request, .rx_buffer_size = 16384},
    {.name = "readable", .callback = on_readable},
    {0},
};

int top_link_create(const struct top_place *place, const struct top_link_events *events, void *user,
                    struct top_link **out_link, struct text *why)
{
    struct top_link *link = mem_zalloc(1, sizeof *link);
    link->place = place;
    link->events = events;
    link->user = user;
    lws_set_log_level(0, NULL);
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .protocols = protocols,
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                   (place->is_tls ? LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT : 0),
        .user = link,
        .client_ssl_ca_filepath = place->ca.size > 0 ? text_cstr(&place->ca) : NULL,
        .fd_limit_per_thread = 64,
        .timeout_secs = ANSWER_SECONDS,
    };
    link->context = lws_create_context(&info);
    link->vhost = link->context == NULL ? NULL : lws_create_vhost(link->context, &info);
    if (link->vhost == NULL) {
        text_add_cstr(why, "libwebsockets cannot begin: see the CA file");
        top_link_destroy(link);
        return ERR_IO;
    }
    lws_sul_schedule(link->context, 0, &link->again, try_again, 1);
    lws_sul_schedule(link->context, 0, &link->beat, beat, LWS_US_PER_SEC);
    *out_link = link;
    return OK;
}

void top_link_destroy(struct top_link *link)
{
    link->is_ending = true;
    if (link->context != NULL) {
        lws_context_destroy(link->context);
    }
    while (link->requests.count > 0) {
        finish(link->requests.items[0], 0, (struct span){0});
    }
    vec_fini(&link->requests);
    text_fini(&link->frame);
    mem_free(link);
}

bool top_link_watch(struct top_link *link, int descriptor)
{
    lws_sock_file_fd_type fd = {.filefd = descriptor};
    return lws_adopt_descriptor_vhost(link->vhost, LWS_ADOPT_RAW_FILE_DESC, fd, "readable", NULL) !=
           NULL;
}

void top_link_ask(struct top_link *link, int tag, const char *path, struct span body)
{
    if (link->requests.count >= REQUESTS_MAX) {
        link->events->answered(link->user, tag, 0, SPAN("too many questions wait for an answer"));
        return;
    }
    struct request *request = mem_zalloc(1, sizeof *request);
    request->link = link;
    request->tag = tag;
    text_add(&request->body, body);
    request->is_post = body.size > 0;
    vec_push(&link->requests, request);
    /* When it cannot even begin, the library has told on_request, which ended the request. */
    (void)connect_to(link, path, request->is_post ? "POST" : "GET", request);
}

void top_link_run(struct top_link *link)
{
    while (!link->is_stopped && lws_service(link->context, 0) >= 0) {
    }
}

void top_link_stop(struct top_link *link)
{
    link->is_stopped = true;
    lws_cancel_service(link->context);
}
