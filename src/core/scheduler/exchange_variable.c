/* exchange_variable.c: variables. Who reads a future from one gets a token and confirms it once it wants the
 * future itself; until then the variable's hold on that future is not given up.
 * Must agree with: distributed variable.py, VariableExtension. */
#include "core/scheduler/action.h"
#include "core/scheduler/exchange_internal.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/uuid.h"
#include "core/scheduler/wants.h"

struct token {
    char text[UUID_HEX_SIZE];
    client_id client; /* CLIENT_NONE: not a connected one */
};

/* A future that was read, and not confirmed by all. */
struct unconfirmed {
    struct span key; /* owned */
    struct VEC(struct token) tokens;
    bool
        release; /* the variable holds something else now: release it after the last confirmation */
};

struct variable {
    struct span name; /* owned */
    bool is_set;
    bool is_deleted;   /* once all is confirmed */
    struct blob *data; /* NULL: a future */
    struct span key;   /* owned; empty: plain data */
    struct VEC(struct unconfirmed) unconfirmed;
    struct waiter_line getters;
};

static struct variable *find(const struct scheduler *s, struct span name)
{
    struct map_entry *entry = map_find(&s->exchange->variables, name);
    return entry == NULL ? NULL : entry->value.pointer;
}

static struct variable *get_or_make(struct scheduler *s, struct span name)
{
    bool added;
    struct map_entry *entry = map_put(&s->exchange->variables, name, &added);
    if (added) {
        struct variable *made = mem_zalloc(1, sizeof *made);
        made->name = span_own(name);
        made->getters = (struct waiter_line){.kind = LINE_VARIABLE, .owner = made};
        entry->value.pointer = made;
    }
    return entry->value.pointer;
}

static void unconfirmed_fini(struct unconfirmed *unconfirmed)
{
    span_disown(&unconfirmed->key);
    vec_fini(&unconfirmed->tokens);
}

static void variable_free(struct variable *variable)
{
    for (uint32_t i = 0; i < variable->unconfirmed.count; i++) {
        unconfirmed_fini(&variable->unconfirmed.items[i]);
    }
    vec_fini(&variable->unconfirmed);
    blob_unref(variable->data);
    span_disown(&variable->key);
    span_disown(&variable->name);
    mem_free(variable);
}

void variables_fini(struct exchange *exchange)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&exchange->variables, &cursor)) != NULL;) {
        variable_free(entry->value.pointer);
    }
    map_fini(&exchange->variables);
}

static void forget_unused(struct scheduler *s, struct variable *variable)
{
    if (!variable->is_set && variable->getters.count == 0 && variable->unconfirmed.count == 0) {
        map_remove(&s->exchange->variables, variable->name);
        variable_free(variable);
    }
}

static struct span client_name(const struct variable *variable, struct step *step)
{
    return exchange_client_name("variable", variable->name, step);
}

/* ---- letting go ---- */

static struct unconfirmed *find_unconfirmed(struct variable *variable, struct span key)
{
    for (uint32_t i = 0; i < variable->unconfirmed.count; i++) {
        if (span_equal(variable->unconfirmed.items[i].key, key)) {
            return &variable->unconfirmed.items[i];
        }
    }
    return NULL;
}

/* The variable no longer holds this future: now, or after the last confirmation. */
static void release_key(struct scheduler *s, struct variable *variable, struct span key,
                        struct step *step)
{
    struct unconfirmed *unconfirmed = find_unconfirmed(variable, key);
    if (unconfirmed != NULL) {
        unconfirmed->release = true;
        return;
    }
    exchange_release(s, client_name(variable, step), key, step);
}

/* Its value is gone; who waits goes on waiting for the next one. */
static void finish_delete(struct scheduler *s, struct variable *variable, struct step *step)
{
    variable->is_set = false;
    variable->is_deleted = false;
    exchange_used(s->exchange, variable->data);
    variable->data = NULL;
    span_disown(&variable->key);
    for (uint32_t i = 0; i < variable->unconfirmed.count; i++) {
        unconfirmed_fini(&variable->unconfirmed.items[i]);
    }
    variable->unconfirmed.count = 0;
    exchange_forget_client(s, client_name(variable, step), step);
    forget_unused(s, variable);
}

/* All tokens of a future are confirmed. true: the variable itself is gone with it. */
static bool all_confirmed(struct scheduler *s, struct variable *variable,
                          struct unconfirmed *unconfirmed, struct step *step)
{
    struct unconfirmed done = *unconfirmed;
    vec_swap_remove(&variable->unconfirmed, (uint32_t)(unconfirmed - variable->unconfirmed.items));
    bool is_held = variable->is_set && span_equal(variable->key, done.key);
    if (done.release && !is_held) {
        exchange_release(s, client_name(variable, step), done.key, step);
    }
    unconfirmed_fini(&done);
    if (variable->is_deleted && is_held) {
        finish_delete(s, variable, step);
        return true;
    }
    bool is_unused =
        !variable->is_set && variable->getters.count == 0 && variable->unconfirmed.count == 0;
    forget_unused(s, variable);
    return is_unused;
}

/* ---- reading ---- */

static void answer(struct scheduler *s, struct variable *variable, uint64_t request,
                   client_id reader, struct step *step)
{
    struct record record = exchange_record(s, variable->key, variable->data, step);
    if (variable->key.size > 0) {
        struct unconfirmed *unconfirmed = find_unconfirmed(variable, variable->key);
        if (unconfirmed == NULL) {
            vec_push(&variable->unconfirmed, (struct unconfirmed){.key = span_own(variable->key)});
            unconfirmed = &variable->unconfirmed.items[variable->unconfirmed.count - 1];
        }
        struct token token = {.client = reader};
        uuid_hex(&s->prng, token.text);
        vec_push(&unconfirmed->tokens, token);
        record.token = arena_copy(&step->arena, span_of(token.text, sizeof token.text));
    }
    struct record *copy = arena_new(&step->arena, struct record);
    *copy = record;
    action_reply(step, request,
                 &(struct answer){.kind = ANSWER_RECORD, .records = copy, .record_count = 1});
}

static client_id reader_of(const struct scheduler *s, struct span name)
{
    const struct client *client = client_find_name(s, name);
    return client == NULL ? CLIENT_NONE : client->id;
}

static void get(struct scheduler *s, const struct event_variable_get *event, struct step *step)
{
    struct variable *variable = find(s, event->name);
    client_id reader = reader_of(s, event->client_name);
    if (variable != NULL && variable->is_set) {
        answer(s, variable, event->request, reader, step);
        return;
    }
    if (event->deadline <= s->now) {
        exchange_reply_timeout(step, event->request, (struct span){0});
        return;
    }
    struct waiter *waiter =
        waiting_add(&s->exchange->waiting, &get_or_make(s, event->name)->getters, event->request,
                    s->now, event->deadline);
    waiter->number = reader;
}

void variable_give_up(struct scheduler *s, struct waiter *waiter)
{
    struct variable *variable = waiter->line->owner;
    waiting_end(&s->exchange->waiting, waiter);
    forget_unused(s, variable);
}

/* ---- writing ---- */

/* The variable's new value; takes over the data's reference. Those who waited for a first one read it. */
static void assign(struct scheduler *s, struct variable *variable, struct span key,
                   struct blob *data, struct step *step)
{
    struct span old_key = variable->key;
    exchange_used(s->exchange, variable->data);
    variable->data = data;
    variable->key = span_own(key);
    variable->is_set = true;
    if (old_key.size > 0 && !span_equal(old_key, key)) {
        release_key(s, variable, old_key, step);
    }
    span_disown(&old_key);
    while (variable->getters.first != NULL) {
        struct waiter *waiter = variable->getters.first;
        answer(s, variable, waiter->request, waiter->number, step);
        waiting_end(&s->exchange->waiting, waiter);
    }
}

void variable_set_known(struct scheduler *s, const struct exchange_put *put, struct step *step)
{
    struct variable *variable = get_or_make(s, put->name);
    exchange_desire(s, client_name(variable, step), put->key, step);
    assign(s, variable, put->key, NULL, step);
    action_reply_nil(step, put->request);
}

static void set(struct scheduler *s, const struct event_variable_set *event, struct step *step)
{
    struct exchange_put put = {event->request, event->name, event->key, event->deadline};
    if (event->key.size > 0 && task_find(s, event->key) == NULL) {
        exchange_await_key(s, &put, KEY_FOR_VARIABLE);
    } else if (event->key.size > 0) {
        variable_set_known(s, &put, step);
    } else {
        assign(s, get_or_make(s, event->name), (struct span){0}, exchange_keep(event->data), step);
        action_reply_nil(step, event->request);
    }
}

static void confirm(struct scheduler *s, const struct event_variable_confirm *event,
                    struct step *step)
{
    struct client *client = client_find(s, event->client);
    if (client != NULL) {
        client_desires(s, client, &event->key, 1, step);
    }
    struct variable *variable = find(s, event->name);
    struct unconfirmed *unconfirmed =
        variable == NULL ? NULL : find_unconfirmed(variable, event->key);
    if (unconfirmed == NULL) {
        return;
    }
    for (uint32_t i = 0; i < unconfirmed->tokens.count; i++) {
        if (span_equal(span_of(unconfirmed->tokens.items[i].text, UUID_HEX_SIZE), event->token)) {
            vec_swap_remove(&unconfirmed->tokens, i);
            break;
        }
    }
    if (unconfirmed->tokens.count == 0) {
        all_confirmed(s, variable, unconfirmed, step);
    }
}

static void delete_variable(struct scheduler *s, const struct event_variable_delete *event,
                            struct step *step)
{
    struct variable *variable = find(s, event->name);
    if (variable == NULL) {
        return;
    }
    if (variable->key.size > 0 && find_unconfirmed(variable, variable->key) != NULL) {
        variable->is_deleted = true;
        return;
    }
    finish_delete(s, variable, step);
}

/* Tokens of a client that is gone count as confirmed. true: the variable is gone too. */
static bool drop_tokens(struct scheduler *s, struct variable *variable, client_id client,
                        struct step *step)
{
    for (uint32_t i = variable->unconfirmed.count; i > 0; i--) {
        struct unconfirmed *unconfirmed = &variable->unconfirmed.items[i - 1];
        for (uint32_t j = unconfirmed->tokens.count; j > 0; j--) {
            if (unconfirmed->tokens.items[j - 1].client == client) {
                vec_swap_remove(&unconfirmed->tokens, j - 1);
            }
        }
        if (unconfirmed->tokens.count == 0 && all_confirmed(s, variable, unconfirmed, step)) {
            return true;
        }
    }
    return false;
}

void variables_client_removed(struct scheduler *s, client_id client, struct step *step)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&s->exchange->variables, &cursor)) != NULL;) {
        drop_tokens(s, entry->value.pointer, client, step);
    }
}

void variable_event(struct scheduler *s, const struct event *event, struct step *step)
{
    switch (event->kind) {
    case EVENT_VARIABLE_SET:
        set(s, &event->of.variable_set, step);
        return;
    case EVENT_VARIABLE_GET:
        get(s, &event->of.variable_get, step);
        return;
    case EVENT_VARIABLE_CONFIRM:
        confirm(s, &event->of.variable_confirm, step);
        return;
    default:
        ASSERT(event->kind == EVENT_VARIABLE_DELETE);
        delete_variable(s, &event->of.variable_delete, step);
    }
}
