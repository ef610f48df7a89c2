/* planner_view_whole.c: what is one value rather than rows: the scheduler itself, its sets of tasks, its
 * computations, its story. */
#include "core/scheduler/computations.h"
#include "core/scheduler/spans.h"
#include "node/metadata.h"
#include "node/planner_view.h"
#include "node/planner_view_values.h"

static struct text *field(const struct view_writer *w, const char *name)
{
    msgpack_write_cstr(&w->out->head, name);
    return &w->out->head;
}

/* ---- tasks ------------------------------------------------------------------------------------- */

static void put_task_keys(const struct view_writer *w)
{
    uint32_t count;
    const struct task *const *tasks = view_tasks(w->node->core, &w->node->scratch, &count);
    msgpack_write_array(&w->out->head, count);
    for (uint32_t i = 0; i < count; i++) {
        msgpack_write_raw(&w->out->head, view_task_key(tasks[i]));
    }
}

static bool is_queued(const struct view_writer *w, const struct task *task)
{
    (void)w;
    return view_task_state(task) == TASK_QUEUED;
}

static bool is_unrunnable(const struct view_writer *w, const struct task *task)
{
    (void)w;
    return view_task_state(task) == TASK_NO_WORKER;
}

static bool is_replicated(const struct view_writer *w, const struct task *task)
{
    struct task_view view;
    view_task(w->node->core, task, &view);
    return view.holder_count > 1;
}

/* Which of all tasks are it; nobody looks at them if `known_count` says there are none. */
static void put_set(const struct view_writer *w, const char *name, uint32_t known_count,
                    bool (*is_member)(const struct view_writer *, const struct task *))
{
    struct text keys = {0};
    uint32_t count = 0, members = 0;
    const struct task *const *tasks =
        known_count == 0 ? NULL : view_tasks(w->node->core, &w->node->scratch, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (is_member(w, tasks[i])) {
            msgpack_write_raw(&keys, view_task_key(tasks[i]));
            members++;
        }
    }
    msgpack_write_array(field(w, name), members);
    msgpack_write_raw(&w->out->head, text_span(&keys));
    text_fini(&keys);
}

static void put_task_sets(const struct view_writer *w)
{
    struct totals_view totals;
    view_totals(w->node->core, &totals);
    msgpack_write_map(&w->out->head, 3);
    put_set(w, "queued", totals.queued_count, is_queued);
    put_set(w, "unrunnable", totals.unrunnable_count, is_unrunnable);
    put_set(w, "replicated_tasks", totals.replicated_count, is_replicated);
}

/* ---- the scheduler ----------------------------------------------------------------------------- */

static void put_addresses(const struct view_writer *w, const worker_id *workers, uint32_t count)
{
    msgpack_write_array(&w->out->head, count);
    for (uint32_t i = 0; i < count; i++) {
        view_put_worker(w, workers[i]);
    }
}

/* idle, running, saturated, idle_task_count */
static void put_worker_sets(const struct view_writer *w)
{
    struct scheduler *core = w->node->core;
    const worker_id *workers;
    uint32_t all = view_worker_count(core), running = 0, free = 0;
    worker_id *ids = arena_array(&w->node->scratch, worker_id, 2 * (size_t)all);
    for (uint32_t i = 0; i < all; i++) {
        struct worker_view view;
        if (view_worker(core, view_worker_at(core, i), &view) && view.status == WORKER_RUNNING) {
            ids[running++] = view.id;
            if (view.slots_free > 0) {
                ids[all + free++] = view.id;
            }
        }
    }
    uint32_t count = view_idle_workers(core, &workers);
    field(w, "idle");
    put_addresses(w, workers, count);
    field(w, "running");
    put_addresses(w, ids, running);
    count = view_saturated_workers(core, &workers);
    field(w, "saturated");
    put_addresses(w, workers, count);
    field(w, "idle_task_count");
    put_addresses(w, ids + all, free);
}

/* {host: {addresses, nthreads, last-seen}} */
static void put_hosts(const struct view_writer *w)
{
    struct text *head = field(w, "host_info");
    struct host_view host;
    uint32_t cursor = 0, count = 0;
    while (view_host_next(w->node->core, &cursor, &host)) {
        count++;
    }
    msgpack_write_map(head, count);
    cursor = 0;
    while (view_host_next(w->node->core, &cursor, &host)) {
        msgpack_write_str_lossy(head, host.name);
        msgpack_write_map(head, 3);
        msgpack_write_cstr(head, "addresses");
        put_addresses(w, host.workers, host.worker_count);
        msgpack_write_cstr(head, "nthreads");
        msgpack_write_uint(head, host.nthreads);
        msgpack_write_cstr(head, "last-seen");
        msgpack_write_float(head, host.last_seen);
    }
}

/* aliases {name: address}; resources {name: {address: amount}} */
static void put_names_and_resources(const struct view_writer *w)
{
    struct scheduler *core = w->node->core;
    uint32_t all = view_worker_count(core);
    struct map supplies = {0}; /* resource → where its pairs are, in `lists` */
    struct VEC(struct supply {
        struct text pairs;
        uint32_t count;
    }) lists = {0};
    struct text *head = field(w, "aliases");
    msgpack_write_map(head, all);
    for (uint32_t i = 0; i < all; i++) {
        struct worker_view view;
        bool is_known = view_worker(core, view_worker_at(core, i), &view);
        ASSERT(is_known);
        msgpack_write_raw(head, view.name);
        msgpack_write_str(head, view.address);
        for (uint32_t j = 0; j < view.resources.count; j++) {
            bool is_new;
            struct map_entry *entry = map_put(&supplies, view.resources.items[j].name, &is_new);
            if (is_new) {
                entry->value.number = lists.count;
                vec_push(&lists, (struct supply){0});
            }
            ASSERT(lists.items != NULL);
            struct supply *supply = &lists.items[entry->value.number];
            msgpack_write_str(&supply->pairs, view.address);
            msgpack_write_number(&supply->pairs, view.resources.items[j].amount);
            supply->count++;
        }
    }
    msgpack_write_map(field(w, "resources"), supplies.count);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&supplies, &cursor)) != NULL;) {
        ASSERT(lists.items != NULL);
        struct supply *supply = &lists.items[entry->value.number];
        msgpack_write_str_lossy(head, entry->name);
        msgpack_write_map(head, supply->count);
        msgpack_write_raw(head, text_span(&supply->pairs));
        text_fini(&supply->pairs);
    }
    vec_fini(&lists);
    map_fini(&supplies);
}

static bool all_done(const struct totals_view *totals)
{
    uint64_t over = totals->state_counts[TASK_MEMORY] + totals->state_counts[TASK_ERRED] +
                    totals->state_counts[TASK_RELEASED] + totals->state_counts[TASK_FORGOTTEN];
    return over == totals->task_count;
}

/* The scheduler's own numbers. */
static void put_totals(const struct view_writer *w)
{
    struct node *node = w->node;
    const struct scheduler_config *config = view_config(node->core);
    struct totals_view totals;
    view_totals(node->core, &totals);
    msgpack_write_str(field(w, "id"), text_span(&node->id));
    msgpack_write_str(field(w, "address"), text_span(&node->server.address));
    msgpack_write_cstr(field(w, "status"), node->is_closing ? "closing" : "running");
    msgpack_write_float(field(w, "started"), node->started);
    msgpack_write_float(field(w, "time_started"), node->started);
    msgpack_write_map(field(w, "services"), 0);
    msgpack_write_uint(field(w, "total_nthreads"), totals.nthreads);
    msgpack_write_int(field(w, "total_memory"), totals.memory_limit);
    msgpack_write_float(field(w, "total_occupancy"), totals.occupancy);
    msgpack_write_float(field(w, "bandwidth"), totals.bandwidth);
    msgpack_write_uint(field(w, "n_tasks"), totals.task_count);
    msgpack_write_bool(field(w, "is_idle"), all_done(&totals));
    msgpack_write_uint(field(w, "transition_counter"), totals.transition_count);
    msgpack_write_bool(field(w, "validate"), config->check);
    msgpack_write_number(field(w, "default_data_size"), config->default_data_size);
    msgpack_write_number(field(w, "WORKER_SATURATION"), config->worker_saturation);
    msgpack_write_uint(field(w, "allowed_failures"), config->allowed_failures);
    if (totals.idle_since > 0) {
        msgpack_write_float(field(w, "idle_since"), totals.idle_since);
    } else {
        msgpack_write_nil(field(w, "idle_since"));
    }
}
#define TOTALS_FIELDS 18u

static void put_scheduler(const struct view_writer *w)
{
    msgpack_write_map(&w->out->head, TOTALS_FIELDS + 8);
    put_totals(w);
    put_worker_sets(w);
    put_hosts(w);
    put_names_and_resources(w);
    field(w, "task_metadata");
    metadata_write(w->node->metadata, w->out);
}

/* ---- computations, spans, story ---------------------------------------------------------------- */

/* Lists of code, one a graph, one after the other. */
static void put_code(const struct view_writer *w, struct blob *const *code, uint32_t code_count)
{
    struct text items = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < code_count; i++) {
        struct msgpack_reader reader = msgpack_reader(slice_span(code[i]->value));
        uint32_t more;
        if (code[i]->frame_count == 0 && msgpack_read_array(&reader, &more) == OK && more > 0) {
            count++;
            msgpack_write_raw(&items, slice_span(code[i]->value));
        }
    }
    msgpack_write_array(field(w, "code"), count);
    msgpack_write_raw(&w->out->head, text_span(&items));
    text_fini(&items);
}

static void put_state_totals(const struct view_writer *w, const uint64_t *counts)
{
    struct text *head = field(w, "states");
    msgpack_write_map(head, TASK_STATE_COUNT);
    for (unsigned state = 0; state < TASK_STATE_COUNT; state++) {
        msgpack_write_cstr(head, task_state_name(state));
        msgpack_write_uint(head, counts[state]);
    }
}

/* What is known of a group even when it is no longer listed. */
static void put_computed_group(const struct view_writer *w, const struct group *group)
{
    struct group_view view;
    view_group(group, &view);
    msgpack_write_map(&w->out->head, 8);
    msgpack_write_str_lossy(field(w, "name"), view.name);
    msgpack_write_str_lossy(field(w, "prefix"), view.prefix);
    field(w, "states");
    view_put_states(w, view.state_counts);
    msgpack_write_int(field(w, "nbytes_total"), view.nbytes_total);
    msgpack_write_float(field(w, "duration"), view.duration);
    msgpack_write_float(field(w, "start"), view.start);
    msgpack_write_float(field(w, "stop"), view.stop);
    field(w, "span_id");
    view_put_text_or_nil(w, view.span_id);
}

static void put_computations(const struct view_writer *w)
{
    struct scheduler *core = w->node->core;
    struct text *head = &w->out->head;
    struct computation_view view;
    uint32_t count = computations_count(core);
    msgpack_write_array(head, count);
    for (uint32_t i = 0; i < count && computations_at(core, i, &view); i++) {
        msgpack_write_map(head, 7);
        msgpack_write_str(field(w, "id"), view.id);
        msgpack_write_float(field(w, "start"), view.start);
        msgpack_write_float(field(w, "stop"), view.stop);
        put_code(w, view.code, view.code_count);
        msgpack_write_array(field(w, "groups"), view.group_count);
        for (uint32_t j = 0; j < view.group_count; j++) {
            put_computed_group(w, view.groups[j]);
        }
        put_state_totals(w, view.state_counts);
        msgpack_write_map(field(w, "annotations"), 0);
    }
}

/* {name of the metric: sum} of the span itself */
static void put_span_metrics(const struct view_writer *w, uint32_t index, uint32_t count)
{
    struct resource metric;
    msgpack_write_map(field(w, "cumulative_worker_metrics"), count);
    for (uint32_t i = 0; i < count && spans_metric_at(w->node->core, index, i, &metric); i++) {
        msgpack_write_raw(&w->out->head, metric.name);
        msgpack_write_number(&w->out->head, metric.amount);
    }
}

static void put_span(const struct view_writer *w, uint32_t index, const struct span_view *view)
{
    struct text *head = &w->out->head;
    msgpack_write_map(head, 13);
    msgpack_write_str(field(w, "id"), view->id);
    field(w, "name");
    view_put_texts(w, view->name);
    field(w, "parent_id");
    view_put_text_or_nil(w, view->parent_id);
    msgpack_write_float(field(w, "enqueued"), view->enqueued);
    msgpack_write_float(field(w, "start"), view->start);
    msgpack_write_float(field(w, "stop"), view->stop);
    put_state_totals(w, view->state_counts);
    msgpack_write_float(field(w, "duration"), view->duration);
    msgpack_write_int(field(w, "nbytes_total"), view->nbytes_total);
    msgpack_write_bool(field(w, "done"), view->done);
    put_code(w, view->code, view->code_count);
    msgpack_write_array(field(w, "metadata"), view->metadata_count);
    for (uint32_t i = 0; i < view->metadata_count; i++) {
        view_put_blob_or_nil(w, view->metadata[i]);
    }
    put_span_metrics(w, index, view->metric_count);
}

static void put_spans(const struct view_writer *w)
{
    uint32_t count = spans_count(w->node->core);
    struct span_view view;
    msgpack_write_array(&w->out->head, count);
    for (uint32_t i = 0; i < count && spans_at(w->node->core, i, &view); i++) {
        put_span(w, i, &view);
    }
}

static void put_story(const struct view_writer *w)
{
    uint32_t count = 0;
    const struct story_move *moves = view_story(w->node->core, (struct span_list){0},
                                                (struct span_list){0}, &w->node->scratch, &count);
    msgpack_write_array(&w->out->head, count);
    for (uint32_t i = 0; i < count; i++) {
        view_put_move(w, &moves[i]);
    }
}

void planner_view_story(struct node *node, bool is_dump, struct outgoing *out)
{
    put_story(&(struct view_writer){node, out, is_dump});
}

/* ---- by name ----------------------------------------------------------------------------------- */

bool planner_view_whole(struct node *node, struct span what, struct outgoing *out)
{
    static const struct {
        const char *what;
        void (*put)(const struct view_writer *w);
    } wholes[] = {
        {"task_keys", put_task_keys}, {"task_sets", put_task_sets},
        {"scheduler", put_scheduler}, {"computations", put_computations},
        {"spans", put_spans},         {"transition_log", put_story},
    };
    const struct view_writer writer = {node, out, false};
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
        if (span_equal_text(what, wholes[i].what)) {
            wholes[i].put(&writer);
            return true;
        }
    }
    return false;
}
