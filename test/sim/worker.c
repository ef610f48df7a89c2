/* worker.c: the process around the machine. A connection has a life number: what was sent in an earlier one
 * is not heard any more, at either end. */
#include "sim/worker.h"

#include "sim/nested.h"
#include "sim/network.h"
#include "sim/p2p.h"

#define BEAT_SECONDS 1.0

struct sim_worker *worker_at_address(struct sim *sim, uint32_t address)
{
    struct sim_worker *worker = &sim->workers[address / ADDRESSES_A_SLOT];
    return worker->alive && worker->address == address ? worker : NULL;
}

struct result *worker_result(struct sim_worker *worker, uint32_t key)
{
    while (worker->results.count <= key) {
        vec_push(&worker->results, (struct result){0});
    }
    return &worker->results.items[key];
}

void worker_tell(struct sim *sim, struct sim_worker *worker, struct letter letter)
{
    if (letter.kind == LETTER_ERRED) {
        const char *trouble = worker_result(worker, letter.key)->trouble;
        letter_set_text(&letter,
                        trouble == NULL ? SPAN("ValueError('oops')") : span_of_text(trouble));
    }
    letter.from = worker->slot;
    letter.life = worker->connection;
    post_in(sim, &worker->up, letter);
}

void worker_say_status(struct sim *sim, struct sim_worker *worker, const char *status)
{
    struct letter letter = {.kind = LETTER_STATUS};
    letter_set_text(&letter, span_of_text(status));
    worker_tell(sim, worker, letter);
}

/* ---- coming and going ---- */

void worker_plan_start(struct sim *sim, struct sim_worker *worker, double delay)
{
    post(sim, (struct letter){.kind = LETTER_START, .to = worker->slot, .life = worker->life},
         delay);
}

static void start(struct sim *sim, struct sim_worker *worker)
{
    ASSERT(!worker->alive);
    worker->life++;
    worker->connection++;
    worker->alive = true;
    worker->registered = false;
    worker->is_retiring = false;
    worker->hung_until = 0;
    worker->address = worker->slot * ADDRESSES_A_SLOT +
                      (worker->keeps_address ? 0 : worker->life % ADDRESSES_A_SLOT);
    worker->up = worker->down = (struct channel){0}; /* a new connection */
    machine_start(sim, worker);
    say(sim, "worker %u starts (life %u, threads %u, gpus %u)", worker->slot, worker->life,
        worker->nthreads, worker->gpus);
    worker_tell(sim, worker, (struct letter){.kind = LETTER_REGISTER});
    post(sim, (struct letter){.kind = LETTER_BEAT, .to = worker->slot, .life = worker->life},
         BEAT_SECONDS);
}

void worker_disconnect(struct sim *sim, struct sim_worker *worker)
{
    if (has(sim, FEATURE_RUDE) && percent(sim, 50)) {
        worker->lost = worker->connection;
    }
    if (has(sim, FEATURE_RECONNECT) && percent(sim, 30)) {
        worker->up.last = worker->up.last > sim->now ? worker->up.last : sim->now;
        worker->up.last += 6 * prng_unit(&sim->prng); /* seen late: it may be back by then */
    }
    worker_tell(sim, worker, (struct letter){.kind = LETTER_WORKER_EOF});
    worker->registered = false;
    worker->connection++;
}

void worker_die(struct sim *sim, struct sim_worker *worker, const char *why)
{
    ASSERT(worker->alive);
    say(sim, "worker %u dies: %s", worker->slot, why);
    worker_disconnect(sim, worker);
    if (worker->has_nanny && percent(sim, 50)) {
        post(sim,
             (struct letter){
                 .kind = LETTER_UNREGISTER, .from = worker->slot, .number = worker->address},
             delay_draw(sim));
    }
    worker->alive = false;
    machine_fini(worker);
    worker->results.count = 0;
    p2p_fini(worker);
    nests_fini(sim, worker);
    worker_plan_start(sim, worker, sim->calm ? 0.1 : 0.05 + 4 * prng_unit(&sim->prng));
}

/* ---- timers ---- */

static void beat(struct sim *sim, struct sim_worker *worker)
{
    post(sim, (struct letter){.kind = LETTER_BEAT, .to = worker->slot, .life = worker->life},
         BEAT_SECONDS);
    if (!worker->registered) {
        return;
    }
    machine_find_missing(sim, worker);
    struct letter letter = {.kind = LETTER_HEARTBEAT,
                            .from = worker->slot,
                            .life = worker->connection,
                            .key = worker->address,
                            .number = machine_nbytes(worker)};
    for (uint32_t key = 0; key < sim->keys.count; key++) {
        if (machine_state(sim, worker, key) == WTASK_EXECUTING) {
            letter_add(&letter, key);
        }
    }
    post(sim, letter, delay_draw(sim)); /* an RPC: not in the stream */
}

/* ---- between workers ---- */

static void serve_data(struct sim *sim, struct letter *asked)
{
    struct sim_worker *worker = worker_at_address(sim, asked->to);
    struct letter answer = {
        .kind = LETTER_GOT_DATA, .to = asked->from, .from = asked->to, .life = asked->life};
    answer.number = TRANSFER_OK;
    if (worker == NULL) {
        answer.number = TRANSFER_BROKEN;
    } else if (!sim->calm && has(sim, FEATURE_FLAKY) && percent(sim, 20)) {
        answer.number = percent(sim, 50) ? TRANSFER_BUSY : TRANSFER_BROKEN;
    }
    for (uint32_t i = 0; answer.number == TRANSFER_OK && i < asked->word_count; i++) {
        if (machine_state(sim, worker, asked->words[i]) == WTASK_MEMORY) {
            letter_add(&answer, asked->words[i]);
        }
    }
    for (uint32_t i = 0, count = answer.word_count; i < count; i++) {
        letter_add(&answer, (uint32_t)worker_result(worker, answer.words[i])->value);
    }
    post(sim, answer, delay_draw(sim));
}

/* ---- RPCs of the scheduler ---- */

static void answer_rpc(struct sim *sim, struct sim_worker *worker, struct letter *asked,
                       enum letter_kind kind)
{
    struct letter answer = {.kind = kind,
                            .from = worker->slot,
                            .to = asked->to,
                            .number = asked->number,
                            .life = asked->life,
                            .key = asked->key,
                            .real = asked->real};
    for (uint32_t i = 0; i < asked->word_count; i++) {
        letter_add(&answer, asked->words[i]);
    }
    post(sim, answer, delay_draw(sim));
}

/* gather: a key and its holder; what can be had is stored and named. */
static void gather(struct sim *sim, struct sim_worker *worker, struct letter *asked)
{
    struct letter found = {.number = asked->number,
                           .life = asked->life,
                           .to = asked->to,
                           .key = asked->key,
                           .real = asked->real};
    int64_t made = 0;
    ASSERT(asked->word_count == 2);
    struct sim_worker *holder = worker_at_address(sim, asked->words[1]);
    if (holder != NULL && machine_state(sim, holder, asked->words[0]) == WTASK_MEMORY) {
        letter_add(&found, asked->words[0]);
        made = worker_result(holder, asked->words[0])->value;
    }
    if (found.word_count > 0 && machine_state(sim, worker, found.words[0]) != WTASK_MEMORY) {
        worker_result(worker, found.words[0])->value = made;
    }
    machine_store(sim, worker, &found);
    answer_rpc(sim, worker, &found, LETTER_GATHERED);
    letter_fini(&found);
}

static void inputs_done(struct sim *sim, struct sim_worker *worker, struct letter *asked)
{
    const struct p2p_barrier *barrier = &sim->barriers.items[asked->key];
    bool is_fine = p2p_inputs_done(sim, worker, barrier->shuffle, barrier->run_id);
    asked->real = is_fine ? RPC_DONE : RPC_RAISED;
    answer_rpc(sim, worker, asked, LETTER_INPUTS_TOLD);
}

static void receive_rpc(struct sim *sim, struct sim_worker *worker, struct letter *letter)
{
    switch (letter->kind) {
    case LETTER_RPC_STORE:
        machine_store(sim, worker, letter);
        answer_rpc(sim, worker, letter, LETTER_STORED);
        break;
    case LETTER_RPC_INPUTS_DONE:
        inputs_done(sim, worker, letter);
        break;
    case LETTER_RPC_FREE:
        machine_free(sim, worker, letter);
        answer_rpc(sim, worker, letter, LETTER_FREED);
        break;
    default:
        gather(sim, worker, letter);
        break;
    }
}

/* ---- all ---- */

static void set_status(struct sim *sim, struct sim_worker *worker, const char *status)
{
    bool running = strcmp(status, "running") == 0;
    worker->is_retiring = strcmp(status, "closing_gracefully") == 0;
    machine_pause(sim, worker, running);
    worker_say_status(sim, worker, status);
}

static void registered(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    if (letter->number == WORKER_NONE) {
        worker_die(sim, worker, "the scheduler does not want it");
        return;
    }
    worker->registered = true;
    if (has(sim, FEATURE_SETUP) && percent(sim, 30)) {
        bool works = sim->calm || percent(sim, 80);
        post(sim,
             (struct letter){
                 .kind = LETTER_SET_UP, .to = worker->slot, .life = worker->life, .number = works},
             2 * prng_unit(&sim->prng));
    } else if (worker->starts_in_init) {
        worker_say_status(sim, worker, "running");
    }
}

/* Plugins that came with the registration have been set up, or one of them raised. */
static void set_up(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    if (letter->number == 0) {
        worker_die(sim, worker, "a plugin failed");
    } else if (worker->starts_in_init && !worker->is_retiring) {
        worker_say_status(sim, worker, machine_is_running(worker) ? "running" : "paused");
    }
}

static void receive_stream(struct sim *sim, struct sim_worker *worker, struct letter *letter)
{
    switch (letter->kind) {
    case LETTER_REGISTERED:
        registered(sim, worker, letter);
        break;
    case LETTER_COMPUTE:
        machine_compute(sim, worker, letter);
        break;
    case LETTER_FREE_KEYS:
        machine_free(sim, worker, letter);
        break;
    case LETTER_REMOVE_REPLICAS:
        if (!machine_remove_replicas(sim, worker, letter)) {
            worker_die(sim, worker, "told to drop a proxy in use");
        }
        break;
    case LETTER_ACQUIRE_REPLICAS:
        machine_acquire(sim, worker, letter);
        break;
    case LETTER_REFRESH:
        machine_refresh(sim, worker, letter);
        break;
    case LETTER_STEAL_REQUEST:
        machine_steal(sim, worker, letter);
        break;
    case LETTER_SET_STATUS:
        set_status(sim, worker, letter->text);
        break;
    case LETTER_FORGET_WORKER:
        machine_forget_worker(sim, worker, letter->key);
        break;
    case LETTER_SHUFFLE_FAIL:
        p2p_fail(sim, worker, letter->key, letter->number);
        break;
    default:
        worker_die(sim, worker, "told to close");
        break;
    }
}

/* Keys, then their values: these are noted here, the rest is the machine's. What was made here once, and let go,
 * comes from elsewhere now. */
static void take_values(const struct sim *sim, struct sim_worker *worker, struct letter *letter)
{
    letter->word_count /= 2;
    for (uint32_t i = 0; i < letter->word_count; i++) {
        struct result *result = worker_result(worker, letter->words[i]);
        bool is_here = machine_state(sim, worker, letter->words[i]) == WTASK_MEMORY;
        result->value = letter->words[letter->word_count + i];
        result->was_made = result->was_made && is_here;
    }
}

static void receive_own(struct sim *sim, struct sim_worker *worker, struct letter *letter)
{
    switch (letter->kind) {
    case LETTER_RUN_DONE:
        if (letter->number == OUTCOME_DEADLY) {
            worker_die(sim, worker, "a task killed it");
        } else if (letter->number == OUTCOME_FINISHED &&
                   sim->keys.items[letter->key].kind != KEY_PLAIN) {
            p2p_proceed(sim, worker, letter);
        } else {
            worker_result(worker, letter->key)->trouble = NULL;
            worker_result(worker, letter->key)->was_made |= letter->number == OUTCOME_FINISHED;
            machine_run_done(sim, worker, letter);
        }
        break;
    case LETTER_P2P_AGAIN:
        p2p_proceed(sim, worker, letter);
        break;
    case LETTER_P2P_ANSWER:
        p2p_answered(sim, worker, letter);
        break;
    case LETTER_NEST:
        nest_begin(sim, worker, letter);
        break;
    case LETTER_SET_UP:
        set_up(sim, worker, letter);
        break;
    case LETTER_SECEDE:
        machine_secede(sim, worker, letter);
        break;
    case LETTER_BEAT:
        beat(sim, worker);
        break;
    case LETTER_GOT_DATA:
        take_values(sim, worker, letter);
        machine_got_data(sim, worker, letter);
        break;
    case LETTER_KILL:
        worker_die(sim, worker, "killed by its nanny");
        break;
    default:
        machine_not_busy(sim, worker, letter->from);
        break;
    }
}

/* The process that was called is gone: whoever waits for all answers learns it. */
static void nobody_there(struct sim *sim, const struct letter *letter)
{
    struct letter answer = {.key = letter->key, .number = letter->number, .real = RPC_NOBODY};
    say(sim, "worker %u: nobody there for %s", letter->to, letter_name(letter->kind));
    if (letter->kind == LETTER_RPC_STORE || letter->kind == LETTER_RPC_INPUTS_DONE) {
        answer.kind = letter->kind == LETTER_RPC_STORE ? LETTER_STORED : LETTER_INPUTS_TOLD;
        post(sim, answer, delay_draw(sim));
    }
}

bool worker_receive(struct sim *sim, struct letter *letter)
{
    enum letter_kind kind = letter->kind;
    bool is_stream = kind >= LETTER_REGISTERED && kind <= LETTER_CLOSE;
    bool is_rpc = kind >= LETTER_RPC_STORE && kind <= LETTER_RPC_GATHER;
    bool is_own = kind == LETTER_KILL || (kind >= LETTER_RUN_DONE && kind <= LETTER_NOT_BUSY);
    if (kind == LETTER_GET_DATA) {
        serve_data(sim, letter);
        return true;
    }
    if (!is_stream && !is_rpc && !is_own && kind != LETTER_START) {
        return false;
    }
    struct sim_worker *worker = &sim->workers[letter->to];
    if (kind == LETTER_START) {
        if (!worker->alive && letter->life == worker->life) {
            start(sim, worker);
        }
        return true;
    }
    bool is_for_it =
        worker->alive && letter->life == (is_stream ? worker->connection : worker->life);
    if (is_for_it && worker->hung_until > sim->now) {
        struct letter again = *letter;
        letter->words = NULL;
        put_off(sim, again, worker->hung_until);
    } else if (is_for_it && is_stream) {
        receive_stream(sim, worker, letter);
    } else if (is_for_it && is_rpc) {
        receive_rpc(sim, worker, letter);
    } else if (is_for_it) {
        receive_own(sim, worker, letter);
    } else if (is_rpc) {
        nobody_there(sim, letter);
    }
    return true;
}
