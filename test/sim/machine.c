/* machine.c: what a simulated worker does with each message.
 * Must agree with: distributed worker_state_machine.py, _handle_…; a message that would end a stock worker
 * (an assertion of its own, a RuntimeError) ends the run here. */
#include "sim/machine.h"

#include <math.h>

#include "sim/machine_moves.h"
#include "sim/network.h"

struct wtask *machine_find(const struct sim_worker *worker, uint32_t key)
{
    return key < worker->machine->tasks.count ? worker->machine->tasks.items[key] : NULL;
}

static struct wtask *ensure_task(struct sim_worker *worker, uint32_t key)
{
    struct machine *machine = worker->machine;
    while (machine->tasks.count <= key) {
        vec_push(&machine->tasks, NULL);
    }
    if (machine->tasks.items[key] == NULL) {
        struct wtask *task = mem_zalloc(1, sizeof *task);
        task->key = key;
        task->nbytes = -1;
        machine->tasks.items[key] = task;
    }
    return machine->tasks.items[key];
}

void machine_start(struct sim *sim, struct sim_worker *worker)
{
    (void)sim;
    ASSERT(worker->machine == NULL);
    worker->machine = mem_zalloc(1, sizeof *worker->machine);
    worker->machine->running = true;
    worker->machine->gpus_free = worker->gpus;
}

void machine_fini(struct sim_worker *worker)
{
    struct machine *machine = worker->machine;
    for (uint32_t i = 0; machine != NULL && i < machine->tasks.count; i++) {
        if (machine->tasks.items[i] != NULL) {
            machine_drop(worker, machine->tasks.items[i]);
        }
    }
    vec_fini(&machine->tasks);
    vec_fini(&machine->wants);
    vec_fini(&machine->in_flight);
    vec_fini(&machine->busy);
    mem_free(machine);
    worker->machine = NULL;
}

enum wtask_state machine_state(const struct sim *sim, const struct sim_worker *worker, uint32_t key)
{
    (void)sim;
    const struct wtask *task = worker->machine == NULL ? NULL : machine_find(worker, key);
    return task == NULL ? WTASK_FORGOTTEN : task->state;
}

uint32_t machine_features(void)
{
    return FEATURE_ALL;
}

bool machine_takes_forwarded(const struct sim_worker *worker)
{
    (void)worker;
    return false;
}

bool machine_is_running(const struct sim_worker *worker)
{
    return worker->machine->running;
}

int64_t machine_nbytes(const struct sim_worker *worker)
{
    int64_t nbytes = 0;
    for (uint32_t i = 0; i < worker->machine->tasks.count; i++) {
        const struct wtask *task = worker->machine->tasks.items[i];
        nbytes += task != NULL && task->state == WTASK_MEMORY ? task->nbytes : 0;
    }
    return nbytes;
}

/* Who holds `task` now, from words at *at: a count and so many addresses. */
static void read_holders(struct sim_worker *worker, struct wtask *task, const struct letter *letter,
                         uint32_t *at)
{
    uint32_t count = letter->words[(*at)++];
    task->who_has.count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t address = letter->words[(*at)++];
        if (address != worker->address) {
            set_add(&task->who_has, address);
        }
    }
}

/* ---- from the scheduler ---- */

static void take_task(struct sim *sim, struct sim_worker *worker, struct wtask *task,
                      const struct letter *letter)
{
    const struct sim_key *key = &sim->keys.items[letter->key];
    bool runs_on = (task->state == WTASK_CANCELLED || task->state == WTASK_RESUMED) &&
                   task->previous != WTASK_FLIGHT;
    wish(worker, task, WTASK_WAITING);
    task->has_spec = true;
    task->priority[0] = key->priority;
    task->priority[1] = letter->real;
    task->priority[2] = letter->key;
    task->priority[3] = worker->machine->generation--;
    task->is_actor = key->is_actor;
    task->needs_gpu = runs_on ? task->needs_gpu : key->needs_gpu;
    for (uint32_t at = 0; at < letter->word_count;) {
        struct wtask *input = ensure_task(worker, letter->words[at++]);
        if (letter->words[at] == 0) {
            fail(sim, "compute-task of key %u names no holder of its input %u", letter->key,
                 input->key);
        }
        memcpy(input->priority, task->priority, sizeof input->priority);
        set_add(&task->dependencies, input->key);
        set_add(&input->dependents, task->key);
        read_holders(worker, input, letter, &at);
    }
}

void machine_compute(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    struct wtask *task = ensure_task(worker, letter->key);
    task->run_id = letter->number;
    switch (task->state) {
    case WTASK_READY:
    case WTASK_CONSTRAINED:
    case WTASK_EXECUTING:
    case WTASK_LONG_RUNNING:
    case WTASK_WAITING:
        break;
    case WTASK_MEMORY:
        tell_finished(sim, worker, task, letter->number);
        break;
    default:
        take_task(sim, worker, task, letter);
        break;
    }
    run_moves(sim, worker);
}

void machine_free(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    for (uint32_t i = 0; i < letter->word_count; i++) {
        struct wtask *task = machine_find(worker, letter->words[i]);
        if (task != NULL) {
            wish(worker, task, WTASK_RELEASED);
        }
    }
    run_moves(sim, worker);
}

bool machine_remove_replicas(struct sim *sim, struct sim_worker *worker,
                             const struct letter *letter)
{
    for (uint32_t i = 0; i < letter->word_count; i++) {
        struct wtask *task = machine_find(worker, letter->words[i]);
        if (task == NULL || task->state != WTASK_MEMORY) {
            continue;
        }
        for (uint32_t j = 0; j < task->dependents.count; j++) {
            const struct wtask *user = machine_find(worker, task->dependents.items[j]);
            if (user->state == WTASK_EXECUTING || user->state == WTASK_LONG_RUNNING) {
                if (!sim->keys.items[task->key].is_actor) {
                    fail(sim, "remove-replicas of key %u on worker %u, while key %u runs there",
                         task->key, worker->slot, user->key);
                }
                return false;
            }
        }
        wish(worker, task, WTASK_RELEASED);
    }
    run_moves(sim, worker);
    return true;
}

void machine_acquire(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    for (uint32_t at = 0; at < letter->word_count;) {
        struct wtask *task = ensure_task(worker, letter->words[at++]);
        if (letter->words[at] == 0) {
            fail(sim, "acquire-replicas of key %u names no holder", task->key);
        }
        if (task->priority[0] == 0 && task->priority[1] == 0) {
            task->priority[0] = 1;
            task->priority[1] = -INFINITY;
        }
        if (task->state != WTASK_MEMORY) {
            wish(worker, task, WTASK_FETCH);
        }
        read_holders(worker, task, letter, &at);
    }
    run_moves(sim, worker);
}

void machine_refresh(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    for (uint32_t at = 0; at < letter->word_count;) {
        struct wtask *task = machine_find(worker, letter->words[at++]);
        if (task == NULL) {
            at += 1 + letter->words[at];
            continue;
        }
        read_holders(worker, task, letter, &at);
        if (task->who_has.count > 0 && task->state == WTASK_MISSING) {
            wish(worker, task, WTASK_FETCH);
        } else if (task->who_has.count == 0 && task->state == WTASK_FETCH) {
            wish(worker, task, WTASK_MISSING);
        }
    }
    run_moves(sim, worker);
}

void machine_steal(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    struct wtask *task = machine_find(worker, letter->key);
    struct letter answer = {.kind = LETTER_STEAL_ANSWER, .key = letter->key};
    letter_set_text(&answer, span_of_text(letter->text));
    answer.number = task == NULL ? -1 : task->state;
    worker_tell(sim, worker, answer);
    if (task != NULL && (task->state == WTASK_READY || task->state == WTASK_CONSTRAINED ||
                         task->state == WTASK_WAITING)) {
        wish(worker, task, WTASK_RELEASED);
    }
    run_moves(sim, worker);
}

/* `address` has nothing any more. */
static void lose_address(struct sim_worker *worker, uint32_t address)
{
    for (uint32_t i = 0; i < worker->machine->tasks.count; i++) {
        struct wtask *task = worker->machine->tasks.items[i];
        if (task != NULL && set_remove(&task->who_has, address) && task->who_has.count == 0 &&
            task->state == WTASK_FETCH) {
            wish(worker, task, WTASK_MISSING);
        }
    }
}

void machine_forget_worker(struct sim *sim, struct sim_worker *worker, uint32_t address)
{
    lose_address(worker, address);
    run_moves(sim, worker);
}

void machine_store(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    for (uint32_t i = 0; i < letter->word_count; i++) {
        wish(worker, ensure_task(worker, letter->words[i]), WTASK_MEMORY);
    }
    run_moves(sim, worker);
}

/* ---- its own ---- */

static struct wtask *run_of(struct sim *sim, struct sim_worker *worker, uint32_t key, uint32_t run)
{
    struct wtask *task = machine_find(worker, key);
    if (task == NULL || task->run != run || !is_running(task)) {
        fail(sim, "a run of key %u on worker %u ends, and it is %s", key, worker->slot,
             task == NULL ? "unknown" : wtask_state_name(task->state));
    }
    return task;
}

void machine_run_done(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    static const enum wtask_state ends[] = {WTASK_MEMORY, WTASK_ERROR, WTASK_RESCHEDULED};
    struct wtask *task = run_of(sim, worker, letter->key, letter->from);
    ASSERT(letter->number < 3);
    task->done = true;
    worker->machine->gpus_free += task->holds_gpu;
    task->holds_gpu = false;
    worker->machine->executing_count -= task->occupies;
    task->occupies = false;
    ensure_computing(sim, worker);
    wish(worker, task, ends[letter->number]);
    run_moves(sim, worker);
}

void machine_secede(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    struct wtask *task = run_of(sim, worker, letter->key, (uint32_t)letter->number);
    wish(worker, task, WTASK_LONG_RUNNING);
    run_moves(sim, worker);
}

static bool letter_names(const struct letter *letter, uint32_t key)
{
    for (uint32_t i = 0; i < letter->word_count; i++) {
        if (letter->words[i] == key) {
            return true;
        }
    }
    return false;
}

void machine_got_data(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    struct machine *machine = worker->machine;
    uint32_t address = letter->from;
    struct letter refresh = {.kind = LETTER_WANT_REFRESH};
    set_remove(&machine->in_flight, address);
    if (letter->number == TRANSFER_BUSY) {
        set_add(&machine->busy, address);
        post(
            sim,
            (struct letter){
                .kind = LETTER_NOT_BUSY, .to = worker->slot, .life = worker->life, .from = address},
            0.15);
    }
    for (uint32_t i = 0; i < machine->tasks.count; i++) {
        struct wtask *task = machine->tasks.items[i];
        bool is_in_it = task != NULL && !is_running(task) && task->coming_from == address + 1;
        if (!is_in_it) {
            continue;
        }
        task->coming_from = 0;
        task->done = true;
        if (letter->number == TRANSFER_OK && letter_names(letter, task->key)) {
            task->outcome_run = task->run_id;
            wish(worker, task, WTASK_MEMORY);
            continue;
        }
        wish(worker, task, WTASK_FETCH);
        if (letter->number == TRANSFER_OK) {
            set_remove(&task->who_has, address);
        } else if (letter->number == TRANSFER_BUSY) {
            letter_add(&refresh, task->key);
        }
    }
    if (letter->number == TRANSFER_BROKEN) {
        lose_address(worker, address);
    }
    if (refresh.word_count > 0) {
        worker_tell(sim, worker, refresh);
    }
    run_moves(sim, worker);
}

void machine_not_busy(struct sim *sim, struct sim_worker *worker, uint32_t address)
{
    set_remove(&worker->machine->busy, address);
    run_moves(sim, worker);
}

void machine_pause(struct sim *sim, struct sim_worker *worker, bool running)
{
    worker->machine->running = running;
    if (running) {
        ensure_computing(sim, worker);
    }
    run_moves(sim, worker);
}

void machine_find_missing(struct sim *sim, struct sim_worker *worker)
{
    struct letter letter = {.kind = LETTER_WANT_REFRESH};
    for (uint32_t i = 0; i < worker->machine->tasks.count; i++) {
        const struct wtask *task = worker->machine->tasks.items[i];
        if (task != NULL && task->state == WTASK_MISSING) {
            letter_add(&letter, task->key);
        }
    }
    if (letter.word_count > 0) {
        worker_tell(sim, worker, letter);
    }
}
