/* checkers.c: comparing what clients, workers and the scheduler believe. scheduler_check() runs in every
 * step; here is what only shows from outside and at rest. */
#include "sim/checkers.h"

#include <math.h>

#include "sim/client.h"
#include "sim/machine.h"
#include "sim/node.h"
#include "sim/p2p.h"
#include "sim/requests.h"
#include "sim/worker.h"

#define REST_SECONDS 15.0

bool has_settled(const struct sim *sim)
{
    return sim->busy == 0 && sim->now - sim->busy_at > REST_SECONDS;
}

static const struct task *task_of(const struct sim *sim, uint32_t key)
{
    return view_task_find(sim->s, sim->keys.items[key].bytes);
}

/* ---- who may run what ---- */

static bool names(struct span_list list, struct span name)
{
    for (uint32_t i = 0; i < list.count; i++) {
        if (span_equal(list.items[i], name)) {
            return true;
        }
    }
    return false;
}

/* A host restriction: a host, or the name of a worker there. */
static bool is_on_host(const struct sim *sim, struct span_list hosts, struct span host)
{
    for (uint32_t i = 0; i < hosts.count; i++) {
        uint8_t name[32];
        struct worker_view worker;
        ASSERT(hosts.items[i].size < sizeof name);
        name[0] = (uint8_t)(0xa0 | hosts.items[i].size);
        memcpy(name + 1, hosts.items[i].data, hosts.items[i].size);
        worker_id named = view_worker_by_alias(sim->s, span_of(name, hosts.items[i].size + 1));
        if (span_equal(hosts.items[i], host) ||
            (view_worker(sim->s, named, &worker) && span_equal(worker.host, host))) {
            return true;
        }
    }
    return false;
}

/* By its restrictions, and by what it needs. */
static bool may_run(const struct sim *sim, const struct task_view *task,
                    const struct worker_view *worker)
{
    bool is_free = task->worker_restrictions.count + task->host_restrictions.count == 0 ||
                   task->loose_restrictions;
    bool is_named = names(task->worker_restrictions, worker->address) ||
                    is_on_host(sim, task->host_restrictions, worker->host);
    uint32_t slot = sim->incarnations.items[worker->id].slot;
    return (is_free || is_named) && (task->resources.count == 0 || sim->workers[slot].gpus > 0);
}

/* Some running worker may run it, and the scheduler ought to have seen that. (Where a name stands for a host,
 * it looks again only when a worker comes, and then at that one alone: so does stock.) */
static bool somebody_may_run(const struct sim *sim, const struct task_view *task)
{
    for (uint32_t i = 0; i < view_worker_count(sim->s); i++) {
        struct worker_view worker;
        view_worker(sim->s, view_worker_at(sim->s, i), &worker);
        bool by_alias =
            task->host_restrictions.count > 0 && !names(task->host_restrictions, worker.host);
        if (worker.status == WORKER_RUNNING && may_run(sim, task, &worker) &&
            !(by_alias && task->resources.count > 0)) {
            return true;
        }
    }
    return false;
}

static bool waits_with_reason(const struct sim *sim, uint32_t key);

/* One of the tasks it submitted does. */
static bool a_child_waits(const struct sim *sim, uint32_t key)
{
    const struct numbers *children = &sim->keys.items[key].children;
    for (uint32_t i = 0; i < children->count; i++) {
        if (task_of(sim, children->items[i]) != NULL &&
            waits_with_reason(sim, children->items[i])) {
            return true;
        }
    }
    return false;
}

/* Whether a task that waits does so for a task without a worker. Keys are numbered in order of dependence. */
static bool waits_with_reason(const struct sim *sim, uint32_t key)
{
    const struct task *task = task_of(sim, key);
    struct task_view view;
    view_task(sim->s, task, &view);
    if (view.state == TASK_NO_WORKER) {
        return !somebody_may_run(sim, &view);
    }
    for (uint32_t i = 0; view.state == TASK_WAITING && i < view.dependency_count; i++) {
        uint32_t input = key_number(sim, view_task_key(view_task_dependency(sim->s, task, i)));
        ASSERT(input < key);
        if (waits_with_reason(sim, input)) {
            return true;
        }
    }
    return view.state == TASK_PROCESSING && a_child_waits(sim, key);
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
    bool is_told = future == FUTURE_ERRED && sim->keys.items[key].has_failed_graph;
    if (is_told) {
        return; /* whatever becomes of the key later */
    }
    if (task == NULL || !is_wanted_by(sim, task, client_id_now(sim, client->slot))) {
        if (!set_has(&client->by_name, key) && !sim->keys.items[key].has_failed_graph) {
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
    for (uint32_t slot = 0; slot < PEERS_MAX; slot++) {
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
        if (view_task_holder(sim->s, task, i) == worker) {
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
        bool is_nest =
            (state == WTASK_LONG_RUNNING || state == WTASK_CANCELLED) && a_child_waits(sim, key);
        if (!is_quiet && !looks_in_vain && !is_nest) {
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
            const struct incarnation *who =
                &sim->incarnations.items[view_task_holder(sim->s, tasks[i], j)];
            if (machine_state(sim, &sim->workers[who->slot], key) != WTASK_MEMORY) {
                fail(sim, "at rest, worker %u should hold key %u, and does not", who->slot, key);
            }
        }
    }
}

/* An actor is in one place, and there because it was made there: nothing can copy it. */
static void check_actors(struct sim *sim)
{
    uint32_t count;
    const struct task *const *tasks = view_tasks(sim->s, &sim->scratch, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct task_view view;
        view_task(sim->s, tasks[i], &view);
        if (!view.actor || view.state != TASK_MEMORY) {
            continue;
        }
        uint32_t key = key_number(sim, view.key), made = 0;
        for (uint32_t j = 0; j < view.holder_count; j++) {
            const struct incarnation *who =
                &sim->incarnations.items[view_task_holder(sim->s, tasks[i], j)];
            made += worker_result(&sim->workers[who->slot], key)->was_made;
        }
        if (made != 1) {
            say_story(sim, key);
            fail(sim, "actor %u is on %u workers, and was made on %u of them", key,
                 view.holder_count, made);
        }
    }
}

void check_at_rest(struct sim *sim)
{
    check_workers(sim);
    check_tasks(sim);
    check_clients(sim);
    check_actors(sim);
    p2p_check_rest(sim);
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
    p2p_check_empty(sim);
}

/* ---- every step ---- */

/* After these events distributed looks whether there is room for queued tasks; after others it leaves that
 * to the next task that ends. */
static bool fills_slots(enum event_kind kind)
{
    return kind == EVENT_TASK_FINISHED || kind == EVENT_TASK_ERRED || kind == EVENT_LONG_RUNNING ||
           kind == EVENT_CLIENT_RELEASES || kind == EVENT_CLIENT_REMOVE ||
           kind == EVENT_WORKER_REMOVE;
}

/* While tasks are queued, no worker that could take one has room; at least something is under way. */
static void check_slots(struct sim *sim)
{
    struct totals_view totals;
    view_totals(sim->s, &totals);
    for (uint32_t i = 0; totals.queued_count > 0 && i < view_worker_count(sim->s); i++) {
        struct worker_view worker;
        view_worker(sim->s, view_worker_at(sim->s, i), &worker);
        double slots = fmax(ceil(sim->config.worker_saturation * worker.nthreads), 1);
        double busy = worker.processing_count - worker.long_running_count;
        bool must_be_full = fills_slots(sim->event_kind) || totals.processing_count == 0;
        if (worker.status == WORKER_RUNNING && busy < slots && must_be_full) {
            fail(sim, "%u tasks are queued, and worker id %u has %g of %g slots in use",
                 totals.queued_count, worker.id, busy, slots);
        }
    }
}

void check_step(struct sim *sim)
{
    check_slots(sim);
    p2p_check_step(sim);
}

/* In this step some worker was told to stop, or was lost: before, it was another question who may run what. */
static bool rules_change(const struct sim *sim)
{
    if (sim->event_kind == EVENT_SET_RESTRICTIONS && sim->building != NULL) {
        return true; /* its tasks went out before */
    }
    for (uint32_t i = 0; i < sim->step.action_count; i++) {
        const struct action *action = &sim->step.actions[i];
        if (action->kind == ACTION_NOTICE &&
            (action->of.notice.notice->kind == NOTICE_WORKER_STATUS ||
             action->of.notice.notice->kind == NOTICE_WORKER_REMOVED)) {
            return true;
        }
    }
    return false;
}

/* A thief may have paused since it was chosen; stock sends it the task all the same. */
static void check_place(struct sim *sim, const struct task_view *task,
                        const struct worker_view *worker)
{
    bool is_there = worker->status == WORKER_RUNNING || sim->event_kind == EVENT_STEAL_RESPONSE;
    if ((!may_run(sim, task, worker) || !is_there) && !rules_change(sim)) {
        fail(sim, "key %u goes to worker id %u, which %s", key_number(sim, task->key), worker->id,
             is_there ? "may not run it" : "does not run");
    }
}

static bool is_same_set(const struct sim *sim, const struct numbers *keys, struct input_list inputs)
{
    for (uint32_t i = 0; i < inputs.count; i++) {
        if (!set_has(keys, key_number(sim, inputs.items[i].key))) {
            return false;
        }
    }
    return keys->count == inputs.count;
}

void check_compute(struct sim *sim, const struct action_compute *action)
{
    struct task_view task;
    struct worker_view worker;
    view_task(sim->s, action->task, &task);
    if (!view_worker(sim->s, action->worker, &worker)) {
        fail(sim, "key %u goes to worker id %u, which is not there", key_number(sim, task.key),
             action->worker);
    }
    uint32_t key = key_number(sim, task.key);
    bool is_other = task.run_spec == sim->run_specs[1];
    const struct sim_key *it = &sim->keys.items[key];
    if (!is_same_set(sim, is_other ? &it->other_inputs : &it->inputs, action->inputs)) {
        fail(sim, "key %u by its %s definition is sent with other inputs", key,
             is_other ? "second" : "first");
    }
    check_place(sim, &task, &worker);
}
