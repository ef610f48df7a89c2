/* exchange.c: what queues, variables and datasets share: waiting for keys, time, answers. One file each for
 * the rest. */
#include "core/scheduler/exchange.h"

#include <math.h>
#include <string.h>

#include "base/text.h"
#include "core/scheduler/action.h"
#include "core/scheduler/backlog.h"
#include "core/scheduler/exchange_internal.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/transition.h"
#include "core/scheduler/wants.h"

struct exchange *exchange_create(const struct scheduler_config *config)
{
    (void)config;
    struct exchange *exchange = mem_zalloc(1, sizeof *exchange);
    waiting_init(&exchange->waiting);
    return exchange;
}

static void key_line_free(struct key_line *line)
{
    span_disown(&line->key);
    mem_free(line);
}

static void drop_used(struct exchange *exchange)
{
    while (exchange->used.count > 0) {
        blob_unref(vec_pop(&exchange->used));
    }
}

void exchange_destroy(struct exchange *exchange)
{
    shelves_fini(exchange);
    variables_fini(exchange);
    datasets_fini(exchange);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&exchange->key_lines, &cursor)) != NULL;) {
        key_line_free(entry->value.pointer);
    }
    map_fini(&exchange->key_lines);
    drop_used(exchange);
    vec_fini(&exchange->used);
    waiting_fini(&exchange->waiting);
    mem_free(exchange);
}

/* ---- pseudo-clients ---- */

struct span exchange_client_name(const char *kind, struct span name, struct step *step)
{
    struct span shown = key_as_text(name, &step->arena);
    struct text text = {0};
    text_printf(&text, "%s-%.*s", kind, (int)shown.size, (const char *)shown.data);
    struct span made = arena_copy(&step->arena, text_span(&text));
    text_fini(&text);
    return made;
}

void exchange_desire(struct scheduler *s, struct span client_name, struct span key,
                     struct step *step)
{
    client_desires(s, client_get_or_pseudo(s, client_name), &key, 1, step);
}

void exchange_release(struct scheduler *s, struct span client_name, struct span key,
                      struct step *step)
{
    struct client *client = client_find_name(s, client_name);
    if (client != NULL) {
        client_releases(s, client, &key, 1, step);
    }
}

void exchange_forget_client(struct scheduler *s, struct span client_name, struct step *step)
{
    struct client *client = client_find_name(s, client_name);
    if (client != NULL && client->is_pseudo) {
        client_leaves(s, client, step);
    }
}

/* ---- answers ---- */

void exchange_used(struct exchange *exchange, struct blob *data)
{
    if (data != NULL) {
        vec_push(&exchange->used, data);
    }
}

struct record exchange_record(struct scheduler *s, struct span key, struct blob *data,
                              struct step *step)
{
    if (key.size == 0) {
        return (struct record){.data = data};
    }
    const struct task *task = task_find(s, key);
    struct record record = {.key = arena_copy(&step->arena, key), .state = SPAN("lost")};
    if (task != NULL) {
        record.state = span_of_text(task_state_name(task->state));
        record.failure = task->state == TASK_ERRED ? task_failure(task) : NULL;
    }
    return record;
}

void exchange_reply_unknown(struct step *step, uint64_t request, struct span name)
{
    action_reply_error(step, request, ANSWER_KEY_ERROR, key_as_text(name, &step->arena));
}

void exchange_reply_timeout(struct step *step, uint64_t request, struct span text)
{
    action_reply_error(step, request, ANSWER_TIMEOUT_ERROR, text);
}

/* ---- keys that are not known yet ---- */

void exchange_await_key(struct scheduler *s, const struct exchange_put *put, uint32_t purpose)
{
    bool added;
    struct map_entry *entry = map_put(&s->exchange->key_lines, put->key, &added);
    if (added) {
        struct key_line *made = mem_zalloc(1, sizeof *made);
        made->key = span_own(put->key);
        made->line.kind = LINE_KEY;
        made->line.owner = made;
        entry->value.pointer = made;
    }
    struct key_line *line = entry->value.pointer;
    struct waiter *waiter =
        waiting_add(&s->exchange->waiting, &line->line, put->request, s->now, put->deadline);
    waiter->text = span_own(put->name);
    waiter->number = purpose;
}

void exchange_key_known(struct scheduler *s, const struct task *task)
{
    struct exchange *exchange = s->exchange;
    if (exchange->key_lines.count > 0 && map_find(&exchange->key_lines, task->key) != NULL) {
        exchange->key_came = true;
    }
}

static void forget_unused(struct exchange *exchange, struct key_line *line)
{
    if (line->line.count == 0) {
        map_remove(&exchange->key_lines, line->key);
        key_line_free(line);
    }
}

/* The key is known: all who waited for it go on, in order. */
static void serve_key(struct scheduler *s, struct key_line *line, struct step *step)
{
    while (line->line.first != NULL) {
        struct waiter *waiter = line->line.first;
        struct exchange_put put = {
            .request = waiter->request,
            .name = arena_copy(&step->arena, waiter->text),
            .key = line->key,
            .deadline = waiter->deadline,
        };
        uint32_t purpose = waiter->number;
        waiting_end(&s->exchange->waiting, waiter);
        if (purpose == KEY_FOR_QUEUE) {
            shelf_put_known(s, &put, step);
        } else {
            variable_set_known(s, &put, step);
        }
    }
    forget_unused(s->exchange, line);
}

static void serve_keys(struct scheduler *s, struct step *step)
{
    s->exchange->key_came = false;
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&s->exchange->key_lines, &cursor)) != NULL;) {
        struct key_line *line = entry->value.pointer;
        if (task_find(s, line->key) != NULL) {
            serve_key(s, line, step);
        }
    }
}

/* ---- events ---- */

void exchange_event(struct scheduler *s, const struct event *event, struct step *step)
{
    drop_used(s->exchange);
    switch (event->kind) {
    case EVENT_QUEUE_CREATE:
    case EVENT_QUEUE_PUT:
    case EVENT_QUEUE_GET:
    case EVENT_QUEUE_SIZE:
    case EVENT_QUEUE_RELEASE:
    case EVENT_QUEUE_FUTURE_RELEASE:
        shelf_event(s, event, step);
        return;
    case EVENT_VARIABLE_SET:
    case EVENT_VARIABLE_GET:
    case EVENT_VARIABLE_CONFIRM:
    case EVENT_VARIABLE_DELETE:
        variable_event(s, event, step);
        return;
    default:
        dataset_event(s, event, step);
    }
}

static void give_up(struct scheduler *s, struct waiter *waiter, struct step *step)
{
    struct waiter_line *line = waiter->line;
    switch (line->kind) {
    case LINE_KEY:
        waiting_end(&s->exchange->waiting, waiter);
        forget_unused(s->exchange, line->owner);
        return;
    case LINE_VARIABLE:
        variable_give_up(s, waiter);
        return;
    default:
        ASSERT(line->kind == LINE_SHELF_GET || line->kind == LINE_SHELF_PUT);
        shelf_give_up(s, waiter, step);
    }
}

void exchange_request_gone(struct scheduler *s, uint64_t request, struct step *step)
{
    drop_used(s->exchange);
    struct waiter *waiter = waiting_find(&s->exchange->waiting, request);
    if (waiter != NULL) {
        give_up(s, waiter, step);
    }
}

void exchange_client_removed(struct scheduler *s, const struct client *client, struct step *step)
{
    variables_client_removed(s, client->id, step);
}

static void timed_out(struct scheduler *s, struct waiter *waiter, struct step *step)
{
    struct text text = {0};
    if (waiter->line->kind == LINE_KEY) {
        struct key_line *line = waiter->line->owner;
        struct span key = key_as_text(line->key, &step->arena);
        text_printf(&text, "Task %.*s unknown to scheduler.", (int)key.size,
                    (const char *)key.data);
    }
    exchange_reply_timeout(step, waiter->request, text_span(&text));
    text_fini(&text);
    give_up(s, waiter, step);
}

void exchange_tick(struct scheduler *s, struct step *step)
{
    drop_used(s->exchange);
    if (s->exchange->key_came) {
        serve_keys(s, step);
    }
    for (struct waiter *waiter;
         (waiter = waiting_expired(&s->exchange->waiting, s->now)) != NULL;) {
        timed_out(s, waiter, step);
    }
}

double exchange_next_tick(const struct scheduler *s)
{
    return s->exchange->key_came ? s->now : waiting_due(&s->exchange->waiting);
}
