/* exchange.h: one HTTP request and its answer, now or later; what the routes' functions see of HTTP.
 *
 * A function answers its exchange exactly once, in the call or when the scheduler has answered. If the browser goes
 * away meanwhile, the exchange lives on and its answer is dropped. */
#ifndef CASK_OBSERVER_EXCHANGE_H
#define CASK_OBSERVER_EXCHANGE_H

#include "base/text.h"

struct asset;
struct lws;
struct observer;

#define EXCHANGE_ARGUMENTS_MAX 16

enum exchange_method { METHOD_GET, METHOD_HEAD, METHOD_POST };

struct exchange {
    struct observer *observer;
    struct lws *wsi; /* NULL: nobody waits, or `done` does */
    /* Asked by ourselves: called with the answer, after which it goes. */
    void (*done)(struct exchange *exchange, void *user);
    void *done_user;
    enum exchange_method method;
    struct text path; /* below the prefix, decoded: "/info/main/logs.html" */
    struct text arguments[EXCHANGE_ARGUMENTS_MAX]; /* "name=value", decoded */
    uint32_t argument_count;
    struct text request_body;
    struct span part; /* what stood for the route's '*'; in path */
    bool is_cookie_wanted;
    bool is_own_origin;     /* no page of another site sent it */
    bool has_action_header; /* X-Cask-Action, which no form can send */
    bool has_json;          /* its body says so */
    char peer[48];          /* of a POST: who sent it */
    bool accepts_html;      /* as browsers do that go to an address */
    bool accepts_gzip;
    uint64_t counted; /* by a question that takes several calls */
    /* the answer */
    bool is_answered, is_waiting; /* waiting: for the scheduler */
    int status;
    const char *type;
    struct text location;      /* of a redirect */
    const struct asset *asset; /* what is answered, if it is a file of the pages; else NULL */
    struct text body;          /* the first bytes are libwebsockets' */
    bool is_packed;            /* the body is gzip */
    bool is_sandboxed;         /* what others made: without this site's origin */
    size_t body_begin, sent;
    bool head_sent;
    bool is_report; /* the body has its own scripts, and needs nothing else */
};

void exchange_free(struct exchange *exchange);
/* The value of a query's argument; empty span with data NULL: not given. */
struct span exchange_argument(const struct exchange *exchange, const char *name);
/* As a number within bounds; `absent` if it is not given or none. */
double exchange_number(const struct exchange *exchange, const char *name, double absent);
/* The text that the answer is to be written into. */
struct text *exchange_body(struct exchange *exchange);
/* Answer with what was written; the exchange is not to be touched after that. `type`: a literal. */
void exchange_answer(struct exchange *exchange, int status, const char *type);
void exchange_redirect(struct exchange *exchange, int status, const char *location);
/* {"error": …} or a small page, by the path. */
void exchange_fail(struct exchange *exchange, int status, const char *format, ...)
    PRINTF_LIKE(3, 4);

#define TYPE_JSON "application/json; charset=utf-8"
#define TYPE_HTML "text/html; charset=utf-8"
#define TYPE_TEXT "text/plain; charset=utf-8"

typedef void exchange_function(struct exchange *exchange);

/* ---- asking the scheduler (channel.c) ---- */

/* Answer in msgpack (nil: it would not), or data NULL: it did not answer. */
typedef void channel_answered(void *user, struct span answer);
/* Ask: `call` is a msgpack map with "op". False: it cannot be asked now, and `answered` is not called. */
bool channel_ask(struct observer *observer, struct span call, channel_answered *answered,
                 void *user) MUST_USE;
/* Have everything recorded that is, then call `then` (with the exchange, which waits). If that cannot be, it is called
 * at once, with what is known. */
void channel_sample(struct observer *observer, struct exchange *exchange, exchange_function *then);

#endif
