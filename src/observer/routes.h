/* routes.h: the functions of routes.def, and what they share. */
#ifndef CASK_OBSERVER_ROUTES_H
#define CASK_OBSERVER_ROUTES_H

#include "observer/jot.h"
#include "observer/process.h"

#define PAGE(path, function) exchange_function function;
#define PLAIN(path, function) exchange_function function;
#define DATA(path, function) exchange_function function;
#define API(path, function, method) exchange_function function;
#define ACTION(path, function) exchange_function function;
#include "observer/routes.def"

/* ---- route.c ---- */
/* Whether the path is the pattern's; out_part is what stands for its '*'. */
bool route_matches(const char *pattern, struct span path, struct span *out_part);
/* Whether it is one of routes.def's PAGEs. */
bool route_is_page(struct span path);

/* ---- api_tables.c: rows as JSON objects, for others too ---- */
void api_put_summary(const struct observer *observer, struct jot *jot);
void api_put_run(const struct tables *tables, const struct run *run, struct jot *jot);
void api_put_failure(const struct tables *tables, const struct failure_row *row, struct jot *jot);
/* Which rows of a list are wanted: `limit` after `after`. */
struct page {
    uint32_t limit;
    bool has_after;
    uint64_t after;
};
struct page api_page(const struct exchange *exchange);
void api_put_next(struct jot *jot, bool has_more, uint64_t next);
/* "{", "at": …: an answer begins; api_end: it ends and goes. */
struct jot api_begin(struct exchange *exchange);
void api_end(struct exchange *exchange, struct jot *jot);
/* The cause of a failure, by the core's number. */
const char *api_cause(uint32_t cause);

/* ---- ask.c: questions about a key or a worker ---- */

/* Ask `op` of the scheduler with the key that a person wrote (as str(key)) under `name` (NULL: without), then call `then`
 * with the answer (data NULL: there is none). Keys that look like a tuple are tried as one first, then as a str. */
typedef void ask_function(struct exchange *exchange, struct span answer);
struct ask {
    const char *op, *name;
    struct span key_text;                 /* what a person wrote */
    struct span more;                     /* whole msgpack pairs that go along … */
    uint32_t more_count;                  /* … and how many */
    bool is_list;                         /* the key goes as a list of one */
    bool (*is_known)(struct span answer); /* NULL: whatever comes first */
    ask_function *then;
};
void ask_scheduler(struct exchange *exchange, const struct ask *ask);
/* The canonical key of a tuple as people write it; false: it is none. */
bool ask_parse_tuple(struct span text, struct text *out_key);
/* The canonical bytes of a str key. */
void ask_text_key(struct span text, struct text *out_key);

#endif
