/* node.c: letters to the scheduler, as events. What the real node refuses (a peer it does not know) is
 * dropped here as well. */
#include "sim/node.h"

#include <math.h>
#include <stdio.h>

#include "core/scheduler/spans.h"
#include "sim/checkers.h"
#include "sim/client.h"
#include "sim/machine.h"
#include "sim/network.h"
#include "sim/node_graph.h"
#include "sim/p2p.h"
#include "sim/replicas.h"
#include "sim/requests.h"

uint32_t key_number(const struct sim *sim, struct span key)
{
    struct map_entry *entry = map_find(&sim->key_numbers, key);
    ASSERT(entry != NULL);
    return (uint32_t)entry->value.number;
}

struct span_list key_list(struct sim *sim, const uint32_t *numbers, uint32_t count)
{
    struct span *keys = arena_array(&sim->scratch, struct span, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = sim->keys.items[numbers[i]].bytes;
    }
    return (struct span_list){keys, count};
}

static uint32_t number_at(const struct numbers *numbers, uint32_t index)
{
    return index < numbers->count ? numbers->items[index] : 0;
}

static void set_number_at(struct numbers *numbers, uint32_t index, uint32_t value)
{
    while (numbers->count <= index) {
        vec_push(numbers, 0);
    }
    numbers->items[index] = value;
}

worker_id worker_id_now(const struct sim *sim, uint32_t slot)
{
    struct worker_view view;
    worker_id id = number_at(&sim->workers[slot].ids, sim->workers[slot].connection);
    return id != WORKER_NONE && view_worker(sim->s, id, &view) ? id : WORKER_NONE;
}

struct span worker_address(struct sim *sim, uint32_t slot, uint32_t address)
{
    char text[48];
    int size = snprintf(text, sizeof text, "tcp://h%u:%u", slot / 2, 10000 + address);
    return arena_copy(&sim->scratch, span_of(text, (size_t)size));
}

worker_id worker_at(struct sim *sim, uint32_t address)
{
    return view_worker_by_address(sim->s, worker_address(sim, address / ADDRESSES_A_SLOT, address));
}

client_id client_id_now(const struct sim *sim, uint32_t slot)
{
    return number_at(&sim->clients[slot].ids, sim->clients[slot].life);
}

static void plan_tick(struct sim *sim)
{
    double due = scheduler_next_tick(sim->s) - EPOCH;
    if (due < sim->tick_at) {
        sim->tick_at = due;
        post(sim, (struct letter){.kind = LETTER_TICK, .real = due},
             due > sim->now ? due - sim->now : 0);
    }
}

static void step_core(struct sim *sim, struct event *event)
{
    event->time = EPOCH + sim->now;
    sim->event_kind = event->kind;
    sim->steps++;
    say_event(sim, event);
    scheduler_step(sim->s, event, &sim->step);
    say_actions(sim);
}

static void finish_step(struct sim *sim)
{
    carry_out(sim);
    plan_tick(sim);
    check_step(sim);
    graphs_stepped(sim);
}

void apply(struct sim *sim, struct event *event)
{
    step_core(sim, event);
    finish_step(sim);
}

/* ---- workers ---- */

/* Whether the connection lost the letter, or was lost before it. */
static worker_id sender_of(const struct sim *sim, const struct letter *letter)
{
    const struct sim_worker *worker = &sim->workers[letter->from];
    bool is_lost = letter->life <= worker->lost && letter->kind != LETTER_WORKER_EOF;
    return is_lost ? WORKER_NONE : number_at(&worker->ids, letter->life);
}

static struct span host_of(struct sim *sim, uint32_t slot)
{
    char text[16];
    int size = snprintf(text, sizeof text, "h%u", slot / 2);
    return arena_copy(&sim->scratch, span_of(text, (size_t)size));
}

/* Now actions may name it. */
static void admit(struct sim *sim, struct sim_worker *worker, uint32_t connection, worker_id id)
{
    while (sim->incarnations.count <= id) {
        vec_push(&sim->incarnations, (struct incarnation){0});
    }
    sim->incarnations.items[id] = (struct incarnation){.slot = worker->slot,
                                                       .life = worker->life,
                                                       .connection = connection,
                                                       .address = worker->address};
    set_number_at(&worker->ids, connection, id);
}

static void register_worker(struct sim *sim, const struct letter *letter)
{
    struct sim_worker *worker = &sim->workers[letter->from];
    char name[16], nanny[48];
    snprintf(nanny, sizeof nanny, "tcp://h%u:%u", worker->slot / 2, 1000 + worker->slot);
    snprintf(name, sizeof name, "%cw%02u", 0xa0 | 3, worker->slot);
    struct resource gpu = {SPAN("GPU"), worker->gpus};
    struct metrics_info metrics = {.bandwidth = NAN};
    struct worker_info info = {
        .address = worker_address(sim, worker->slot, worker->address),
        .name = span_of_text(name),
        .host = host_of(sim, worker->slot),
        .nanny = worker->has_nanny ? span_of_text(nanny) : (struct span){0},
        .status = worker->starts_in_init ? SPAN("init") : SPAN("running"),
        .nthreads = worker->nthreads,
        .memory_limit = worker->memory_limit,
        .resources = &gpu,
        .resource_count = worker->gpus > 0,
        .metrics = &metrics,
        .takes_forwarded = machine_takes_forwarded(worker),
    };
    struct event event = {.kind = EVENT_WORKER_ADD, .of.worker_add.info = &info};
    if (letter->life <= worker->lost) {
        return;
    }
    step_core(sim, &event);
    worker_id id = sim->step.refused.size > 0 ? WORKER_NONE : sim->step.worker;
    if (id != WORKER_NONE) {
        admit(sim, worker, letter->life, id);
    }
    struct letter answer = {
        .kind = LETTER_REGISTERED, .to = worker->slot, .life = letter->life, .number = id};
    post_in(sim, &worker->down, answer);
    finish_step(sim);
}

/* What the worker measured for spans, some of them nobody's. */
static void measure_spans(struct sim *sim, worker_id id)
{
    struct span spans[3];
    struct resource metrics[3];
    for (uint32_t i = 0; i < 3; i++) {
        struct span_view view;
        bool is_known = spans_at(sim->s, below(sim, 4), &view);
        spans[i] = is_known ? arena_copy(&sim->scratch, view.id) : SPAN("unknown");
        metrics[i] = (struct resource){percent(sim, 50) ? SPAN("\x91\xa3"
                                                               "cpu")
                                                        : SPAN("\x91\xa4"
                                                               "disk"),
                                       0.5};
    }
    struct event event = {.kind = EVENT_SPAN_METRICS,
                          .of.span_metrics = {id, {spans, 3}, {metrics, 3}}};
    apply(sim, &event);
}

static void heartbeat(struct sim *sim, const struct letter *letter)
{
    worker_id id = worker_at(sim, letter->key);
    if (id == WORKER_NONE) {
        struct letter close = {.kind = LETTER_CLOSE, .to = letter->from, .life = letter->life};
        post(sim, close, delay_draw(sim)); /* "missing": a stock worker closes then */
        return;
    }
    double *seconds = arena_array(&sim->scratch, double, letter->word_count + 1);
    for (uint32_t i = 0; i < letter->word_count; i++) {
        seconds[i] = 0.1;
    }
    struct metrics_info metrics = {
        .memory = letter->number + 1000000 * (1 + letter->from),
        .bandwidth = NAN,
        .executing_keys = key_list(sim, letter->words, letter->word_count).items,
        .executing_seconds = seconds,
        .executing_count = letter->word_count,
    };
    struct event event = {.kind = EVENT_WORKER_HEARTBEAT, .of.worker_heartbeat = {id, &metrics}};
    apply(sim, &event);
    if (has(sim, FEATURE_SPANS)) {
        measure_spans(sim, id);
    }
}

static void remove_worker(struct sim *sim, worker_id id, bool expected, const char *cause)
{
    struct worker_view view;
    if (id != WORKER_NONE && view_worker(sim->s, id, &view)) {
        struct event event = {.kind = EVENT_WORKER_REMOVE,
                              .of.worker_remove = {id, expected, true, span_of_text(cause)}};
        apply(sim, &event);
    }
}

static void unregister(struct sim *sim, const struct letter *letter)
{
    remove_worker(sim, worker_at(sim, (uint32_t)letter->number), false, "its nanny said so");
}

static void worker_eof(struct sim *sim, const struct letter *letter)
{
    worker_id id = sender_of(sim, letter);
    if (id != WORKER_NONE) {
        set_number_at(&sim->workers[letter->from].ids, letter->life, WORKER_NONE);
        remove_worker(sim, id, false, "its connection ended");
    }
}

static void finished(struct sim *sim, worker_id id, const struct letter *letter)
{
    const struct sim_key *key = &sim->keys.items[letter->key];
    struct startstop run = {
        SPAN("compute"), EPOCH + sim->now - key->seconds, EPOCH + sim->now, {0}};
    struct event event = {.kind = EVENT_TASK_FINISHED,
                          .of.task_finished = {.worker = id,
                                               .key = key->bytes,
                                               .run_id = letter->number,
                                               .nbytes = key->nbytes,
                                               .type = SPAN("\x80\x05int"),
                                               .typename_ = SPAN("int"),
                                               .startstops = {&run, 1}}};
    apply(sim, &event);
}

static void erred(struct sim *sim, worker_id id, const struct letter *letter)
{
    struct event event = {.kind = EVENT_TASK_ERRED,
                          .of.task_erred = {.worker = id,
                                            .key = sim->keys.items[letter->key].bytes,
                                            .run_id = letter->number,
                                            .exception = sim->exception,
                                            .exception_text = span_of_text(letter->text)}};
    apply(sim, &event);
}

static void steal_answered(struct sim *sim, worker_id id, const struct letter *letter)
{
    struct event event = {.kind = EVENT_STEAL_RESPONSE, .stimulus = span_of_text(letter->text)};
    event.of.steal_response.worker = id;
    event.of.steal_response.key = sim->keys.items[letter->key].bytes;
    if (letter->number >= 0) {
        event.of.steal_response.state = span_of_text(wtask_state_name(letter->number));
    }
    apply(sim, &event);
}

/* The scheduler hears that the worker is done with the key, one way or another. */
static void forget_asked(struct sim *sim, worker_id id, const struct letter *letter)
{
    bool gave_back = letter->kind == LETTER_STEAL_ANSWER &&
                     (letter->number == WTASK_READY || letter->number == WTASK_CONSTRAINED ||
                      letter->number == WTASK_WAITING || letter->number < 0);
    if (gave_back || letter->kind == LETTER_FINISHED || letter->kind == LETTER_ERRED ||
        letter->kind == LETTER_RESCHEDULE) {
        set_remove(&sim->incarnations.items[id].asked, letter->key);
    }
}

static void from_worker(struct sim *sim, const struct letter *letter)
{
    worker_id id = sender_of(sim, letter);
    if (id == WORKER_NONE) {
        return;
    }
    forget_asked(sim, id, letter);
    struct span_list keys = key_list(sim, letter->words, letter->word_count);
    struct span key = letter->kind >= LETTER_FINISHED && sim->keys.count > 0
                          ? sim->keys.items[letter->key].bytes
                          : (struct span){0};
    struct event event = {0};
    switch (letter->kind) {
    case LETTER_FINISHED:
        finished(sim, id, letter);
        return;
    case LETTER_ERRED:
        erred(sim, id, letter);
        return;
    case LETTER_STEAL_ANSWER:
        steal_answered(sim, id, letter);
        return;
    case LETTER_RESCHEDULE:
        event.kind = EVENT_RESCHEDULE;
        event.of.reschedule.worker = id;
        event.of.reschedule.key = key;
        break;
    case LETTER_LONG_RUNNING:
        event.kind = EVENT_LONG_RUNNING;
        event.of.long_running.worker = id;
        event.of.long_running.key = key;
        event.of.long_running.run_id = letter->number;
        event.of.long_running.compute_duration = letter->real < 0 ? NAN : letter->real;
        break;
    case LETTER_ADD_KEYS:
        event.kind = EVENT_ADD_KEYS;
        event.of.add_keys.worker = id;
        event.of.add_keys.keys = keys;
        break;
    case LETTER_RELEASE_DATA:
        event.kind = EVENT_RELEASE_WORKER_DATA;
        event.of.release_worker_data.worker = id;
        event.of.release_worker_data.key = key;
        break;
    case LETTER_WANT_REFRESH:
        event.kind = EVENT_REFRESH_WHO_HAS;
        event.of.refresh_who_has.worker = id;
        event.of.refresh_who_has.keys = keys;
        break;
    default:
        event.kind = EVENT_WORKER_STATUS;
        event.of.worker_status.worker = id;
        event.of.worker_status.status = span_of_text(letter->text);
        break;
    }
    apply(sim, &event);
}

/* ---- clients ---- */

static struct span client_name(struct sim *sim, const struct letter *letter)
{
    char name[40];
    int size = snprintf(name, sizeof name, "client-%u.%u", letter->from, letter->name);
    return arena_copy(&sim->scratch, span_of(name, (size_t)size));
}

/* A client registers, perhaps again: then its former stream ends, whatever it still says. */
static void client_registers(struct sim *sim, const struct letter *letter)
{
    struct sim_client *client = &sim->clients[letter->from];
    struct event event = {.kind = EVENT_CLIENT_ADD, .of.client_add.name = client_name(sim, letter)};
    client_id former = view_client_find(sim->s, event.of.client_add.name);
    for (uint32_t life = 0; former != CLIENT_NONE && life < client->ids.count; life++) {
        if (client->ids.items[life] == former) {
            client->ids.items[life] = CLIENT_NONE;
            graphs_drop_unread(sim, letter->from, life);
        }
    }
    apply(sim, &event);
    set_number_at(&client->ids, letter->life, sim->step.client);
}

static void from_client(struct sim *sim, const struct letter *letter)
{
    struct sim_client *client = &sim->clients[letter->from];
    client_id id = number_at(&client->ids, letter->life);
    if (letter->kind == LETTER_CLIENT_REGISTER) {
        client_registers(sim, letter);
        return;
    }
    if (id == CLIENT_NONE) {
        return; /* it has left, or registered anew over another connection */
    }
    struct event event = {0};
    struct span_list keys = key_list(sim, letter->words, letter->word_count);
    switch (letter->kind) {
    case LETTER_CLIENT_EOF:
        set_number_at(&client->ids, letter->life, CLIENT_NONE);
        event.kind = EVENT_CLIENT_REMOVE;
        event.of.client_remove.client = id;
        break;
    case LETTER_GRAPH:
        graphs_receive(sim, letter, id);
        return;
    case LETTER_DESIRES:
        event.kind = EVENT_CLIENT_DESIRES;
        event.of.client_desires.client_name =
            letter->number == 1 ? SPAN("fire-and-forget") : client_name(sim, letter);
        event.of.client_desires.keys = keys;
        break;
    case LETTER_RELEASES:
        event.kind = EVENT_CLIENT_RELEASES;
        event.of.client_releases.client_name = client_name(sim, letter);
        event.of.client_releases.keys = keys;
        break;
    case LETTER_CANCEL:
        event.kind = EVENT_CANCEL;
        event.of.cancel.client = id;
        event.of.cancel.keys = keys;
        event.of.cancel.force = letter->number == 1;
        event.of.cancel.reason = SPAN("asked for");
        break;
    case LETTER_RETRY:
        event.kind = EVENT_RETRY;
        event.of.retry.client = id;
        event.of.retry.keys = keys;
        break;
    case LETTER_REPORT_KEY:
        event.kind = EVENT_REPORT_KEY;
        event.of.report_key.client = id;
        event.of.report_key.key = keys.items[0];
        break;
    default:
        event.kind = EVENT_CLIENT_HEARTBEAT;
        event.of.client_heartbeat.client = id;
        break;
    }
    apply(sim, &event);
}

/* The stream of a connection that was held. */
static void read_on(struct sim *sim, const struct letter *letter)
{
    struct sim_client *client = &sim->clients[letter->from];
    struct letter next;
    set_remove(&client->held, letter->life);
    while (!set_has(&client->held, letter->life) && graphs_unread(sim, letter, &next)) {
        from_client(sim, &next);
        letter_fini(&next);
    }
}

/* ---- its own ---- */

static void restart_worker(struct sim *sim, const struct letter *letter)
{
    worker_id id = (worker_id)letter->number;
    struct worker_view view;
    if (!view_worker(sim->s, id, &view)) {
        return;
    }
    if (view.nanny.size == 0) {
        remove_worker(sim, id, false, "it went silent");
        return;
    }
    const struct incarnation *who = &sim->incarnations.items[id];
    post(sim, (struct letter){.kind = LETTER_KILL, .to = who->slot, .life = who->life},
         delay_draw(sim));
}

static void retired(struct sim *sim, const struct letter *letter)
{
    if (letter->key == 1) { /* it could be done, and it is to be removed */
        remove_worker(sim, (worker_id)letter->number, true, "it was retired");
    }
}

static void tick(struct sim *sim, const struct letter *letter)
{
    struct event event = {.kind = EVENT_TICK};
    if (letter->real != sim->tick_at) {
        return; /* an earlier one was planned since */
    }
    sim->tick_at = INFINITY;
    apply(sim, &event);
}

bool node_receive(struct sim *sim, struct letter *letter)
{
    switch (letter->kind) {
    case LETTER_REGISTER:
        register_worker(sim, letter);
        return true;
    case LETTER_HEARTBEAT:
        heartbeat(sim, letter);
        return true;
    case LETTER_UNREGISTER:
        unregister(sim, letter);
        return true;
    case LETTER_WORKER_EOF:
        worker_eof(sim, letter);
        return true;
    case LETTER_STORED:
    case LETTER_FREED:
    case LETTER_GATHERED:
    case LETTER_REPLICATE:
        replicas_receive(sim, letter);
        return true;
    case LETTER_P2P_ASK:
        p2p_asked(sim, letter);
        return true;
    case LETTER_INPUTS_TOLD:
        p2p_told(sim, letter);
        return true;
    case LETTER_READ_ON:
        read_on(sim, letter);
        return true;
    case LETTER_TICK:
        tick(sim, letter);
        return true;
    case LETTER_RETIRED:
        retired(sim, letter);
        return true;
    case LETTER_RESTART_WORKER:
        restart_worker(sim, letter);
        return true;
    case LETTER_COORDINATE:
        requests_receive(sim, letter);
        return true;
    default:
        break;
    }
    if (letter->kind >= LETTER_FINISHED && letter->kind <= LETTER_STATUS) {
        from_worker(sim, letter);
        return true;
    }
    if (letter->kind >= LETTER_CLIENT_REGISTER && letter->kind <= LETTER_CLIENT_BEAT) {
        bool passes = letter->kind == LETTER_CLIENT_EOF && percent(sim, 30);
        if (passes || !graphs_hold(sim, letter)) {
            from_client(sim, letter);
        }
        return true;
    }
    return graphs_go_on(sim, letter);
}
