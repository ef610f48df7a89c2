/* machine_moves.c: the moves of a task on a simulated worker.
 * Must agree with: distributed worker_state_machine.py, _transition_… and _TRANSITIONS_TABLE. */
#include "sim/machine_moves.h"

#include "sim/network.h"

#define KEYS_A_TRANSFER 4u
#define SAY_NOTHING LETTER_TICK

void wish(struct sim_worker *worker, struct wtask *task, enum wtask_state to)
{
    struct machine *machine = worker->machine;
    if (task->want_place != 0) {
        machine->wants.items[task->want_place - 1].to = (uint8_t)to;
        return;
    }
    vec_push(&machine->wants, (struct wwish){task->key, (uint8_t)to});
    task->want_place = machine->wants.count;
}

bool is_running(const struct wtask *task)
{
    bool now = task->state == WTASK_EXECUTING || task->state == WTASK_LONG_RUNNING;
    bool before = task->previous == WTASK_EXECUTING || task->previous == WTASK_LONG_RUNNING;
    return now || ((task->state == WTASK_CANCELLED || task->state == WTASK_RESUMED) && before);
}

static void tell_key(struct sim *sim, struct sim_worker *worker, enum letter_kind kind,
                     const struct wtask *task, int64_t run_id)
{
    worker_tell(sim, worker, (struct letter){.kind = kind, .key = task->key, .number = run_id});
}

void tell_finished(struct sim *sim, struct sim_worker *worker, const struct wtask *task,
                   int64_t run_id)
{
    tell_key(sim, worker, LETTER_FINISHED, task, run_id);
}

/* ---- running ---- */

static bool priority_before(const struct wtask *a, const struct wtask *b)
{
    for (uint32_t i = 0; i < 4; i++) {
        if (a->priority[i] != b->priority[i]) {
            return a->priority[i] < b->priority[i];
        }
    }
    return a->key < b->key;
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

static void start_run(struct sim *sim, struct sim_worker *worker, struct wtask *task)
{
    struct sim_key *key = &sim->keys.items[task->key];
    double seconds = key->seconds * (0.5 + prng_unit(&sim->prng)) / worker->speed;
    struct letter letter = {.to = worker->slot, .life = worker->life, .key = task->key};
    task->run++;
    task->outcome_run = task->run_id;
    if (key->children.count > 0) {
        struct letter nest = letter;
        nest.kind = LETTER_NEST;
        nest.number = task->run;
        post(sim, nest, seconds * 0.3);
        return; /* it ends when what it submits has */
    }
    if (percent(sim, key->secede_percent)) {
        struct letter secede = letter;
        secede.kind = LETTER_SECEDE;
        secede.number = task->run;
        post(sim, secede, seconds * 0.3);
    }
    letter.kind = LETTER_RUN_DONE;
    letter.number = outcome_draw(sim, key);
    letter.from = task->run;
    letter.real = seconds;
    post(sim, letter, seconds);
}

static struct wtask *next_ready(struct sim_worker *worker)
{
    struct wtask *best = NULL;
    for (uint32_t i = 0; i < worker->machine->tasks.count; i++) {
        struct wtask *task = worker->machine->tasks.items[i];
        bool fits =
            task != NULL && (task->state == WTASK_READY ||
                             (task->state == WTASK_CONSTRAINED && worker->machine->gpus_free > 0));
        if (fits && (best == NULL || priority_before(task, best))) {
            best = task;
        }
    }
    return best;
}

void ensure_computing(struct sim *sim, struct sim_worker *worker)
{
    struct machine *machine = worker->machine;
    while (machine->running && machine->executing_count < worker->nthreads) {
        struct wtask *task = next_ready(worker);
        if (task == NULL) {
            return;
        }
        task->holds_gpu = task->state == WTASK_CONSTRAINED;
        machine->gpus_free -= task->holds_gpu;
        task->state = WTASK_EXECUTING;
        task->occupies = true;
        machine->executing_count++;
        start_run(sim, worker, task);
    }
}

static void vacate(struct machine *machine, struct wtask *task)
{
    machine->executing_count -= task->occupies;
    task->occupies = false;
}

/* ---- moves ---- */

static void purge(struct sim_worker *worker, struct wtask *task)
{
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        set_remove(&machine_find(worker, task->dependencies.items[i])->waiters, task->key);
    }
    task->waiting_for.count = 0;
    task->who_has.count = 0;
    task->previous = task->next = WTASK_RELEASED;
    task->done = false;
    task->is_actor = false;
    task->nbytes = -1;
    vacate(worker->machine, task);
}

static void to_released(struct sim_worker *worker, struct wtask *task)
{
    purge(worker, task);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        struct wtask *input = machine_find(worker, task->dependencies.items[i]);
        bool is_kept = input->state == WTASK_READY || input->state == WTASK_CONSTRAINED ||
                       input->state == WTASK_WAITING || input->state == WTASK_EXECUTING ||
                       input->state == WTASK_LONG_RUNNING || input->state == WTASK_CANCELLED ||
                       input->state == WTASK_RESUMED || input->state == WTASK_MEMORY;
        if (input->waiters.count == 0 && !is_kept) {
            wish(worker, input, WTASK_RELEASED);
        }
    }
    task->state = WTASK_RELEASED;
    if (task->dependents.count == 0 && worker->machine->keeping != task) {
        wish(worker, task, WTASK_FORGOTTEN);
    }
}

static void to_fetch(struct sim_worker *worker, struct wtask *task)
{
    if (task->who_has.count == 0) {
        wish(worker, task, WTASK_MISSING);
        return;
    }
    task->state = WTASK_FETCH;
    task->done = false;
}

static void to_waiting(struct sim_worker *worker, struct wtask *task)
{
    task->waiting_for.count = 0;
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        struct wtask *input = machine_find(worker, task->dependencies.items[i]);
        if (input->state != WTASK_MEMORY) {
            set_add(&task->waiting_for, input->key);
            set_add(&input->waiters, task->key);
            wish(worker, input, WTASK_FETCH);
        }
    }
    if (task->waiting_for.count == 0) {
        wish(worker, task, WTASK_READY);
    }
    task->state = WTASK_WAITING;
}

static void to_memory(struct sim *sim, struct sim_worker *worker, struct wtask *task,
                      enum letter_kind tell)
{
    task->state = WTASK_MEMORY;
    task->previous = task->next = WTASK_RELEASED;
    task->nbytes = sim->keys.items[task->key].nbytes;
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        struct wtask *user = machine_find(worker, task->dependents.items[i]);
        set_remove(&user->waiting_for, task->key);
        if (user->waiting_for.count == 0 && user->state == WTASK_WAITING) {
            wish(worker, user, WTASK_READY);
        }
    }
    if (tell == LETTER_FINISHED) {
        tell_finished(sim, worker, task, task->outcome_run);
    } else if (tell == LETTER_ADD_KEYS) {
        struct letter letter = {.kind = LETTER_ADD_KEYS};
        letter_add(&letter, task->key);
        worker_tell(sim, worker, letter);
    }
}

static void to_forgotten(struct sim_worker *worker, struct wtask *task)
{
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        struct wtask *input = machine_find(worker, task->dependencies.items[i]);
        set_remove(&input->dependents, task->key);
        if (input->state == WTASK_RELEASED && input->dependents.count == 0) {
            wish(worker, input, WTASK_FORGOTTEN);
        }
    }
    purge(worker, task);
    task->dependencies.count = 0;
    task->state = WTASK_FORGOTTEN;
}

static bool is_cancellable(enum wtask_state state)
{
    return state == WTASK_EXECUTING || state == WTASK_LONG_RUNNING || state == WTASK_FLIGHT;
}

/* released ↔ the state asked for before, once what could not be stopped has ended. */
static void start_over(struct sim_worker *worker, struct wtask *task, enum wtask_state to)
{
    task->state = WTASK_RELEASED;
    task->done = false;
    task->previous = task->next = WTASK_RELEASED;
    wish(worker, task, to);
}

static void from_cancelled(struct sim *sim, struct sim_worker *worker, struct wtask *task,
                           enum wtask_state to)
{
    bool was_flight = task->previous == WTASK_FLIGHT;
    if (to == WTASK_LONG_RUNNING) {
        task->previous = WTASK_LONG_RUNNING;
        vacate(worker->machine, task);
        ensure_computing(sim, worker);
    } else if (to == WTASK_FETCH && was_flight && task->done) {
        wish(worker, task, WTASK_RELEASED);
    } else if (to == WTASK_FETCH && was_flight) {
        task->state = WTASK_FLIGHT;
        task->previous = WTASK_RELEASED;
    } else if (to == WTASK_FETCH) {
        task->state = WTASK_RESUMED;
        task->next = WTASK_FETCH;
    } else if (to == WTASK_WAITING && was_flight) {
        task->state = WTASK_RESUMED;
        task->next = WTASK_WAITING;
    } else if (to == WTASK_WAITING) {
        task->state = task->previous;
        task->previous = WTASK_RELEASED;
        if (task->state == WTASK_LONG_RUNNING) {
            struct letter letter = {
                .kind = LETTER_LONG_RUNNING, .key = task->key, .number = task->run_id, .real = -1};
            worker_tell(sim, worker, letter);
        }
    } else if (task->done) {
        to_released(worker, task);
    }
}

static void from_resumed(struct sim *sim, struct sim_worker *worker, struct wtask *task,
                         enum wtask_state to)
{
    bool was_flight = task->previous == WTASK_FLIGHT;
    switch (to) {
    case WTASK_LONG_RUNNING:
        from_cancelled(sim, worker, task, to);
        break;
    case WTASK_ERROR:
    case WTASK_RESCHEDULED:
        start_over(worker, task, was_flight ? WTASK_WAITING : WTASK_FETCH);
        break;
    case WTASK_MEMORY:
        to_memory(sim, worker, task, was_flight ? LETTER_FINISHED : LETTER_ADD_KEYS);
        break;
    case WTASK_RELEASED:
        task->state = WTASK_CANCELLED;
        task->next = WTASK_RELEASED;
        break;
    case WTASK_FETCH:
        if (was_flight && task->done) {
            start_over(worker, task, WTASK_WAITING);
        } else if (was_flight) {
            task->state = WTASK_FLIGHT;
            task->previous = task->next = WTASK_RELEASED;
        }
        break;
    case WTASK_MISSING:
        wish(worker, task, WTASK_FETCH);
        break;
    case WTASK_WAITING: /* through cancelled */
        task->state = WTASK_CANCELLED;
        task->next = WTASK_RELEASED;
        from_cancelled(sim, worker, task, WTASK_WAITING);
        break;
    default:
        fail(sim, "worker %u: no move resumed -> %s of key %u", worker->slot, wtask_state_name(to),
             task->key);
    }
}

static void from_running(struct sim *sim, struct sim_worker *worker, struct wtask *task,
                         enum wtask_state to)
{
    switch (to) {
    case WTASK_MEMORY:
        to_memory(sim, worker, task, LETTER_FINISHED);
        break;
    case WTASK_ERROR:
        task->state = WTASK_ERROR;
        tell_key(sim, worker, LETTER_ERRED, task, task->outcome_run);
        break;
    case WTASK_RESCHEDULED:
        tell_key(sim, worker, LETTER_RESCHEDULE, task, 0);
        to_released(worker, task);
        break;
    default: /* LONG_RUNNING */
        task->state = WTASK_LONG_RUNNING;
        vacate(worker->machine, task);
        worker_tell(sim, worker,
                    (struct letter){.kind = LETTER_LONG_RUNNING,
                                    .key = task->key,
                                    .number = task->run_id,
                                    .real = 0.1});
        ensure_computing(sim, worker);
        break;
    }
}

static void from_flight(struct sim *sim, struct sim_worker *worker, struct wtask *task,
                        enum wtask_state to)
{
    if (to == WTASK_MEMORY) {
        to_memory(sim, worker, task, LETTER_ADD_KEYS);
    } else if (to == WTASK_FETCH && task->done) {
        to_fetch(worker, task);
    } else if (to == WTASK_MISSING) {
        task->state = WTASK_MISSING;
        task->done = false;
    }
}

static void move(struct sim *sim, struct sim_worker *worker, struct wtask *task,
                 enum wtask_state to);

static void through_released(struct sim *sim, struct sim_worker *worker, struct wtask *task,
                             enum wtask_state to)
{
    struct wtask *kept = worker->machine->keeping;
    worker->machine->keeping = task;
    move(sim, worker, task, WTASK_RELEASED);
    worker->machine->keeping = kept;
    move(sim, worker, task, to);
}

static void to_be_released(struct sim *sim, struct sim_worker *worker, struct wtask *task)
{
    if (is_cancellable(task->state)) {
        task->previous = task->state;
        task->next = WTASK_RELEASED;
        task->state = WTASK_CANCELLED;
        return;
    }
    bool had = task->state == WTASK_MEMORY;
    to_released(worker, task);
    if (had) {
        tell_key(sim, worker, LETTER_RELEASE_DATA, task, 0);
    }
}

static void from_released(struct sim *sim, struct sim_worker *worker, struct wtask *task,
                          enum wtask_state to)
{
    switch (to) {
    case WTASK_FETCH:
        to_fetch(worker, task);
        break;
    case WTASK_MISSING:
        task->state = WTASK_MISSING;
        task->done = false;
        break;
    case WTASK_WAITING:
        to_waiting(worker, task);
        break;
    case WTASK_FORGOTTEN:
        to_forgotten(worker, task);
        break;
    case WTASK_MEMORY:
        to_memory(sim, worker, task, SAY_NOTHING);
        break; /* scatter */
    default:
        fail(sim, "worker %u: no move released -> %s of key %u", worker->slot, wtask_state_name(to),
             task->key);
    }
}

static void move(struct sim *sim, struct sim_worker *worker, struct wtask *task,
                 enum wtask_state to)
{
    enum wtask_state from = task->state;
    if (from == to || from == WTASK_FORGOTTEN) {
        return;
    }
    bool is_run_end = to == WTASK_MEMORY || to == WTASK_ERROR || to == WTASK_RESCHEDULED ||
                      to == WTASK_LONG_RUNNING;
    if (from == WTASK_CANCELLED) {
        from_cancelled(sim, worker, task, to);
    } else if (from == WTASK_RESUMED) {
        from_resumed(sim, worker, task, to);
    } else if (from == WTASK_RELEASED) {
        from_released(sim, worker, task, to);
    } else if (to == WTASK_RELEASED) {
        to_be_released(sim, worker, task);
    } else if ((from == WTASK_EXECUTING || from == WTASK_LONG_RUNNING) && is_run_end) {
        from_running(sim, worker, task, to);
    } else if (from == WTASK_FLIGHT &&
               (to == WTASK_MEMORY || to == WTASK_FETCH || to == WTASK_MISSING)) {
        from_flight(sim, worker, task, to);
    } else if (from == WTASK_FETCH && to == WTASK_MISSING) {
        task->state = WTASK_MISSING;
    } else if (from == WTASK_MISSING && to == WTASK_FETCH) {
        if (task->who_has.count > 0) {
            to_fetch(worker, task);
        }
    } else if (from == WTASK_MISSING && to == WTASK_WAITING) {
        purge(worker, task);
        to_waiting(worker, task);
    } else if (from == WTASK_WAITING && to == WTASK_READY) {
        task->state = task->needs_gpu ? WTASK_CONSTRAINED : WTASK_READY;
        ensure_computing(sim, worker);
    } else {
        through_released(sim, worker, task, to);
    }
}

/* ---- transfers ---- */

static uint32_t pick_holder(struct sim *sim, const struct sim_worker *worker,
                            const struct wtask *task)
{
    uint32_t first = below(sim, task->who_has.count);
    for (uint32_t i = 0; i < task->who_has.count; i++) {
        uint32_t address = task->who_has.items[(first + i) % task->who_has.count];
        if (!set_has(&worker->machine->in_flight, address) &&
            !set_has(&worker->machine->busy, address)) {
            return address;
        }
    }
    return UINT32_MAX;
}

static void start_transfer(struct sim *sim, struct sim_worker *worker, uint32_t address)
{
    struct letter letter = {
        .kind = LETTER_GET_DATA, .to = address, .from = worker->slot, .life = worker->life};
    for (uint32_t i = 0; i < worker->machine->tasks.count && letter.word_count < KEYS_A_TRANSFER;
         i++) {
        struct wtask *task = worker->machine->tasks.items[i];
        if (task != NULL && task->state == WTASK_FETCH && set_has(&task->who_has, address)) {
            task->state = WTASK_FLIGHT;
            task->done = false;
            task->coming_from = address + 1;
            letter_add(&letter, task->key);
        }
    }
    set_add(&worker->machine->in_flight, address);
    post(sim, letter, delay_draw(sim));
}

static void ensure_communicating(struct sim *sim, struct sim_worker *worker)
{
    for (uint32_t i = 0; worker->machine->running && i < worker->machine->tasks.count; i++) {
        struct wtask *task = worker->machine->tasks.items[i];
        if (task != NULL && task->state == WTASK_FETCH) {
            uint32_t address = pick_holder(sim, worker, task);
            if (address != UINT32_MAX) {
                start_transfer(sim, worker, address);
            }
        }
    }
}

void machine_drop(struct sim_worker *worker, struct wtask *task)
{
    worker->machine->tasks.items[task->key] = NULL;
    vec_fini(&task->dependencies);
    vec_fini(&task->dependents);
    vec_fini(&task->waiting_for);
    vec_fini(&task->waiters);
    vec_fini(&task->who_has);
    mem_free(task);
}

void run_moves(struct sim *sim, struct sim_worker *worker)
{
    struct machine *machine = worker->machine;
    while (machine->wants.count > 0) {
        struct wwish next = vec_pop(&machine->wants);
        struct wtask *task = machine_find(worker, next.key);
        if (task == NULL) {
            continue; /* forgotten in between */
        }
        task->want_place = 0;
        move(sim, worker, task, next.to);
        if (task->state == WTASK_FORGOTTEN) {
            machine_drop(worker, task);
        }
    }
    ensure_communicating(sim, worker);
}
