/* observer.h: the observer's process as the scheduler sees it: its socket, its ring, its questions.
 *
 * The scheduler binds the dashboard's address, starts `cask observer`, hands it socket, ring and settings, and starts it
 * again when it dies. Nothing here waits for it. See docs/observer.md. */
#ifndef CASK_NODE_OBSERVER_H
#define CASK_NODE_OBSERVER_H

#include "node/node.h"

struct observer_link;
struct recorder;

struct observer_options {
    const char *
        program; /* cask, to be started as `PROGRAM observer`; NULL: no dashboard. To outlive the link */
    const char *address; /* [HOST]:PORT, HOST or PORT, or several with commas; NULL: 8787 */
    const char *prefix;  /* of all paths; NULL or "": none */
    bool
        pages; /* --dashboard; without, only what programs read, as stock's scheduler without bokeh */
};

/* "host:port", ":port", "port", "host" → address; NULL: port 8787 of all. ERR_ADDRESS and why. */
int observer_parse_address(const char *text, struct io_address *out, struct text *why) MUST_USE;
/* Listen and start it. ERR_ADDRESS, ERR_IO: nobody can look; why says the reason. NULL: it was built without. */
int observer_link_create(struct node *node, const struct observer_options *options,
                         struct observer_link **out_link, struct text *why) MUST_USE;
/* The scheduler ends in good order, for `reason`. */
void observer_link_closing(struct observer_link *link, const char *reason);
/* It was told to end, and has not yet. */
bool observer_link_is_ending(const struct observer_link *link);
void observer_link_destroy(struct observer_link *link);
/* Where the dashboard is. */
uint16_t observer_link_port(const struct observer_link *link);
/* Inside a step. NULL: nobody looks. */
void observer_link_notice(struct observer_link *link, const struct notice *notice);
void observer_link_restart(struct observer_link *link);
void observer_link_event(struct observer_link *link, struct span topic, const struct blob *value);
/* What a task that failed was given: see failed_inputs.c. */
void observer_link_failed(struct observer_link *link, struct span told);
/* Where records of what happens go now, for what is no notice of the core's; NULL: nobody looks. */
struct recorder *observer_link_recorder(struct observer_link *link);

#endif
