/* worker_http.c: see worker_http.h. A request is its head: up to the empty line, at most HEAD_BYTES_MAX, within
 * REQUEST_SECONDS; what follows is not read. */
#include "node/worker_http.h"

#include <stdio.h>

#include "base/log.h"
#include "node/observer.h"
#include "node/worker_internal.h"

#define LOGGER "distributed.worker"
#define HEAD_BYTES_MAX 8192u
#define CONNECTIONS_MAX 64u
#define REQUEST_SECONDS 10.0
#define TYPE_TEXT "text/plain; charset=utf-8"

struct worker_http {
    struct io_listener *listener; /* NULL: closed */
    struct worker_node *worker;
    struct text prefix; /* "" or "/x" */
    uint32_t count;     /* of connections */
    uint16_t port;
};

struct visit {
    struct worker_http *http;
    struct io_stream *stream;
    uint32_t used;
    bool is_answered;
    uint8_t head[HEAD_BYTES_MAX];
};

/* ---- what is where ------------------------------------------------------------------------------ */

static void page_root(struct worker_node *worker, struct worker_page *page)
{
    (void)worker;
    page->status = 302;
    page->location = "status";
}

static void page_health(struct worker_node *worker, struct worker_page *page)
{
    (void)worker;
    page->type = TYPE_TEXT;
    text_add_cstr(&page->body, "ok");
}

static worker_page_function page_sitemap;

static const struct {
    const char *path;
    worker_page_function *function;
    bool is_page; /* for people: with --dashboard only */
} routes[] = {
    {"/", page_root, true},
    {"/status", worker_page_status, true},
    {"/system", worker_page_status, true},
    {"/counters", worker_page_counters, true},
    {"/profile", worker_page_profile, true},
    {"/profile-server", worker_page_profile, true},
    {"/metrics", worker_page_metrics, false},
    {"/health", page_health, false},
    {"/sitemap.json", page_sitemap, false},
};

enum { ROUTE_COUNT = sizeof routes / sizeof routes[0] };

static void page_sitemap(struct worker_node *worker, struct worker_page *page)
{
    bool has_pages = worker->options.has_dashboard;
    page->type = "application/json";
    text_add_cstr(&page->body, "{\"paths\": [");
    for (int i = 0, count = 0; i < ROUTE_COUNT; i++) {
        if (has_pages || !routes[i].is_page) {
            text_printf(&page->body, "%s\"%s\"", count++ > 0 ? ", " : "", routes[i].path);
        }
    }
    text_add_cstr(&page->body, "]}\n");
}

/* ---- one request -------------------------------------------------------------------------------- */

/* Takes what stands before the next blank off. */
static struct span take_word(struct span *line)
{
    const uint8_t *blank = memchr(line->data, ' ', line->size);
    size_t size = blank == NULL ? line->size : (size_t)(blank - line->data);
    size_t step = blank == NULL ? size : size + 1;
    struct span word = span_of(line->data, size);
    *line = span_of(line->data + step, line->size - step);
    return word;
}

static void fail(struct worker_page *page, int status, const char *why)
{
    page->status = status;
    page->type = TYPE_TEXT;
    text_printf(&page->body, "%d: %s\n", status, why);
}

/* The path below the prefix, without its query; false: it is not below. */
static bool below_prefix(const struct worker_http *http, struct span *path)
{
    struct span prefix = text_span(&http->prefix);
    const uint8_t *query = memchr(path->data, '?', path->size);
    path->size = query == NULL ? path->size : (size_t)(query - path->data);
    if (path->size < prefix.size || !span_equal(span_of(path->data, prefix.size), prefix)) {
        return false;
    }
    *path = span_of(path->data + prefix.size, path->size - prefix.size);
    return path->size > 0;
}

static bool has_token(const struct worker_node *worker, struct span head)
{
    const char *token = config_text(worker->config, "cask.dashboard.token", NULL);
    struct text wanted = {0}, argument = {0};
    if (token == NULL || *token == '\0') {
        return true;
    }
    text_printf(&wanted, "\r\nAuthorization: Bearer %s\r\n", token);
    text_printf(&argument, "?token=%s ", token);
    bool fine = memmem(head.data, head.size, wanted.data, wanted.size) != NULL ||
                memmem(head.data, head.size, argument.data, argument.size) != NULL;
    text_fini(&wanted);
    text_fini(&argument);
    return fine;
}

static void make_page(struct visit *visit, struct span path, struct worker_page *page)
{
    struct worker_node *worker = visit->http->worker;
    if (!below_prefix(visit->http, &path)) {
        fail(page, 404, "there is nothing at this path");
        return;
    }
    if (!span_equal_text(path, "/health") &&
        !has_token(worker, span_of(visit->head, visit->used))) {
        fail(page, 401, "a token is wanted: ?token=... or Authorization: Bearer ...");
        return;
    }
    for (int i = 0; i < ROUTE_COUNT; i++) {
        bool is_there = worker->options.has_dashboard || !routes[i].is_page;
        if (is_there && span_equal_text(path, routes[i].path)) {
            routes[i].function(worker, page);
            return;
        }
    }
    fail(page, 404, "there is nothing at this path");
}

static void send_page(struct visit *visit, const struct worker_page *page, bool is_head)
{
    struct text head = {0};
    text_printf(&head,
                "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n"
                "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; "
                "frame-ancestors *\r\n",
                page->status, page->status < 400 ? "OK" : "Error", page->type, page->body.size);
    if (page->location != NULL) {
        text_printf(&head, "Location: %s\r\n", page->location);
    }
    text_add_cstr(&head, "\r\n");
    const struct span parts[] = {text_span(&head), text_span(&page->body)};
    io_stream_write(visit->stream, parts, is_head || page->body.size == 0 ? 1 : 2, NULL, NULL);
    text_fini(&head);
    visit->is_answered = true;
    io_stream_close(visit->stream);
}

static void answer(struct visit *visit)
{
    struct worker_page page = {.status = 200, .type = "text/html; charset=utf-8"};
    const uint8_t *end = memchr(visit->head, '\r', visit->used);
    struct span line = span_of(visit->head, end == NULL ? 0 : (size_t)(end - visit->head));
    struct span method = take_word(&line), path = take_word(&line);
    bool is_head = span_equal_text(method, "HEAD");
    if (line.size != 8 || memcmp(line.data, "HTTP/1.", 7) != 0 || path.size == 0 ||
        path.data[0] != '/') {
        fail(&page, 400, "this is no request");
    } else if (!is_head && !span_equal_text(method, "GET")) {
        fail(&page, 405, "this method is not for here");
    } else {
        make_page(visit, path, &page);
    }
    send_page(visit, &page, is_head);
    text_fini(&page.body);
}

/* ---- connections -------------------------------------------------------------------------------- */

static void visit_space(void *user, uint8_t **out_data, size_t *out_size)
{
    struct visit *visit = user;
    *out_data = visit->head + visit->used;
    *out_size = HEAD_BYTES_MAX - visit->used;
}

static void visit_read(void *user, size_t size)
{
    struct visit *visit = user;
    if (visit->is_answered) {
        return;
    }
    visit->used += (uint32_t)size;
    if (memmem(visit->head, visit->used, "\r\n\r\n", 4) != NULL) {
        answer(visit);
    } else if (visit->used == HEAD_BYTES_MAX) {
        struct worker_page page = {0};
        fail(&page, 431, "the request is too long");
        send_page(visit, &page, false);
        text_fini(&page.body);
    }
}

static void visit_closed(void *user, int code, const char *text)
{
    (void)code; /* whoever looked has gone: that is nobody's trouble */
    (void)text;
    struct visit *visit = user;
    visit->http->count--;
    mem_free(visit);
}

static const struct io_stream_events visit_events = {
    .space = visit_space,
    .read = visit_read,
    .closed = visit_closed,
};

static void accepted(void *user, struct io_stream *stream)
{
    struct worker_http *http = user;
    if (http->count >= CONNECTIONS_MAX) {
        io_stream_abort(stream);
        return;
    }
    struct visit *visit = mem_zalloc(1, sizeof *visit);
    visit->http = http;
    visit->stream = stream;
    http->count++;
    io_stream_start(stream, &visit_events, visit);
    io_stream_expect(stream, REQUEST_SECONDS);
}

static const struct io_listen_events listen_events = {.accepted = accepted};

/* ---- the server --------------------------------------------------------------------------------- */

/* "a/b/" → "/a/b" */
static void set_prefix(struct worker_http *http, const char *prefix)
{
    size_t size = prefix == NULL ? 0 : strlen(prefix);
    while (size > 0 && *prefix == '/') {
        prefix++;
        size--;
    }
    while (size > 0 && prefix[size - 1] == '/') {
        size--;
    }
    if (size > 0) {
        text_add_char(&http->prefix, '/');
        text_add(&http->prefix, span_of(prefix, size));
    }
}

static int listen_at(struct worker_http *http, struct io_address *address, struct text *why)
{
    uint16_t wanted = address->port;
    int code = io_listen(http->worker->loop, address, NULL, &http->listener, why);
    if (code == ERR_BUSY && wanted != 0) { /* as stock */
        address->port = 0;
        text_clear(why);
        code = io_listen(http->worker->loop, address, NULL, &http->listener, why);
        if (code == OK) {
            log_warning(LOGGER,
                        "Port %u is already in use.\nPerhaps you already have a cluster running?\n"
                        "Hosting the HTTP server on port %u instead",
                        wanted, io_listener_address(http->listener)->port);
        }
    }
    return code;
}

int worker_http_open(struct worker_node *worker, struct text *why)
{
    struct io_address address;
    const struct worker_options *options = &worker->options;
    if (config_text(worker->config, "distributed.scheduler.dashboard.tls.cert", NULL) != NULL) {
        log_warning(LOGGER, "No dashboard: distributed.scheduler.dashboard.tls wants TLS, and "
                            "workers' pages have none");
        return OK;
    }
    const char *wanted = options->dashboard_address == NULL ? ":0" : options->dashboard_address;
    int code = observer_parse_address(wanted, &address, why);
    if (code != OK) {
        return code;
    }
    struct worker_http *http = mem_zalloc(1, sizeof *http);
    http->worker = worker;
    code = listen_at(http, &address, why);
    if (code != OK) {
        mem_free(http);
        return code;
    }
    set_prefix(http, options->dashboard_prefix);
    http->port = io_listener_address(http->listener)->port;
    io_listener_start(http->listener, &listen_events, http);
    worker->http = http;
    log_info(LOGGER, "         dashboard at: %20s:%u", address.host[0] == '\0' ? "" : address.host,
             http->port);
    return OK;
}

void worker_http_stop(struct worker_node *worker)
{
    if (worker->http != NULL && worker->http->listener != NULL) {
        io_listener_close(worker->http->listener);
        worker->http->listener = NULL;
    }
}

void worker_http_destroy(struct worker_http *http)
{
    if (http != NULL) {
        text_fini(&http->prefix);
        mem_free(http);
    }
}

uint16_t worker_http_port(const struct worker_http *http)
{
    return http == NULL ? 0 : http->port;
}
