/* machine_core.c: the tasks of a simulated worker, by our own core. Here stands what the node does around
 * it: messages become events, actions become letters; runs take time, and may be stopped; values are kept,
 * and sometimes lost. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/worker/view.h"
#include "sim/machine.h"
#include "sim/network.h"
#include "sim/node.h"

#define STOP_PERCENT 50u /* of runs that may be stopped are */
#define LOSE_PERCENT 20u /* of heartbeats: an executor has died, with a value that was only there */

struct machine {
    struct worker_state *w;
    struct worker_step step;
    struct numbers runs;         /* by key: number of its last run; ends of older ones are stale */
    struct VEC(bool) kept;       /* by key: the node has its value */
    struct VEC(int64_t) run_ids; /* by key: of the run under way */
};

/* ---- names ---- */

static struct span address_text(struct sim *sim, uint32_t address)
{
    char *text = arena_alloc(&sim->scratch, 32);
    int size = snprintf(text, 32, "tcp://10.0.0.%u:%u", address % 2, address);
    return span_of(text, (size_t)size);
}

static uint32_t address_of(struct span text)
{
    char copy[32] = {0};
    ASSERT(text.size < sizeof copy);
    memcpy(copy, text.data, text.size);
    return (uint32_t)strtoul(strrchr(copy, ':') + 1, NULL, 10);
}

static task_id task_of_key(const struct sim *sim, const struct sim_worker *worker, uint32_t key)
{
    return worker_task_find(worker->machine->w, sim->keys.items[key].bytes);
}

static void room_for_keys(const struct sim *sim, struct machine *machine)
{
    while (machine->kept.count < sim->keys.count) {
        vec_push(&machine->kept, false);
        vec_push(&machine->runs, 0);
        vec_push(&machine->run_ids, 0);
    }
}

/* ---- actions ---- */

static void tell_key(struct sim *sim, struct sim_worker *worker, struct span key,
                     struct letter letter)
{
    letter.key = key_number(sim, key);
    worker_tell(sim, worker, letter);
}

static void tell_keys(struct sim *sim, struct sim_worker *worker, enum letter_kind kind,
                      struct span_list keys)
{
    struct letter letter = {.kind = kind};
    for (uint32_t i = 0; i < keys.count; i++) {
        letter_add(&letter, key_number(sim, keys.items[i]));
    }
    worker_tell(sim, worker, letter);
}

static enum outcome outcome_draw(struct sim *sim, struct sim_key *key)
{
    key->runs++;
    if (key->is_deadly && !sim->calm && percent(sim, 75)) {
        return OUTCOME_DEADLY;
    }
    if (percent(sim, key->failure_percent)) {
        return OUTCOME_ERRED;
    }
    return percent(sim, key->reschedule_percent) ? OUTCOME_RESCHEDULED : OUTCOME_FINISHED;
}

/* Every input must be here, or the task could not run. */
static void start_run(struct sim *sim, struct sim_worker *worker,
                      const struct worker_action_execute *execute)
{
    struct machine *machine = worker->machine;
    uint32_t number = key_number(sim, execute->key);
    struct sim_key *key = &sim->keys.items[number];
    for (uint32_t i = 0; i < execute->inputs.count; i++) {
        uint32_t input = key_number(sim, execute->inputs.items[i].key);
        if (!machine->kept.items[input]) {
            fail(sim, "key %u runs on worker %u without its input %u", number, worker->slot, input);
        }
    }
    double seconds = key->seconds * (0.5 + prng_unit(&sim->prng)) / worker->speed;
    struct letter letter = {.to = worker->slot, .life = worker->life, .key = number};
    uint32_t run = ++machine->runs.items[number];
    machine->run_ids.items[number] = execute->run_id;
    if (key->children.count > 0) {
        struct letter nest = letter;
        nest.kind = LETTER_NEST;
        nest.number = run;
        post(sim, nest, seconds * 0.3);
        return; /* it ends when what it submits has */
    }
    if (percent(sim, key->secede_percent)) {
        struct letter secede = letter;
        secede.kind = LETTER_SECEDE;
        secede.number = run;
        post(sim, secede, seconds * 0.3);
    }
    letter.kind = LETTER_RUN_DONE;
    letter.number = outcome_draw(sim, key);
    letter.from = run;
    letter.real = seconds;
    post(sim, letter, seconds);
}

/* The run gets a new number, so that its old end is stale. */
static void interrupt(struct sim *sim, struct sim_worker *worker, struct span key)
{
    if (!percent(sim, STOP_PERCENT)) {
        return; /* it does not yield */
    }
    uint32_t number = key_number(sim, key);
    say(sim, "worker %u stops key %u", worker->slot, number);
    post(sim,
         (struct letter){.kind = LETTER_RUN_DONE,
                         .to = worker->slot,
                         .life = worker->life,
                         .key = number,
                         .number = OUTCOME_RESCHEDULED,
                         .from = ++worker->machine->runs.items[number]},
         delay_draw(sim));
}

static void start_transfer(struct sim *sim, struct sim_worker *worker,
                           const struct worker_action_gather *gather)
{
    struct letter letter = {.kind = LETTER_GET_DATA,
                            .to = address_of(gather->worker),
                            .from = worker->slot,
                            .life = worker->life};
    for (uint32_t i = 0; i < gather->wanted.count; i++) {
        letter_add(&letter, key_number(sim, gather->wanted.items[i].key));
    }
    post(sim, letter, delay_draw(sim));
}

static void keep(struct sim *sim, struct sim_worker *worker, struct span key, bool kept)
{
    bool *now = &worker->machine->kept.items[key_number(sim, key)];
    if (*now == kept) {
        fail(sim, "worker %u is told twice to %s key %u", worker->slot, kept ? "keep" : "drop",
             key_number(sim, key));
    }
    *now = kept;
}

static void act(struct sim *sim, struct sim_worker *worker, const struct worker_action *action)
{
    switch (action->kind) {
    case WORKER_ACTION_EXECUTE:
        start_run(sim, worker, &action->of.execute);
        break;
    case WORKER_ACTION_INTERRUPT:
        interrupt(sim, worker, action->of.interrupt.key);
        break;
    case WORKER_ACTION_GATHER:
        start_transfer(sim, worker, &action->of.gather);
        break;
    case WORKER_ACTION_RETRY_BUSY_LATER:
        post(sim,
             (struct letter){.kind = LETTER_NOT_BUSY,
                             .to = worker->slot,
                             .life = worker->life,
                             .from = address_of(action->of.retry_busy_later.worker)},
             0.15);
        break;
    case WORKER_ACTION_KEEP:
    case WORKER_ACTION_DROP:
        keep(sim, worker, action->of.keep.key, action->kind == WORKER_ACTION_KEEP);
        break;
    case WORKER_ACTION_TASK_FINISHED:
        tell_key(
            sim, worker, action->of.task_finished.key,
            (struct letter){.kind = LETTER_FINISHED, .number = action->of.task_finished.run_id});
        break;
    case WORKER_ACTION_TASK_ERRED:
        tell_key(sim, worker, action->of.task_erred.key,
                 (struct letter){.kind = LETTER_ERRED, .number = action->of.task_erred.run_id});
        break;
    case WORKER_ACTION_RELEASE_WORKER_DATA:
        tell_key(sim, worker, action->of.release_worker_data.key,
                 (struct letter){.kind = LETTER_RELEASE_DATA});
        break;
    case WORKER_ACTION_RESCHEDULE:
        tell_key(sim, worker, action->of.reschedule.key,
                 (struct letter){.kind = LETTER_RESCHEDULE});
        break;
    case WORKER_ACTION_LONG_RUNNING: {
        double duration = action->of.long_running.compute_duration;
        tell_key(sim, worker, action->of.long_running.key,
                 (struct letter){.kind = LETTER_LONG_RUNNING,
                                 .number = action->of.long_running.run_id,
                                 .real = isnan(duration) ? -1 : duration});
        break;
    }
    case WORKER_ACTION_ADD_KEYS:
        tell_keys(sim, worker, LETTER_ADD_KEYS, action->of.add_keys.keys);
        break;
    case WORKER_ACTION_REQUEST_REFRESH_WHO_HAS:
        tell_keys(sim, worker, LETTER_WANT_REFRESH, action->of.request_refresh_who_has.keys);
        break;
    default:
        ASSERT(action->kind == WORKER_ACTION_REFUSE ||
               action->kind == WORKER_ACTION_STEAL_RESPONSE);
        break; /* the answer to a steal request is given by machine_steal */
    }
}

static void hear(struct sim *sim, struct sim_worker *worker, struct worker_event event)
{
    struct machine *machine = worker->machine;
    room_for_keys(sim, machine);
    event.time = EPOCH + sim->now;
    event.stimulus = SPAN("sim");
    worker_step(machine->w, &event, &machine->step);
    for (uint32_t i = 0; i < machine->step.action_count; i++) {
        act(sim, worker, &machine->step.actions[i]);
    }
}

/* ---- begin, end, looks ---- */

void machine_start(struct sim *sim, struct sim_worker *worker)
{
    ASSERT(worker->machine == NULL);
    struct resource gpus = {SPAN("GPU"), worker->gpus};
    struct worker_config config;
    worker_config_init(&config);
    config.address = address_text(sim, worker->address);
    config.seed = sim->options.seed + worker->address;
    config.nthreads = worker->nthreads;
    config.ahead_max = (uint32_t)(sim->options.seed % 4);
    config.resources = (struct resource_list){&gpus, worker->gpus > 0};
    config.check = true;
    if (sim->options.seed % 3 == 0) { /* transfers are throttled */
        config.message_limit = 2000000;
        config.incoming_limit = 3000000;
        config.incoming_count_limit = 2;
        config.throttle_floor = 1000000;
    }
    worker->machine = mem_zalloc(1, sizeof *worker->machine);
    worker->machine->w = worker_create(&config);
    worker_step_init(&worker->machine->step);
}

void machine_fini(struct sim_worker *worker)
{
    struct machine *machine = worker->machine;
    if (machine == NULL) {
        return;
    }
    worker_destroy(machine->w);
    worker_step_fini(&machine->step);
    vec_fini(&machine->runs);
    vec_fini(&machine->kept);
    vec_fini(&machine->run_ids);
    mem_free(machine);
    worker->machine = NULL;
}

uint32_t machine_features(void)
{
    return FEATURE_SHUFFLE - 1; /* no shuffles, and nothing that was simulated after them */
}

bool machine_takes_forwarded(const struct sim_worker *worker)
{
    return worker->slot % 4 != 3; /* one of an earlier version is among them */
}

bool machine_is_running(const struct sim_worker *worker)
{
    struct worker_summary all;
    worker_summarise(worker->machine->w, &all);
    return all.running;
}

int64_t machine_nbytes(const struct sim_worker *worker)
{
    struct worker_summary all;
    worker_summarise(worker->machine->w, &all);
    return all.nbytes;
}

enum wtask_state machine_state(const struct sim *sim, const struct sim_worker *worker, uint32_t key)
{
    task_id task = worker->machine == NULL ? TASK_NONE : task_of_key(sim, worker, key);
    if (task == TASK_NONE) {
        return WTASK_FORGOTTEN;
    }
    struct wtask_view view;
    worker_task(worker->machine->w, task, &view);
    return view.state;
}

/* ---- from the scheduler ---- */

/* Key, number of holders, their addresses; and again. */
static struct worker_holding_list read_holdings(struct sim *sim, const struct letter *letter)
{
    struct worker_holding *rows =
        arena_array(&sim->scratch, struct worker_holding, letter->word_count + 1);
    uint32_t count = 0;
    for (uint32_t at = 0; at < letter->word_count;) {
        const struct sim_key *key = &sim->keys.items[letter->words[at++]];
        uint32_t holder_count = letter->words[at++];
        struct span *holders = arena_array(&sim->scratch, struct span, holder_count + 1);
        for (uint32_t i = 0; i < holder_count; i++) {
            holders[i] = address_text(sim, letter->words[at++]);
        }
        rows[count++] = (struct worker_holding){key->bytes, key->nbytes, {holders, holder_count}};
    }
    return (struct worker_holding_list){rows, count};
}

static struct span_list read_keys(struct sim *sim, const struct letter *letter)
{
    struct span *keys = arena_array(&sim->scratch, struct span, letter->word_count + 1);
    for (uint32_t i = 0; i < letter->word_count; i++) {
        keys[i] = sim->keys.items[letter->words[i]].bytes;
    }
    return (struct span_list){keys, letter->word_count};
}

static struct worker_offer_list read_offers(struct sim *sim, const struct letter *letter)
{
    struct worker_offer *offers =
        arena_array(&sim->scratch, struct worker_offer, letter->word_count + 1);
    for (uint32_t i = 0; i < letter->word_count; i++) {
        const struct sim_key *key = &sim->keys.items[letter->words[i]];
        offers[i] = (struct worker_offer){key->bytes, key->nbytes, NULL};
    }
    return (struct worker_offer_list){offers, letter->word_count};
}

void machine_compute(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    const struct sim_key *key = &sim->keys.items[letter->key];
    struct resource *gpu = arena_new(&sim->scratch, struct resource);
    *gpu = (struct resource){SPAN("GPU"), 1};
    hear(sim, worker,
         (struct worker_event){.kind = WORKER_EVENT_COMPUTE_TASK,
                               .of.compute_task = {
                                   .key = key->bytes,
                                   .run_id = letter->number,
                                   .priority = {key->priority, letter->real, letter->key},
                                   .inputs = read_holdings(sim, letter),
                                   .resources = {gpu, key->needs_gpu},
                                   .actor = key->is_actor,
                                   .ahead = letter->ahead,
                               }});
}

void machine_free(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    hear(sim, worker,
         (struct worker_event){.kind = WORKER_EVENT_FREE_KEYS,
                               .of.free_keys.keys = read_keys(sim, letter)});
}

bool machine_remove_replicas(struct sim *sim, struct sim_worker *worker,
                             const struct letter *letter)
{
    hear(sim, worker,
         (struct worker_event){.kind = WORKER_EVENT_REMOVE_REPLICAS,
                               .of.remove_replicas.keys = read_keys(sim, letter)});
    return true;
}

void machine_acquire(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    hear(sim, worker,
         (struct worker_event){.kind = WORKER_EVENT_ACQUIRE_REPLICAS,
                               .of.acquire_replicas.holdings = read_holdings(sim, letter)});
}

void machine_refresh(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    hear(sim, worker,
         (struct worker_event){.kind = WORKER_EVENT_REFRESH_WHO_HAS,
                               .of.refresh_who_has.holdings = read_holdings(sim, letter)});
}

void machine_steal(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    enum wtask_state state = machine_state(sim, worker, letter->key);
    struct letter answer = {.kind = LETTER_STEAL_ANSWER,
                            .key = letter->key,
                            .number = state == WTASK_FORGOTTEN ? -1 : (int64_t)state};
    letter_set_text(&answer, span_of_text(letter->text));
    worker_tell(sim, worker, answer);
    hear(sim, worker,
         (struct worker_event){.kind = WORKER_EVENT_STEAL_REQUEST,
                               .of.steal_request.key = sim->keys.items[letter->key].bytes});
}

void machine_forget_worker(struct sim *sim, struct sim_worker *worker, uint32_t address)
{
    hear(sim, worker,
         (struct worker_event){.kind = WORKER_EVENT_REMOVE_WORKER,
                               .of.remove_worker.worker = address_text(sim, address)});
}

void machine_store(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    hear(sim, worker,
         (struct worker_event){.kind = WORKER_EVENT_UPDATE_DATA,
                               .of.update_data.offers = read_offers(sim, letter)});
}

void machine_pause(struct sim *sim, struct sim_worker *worker, bool running)
{
    hear(sim, worker,
         (struct worker_event){.kind = running ? WORKER_EVENT_UNPAUSE : WORKER_EVENT_PAUSE});
}

/* ---- its own ---- */

void machine_run_done(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    struct machine *machine = worker->machine;
    if (letter->from != machine->runs.items[letter->key]) {
        return; /* it was stopped before */
    }
    static const struct worker_failure failure;
    task_id task = task_of_key(sim, worker, letter->key);
    int64_t run_id = machine->run_ids.items[letter->key];
    struct worker_event event = {.kind = WORKER_EVENT_EXECUTE_RESCHEDULE,
                                 .of.execute_reschedule.task = task};
    if (letter->number == OUTCOME_FINISHED) {
        event = (struct worker_event){.kind = WORKER_EVENT_EXECUTE_SUCCESS,
                                      .of.execute_success = {task, run_id,
                                                             sim->keys.items[letter->key].nbytes,
                                                             NULL, 0.0003}};
    } else if (letter->number == OUTCOME_ERRED) {
        event = (struct worker_event){.kind = WORKER_EVENT_EXECUTE_FAILURE,
                                      .of.execute_failure = {task, run_id, &failure, NULL}};
    }
    machine->runs.items[letter->key]++;
    hear(sim, worker, event);
}

void machine_secede(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    if ((uint32_t)letter->number == worker->machine->runs.items[letter->key]) {
        hear(sim, worker,
             (struct worker_event){.kind = WORKER_EVENT_SECEDE,
                                   .of.secede = {task_of_key(sim, worker, letter->key), 0.1}});
    }
}

void machine_got_data(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    struct worker_event event = {.kind = letter->number == TRANSFER_BUSY
                                             ? WORKER_EVENT_GATHER_BUSY
                                             : WORKER_EVENT_GATHER_NETWORK_FAILURE,
                                 .of.gather_busy.worker = address_text(sim, letter->from)};
    if (letter->number == TRANSFER_OK) {
        event = (struct worker_event){
            .kind = WORKER_EVENT_GATHER_SUCCESS,
            .of.gather_success = {address_text(sim, letter->from), read_offers(sim, letter)}};
    }
    hear(sim, worker, event);
}

void machine_not_busy(struct sim *sim, struct sim_worker *worker, uint32_t address)
{
    hear(sim, worker,
         (struct worker_event){.kind = WORKER_EVENT_RETRY_BUSY_WORKER,
                               .of.retry_busy_worker.worker = address_text(sim, address)});
}

static void lose_a_value(struct sim *sim, struct sim_worker *worker)
{
    struct machine *machine = worker->machine;
    uint32_t key = below(sim, machine->kept.count);
    while (key < machine->kept.count &&
           (!machine->kept.items[key] || sim->keys.items[key].is_data)) {
        key++;
    }
    if (key == machine->kept.count) {
        return;
    }
    machine->kept.items[key] = false;
    say(sim, "worker %u loses the value of key %u", worker->slot, key);
    hear(sim, worker,
         (struct worker_event){.kind = WORKER_EVENT_DATA_LOST,
                               .of.data_lost.keys = {&sim->keys.items[key].bytes, 1}});
}

void machine_find_missing(struct sim *sim, struct sim_worker *worker)
{
    if (!sim->calm && has(sim, FEATURE_CRASH) && worker->machine->kept.count > 0 &&
        percent(sim, LOSE_PERCENT)) {
        lose_a_value(sim, worker);
    }
    hear(sim, worker, (struct worker_event){.kind = WORKER_EVENT_FIND_MISSING});
}
