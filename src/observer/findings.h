/* findings.h: what went wrong, by rules: a sentence, when, and what to do about it.
 *
 * Rules look at the tables after these have changed, at most once a second, never for a request. One thing is one row,
 * known by rule and subject (a worker, a task, …); what no longer holds stays, as past. */
#ifndef CASK_OBSERVER_FINDINGS_H
#define CASK_OBSERVER_FINDINGS_H

#include "base/map.h"
#include "base/text.h"
#include "base/vec.h"

#define FINDINGS_MAX 500u
#define FINDING_KEYS 10u

struct jot;
struct tables;

enum finding_severity { FINDING_NOTE, FINDING_WARNING, FINDING_ERROR };

enum finding_kind {
#define FINDING(ID, name, severity, threshold, unit, advice) FINDING_##ID,
#include "observer/findings.def"
    FINDING_COUNT
};

struct finding_row {
    uint32_t id;
    uint64_t tick; /* of its last change */
    enum finding_kind kind;
    bool is_active; /* it holds now */
    bool was_found; /* by the rules that are being looked at */
    uint64_t count;
    double first, last;
    uint32_t worker; /* 0: none */
    struct text subject, sentence, link;
    struct text keys[FINDING_KEYS];
    uint32_t key_count;
};

struct findings {
    struct VEC(struct finding_row *) rows; /* in order of coming */
    struct map places;                     /* kind, subject → row */
    uint32_t last_id;
    double thresholds[FINDING_COUNT]; /* NaN: off */
    double looked_at;
    uint64_t looked_tick;
    /* how far what happened has been looked at */
    uint64_t deaths, large, versions, dropped;
    uint64_t failures_tick;
    double loop_longest;
};

/* The thresholds of findings.def. */
void findings_defaults(struct findings *findings);
/* Those of the settings: a msgpack map, or nil. */
void findings_configure(struct findings *findings, struct span settings);
/* Forget all rows; thresholds stay. */
void findings_clear(struct findings *findings);
/* Look, if something changed and it is time. `dropped`: records that did not fit into the ring. */
void findings_look(struct tables *tables, uint64_t dropped, double now);
/* Something holds now: it is worth looking whether it still does. */
bool findings_hold(const struct findings *findings);
/* The name of a rule, its severity in words, and what to do. */
const char *finding_name(enum finding_kind kind);
enum finding_severity finding_severity(enum finding_kind kind);
const char *finding_severity_name(enum finding_severity severity);
const char *finding_advice(enum finding_kind kind);
/* The row as a JSON object. */
void finding_put(const struct tables *tables, const struct finding_row *row, struct jot *jot);
/* What belongs to it beside its sentence: {"worker", "keys", "memory"}. */
void finding_put_detail(const struct tables *tables, const struct finding_row *row,
                        struct jot *jot);

#endif
