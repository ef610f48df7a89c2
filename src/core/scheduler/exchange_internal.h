/* exchange_internal.h: what the files of exchange share. */
#ifndef CASK_CORE_SCHEDULER_EXCHANGE_INTERNAL_H
#define CASK_CORE_SCHEDULER_EXCHANGE_INTERNAL_H

#include "core/scheduler/exchange.h"
#include "core/scheduler/internal.h"
#include "core/scheduler/waiting.h"

/* Kinds of lines; the owner is a struct key_line, shelf or variable. */
enum { LINE_KEY, LINE_SHELF_GET, LINE_SHELF_PUT, LINE_VARIABLE };
/* What a waiter in a LINE_KEY wants to do with the key; its text is the name of the queue or variable. */
enum { KEY_FOR_QUEUE, KEY_FOR_VARIABLE };

/* Those who wait for a key that the scheduler does not know yet. */
struct key_line {
    struct span key; /* owned */
    struct waiter_line line;
};

struct exchange {
    struct waiting waiting;
    struct map key_lines;           /* key → struct key_line */
    bool key_came;                  /* one of them is known now */
    struct map shelves;             /* name → struct shelf: queues */
    struct map variables;           /* name → struct variable */
    struct map datasets;            /* name → struct dataset */
    struct VEC(struct blob *) used; /* given away in the last step: actions may point to them */
};

/* ---- exchange.c ---- */

/* "queue-<name>" and its like, in the step's arena. */
struct span exchange_client_name(const char *kind, struct span name, struct step *step);
/* The pseudo-client of that name wants the key from now on, or no more. */
void exchange_desire(struct scheduler *s, struct span client_name, struct span key,
                     struct step *step);
void exchange_release(struct scheduler *s, struct span client_name, struct span key,
                      struct step *step);
/* It wants nothing any more and is forgotten. */
void exchange_forget_client(struct scheduler *s, struct span client_name, struct step *step);
/* A future to be put into the queue or variable of this name. */
struct exchange_put {
    uint64_t request;
    struct span name, key;
    double deadline;
};
/* Wait until the key is known; then shelf_put_known or variable_set_known goes on. */
void exchange_await_key(struct scheduler *s, const struct exchange_put *put, uint32_t purpose);
/* A reference of its own; NULL is allowed. */
static inline struct blob *exchange_keep(struct blob *data)
{
    return data == NULL ? NULL : blob_ref(data);
}
/* Let go of a value when the step is over. NULL is allowed. */
void exchange_used(struct exchange *exchange, struct blob *data);
/* One item as an answer. `key` empty: plain data. In the step's arena. */
struct record exchange_record(struct scheduler *s, struct span key, struct blob *data,
                              struct step *step);
/* KeyError(name); TimeoutError(text) */
void exchange_reply_unknown(struct step *step, uint64_t request, struct span name);
void exchange_reply_timeout(struct step *step, uint64_t request, struct span text);

/* ---- exchange_queue.c ---- */

void shelf_event(struct scheduler *s, const struct event *event, struct step *step);
void shelf_put_known(struct scheduler *s, const struct exchange_put *put, struct step *step);
/* Ends a LINE_SHELF_… waiter: what it was about to put or had taken goes back. Answers nothing. */
void shelf_give_up(struct scheduler *s, struct waiter *waiter, struct step *step);
void shelves_fini(struct exchange *exchange);

/* ---- exchange_variable.c ---- */

void variable_event(struct scheduler *s, const struct event *event, struct step *step);
void variable_set_known(struct scheduler *s, const struct exchange_put *put, struct step *step);
void variable_give_up(struct scheduler *s, struct waiter *waiter);
void variables_client_removed(struct scheduler *s, client_id client, struct step *step);
void variables_fini(struct exchange *exchange);

/* ---- exchange_publish.c ---- */

void dataset_event(struct scheduler *s, const struct event *event, struct step *step);
void datasets_fini(struct exchange *exchange);

#endif
