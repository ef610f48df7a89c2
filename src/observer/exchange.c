/* exchange.c: reading a request, writing its answer. */
#include "observer/exchange.h"

#include <libwebsockets.h>
#include <stdio.h>

#include "base/alloc.h"
#include "observer/jot.h"
#include "observer/process.h"

void exchange_free(struct exchange *exchange)
{
    exchange->observer->uses -= exchange->observer->uses > 0;
    text_fini(&exchange->path);
    for (uint32_t i = 0; i < exchange->argument_count; i++) {
        text_fini(&exchange->arguments[i]);
    }
    text_fini(&exchange->request_body);
    text_fini(&exchange->location);
    text_fini(&exchange->body);
    mem_free(exchange);
}

struct span exchange_argument(const struct exchange *exchange, const char *name)
{
    size_t size = strlen(name);
    for (uint32_t i = 0; i < exchange->argument_count; i++) {
        struct span given = text_span(&exchange->arguments[i]);
        if (given.size > size && memcmp(given.data, name, size) == 0 && given.data[size] == '=') {
            return span_of(given.data + size + 1, given.size - size - 1);
        }
    }
    return (struct span){0};
}

double exchange_number(const struct exchange *exchange, const char *name, double absent)
{
    struct span text = exchange_argument(exchange, name);
    char few[64], *end;
    if (text.size == 0 || text.size >= sizeof few) {
        return absent;
    }
    memcpy(few, text.data, text.size);
    few[text.size] = '\0';
    double value = strtod(few, &end);
    return *end == '\0' && value >= -1e15 && value <= 1e15 ? value : absent;
}

struct text *exchange_body(struct exchange *exchange)
{
    if (exchange->body.size == 0) {
        static const char room[LWS_PRE];
        text_add(&exchange->body, span_of(room, sizeof room));
        exchange->body_begin = sizeof room;
    }
    return &exchange->body;
}

void exchange_answer(struct exchange *exchange, int status, const char *type)
{
    ASSERT(!exchange->is_answered);
    exchange_body(exchange);
    exchange->status = status;
    exchange->type = type;
    exchange->is_answered = true;
    if (exchange->wsi != NULL) {
        lws_callback_on_writable(exchange->wsi);
    } else {
        if (exchange->done != NULL) {
            exchange->done(exchange, exchange->done_user);
        }
        exchange_free(exchange); /* nobody waits any more */
    }
}

void exchange_redirect(struct exchange *exchange, int status, const char *location)
{
    text_add_cstr(&exchange->location, location);
    exchange_answer(exchange, status, TYPE_HTML);
}

void exchange_fail(struct exchange *exchange, int status, const char *format, ...)
{
    char why[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    struct text *body = exchange_body(exchange);
    body->size = exchange->body_begin;
    body->data[body->size] = '\0';
    if (strncmp(text_cstr(&exchange->path), "/api/", 5) == 0) {
        struct jot jot = jot_on(body);
        jot_open(&jot, '{');
        jot_put_cstr(&jot, "error", why);
        jot_close(&jot, '}');
        exchange_answer(exchange, status, TYPE_JSON);
    } else {
        text_printf(body, "%d: %s\n", status, why);
        exchange_answer(exchange, status, TYPE_TEXT);
    }
}
