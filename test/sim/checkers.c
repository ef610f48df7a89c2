/* checkers.c: comparing what clients, workers and the scheduler believe. scheduler_check() runs in every
 * step; here is what only shows from outside and at rest. */
#include "sim/checkers.h"

#include "sim/client.h"
#include "sim/machine.h"
#include "sim/node.h"
#include "sim/requests.h"

#define REST_SECONDS 15.0

bool has_settled(const struct sim *sim)
{
    return sim->busy == 0 && sim->now - sim->busy_at > REST_SECONDS;
}

static const struct task *task_of(const struct sim *sim, uint32_t key)
{
    return view_task_find(sim->s, sim->keys.items[key].bytes);
}

/* Whether it cannot run for a reason of its own: the only worker it may run on has got another address, or
 * lacks what it needs. */
static bool may_have_no_worker(const struct sim *sim, uint32_t key)
{
    const struct sim_key *it = &sim->keys.items[key];
    return it->only_on < WORKERS_MAX && (it->needs_gpu || it->only_on % 2 == 0);
}

/* Whether a task that waits does so for a task without a worker. Keys are numbered in order of dependence. */
static bool waits_with_reason(const struct sim *sim, uint32_t key)
{
    const struct task *task = task_of(sim, key);
    if (view_task_state(task) == TASK_NO_WORKER) {
        return may_have_no_worker(sim, key);
    }
    const struct numbers *inputs = &sim->keys.items[key].inputs;
    for (uint32_t i = 0; view_task_state(task) == TASK_WAITING && i < inputs->count; i++) {
        if (task_of(sim, inputs->items[i]) != NULL && waits_with_reason(sim, inputs->items[i])) {
            return true;
        }
    }
    return false;
}

/* ---- clients ---- */

static bool is_wanted_by(const struct sim *sim, const struct task *task, client_id client)
{
    struct task_view view;
    view_task(sim->s, task, &view);
    for (uint32_t i = 0; i < view.wanter_count; i++) {
        if (view_task_wanter(task, i) == client) {
            return true;
        }
    }
    return false;
}

static void check_future(struct sim *sim, const struct sim_client *client, uint32_t key,
                         enum future_state future)
{
    const struct task *task = task_of(sim, key);
    if (future == FUTURE_CANCELLED) {
        return;
    }
    if (task == NULL || !is_wanted_by(sim, task, client_id_now(sim, client->slot))) {
        if (!set_has(&client->by_name, key)) {
            fail(sim, "client %u waits for key %u, which the scheduler does not know it wants",
                 client->slot, key);
        }
        return;
    }
    enum task_state state = view_task_state(task);
    bool agrees = (state == TASK_MEMORY && future == FUTURE_FINISHED) ||
                  (state == TASK_ERRED && future == FUTURE_ERRED);
    struct task_view view;
    view_task(sim->s, task, &view);
    bool never_came = state == TASK_RELEASED && view.run_spec == NULL;
    if (!agrees && !never_came && !waits_with_reason(sim, key)) {
        fail(sim, "at rest, key %u is %s, and for client %u it is in state %d", key,
             task_state_name(state), client->slot, (int)future);
    }
    if (state == TASK_ERRED && view.failure == NULL) {
        fail(sim, "key %u erred, but nothing says why", key);
    }
}

static void check_clients(struct sim *sim)
{
    for (uint32_t slot = 0; slot < sim->client_count; slot++) {
        const struct sim_client *client = &sim->clients[slot];
        for (uint32_t key = 0; client->connected && key < client->futures.count; key++) {
            if (client->futures.items[key] != FUTURE_NONE) {
                check_future(sim, client, key, (enum future_state)client->futures.items[key]);
            }
        }
    }
}

/* ---- workers ---- */

static bool holds(const struct sim *sim, const struct task *task, worker_id worker)
{
    struct task_view view;
    view_task(sim->s, task, &view);
    for (uint32_t i = 0; i < view.holder_count; i++) {
        if (view_task_holder(task, i) == worker) {
            return true;
        }
    }
    return false;
}

static void check_machine(struct sim *sim, const struct sim_worker *worker, worker_id id)
{
    for (uint32_t key = 0; key < sim->keys.count; key++) {
        enum wtask_state state = machine_state(sim, worker, key);
        const struct task *task = task_of(sim, key);
        bool is_quiet = state == WTASK_MEMORY || state == WTASK_ERROR || state == WTASK_RELEASED ||
                        state == WTASK_FORGOTTEN;
        bool looks_in_vain = state == WTASK_MISSING && task != NULL && waits_with_reason(sim, key);
        if (!is_quiet && !looks_in_vain) {
            fail(sim, "at rest, key %u is %s on worker %u and %s for the scheduler", key,
                 wtask_state_name(state), worker->slot,
                 task == NULL ? "unknown" : task_state_name(view_task_state(task)));
        }
        if (state == WTASK_MEMORY && (task == NULL || !holds(sim, task, id)) &&
            !sim->keys.items[key].is_data) {
            fail(sim, "worker %u holds key %u, and the scheduler does not know", worker->slot, key);
        }
    }
}

static void check_workers(struct sim *sim)
{
    if (view_worker_count(sim->s) != sim->worker_count) {
        fail(sim, "at rest, %u of %u workers are registered", view_worker_count(sim->s),
             sim->worker_count);
    }
    for (uint32_t slot = 0; slot < sim->worker_count; slot++) {
        worker_id id = worker_id_now(sim, slot);
        if (id == WORKER_NONE) {
            fail(sim, "at rest, worker %u is not registered", slot);
        }
        check_machine(sim, &sim->workers[slot], id);
    }
}

/* ---- the scheduler ---- */

static void check_tasks(struct sim *sim)
{
    uint32_t count;
    const struct task *const *tasks = view_tasks(sim->s, &sim->scratch, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct task_view view;
        view_task(sim->s, tasks[i], &view);
        uint32_t key = key_number(sim, view.key);
        bool is_moving = view.state == TASK_PROCESSING || view.state == TASK_QUEUED ||
                         view.state == TASK_WAITING || view.state == TASK_NO_WORKER;
        if (is_moving && !waits_with_reason(sim, key)) {
            say_story(sim, key);
            fail(sim, "at rest, key %u is %s", key, task_state_name(view.state));
        }
        for (uint32_t j = 0; j < view.holder_count; j++) {
            const struct incarnation *who = &sim->incarnations.items[view_task_holder(tasks[i], j)];
            if (machine_state(sim, &sim->workers[who->slot], key) != WTASK_MEMORY) {
                fail(sim, "at rest, worker %u should hold key %u, and does not", who->slot, key);
            }
        }
    }
}

void check_at_rest(struct sim *sim)
{
    check_workers(sim);
    check_tasks(sim);
    check_clients(sim);
    requests_check(sim);
}

void check_empty(struct sim *sim)
{
    uint32_t count;
    const struct task *const *tasks = view_tasks(sim->s, &sim->scratch, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct task_view view;
        view_task(sim->s, tasks[i], &view);
        uint32_t key = key_number(sim, view.key);
        struct client_view wanter = {.name = SPAN("nobody")};
        if (view.wanter_count > 0) {
            view_client(sim->s, view_task_wanter(tasks[i], 0), &wanter);
        }
        if (!sim->keys.items[key].is_data || view.wanter_count > 0) {
            say_story(sim, key);
            fail(sim, "everything was released, but key %u is %s, wanted by %.*s", key,
                 task_state_name(view.state), (int)wanter.name.size,
                 (const char *)wanter.name.data);
        }
    }
    for (uint32_t slot = 0; slot < sim->worker_count; slot++) {
        for (uint32_t key = 0; key < sim->keys.count; key++) {
            enum wtask_state state = machine_state(sim, &sim->workers[slot], key);
            if (state != WTASK_FORGOTTEN && !sim->keys.items[key].is_data) {
                fail(sim, "everything was released, but worker %u still has key %u: %s", slot, key,
                     wtask_state_name(state));
            }
        }
    }
}
