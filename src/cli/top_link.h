/* top_link.h: `cask top`'s connection to an observer, and its loop: libwebsockets' client.
 *
 * One WebSocket (api/cask/v1/live), made again when it breaks; requests beside it; descriptors that wake the loop. */
#ifndef CASK_CLI_TOP_LINK_H
#define CASK_CLI_TOP_LINK_H

#include "base/text.h"

struct top_link;

/* Where the observer is: of http[s]://host[:port][/prefix][?token=…]. */
struct top_place {
    struct text host, prefix, token, ca; /* prefix: "" or "/x"; ca: a file, "" the system's */
    int port;
    bool is_tls;
};

/* Of a dashboard's URL, with or without a page at its end; false: it is none. */
bool top_place_parse(const char *url, struct top_place *out_place);
void top_place_fini(struct top_place *place);

/* What happens, told to `user`. */
struct top_link_events {
    void (*connected)(void *user);
    void (*closed)(void *user, const char *why); /* it is tried again in a second */
    void (*frame)(void *user, struct span bytes);
    /* status 0: there was no answer, `body` says why */
    void (*answered)(void *user, int tag, int status, struct span body);
    void (*readable)(void *user, int descriptor);
    void (*tick)(void *user); /* once a second */
};

/* `place`: borrowed until destroyed. ERR_IO and why. */
int top_link_create(const struct top_place *place, const struct top_link_events *events, void *user,
                    struct top_link **out_link, struct text *why) MUST_USE;
void top_link_destroy(struct top_link *link);
/* Tell when `descriptor` can be read; it is the link's from now on. */
bool top_link_watch(struct top_link *link, int descriptor);
/* GET, or with a body POST, a path below the prefix. */
void top_link_ask(struct top_link *link, int tag, const char *path, struct span body);
/* Until top_link_stop. */
void top_link_run(struct top_link *link);
void top_link_stop(struct top_link *link);

#endif
