/* server.c: libwebsockets: connections, requests, WebSockets, TLS; and the rules about who may speak.
 *
 * The listening socket is the scheduler's, so connections are accepted here and handed to the library. Each has a
 * `session`: an exchange while a request is open, a viewer once it is a WebSocket. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "observer/assets.h"
#include "observer/pack.h"
#include "observer/process.h"
#include "observer/proxy.h"

#define LOGGER "distributed.scheduler"
#define CONNECTIONS_MAX 2048u
#define ACCEPTS_MAX 64
#define HEADER_BYTES_MAX 8192
#define BODY_BYTES_MAX 65536u
#define REQUEST_SECONDS 15
#define KEEP_SECONDS 5
#define ANSWER_SECONDS 40
#define PIECE_BYTES 16384u
#define MESSAGE_BYTES_MAX 4096u
#define COOKIE "cask-token="

struct session {
    struct exchange *exchange;
    struct viewer *viewer;
    struct text message; /* of a WebSocket, as far as it came */
    bool is_counted;
};

static struct observer *observer_of(struct lws *wsi)
{
    return lws_context_user(lws_get_context(wsi));
}

/* ---- who may ------------------------------------------------------------------------------------ */

static bool header(struct lws *wsi, enum lws_token_indexes token, struct text *out)
{
    int size = lws_hdr_total_length(wsi, token);
    text_clear(out);
    if (size <= 0 || size > HEADER_BYTES_MAX) {
        return false;
    }
    char *space = mem_alloc((size_t)size + 1);
    int copied = lws_hdr_copy(wsi, space, size + 1, token);
    if (copied > 0) {
        text_add(out, span_of(space, (size_t)copied));
    }
    mem_free(space);
    return copied > 0;
}

/* In time that does not depend on where they differ. */
static bool same_secret(struct span a, struct span b)
{
    uint8_t difference = a.size != b.size;
    for (size_t i = 0; i < b.size; i++) {
        difference |= (uint8_t)(b.data[i] ^ (i < a.size ? a.data[i] : 0));
    }
    return difference == 0;
}

static struct span after(const struct text *text, const char *begin)
{
    const char *found = strstr(text_cstr(text), begin);
    if (found == NULL) {
        return (struct span){0};
    }
    found += strlen(begin);
    return span_of(found, strcspn(found, ";, \t"));
}

/* By header, by cookie, or as an argument; then a cookie is wanted. */
static bool has_token(struct lws *wsi, const struct observer *observer, bool *out_by_argument)
{
    struct span token = text_span(&observer->settings.token);
    struct text value = {0};
    char argument[512];
    *out_by_argument = false;
    if (token.size == 0) {
        return true;
    }
    bool fine = header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, &value) &&
                same_secret(after(&value, "Bearer "), token);
    fine = fine || (header(wsi, WSI_TOKEN_HTTP_COOKIE, &value) &&
                    same_secret(after(&value, COOKIE), token));
    if (!fine && lws_get_urlarg_by_name(wsi, "token=", argument, sizeof argument) != NULL) {
        const char *given = strncmp(argument, "token=", 6) == 0 ? argument + 6 : argument;
        fine = same_secret(span_of_text(given), token);
        *out_by_argument = fine;
    }
    text_fini(&value);
    return fine;
}

/* Host of "https://host:port". */
static struct span origin_host(const struct text *origin)
{
    const char *text = text_cstr(origin), *scheme = strstr(text, "://");
    return span_of_text(scheme == NULL ? text : scheme + 3);
}

/* A browser says from which site a page comes that opens a WebSocket. */
static bool is_origin_allowed(struct lws *wsi, const struct observer *observer)
{
    struct text origin = {0}, host = {0};
    const struct settings *settings = &observer->settings;
    bool has_origin = header(wsi, WSI_TOKEN_ORIGIN, &origin);
    bool has_host = header(wsi, WSI_TOKEN_HOST, &host);
    struct span from = origin_host(&origin);
    bool allowed = !has_origin || (settings->origins.count == 0 && settings->token.size == 0) ||
                   (has_host && span_equal(from, text_span(&host)));
    for (uint32_t i = 0; i < settings->origins.count && !allowed; i++) {
        struct span rule = text_span(&settings->origins.items[i]);
        bool is_any = span_equal_text(rule, "*") && settings->token.size == 0;
        allowed = is_any || span_equal(rule, from) || span_equal(rule, text_span(&origin));
    }
    text_fini(&origin);
    text_fini(&host);
    return allowed;
}

/* ---- requests ----------------------------------------------------------------------------------- */

/* Its connection is gone, or done with it. */
static void exchange_let_go(struct exchange *exchange)
{
    exchange->wsi = NULL;
    if (!exchange->is_waiting) {
        exchange_free(exchange);
    }
}

/* Below the prefix; false: it is not. "/" itself is redirected from outside, as stock does. */
static bool set_path(struct exchange *exchange, struct span path)
{
    struct span prefix = text_span(&exchange->observer->settings.prefix);
    if (prefix.size > 0 && !span_equal_text(path, "/")) {
        if (path.size < prefix.size || memcmp(path.data, prefix.data, prefix.size) != 0 ||
            (path.size > prefix.size && path.data[prefix.size] != '/')) {
            return false;
        }
        path = span_of(path.data + prefix.size, path.size - prefix.size);
    }
    struct observer *observer = run_of_path(exchange->observer, path, &path);
    if (observer == NULL) {
        return false;
    }
    exchange->observer = observer;
    observer->uses++;
    text_add(&exchange->path, path);
    if (path.size == 0) {
        text_add_char(&exchange->path, '/');
    }
    return true;
}

static bool wants_html(struct lws *wsi)
{
    struct text accepted = {0};
    bool wants = header(wsi, WSI_TOKEN_HTTP_ACCEPT, &accepted) &&
                 strstr(text_cstr(&accepted), "text/html") != NULL;
    text_fini(&accepted);
    return wants;
}

static bool takes_gzip(struct lws *wsi)
{
    static const char refused[] = "gzip;q=0"; /* not so gzip;q=0.5 */
    struct text accepted = {0};
    const char *found = header(wsi, WSI_TOKEN_HTTP_ACCEPT_ENCODING, &accepted)
                            ? strstr(text_cstr(&accepted), "gzip")
                            : NULL;
    bool takes = found != NULL && (strncmp(found, refused, sizeof refused - 1) != 0 ||
                                   found[sizeof refused - 1] == '.');
    text_fini(&accepted);
    return takes;
}

/* NAME_json=…: what cannot stand in an address as it is. */
static void add_argument(struct exchange *exchange, struct span given)
{
    static const char mark[] = "_json=";
    struct text *argument = &exchange->arguments[exchange->argument_count++];
    const uint8_t *end = memchr(given.data, '=', given.size);
    size_t size = end == NULL ? 0 : (size_t)(end - given.data) + 1;
    if (size < sizeof mark ||
        memcmp(given.data + size - (sizeof mark - 1), mark, sizeof mark - 1) != 0) {
        text_add(argument, given);
        return;
    }
    json_t *value =
        json_loadb((const char *)given.data + size, given.size - size, JSON_DECODE_ANY, NULL);
    text_add(argument, span_of(given.data, size - (sizeof mark - 1)));
    text_add_char(argument, '=');
    text_add_cstr(argument, json_is_string(value) ? json_string_value(value) : "");
    json_decref(value);
}

static void read_arguments(struct exchange *exchange, struct lws *wsi)
{
    char few[2048];
    for (int i = 0; i < EXCHANGE_ARGUMENTS_MAX; i++) {
        int size = lws_hdr_copy_fragment(wsi, few, sizeof few, WSI_TOKEN_HTTP_URI_ARGS, i);
        if (size <= 0) {
            return;
        }
        add_argument(exchange, span_of(few, (size_t)size));
    }
}

/* libwebsockets ends an address at a line break that is decoded from it, and with it loses the version behind. */
static bool is_cut_off(struct lws *wsi)
{
    return lws_hdr_total_length(wsi, WSI_TOKEN_HTTP) == 0;
}

/* What speaks for it that a person, and not another site's page in a person's browser, wants this. */
static void read_sender(struct exchange *exchange, struct lws *wsi)
{
    static const char name[] = "x-cask-action:";
    struct text type = {0};
    exchange->is_own_origin = is_origin_allowed(wsi, exchange->observer);
    exchange->has_action_header = lws_hdr_custom_length(wsi, name, sizeof name - 1) > 0;
    exchange->has_json = header(wsi, WSI_TOKEN_HTTP_CONTENT_TYPE, &type) &&
                         strncmp(text_cstr(&type), "application/json", 16) == 0;
    lws_get_peer_simple(wsi, exchange->peer, sizeof exchange->peer);
    text_fini(&type);
}

static int begin_request(struct lws *wsi, struct session *session, struct span path)
{
    struct observer *observer = observer_of(wsi);
    struct exchange *exchange = mem_zalloc(1, sizeof *exchange);
    if (session->exchange != NULL) {
        exchange_let_go(session->exchange);
    }
    session->exchange = exchange;
    exchange->observer = observer;
    exchange->wsi = wsi;
    bool is_post = lws_hdr_total_length(wsi, WSI_TOKEN_POST_URI) > 0;
    bool is_get = lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) > 0;
    bool is_head = lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) > 0;
    exchange->method = is_post ? METHOD_POST : is_head ? METHOD_HEAD : METHOD_GET;
    exchange->accepts_html = wants_html(wsi);
    exchange->accepts_gzip = takes_gzip(wsi);
    read_arguments(exchange, wsi);
    if (is_post) {
        read_sender(exchange, wsi);
    }
    bool is_below = set_path(exchange, path);
    bool is_probe = strcmp(text_cstr(&exchange->path), "/health") == 0;
    lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, ANSWER_SECONDS);
    if (!is_below) {
        text_add(&exchange->path, path);
        exchange_fail(exchange, 404, "there is nothing at this path");
    } else if (is_cut_off(wsi)) {
        exchange_fail(exchange, 400, "an address has no line breaks; say NAME_json=\"…\\n…\"");
    } else if (!is_post && !is_get && !is_head) {
        exchange_fail(exchange, 405, "this method is not for here");
    } else if (!is_probe && !has_token(wsi, observer, &exchange->is_cookie_wanted)) {
        exchange_fail(exchange, 401, "a token is wanted: ?token=… or Authorization: Bearer …");
    } else if (!is_post) {
        route(exchange);
    } else if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0) {
        route(exchange);
    }
    return 0;
}

static int take_body(struct session *session, struct span part)
{
    struct exchange *exchange = session->exchange;
    if (exchange == NULL || exchange->is_answered) {
        return exchange == NULL ? -1 : 0;
    }
    if (exchange->request_body.size + part.size > BODY_BYTES_MAX) {
        exchange_fail(exchange, 413, "the body is too long");
        return 0;
    }
    text_add(&exchange->request_body, part);
    return 0;
}

/* ---- answers ------------------------------------------------------------------------------------ */

struct head {
    struct lws *wsi;
    unsigned char *at, *end;
    bool failed;
};

static void put_header(struct head *head, const char *name, const char *value)
{
    head->failed =
        head->failed || lws_add_http_header_by_name(head->wsi, (const unsigned char *)name,
                                                    (const unsigned char *)value,
                                                    (int)strlen(value), &head->at, head->end) != 0;
}

static void put_cookie(struct head *head, const struct observer *observer)
{
    struct text cookie = {0};
    const char *prefix = text_cstr(&observer->settings.prefix);
    text_printf(&cookie, COOKIE "%s; Path=%s/; HttpOnly; SameSite=Lax%s",
                text_cstr(&observer->settings.token), prefix,
                observer->settings.tls_cert.size > 0 ? "; Secure" : "");
    put_header(head, "set-cookie:", text_cstr(&cookie));
    text_fini(&cookie);
}

/* Names of the pages' files have a hash of what they hold; all else may be another the next moment. */
static void put_freshness(struct head *head, const struct asset *asset, bool is_packed)
{
    bool is_fixed = asset != NULL && asset->is_gzip;
    put_header(head,
               "cache-control:", is_fixed ? "public, max-age=31536000, immutable" : "no-store");
    if (is_fixed || is_packed) {
        put_header(head, "content-encoding:", "gzip");
    }
    put_header(head, "vary:", "accept, accept-encoding");
}

/* Numbers as JSON are mostly air: a picture of the task stream goes through a wire in a twentieth. What is small fits
 * into a packet anyhow; what is very large would keep others waiting. */
#define PACK_LEVEL 1
#define PACK_BYTES_MIN 1024u
#define PACK_BYTES_MAX (8u << 20)

static void pack_body(struct exchange *exchange)
{
    size_t size = exchange->body.size - exchange->body_begin;
    if (!exchange->accepts_gzip || size < PACK_BYTES_MIN || size > PACK_BYTES_MAX ||
        strcmp(exchange->type, TYPE_JSON) != 0) {
        return;
    }
    struct text packed = {0};
    text_add(&packed, span_of(exchange->body.data, exchange->body_begin));
    struct span plain = span_of(exchange->body.data + exchange->body_begin, size);
    if (!pack_gzip(plain, PACK_LEVEL, &packed)) {
        text_fini(&packed);
        return;
    }
    text_fini(&exchange->body);
    exchange->body = packed;
    exchange->is_packed = true;
}

static int write_head(struct lws *wsi, struct exchange *exchange)
{
    unsigned char space[LWS_PRE + 4096];
    struct head head = {.wsi = wsi, .at = space + LWS_PRE, .end = space + sizeof space - 1};
    unsigned char *begin = head.at;
    size_t size = exchange->body.size - exchange->body_begin;
    if (lws_add_http_common_headers(wsi, (unsigned)exchange->status, exchange->type, size, &head.at,
                                    head.end) != 0) {
        return -1;
    }
    put_freshness(&head, exchange->asset, exchange->is_packed);
    put_header(&head, "x-content-type-options:", "nosniff");
    put_header(&head, "referrer-policy:", "same-origin");
    if (exchange->is_sandboxed) {
        put_header(&head, "content-security-policy:", "sandbox allow-scripts; frame-ancestors *");
    } else if (strcmp(exchange->type, TYPE_HTML) == 0) {
        put_header(
            &head, "content-security-policy:",
            exchange->is_report       ? "default-src 'none'; script-src 'unsafe-inline'; style-src "
                                        "'unsafe-inline'; img-src data:; frame-ancestors *"
            : exchange->asset != NULL ? "default-src 'self'; frame-ancestors *"
                                      : "default-src 'self'; style-src 'self' 'unsafe-inline'; "
                                        "frame-ancestors *");
    }
    if (exchange->location.size > 0) {
        put_header(&head, "location:", text_cstr(&exchange->location));
    }
    if (exchange->is_cookie_wanted) {
        put_cookie(&head, exchange->observer);
    }
    if (head.failed || lws_finalize_http_header(wsi, &head.at, head.end) != 0) {
        return -1;
    }
    size_t length = (size_t)(head.at - begin);
    return lws_write(wsi, begin, length, LWS_WRITE_HTTP_HEADERS) == (int)length ? 0 : -1;
}

/* The next piece; −1: close the connection. */
static int write_answer(struct lws *wsi, struct session *session)
{
    struct exchange *exchange = session->exchange;
    if (exchange == NULL || !exchange->is_answered) {
        return 0;
    }
    if (!exchange->head_sent) {
        exchange->head_sent = true;
        exchange->sent = exchange->body_begin;
        pack_body(exchange);
        if (write_head(wsi, exchange) != 0) {
            return -1;
        }
        if (exchange->method == METHOD_HEAD) {
            exchange->sent = exchange->body.size;
        } else if (exchange->sent < exchange->body.size) {
            lws_callback_on_writable(wsi);
            return 0;
        }
    }
    size_t left = exchange->body.size - exchange->sent;
    if (left > 0) {
        size_t size = left < PIECE_BYTES ? left : PIECE_BYTES;
        unsigned char *piece = (unsigned char *)exchange->body.data + exchange->sent;
        enum lws_write_protocol how = size == left ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP;
        if (lws_write(wsi, piece, size, how) < 0) {
            return -1;
        }
        exchange->observer->bytes_sent += size;
        exchange->sent += size;
        if (size < left) {
            lws_callback_on_writable(wsi);
            return 0;
        }
    }
    exchange_let_go(exchange);
    session->exchange = NULL;
    return lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
}

/* ---- WebSockets --------------------------------------------------------------------------------- */

/* The kind, and what is looked at, by path; false: there is none. */
static bool viewer_kind_of(struct lws *wsi, struct observer *observer,
                           struct observer **out_observer, enum viewer_kind *out_kind)
{
    struct text path = {0};
    header(wsi, WSI_TOKEN_GET_URI, &path);
    size_t skipped = observer->settings.prefix.size;
    const char *text = text_cstr(&path);
    bool is_below =
        path.size > skipped && strncmp(text, text_cstr(&observer->settings.prefix), skipped) == 0;
    struct span rest = span_of_text(text + (is_below ? skipped : 0));
    *out_observer = is_below ? run_of_path(observer, rest, &rest) : NULL;
    bool is_live = *out_observer != NULL && span_equal_text(rest, "/api/cask/v1/live");
    bool is_events = *out_observer != NULL && span_equal_text(rest, "/eventstream");
    *out_kind = is_live ? VIEWER_LIVE : VIEWER_EVENTS;
    text_fini(&path);
    return is_live || is_events;
}

/* RFC 6455, 4.2.1: the library takes other versions for 0. */
static bool is_version_known(struct lws *wsi)
{
    struct text version = {0};
    bool is_known =
        header(wsi, WSI_TOKEN_VERSION, &version) && strcmp(text_cstr(&version), "13") == 0;
    text_fini(&version);
    return is_known;
}

static int admit(struct lws *wsi)
{
    struct observer *observer = observer_of(wsi);
    struct observer *shown;
    enum viewer_kind kind;
    bool by_argument;
    return is_version_known(wsi) && viewer_kind_of(wsi, observer, &shown, &kind) &&
                   is_origin_allowed(wsi, observer) && has_token(wsi, observer, &by_argument)
               ? 0
               : -1;
}

/* PORT/HOST/PATH of a path below the prefix; false: it is none of a worker. */
static bool cut_proxy(const struct observer *observer, const struct text *path,
                      struct span *out_part)
{
    struct text begin = {0};
    text_printf(&begin, "%s/proxy/", text_cstr(&observer->settings.prefix));
    bool is_below = strncmp(text_cstr(path), text_cstr(&begin), begin.size) == 0;
    if (is_below) {
        *out_part = span_of(path->data + begin.size, path->size - begin.size);
    }
    text_fini(&begin);
    return is_below;
}

static int pass_on(struct lws *wsi, struct observer *observer, struct proxy_upgrade *upgrade)
{
    char few[2048], before = '?';
    bool by_argument;
    if (!is_origin_allowed(wsi, observer)) {
        return 403;
    }
    if (!has_token(wsi, observer, &by_argument)) {
        return 401;
    }
    if (!is_version_known(wsi)) {
        return 400;
    }
    for (int i = 0; i < EXCHANGE_ARGUMENTS_MAX; i++) {
        int size = lws_hdr_copy_fragment(wsi, few, sizeof few, WSI_TOKEN_HTTP_URI_ARGS, i);
        if (size <= 0) {
            break;
        }
        proxy_put_argument(&upgrade->query, span_of(few, (size_t)size), &before);
    }
    header(wsi, WSI_TOKEN_KEY, &upgrade->key);
    header(wsi, WSI_TOKEN_PROTOCOL, &upgrade->protocols);
    return proxy_socket_open(observer, wsi, upgrade);
}

/* A worker's WebSocket is passed on, what else there is the library opens (0). 1: it is answered, −1: close. */
static int confirm_upgrade(struct lws *wsi, const char *to)
{
    struct observer *observer = observer_of(wsi);
    struct proxy_upgrade upgrade = {0};
    struct text path = {0};
    int result = 0;
    if (strcasecmp(to, "websocket") == 0 && header(wsi, WSI_TOKEN_GET_URI, &path) &&
        cut_proxy(observer, &path, &upgrade.part)) {
        int status = pass_on(wsi, observer, &upgrade);
        bool is_told = status != 0 && lws_return_http_status(wsi, (unsigned)status, NULL) == 0;
        result = is_told ? 1 : -1;
    }
    text_fini(&upgrade.query);
    text_fini(&upgrade.key);
    text_fini(&upgrade.protocols);
    text_fini(&path);
    return result;
}

static int open_socket(struct lws *wsi, struct session *session)
{
    struct observer *observer = observer_of(wsi);
    struct observer *shown;
    enum viewer_kind kind;
    if (!viewer_kind_of(wsi, observer, &shown, &kind)) {
        return -1;
    }
    session->viewer = viewer_create(shown, wsi, kind);
    observer_wake(observer);
    return 0;
}

static int take_message(struct lws *wsi, struct session *session, struct span part)
{
    if (session->viewer == NULL) {
        return -1;
    }
    if (lws_frame_is_binary(wsi)) {
        lws_close_reason(wsi, LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE, NULL, 0);
        return -1;
    }
    if (session->message.size + part.size + lws_remaining_packet_payload(wsi) > MESSAGE_BYTES_MAX) {
        lws_close_reason(wsi, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, NULL, 0);
        return -1;
    }
    text_add(&session->message, part);
    if (lws_remaining_packet_payload(wsi) > 0 || !lws_is_final_fragment(wsi)) {
        return 0;
    }
    bool goes_on = viewer_message(session->viewer, text_span(&session->message));
    text_clear(&session->message);
    return goes_on ? 0 : -1;
}

static void end_session(struct session *session)
{
    if (session->exchange != NULL) {
        exchange_let_go(session->exchange);
        session->exchange = NULL;
    }
    if (session->viewer != NULL) {
        viewer_destroy(session->viewer);
        session->viewer = NULL;
    }
    text_fini(&session->message);
}

/* ---- the library's callbacks -------------------------------------------------------------------- */

/* LONG: one case for each event of the library. */
static int on_http(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                   size_t size)
{
    struct session *session = user;
    switch (reason) {
    case LWS_CALLBACK_HTTP:
        return begin_request(wsi, session, span_of_text(in));
    case LWS_CALLBACK_HTTP_BODY:
        return take_body(session, span_of(in, size));
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        if (session->exchange != NULL && !session->exchange->is_answered) {
            route(session->exchange);
        }
        return 0;
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return write_answer(wsi, session);
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        return confirm_upgrade(wsi, in);
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        return admit(wsi);
    case LWS_CALLBACK_ESTABLISHED:
        return open_socket(wsi, session);
    case LWS_CALLBACK_RECEIVE:
        return take_message(wsi, session, span_of(in, size));
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return session->viewer == NULL || viewer_writable(session->viewer) ? 0 : -1;
    case LWS_CALLBACK_CLOSED:
    case LWS_CALLBACK_CLOSED_HTTP:
        if (session != NULL) {
            end_session(session);
        }
        return 0;
    case LWS_CALLBACK_WSI_CREATE:
        observer_of(wsi)->connections++;
        return 0;
    case LWS_CALLBACK_WSI_DESTROY: /* of proxy.c's, too, which were not created here */
        observer_of(wsi)->connections -= lws_get_opaque_user_data(wsi) == NULL;
        return 0;
    default:
        return 0;
    }
}

static void accept_some(struct observer *observer, int listener)
{
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return; /* the next connection calls again; out of descriptors, so does this one */
        }
        if (observer->connections >= CONNECTIONS_MAX) {
            close(fd);
        } else {
            (void)lws_adopt_socket_vhost(observer->vhost, fd); /* closes it if it cannot */
        }
    }
}

static int on_listener(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                       size_t size)
{
    (void)user;
    (void)in;
    (void)size;
    if (reason == LWS_CALLBACK_RAW_RX_FILE) {
        accept_some(observer_of(wsi), (int)lws_get_socket_fd(wsi));
    }
    return 0;
}

static int on_channel(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                      size_t size)
{
    (void)user;
    (void)in;
    (void)size;
    struct observer *observer = observer_of(wsi);
    if (reason == LWS_CALLBACK_RAW_RX_FILE) {
        return channel_readable(observer) ? 0 : -1;
    }
    if (reason == LWS_CALLBACK_RAW_CLOSE_FILE) {
        channel_closed(observer);
    }
    return 0;
}

static void on_library_log(int level, const char *line)
{
    int size = (int)strcspn(line, "\n");
    if (level & LLL_ERR) {
        log_warning(LOGGER, "dashboard: %.*s", size, line);
    } else {
        log_debug(LOGGER, "dashboard: %.*s", size, line);
    }
}

static const struct lws_protocols protocols[] = {
    {.name = "http", .callback = on_http, .per_session_data_size = sizeof(struct session)},
    {.name = "listener", .callback = on_listener},
    {.name = "channel", .callback = on_channel},
    {.name = "proxy", .callback = proxy_event, .rx_buffer_size = 16384},
    {.name = "passage", .callback = proxy_socket_event, .rx_buffer_size = 16384},
    {.name = NULL},
};

static bool adopt(struct observer *observer, int fd, const char *protocol)
{
    lws_sock_file_fd_type descriptor = {.filefd = fd};
    return lws_adopt_descriptor_vhost(observer->vhost, LWS_ADOPT_RAW_FILE_DESC, descriptor,
                                      protocol, NULL) != NULL;
}

int server_create(struct observer *observer, struct text *why)
{
    const struct settings *settings = &observer->settings;
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = protocols,
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
        .user = observer,
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS |
                   LWS_SERVER_OPTION_VALIDATE_UTF8,
        .max_http_header_data = HEADER_BYTES_MAX,
        .max_http_header_pool = CONNECTIONS_MAX, /* made when needed: half a request holds one */
        .timeout_secs = REQUEST_SECONDS,
        .keepalive_timeout = KEEP_SECONDS,
        .fd_limit_per_thread = CONNECTIONS_MAX + 64,
        .server_string = "cask",
        .vhost_name = "default",
        .pt_serv_buf_size = 32768,
    };
    lws_set_log_level(LLL_ERR | LLL_WARN, on_library_log);
    if (settings->tls_cert.size > 0) {
        info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    }
    observer->context = lws_create_context(&info);
    if (observer->context == NULL) {
        text_add_cstr(why, "libwebsockets cannot begin");
        return ERR_IO;
    }
    info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
    if (settings->tls_cert.size > 0) {
        info.ssl_cert_filepath = text_cstr(&settings->tls_cert);
        info.ssl_private_key_filepath =
            text_cstr(settings->tls_key.size > 0 ? &settings->tls_key : &settings->tls_cert);
        info.alpn = "http/1.1";
        info.options |= LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX;
    }
    observer->vhost = lws_create_vhost(observer->context, &info);
    bool is_fine = observer->vhost != NULL &&
                   (observer->channel < 0 || adopt(observer, observer->channel, "channel"));
    for (uint32_t i = 0; i < observer->listener_count && is_fine; i++) {
        is_fine = adopt(observer, observer->listeners[i], "listener");
    }
    if (!is_fine) {
        lws_context_destroy(observer->context);
        text_add_cstr(why, "the dashboard cannot be served: see the certificate and key");
        return ERR_TLS;
    }
    return OK;
}
