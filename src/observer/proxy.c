/* proxy.c: GET /proxy/PORT/HOST/PATH: the dashboard of a worker that is registered, and of nothing else.
 *
 * So that who reaches the scheduler's dashboard reaches those of its workers. What comes back was written by a worker,
 * whom nobody vouches for: it goes on within limits, as one of the types below, in a sandbox without this site's origin,
 * and without following where it leads. What the browser sent (cookies, token) stays here. WebSockets: proxy_socket.c.
 * Source: distributed http/proxy.py. */
#include <stdlib.h>

#include "base/alloc.h"
#include "observer/html.h"
#include "observer/proxy.h"
#include "observer/routes.h"

#define BODY_BYTES_MAX ((size_t)16 << 20)
#define SECONDS_MAX 15
#define OPEN_MAX 16u
#define PATH_BYTES_MAX 2000u

struct proxied {
    struct exchange *exchange; /* waits until we answer */
    struct text body;
    int status; /* 0: no answer yet */
    const char *type;
    struct text location, base; /* base: "PREFIX/proxy/PORT/HOST" */
};

/* What a browser is told that it is; by the beginning of what the worker said. */
static const char *const types[] = {TYPE_HTML,
                                    TYPE_JSON,
                                    "text/css; charset=utf-8",
                                    "text/javascript; charset=utf-8",
                                    "image/png",
                                    "image/svg+xml",
                                    "font/woff2"};

static const char *type_of(const char *said)
{
    if (strncmp(said, "application/javascript", 22) == 0) {
        return types[3];
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t size = strcspn(types[i], ";");
        if (strncmp(said, types[i], size) == 0 && strchr("; ", said[size]) != NULL) {
            return types[i];
        }
    }
    return strncmp(said, "text/", 5) == 0 ? TYPE_TEXT : "application/octet-stream";
}

/* ---- the answer --------------------------------------------------------------------------------- */

static void finish(struct proxied *proxied, const char *why)
{
    struct exchange *exchange = proxied->exchange;
    exchange->observer->proxied_count--;
    exchange->is_waiting = false;
    if (why != NULL) {
        exchange_fail(exchange, 502, "the worker's dashboard: %.200s", why);
    } else {
        text_add(exchange_body(exchange), text_span(&proxied->body));
        text_add(&exchange->location, text_span(&proxied->location));
        exchange->is_sandboxed = true;
        exchange_answer(exchange, proxied->status, proxied->type);
    }
    text_fini(&proxied->body);
    text_fini(&proxied->location);
    text_fini(&proxied->base);
    mem_free(proxied);
}

/* Where a redirect leads: within the worker's own pages, or nowhere. */
static void read_location(struct proxied *proxied, struct lws *wsi)
{
    char said[512];
    if (lws_hdr_copy(wsi, said, sizeof said, WSI_TOKEN_HTTP_LOCATION) <= 0 || said[0] == '\0' ||
        strpbrk(said, "\\:\r\n") != NULL || strncmp(said, "//", 2) == 0) {
        return;
    }
    if (said[0] == '/') {
        text_add(&proxied->location, text_span(&proxied->base));
    }
    text_add_cstr(&proxied->location, said);
}

static int read_head(struct proxied *proxied, struct lws *wsi)
{
    char said[128] = "";
    proxied->status = (int)lws_http_client_http_response(wsi);
    if (lws_hdr_copy(wsi, said, sizeof said, WSI_TOKEN_HTTP_CONTENT_TYPE) < 0) {
        said[0] = '\0'; /* too long to be one that we know */
    }
    proxied->type = type_of(said);
    read_location(proxied, wsi);
    return proxied->status >= 200 && proxied->status <= 599 ? 0 : -1;
}

static int read_body(struct lws *wsi)
{
    char space[LWS_PRE + 16384], *at = space + LWS_PRE;
    int size = (int)sizeof space - LWS_PRE;
    return lws_http_client_read(wsi, &at, &size) < 0 ? -1 : 0;
}

/* LONG: one case for each event of the library. */
int proxy_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                size_t size)
{
    struct proxied *proxied = user;
    if (proxied == NULL) {
        return 0;
    }
    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
        lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, SECONDS_MAX);
        return read_head(proxied, wsi);
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
        return proxied->exchange->wsi == NULL ? -1 : read_body(wsi); /* nobody waits: enough */
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
        if (proxied->body.size + size > BODY_BYTES_MAX) {
            lws_set_wsi_user(wsi, NULL);
            finish(proxied, "its answer is too long");
            return -1;
        }
        text_add(&proxied->body, span_of(in, size));
        return 0;
    case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
        lws_set_wsi_user(wsi, NULL);
        finish(proxied, NULL);
        return -1;
    case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
        lws_set_wsi_user(wsi, NULL);
        finish(proxied, "it closed the connection before its answer was whole");
        return 0;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        lws_set_wsi_user(wsi, NULL);
        finish(proxied, in == NULL ? "it cannot be reached" : in);
        return 0;
    default:
        return 0;
    }
}

/* ---- the question ------------------------------------------------------------------------------- */

bool proxy_cut(struct span part, uint32_t *out_port, struct span *out_host, struct span *out_path)
{
    char few[8] = "", *end;
    const uint8_t *slash = memchr(part.data, '/', part.size);
    size_t size = slash == NULL ? part.size : (size_t)(slash - part.data);
    if (slash == NULL || size == 0 || size >= sizeof few) {
        return false;
    }
    memcpy(few, part.data, size);
    unsigned long port = strtoul(few, &end, 10);
    struct span rest = span_of(slash + 1, part.size - size - 1);
    slash = memchr(rest.data, '/', rest.size);
    size = slash == NULL ? rest.size : (size_t)(slash - rest.data);
    *out_port = (uint32_t)port;
    *out_host = span_of(rest.data, size);
    *out_path = slash == NULL ? SPAN("/") : span_of(slash, rest.size - size);
    return *end == '\0' && port > 0 && port <= UINT16_MAX && size > 0;
}

const struct worker_row *proxy_find_worker(const struct tables *tables, struct span host,
                                           uint32_t port)
{
    for (uint32_t i = 0; i < tables->workers.count; i++) {
        const struct worker_row *row = tables->workers.items[i];
        if (row != NULL && row->removed == 0 && row->dashboard == port &&
            span_equal(text_span(&row->host), host)) {
            return row;
        }
    }
    return NULL;
}

void proxy_put_path(struct text *out, struct span path)
{
    for (size_t i = 0; i < path.size; i++) {
        if (path.data[i] == '/') {
            text_add_char(out, '/');
        } else {
            html_url_part(out, span_of(path.data + i, 1));
        }
    }
}

void proxy_put_host(struct text *out, const struct worker_row *row)
{
    bool is_six = strchr(text_cstr(&row->host), ':') != NULL;
    text_printf(out, is_six ? "[%s]:%u" : "%s:%u", text_cstr(&row->host), row->dashboard);
}

void proxy_put_argument(struct text *out, struct span argument, char *before)
{
    const uint8_t *equals = memchr(argument.data, '=', argument.size);
    size_t name = equals == NULL ? argument.size : (size_t)(equals - argument.data);
    if (span_equal_text(span_of(argument.data, name), "token")) {
        return;
    }
    text_add_char(out, *before);
    html_url_part(out, span_of(argument.data, name));
    if (equals != NULL) {
        text_add_char(out, '=');
        html_url_part(out, span_of(equals + 1, argument.size - name - 1));
    }
    *before = '&';
}

static void connect_to(struct proxied *proxied, const struct worker_row *row, struct span path)
{
    struct observer *observer = proxied->exchange->observer;
    struct text full = {0}, host = {0};
    char before = '?';
    proxy_put_path(&full, path);
    for (uint32_t i = 0; i < proxied->exchange->argument_count; i++) {
        proxy_put_argument(&full, text_span(&proxied->exchange->arguments[i]), &before);
    }
    proxy_put_host(&host, row);
    struct lws_client_connect_info info = {
        .context = observer->context,
        .vhost = observer->vhost,
        .address = text_cstr(&row->host),
        .port = (int)row->dashboard,
        .path = text_cstr(&full),
        .host = text_cstr(&host),
        .method = "GET",
        .local_protocol_name = "proxy",
        .ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT,
        .userdata = proxied,
        .opaque_user_data = observer, /* it is none that came: see server.c */
    };
    if (full.size > PATH_BYTES_MAX) {
        finish(proxied, "the path is too long");
    } else {
        (void)lws_client_connect_via_info(
            &info); /* if it cannot even begin, proxy_event was told */
    }
    text_fini(&full);
    text_fini(&host);
}

void route_proxy(struct exchange *exchange)
{
    struct observer *observer = exchange->observer;
    struct span host, path;
    uint32_t port;
    if (!proxy_cut(exchange->part, &port, &host, &path)) {
        exchange_fail(exchange, 404, "a worker's page is at proxy/PORT/HOST/PATH");
        return;
    }
    const struct worker_row *row = proxy_find_worker(observer->tables, host, port);
    if (row == NULL) {
        exchange_fail(exchange, 404, "no registered worker has its dashboard there");
        return;
    }
    if (observer->proxied_count >= OPEN_MAX) {
        exchange_fail(exchange, 503, "too many pages of workers are being fetched");
        return;
    }
    struct proxied *proxied = mem_zalloc(1, sizeof *proxied);
    observer->proxied_count++;
    proxied->exchange = exchange;
    exchange->is_waiting = true;
    text_printf(&proxied->base, "%s/proxy/%u/%s", text_cstr(&observer->settings.prefix), port,
                text_cstr(&row->host));
    connect_to(proxied, row, path);
}
