/* worker_http.h: what a worker serves over HTTP: plain pages about itself, /health, /metrics.
 *
 * GET and HEAD only, one answer a connection, within limits: no more of HTTP than probes, scrapers, browsers and the
 * scheduler's /proxy need, so that a worker's process is not a web server's. Source: distributed worker.py, http/worker. */
#ifndef CASK_NODE_WORKER_HTTP_H
#define CASK_NODE_WORKER_HTTP_H

#include "base/text.h"

struct worker_http;
struct worker_node;

/* Listen, as --dashboard-address says; a port that is taken is replaced by any, with a warning. ERR_ADDRESS, ERR_IO. */
int worker_http_open(struct worker_node *worker, struct text *why) MUST_USE;
/* Take no more connections. */
void worker_http_stop(struct worker_node *worker);
/* After the loop has gone. */
void worker_http_destroy(struct worker_http *http);
/* 0: it serves nothing. */
uint16_t worker_http_port(const struct worker_http *http);

/* An answer being made. */
struct worker_page {
    int status;
    const char *type;
    struct text body;
    const char *location; /* of a redirect; NULL: none */
};
typedef void worker_page_function(struct worker_node *worker, struct worker_page *page);

/* ---- worker_pages.c ---- */
worker_page_function worker_page_status, worker_page_counters, worker_page_profile;
/* ---- worker_metrics.c ---- */
worker_page_function worker_page_metrics;

#endif
