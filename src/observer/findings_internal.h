/* findings_internal.h: what findings.c and findings_rules.c share. */
#ifndef CASK_OBSERVER_FINDINGS_INTERNAL_H
#define CASK_OBSERVER_FINDINGS_INTERNAL_H

#include "observer/tables.h"

/* A look at the tables. */
struct look {
    struct tables *tables;
    struct findings *findings;
    double now;
    uint64_t dropped;
};

/* The row of this rule about this subject, made if there is none, which holds now. Its sentence is to be written with
 * finding_say(). NULL: the rule is off. */
struct finding_row *finding_found(struct look *look, enum finding_kind kind, struct span subject);
/* As finding_found, for what happened at a time, and is over. */
struct finding_row *finding_happened(struct look *look, enum finding_kind kind, struct span subject,
                                     double time);
void finding_say(struct look *look, struct finding_row *row, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Remember a key, the first ones only, each once. */
void finding_add_key(struct finding_row *row, struct span key);
/* Where the page about it is. */
void finding_set_link(struct finding_row *row, const char *before, struct span name,
                      const char *after);
/* "w0 (tcp://…)" */
void finding_worker_name(const struct tables *tables, uint32_t worker, struct text *out);

/* ---- findings_rules.c ---- */
void findings_of_now(struct look *look);

#endif
