/* core_driver.h: the parts of core_driver: what happens to the core (core_driver_events.c), what it asks for
 * (core_driver_sent.c), what it is (core_driver_look.c). */
#ifndef CASK_TEST_CORE_DRIVER_H
#define CASK_TEST_CORE_DRIVER_H

#include <jansson.h>

#include "core/scheduler/internal.h"
#include "core/scheduler/spans.h"
#include "core/scheduler/view.h"

struct driver {
    struct scheduler *s;
    struct step step;
    struct arena arena; /* of the event being made */
    json_t *line;       /* the event */
    struct blob *blob;  /* lent to the event; or NULL */
    json_t *sent;       /* of this step: peer → its messages */
    json_t *retired;    /* of this step: [address, may it be removed] */
    json_t *steals;     /* key → stimulus of the last request */
    uint64_t requests;
};

/* The fields of the line; ends the program if they are not there. */
const char *driver_text(const json_t *object, const char *name);
double driver_real(const json_t *object, const char *name);
/* Canonical msgpack of a short string, in the arena. */
struct span driver_key(struct driver *driver, const char *text);

/* The event that the line is. False: no such op. */
bool driver_make_event(struct driver *driver, struct event *event);

/* A key, or the parts of a tuple of strings with "/" between them. */
json_t *driver_show_key(struct span key);
json_t *driver_show_text(struct span text);
/* The number of the span in order of creation, −1: none. */
json_int_t driver_span_number(const struct scheduler *s, struct span id);
/* What the last step asked for: {"sent": …, "retired": …} and where each task is. */
json_t *driver_answer(struct driver *driver);
/* The whole state, as the comparison wants it. */
json_t *driver_look(struct driver *driver);
/* The orders of lists whose order is nothing to stock. */
json_t *driver_orders(struct driver *driver);

#endif
