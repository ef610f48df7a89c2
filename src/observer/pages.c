/* pages.c: gives browsers the pages of web/, which are held in the program.
 *
 * One program shows every page, so all their addresses are answered with the same shell; data comes by api/cask/v1. Who
 * does not ask for HTML (curl, a program), or adds ?plain=1, gets what the routes give: a plain page without JavaScript.
 * So both are there at each of stock's addresses, and 404 stays with the routes. */
#include "observer/pages.h"
#include "observer/assets.h"
#include "observer/routes.h"

static const struct address {
    const char *pattern;
    unsigned depth;
} addresses[] = {
#define ADDRESS(pattern, depth) {pattern, depth},
#include "observer/pages.def"
#undef ADDRESS
};

enum { ADDRESS_COUNT = sizeof addresses / sizeof addresses[0] };

static void answer_with(struct exchange *exchange, const struct asset *asset)
{
    exchange->asset = asset;
    text_add(exchange_body(exchange), span_of(asset->data, asset->size));
    exchange_answer(exchange, 200, asset->type);
}

/* Whether a browser's address shows a page; out_depth: its folders. */
static bool is_page(struct span path, unsigned *out_depth)
{
    struct span part;
    for (size_t i = 0; i < ADDRESS_COUNT; i++) {
        if (route_matches(addresses[i].pattern, path, &part)) {
            *out_depth = addresses[i].depth;
            return true;
        }
    }
    *out_depth = 0;
    return route_is_page(path);
}

bool pages_answer(struct exchange *exchange)
{
    struct span path = text_span(&exchange->path);
    if (!exchange->observer->settings.pages || exchange->method == METHOD_POST || path.size == 0) {
        return false;
    }
    const struct asset *asset = asset_find(span_of(path.data + 1, path.size - 1));
    unsigned depth;
    if (asset == NULL && exchange->accepts_html &&
        exchange_argument(exchange, "plain").data == NULL && is_page(path, &depth)) {
        asset = asset_page(depth);
    }
    if (asset == NULL) {
        return false;
    }
    answer_with(exchange, asset);
    return true;
}
