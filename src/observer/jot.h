/* jot.h: jotting down JSON: commas, escapes, and null for what is no number. */
#ifndef CASK_OBSERVER_JOT_H
#define CASK_OBSERVER_JOT_H

#include "base/text.h"

struct jot {
    struct text *out;
    bool has_item; /* a comma goes before the next one */
};

static inline struct jot jot_on(struct text *out)
{
    return (struct jot){.out = out};
}

/* '{' or '['; then items, then the same with its end. */
void jot_open(struct jot *jot, char bracket);
void jot_close(struct jot *jot, char bracket);
/* The name of the next value in an object. */
void jot_name(struct jot *jot, const char *name);
/* Any bytes: what is not UTF-8 becomes U+FFFD. */
void jot_text(struct jot *jot, struct span text);
void jot_cstr(struct jot *jot, const char *text);
/* Shortest form; NaN and infinities: null. */
void jot_real(struct jot *jot, double value);
void jot_int(struct jot *jot, int64_t value);
void jot_bool(struct jot *jot, bool value);
void jot_null(struct jot *jot);
/* A whole value that is JSON already. */
void jot_raw(struct jot *jot, struct span value);

/* name and value in one. */
void jot_put_text(struct jot *jot, const char *name, const struct text *text);
void jot_put_cstr(struct jot *jot, const char *name, const char *text);
void jot_put_real(struct jot *jot, const char *name, double value);
void jot_put_int(struct jot *jot, const char *name, int64_t value);
void jot_put_bool(struct jot *jot, const char *name, bool value);

#endif
