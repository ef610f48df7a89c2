/* api_around.c: GET api/cask/v1/…: what the scheduler and workers know around one task: its neighbours, and what its
 * runs cost and printed. */
#include <stdlib.h>

#include "observer/routes.h"
#include "wire/json.h"
#include "wire/msgpack.h"

/* Of who is asked; the scheduler has the same limit (rpc_around.c). */
#define WORKERS_MAX 16u

static bool wants_key(struct exchange *exchange, struct span *out_key)
{
    *out_key = exchange_argument(exchange, "key");
    if (out_key->size == 0) {
        exchange_fail(exchange, 400, "which key?");
    }
    return out_key->size > 0;
}

static void forward(struct exchange *exchange, struct span answer)
{
    struct text text = {0};
    if (answer.data != NULL && !msgpack_is_nil(answer) && json_from_msgpack(&text, answer, 0)) {
        struct jot jot = jot_on(exchange_body(exchange));
        jot_raw(&jot, text_span(&text));
        exchange_answer(exchange, 200, TYPE_JSON);
    } else {
        exchange_fail(exchange, 503, "the scheduler does not answer");
    }
    text_fini(&text);
}

static bool is_known(struct span answer)
{
    struct span raw;
    bool known = false;
    if (msgpack_find(answer, "known", &raw) == OK) {
        struct msgpack_reader reader = msgpack_reader(raw);
        known = msgpack_read_bool(&reader, &known) == OK && known;
    }
    return known;
}

void api_neighbourhood(struct exchange *exchange)
{
    struct text more = {0};
    struct ask ask = {.op = "neighbourhood", .name = "key", .is_known = is_known, .then = forward};
    double hops = exchange_number(exchange, "hops", 1);
    if (!wants_key(exchange, &ask.key_text)) {
        return;
    }
    msgpack_write_cstr(&more, "hops");
    msgpack_write_uint(&more, hops >= 1 && hops <= 3 ? (uint64_t)hops : 1);
    ask.more = text_span(&more);
    ask.more_count = 1;
    ask_scheduler(exchange, &ask);
    text_fini(&more);
}

/* Some worker remembers a run: {worker: [record, …]}. */
static bool is_remembered(struct span answer)
{
    struct msgpack_reader reader = msgpack_reader(answer);
    uint32_t count, items = 0;
    struct span worker, records;
    bool fine = msgpack_read_map(&reader, &count) == OK;
    while (fine && items == 0 && count-- > 0) {
        fine =
            msgpack_read_str(&reader, &worker) == OK && msgpack_read_value(&reader, &records) == OK;
        struct msgpack_reader list = msgpack_reader(fine ? records : (struct span){0});
        fine = fine && msgpack_read_array(&list, &items) == OK;
    }
    return items > 0;
}

/* Addresses of `text`: numbers of workers, commas between them; gives how many. */
static uint32_t put_addresses(const struct tables *tables, struct span text, struct text *out)
{
    uint32_t count = 0, number = 0;
    for (size_t i = 0; i <= text.size && count < WORKERS_MAX; i++) {
        bool is_digit = i < text.size && text.data[i] >= '0' && text.data[i] <= '9';
        if (is_digit && number < UINT32_MAX / 10 - 1) {
            number = 10 * number + (text.data[i] - '0');
            continue;
        }
        const struct worker_row *row = tables_worker(tables, number);
        if (row != NULL && row->removed == 0) {
            msgpack_write_str_lossy(out, text_span(&row->address));
            count++;
        }
        number = 0;
    }
    return count;
}

void api_attempts(struct exchange *exchange)
{
    struct text addresses = {0}, more = {0};
    struct ask ask = {.op = "task_attempts",
                      .name = "keys",
                      .is_list = true,
                      .is_known = is_remembered,
                      .then = forward};
    if (!wants_key(exchange, &ask.key_text)) {
        return;
    }
    uint32_t count = put_addresses(exchange->observer->tables,
                                   exchange_argument(exchange, "workers"), &addresses);
    msgpack_write_cstr(&more, "workers");
    msgpack_write_array(&more, count);
    msgpack_write_raw(&more, text_span(&addresses));
    ask.more = text_span(&more);
    ask.more_count = 1;
    ask_scheduler(exchange, &ask);
    text_fini(&addresses);
    text_fini(&more);
}
