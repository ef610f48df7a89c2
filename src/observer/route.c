/* route.c: which function answers which path: one table. */
#include "observer/pages.h"
#include "observer/routes.h"

#include <string.h>

#define GET (1u << METHOD_GET)
#define POST (1u << METHOD_POST)

/* Who has it: a page needs --dashboard, stock's /api/v1 its setting. */
enum needs { NEEDS_NOTHING, NEEDS_PAGES, NEEDS_API };

static const struct route {
    const char *pattern; /* one '*' at most: any text, not empty */
    exchange_function *function;
    unsigned methods;
    enum needs needs;
    bool is_page;
} routes[] = {
#define PAGE(path, function) {path, function, GET, NEEDS_PAGES, true},
#define PLAIN(path, function) {path, function, GET, NEEDS_PAGES, false},
#define DATA(path, function) {path, function, GET, NEEDS_NOTHING, false},
#define API(path, function, method) {path, function, method, NEEDS_API, false},
#define ACTION(path, function) {path, function, POST, NEEDS_NOTHING, false},
#include "observer/routes.def"
};

enum { ROUTE_COUNT = sizeof routes / sizeof routes[0] };

const char *route_path(uint32_t index)
{
    return index < ROUTE_COUNT ? routes[index].pattern : NULL;
}

bool route_matches(const char *pattern, struct span path, struct span *out_part)
{
    const char *star = strchr(pattern, '*');
    if (star == NULL) {
        return span_equal_text(path, pattern);
    }
    size_t before = (size_t)(star - pattern), after = strlen(star + 1);
    if (path.size <= before + after || memcmp(path.data, pattern, before) != 0 ||
        memcmp(path.data + path.size - after, star + 1, after) != 0) {
        return false;
    }
    *out_part = span_of(path.data + before, path.size - before - after);
    return true;
}

bool route_is_page(struct span path)
{
    for (uint32_t i = 0; i < ROUTE_COUNT; i++) {
        if (routes[i].is_page && span_equal_text(path, routes[i].pattern)) {
            return true;
        }
    }
    return false;
}

static bool is_there(const struct exchange *exchange, enum needs needs)
{
    const struct settings *settings = &exchange->observer->settings;
    return needs == NEEDS_NOTHING || (needs == NEEDS_PAGES && settings->pages) ||
           (needs == NEEDS_API && settings->api);
}

void route(struct exchange *exchange)
{
    if (pages_answer(exchange)) {
        return;
    }
    observer_drain(exchange->observer); /* what happened until now is in the answer */
    bool is_known = false;
    unsigned method = exchange->method == METHOD_POST ? POST : GET;
    for (uint32_t i = 0; i < ROUTE_COUNT; i++) {
        if (!is_there(exchange, routes[i].needs) ||
            !route_matches(routes[i].pattern, text_span(&exchange->path), &exchange->part)) {
            continue;
        }
        if ((routes[i].methods & method) != 0) {
            routes[i].function(exchange);
            return;
        }
        is_known = true;
    }
    if (is_known) {
        exchange_fail(exchange, 405, "this method is not for here");
    } else {
        exchange_fail(exchange, 404, "there is nothing at this path");
    }
}
