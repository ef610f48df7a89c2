/* spans.c: the tree of spans, and which group belongs to which.
 *
 * A group belongs to one span from its first graph on. When all its tasks are forgotten its numbers are added
 * to the span and the group is let go, so a span costs the same however much ran in it. Spans themselves are
 * kept for people to look at; of those that are over, the oldest go when there are too many.
 * Must agree with: distributed spans.py, Span and SpansSchedulerExtension. */
#include "core/scheduler/spans.h"

#include <string.h>

#include "base/text.h"
#include "core/scheduler/groups.h"
#include "core/scheduler/internal.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/uuid.h"

#define SPANS_KEPT 10000u  /* that are over; more are kept only while something runs in them */
#define METADATA_MAX 1000u /* graphs of one span whose metadata is kept */

struct span_node {
    struct span id;             /* owned */
    struct span_list name, ids; /* parts and ids from the root down to this one; owned */
    struct span_node *parent;   /* NULL: root */
    uint32_t child_place;       /* among its parent's children */
    struct VEC(struct span_node *) children;
    struct VEC(
        struct group *) groups; /* listed ones; not counted: spans_group_gone takes them out */
    bool is_default;
    double enqueued;
    /* of groups that are gone */
    double gone_start, gone_stop; /* 0 none */
    uint64_t gone_count;          /* tasks; all forgotten */
    int64_t gone_duration_us, gone_nbytes;
    /* what graphs and workers said */
    struct VEC(struct blob *) code, metadata;
    struct map metrics; /* canonical msgpack of (context, …) → double, as bits */
};

struct spans {
    struct VEC(struct span_node *) all; /* in order of creation */
    struct map by_id;
    struct id_map slot_of; /* group id → its place in its span's groups */
    struct span_node *last_default;
    uint32_t kept_max; /* how many there may be before old ones are looked for */
};

struct spans *spans_create(const struct scheduler_config *config)
{
    (void)config;
    struct spans *spans = mem_zalloc(1, sizeof *spans);
    spans->kept_max = SPANS_KEPT;
    return spans;
}

static void list_free(struct span_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        struct span part = list->items[i];
        span_disown(&part);
    }
    mem_free((void *)(uintptr_t)list->items);
}

static struct span_list list_copy(struct span_list list, uint32_t count)
{
    struct span *items = mem_zalloc(count, sizeof *items);
    for (uint32_t i = 0; i < count; i++) {
        items[i] = span_own(list.items[i]);
    }
    return (struct span_list){items, count};
}

static void node_free(struct span_node *node)
{
    for (uint32_t i = 0; i < node->code.count; i++) {
        blob_unref(node->code.items[i]);
    }
    for (uint32_t i = 0; i < node->metadata.count; i++) {
        blob_unref(node->metadata.items[i]);
    }
    vec_fini(&node->code);
    vec_fini(&node->metadata);
    vec_fini(&node->groups);
    vec_fini(&node->children);
    map_fini(&node->metrics);
    list_free(&node->name);
    list_free(&node->ids);
    span_disown(&node->id);
    mem_free(node);
}

void spans_destroy(struct spans *spans)
{
    for (uint32_t i = 0; i < spans->all.count; i++) {
        node_free(spans->all.items[i]);
    }
    vec_fini(&spans->all);
    map_fini(&spans->by_id);
    id_map_fini(&spans->slot_of);
    mem_free(spans);
}

/* ---- old spans ---- */

static bool is_over(const struct spans *spans, const struct span_node *node)
{
    return node->groups.count == 0 && node->children.count == 0 && node != spans->last_default;
}

static void child_remove(struct span_node *parent, const struct span_node *child)
{
    ASSERT(parent->children.items[child->child_place] == child);
    parent->children.count--;
    for (uint32_t i = child->child_place; i < parent->children.count; i++) {
        parent->children.items[i] = parent->children.items[i + 1];
        parent->children.items[i]->child_place = i;
    }
}

/* Drop the older half of the spans that are over. Rare: the next time is as far away as many are kept. */
static void drop_old(struct spans *spans)
{
    uint32_t to_drop = spans->all.count / 2;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < spans->all.count; i++) {
        struct span_node *node = spans->all.items[i];
        if (to_drop == 0 || !is_over(spans, node)) {
            spans->all.items[kept++] = node;
            continue;
        }
        to_drop--;
        if (node->parent != NULL) {
            child_remove(node->parent, node);
        }
        map_remove(&spans->by_id, node->id);
        node_free(node);
    }
    spans->all.count = kept;
    spans->kept_max = kept + SPANS_KEPT / 2 > SPANS_KEPT ? kept + SPANS_KEPT / 2 : SPANS_KEPT;
}

/* ---- finding and making ---- */

static struct span_node *find(const struct spans *spans, struct span id)
{
    struct map_entry *entry = map_find(&spans->by_id, id);
    return entry == NULL ? NULL : entry->value.pointer;
}

/* The span of the first `depth` parts; its ancestors exist. */
static struct span_node *create(struct scheduler *s, struct span_list name, struct span_list ids,
                                uint32_t depth, struct span_node *parent)
{
    struct span_node *node = mem_zalloc(1, sizeof *node);
    node->id = span_own(ids.items[depth - 1]);
    node->name = list_copy(name, depth);
    node->ids = list_copy(ids, depth);
    node->parent = parent;
    node->enqueued = s->now;
    node->is_default = depth == 1 && span_equal_text(name.items[0], "default");
    if (parent != NULL) {
        node->child_place = parent->children.count;
        vec_push(&parent->children, node);
    }
    vec_push(&s->spans->all, node);
    map_put(&s->spans->by_id, node->id, NULL)->value.pointer = node;
    return node;
}

/* _ensure_span: the span with these ids, made with its ancestors if new. */
static struct span_node *ensure(struct scheduler *s, struct span_list name, struct span_list ids)
{
    ASSERT(name.count > 0 && name.count == ids.count);
    struct span_node *node = find(s->spans, ids.items[ids.count - 1]);
    struct span_node *parent = NULL;
    for (uint32_t depth = 1; node == NULL && depth <= ids.count; depth++) {
        struct span_node *known = find(s->spans, ids.items[depth - 1]);
        parent = known != NULL ? known : create(s, name, ids, depth, parent);
    }
    return node != NULL ? node : parent;
}

static bool all_groups_done(const struct span_node *node)
{
    /* The newest ones are the likeliest to be at work. */
    for (uint32_t i = node->groups.count; i > 0; i--) {
        if (!group_done(node->groups.items[i - 1])) {
            return false;
        }
    }
    return true;
}

/* _ensure_default_span: the present one, or a new one if all in it is done. */
static struct span_node *ensure_default(struct scheduler *s)
{
    struct span_node *last = s->spans->last_default;
    if (last != NULL && !all_groups_done(last)) {
        return last;
    }
    char id[UUID_TEXT_SIZE];
    uuid_text(&s->prng, id);
    struct span name = SPAN("default");
    struct span id_span = span_of(id, sizeof id);
    s->spans->last_default =
        ensure(s, (struct span_list){&name, 1}, (struct span_list){&id_span, 1});
    return s->spans->last_default;
}

/* ---- graphs ---- */

/* Each piece of code once. */
static void add_code(struct span_node *node, struct blob *code)
{
    for (uint32_t i = 0; i < node->code.count; i++) {
        if (span_equal(slice_span(node->code.items[i]->value), slice_span(code->value))) {
            return;
        }
    }
    vec_push(&node->code, blob_ref(code));
}

static void join(struct scheduler *s, struct group *group, struct span_node *node)
{
    group->span = node;
    *id_map_put(&s->spans->slot_of, group->id) = node->groups.count;
    vec_push(&node->groups, group);
}

/* The span that the task's annotation asks for; NULL: none. */
static struct span_node *annotated(struct scheduler *s, const struct task *task)
{
    const struct annotations *annotations = task->extra == NULL ? NULL : task->extra->annotations;
    if (annotations == NULL || annotations->span_name.count == 0 ||
        annotations->span_name.count != annotations->span_ids.count) {
        return NULL;
    }
    return ensure(s, annotations->span_name, annotations->span_ids);
}

void spans_graph(struct scheduler *s, const struct graph_info *graph, const task_id *touched,
                 uint32_t count)
{
    if (s->spans->all.count > s->spans->kept_max) {
        drop_old(s->spans);
    }
    struct span_node *default_span = NULL;
    struct span_node *noted = NULL; /* code and metadata of this graph are with it already */
    for (uint32_t i = 0; i < count; i++) {
        struct task *task = task_at(s, touched[i]);
        struct group *group = task->group;
        if (group->span == NULL) {
            struct span_node *node = annotated(s, task);
            if (node == NULL && default_span == NULL) {
                default_span = ensure_default(s);
            }
            join(s, group, node != NULL ? node : default_span);
        }
        struct span_node *node = group->span;
        if (node == noted) {
            continue;
        }
        noted = node;
        if (graph->code != NULL) {
            add_code(node, graph->code);
        }
        bool is_new = node->metadata.count == 0 ||
                      node->metadata.items[node->metadata.count - 1] != graph->span_metadata;
        if (graph->span_metadata != NULL && is_new && node->metadata.count < METADATA_MAX) {
            vec_push(&node->metadata, blob_ref(graph->span_metadata));
        }
    }
}

void spans_group_gone(struct scheduler *s, struct group *group)
{
    struct span_node *node = group->span;
    if (node == NULL) {
        return;
    }
    uint32_t *slot = id_map_find(&s->spans->slot_of, group->id);
    ASSERT(slot != NULL);
    uint32_t place = *slot;
    ASSERT(node->groups.items[place] == group);
    id_map_remove(&s->spans->slot_of, group->id);
    vec_swap_remove(&node->groups, place);
    if (place < node->groups.count) {
        *id_map_find(&s->spans->slot_of, node->groups.items[place]->id) = place;
    }
    node->gone_count += group->size;
    node->gone_duration_us += group->duration_us;
    node->gone_nbytes += group->nbytes_total;
    if (group->start != 0 && (node->gone_start == 0 || group->start < node->gone_start)) {
        node->gone_start = group->start;
    }
    node->gone_stop = group->stop > node->gone_stop ? group->stop : node->gone_stop;
    group->span = NULL;
}

struct span spans_id(const struct group *group)
{
    return group->span == NULL ? (struct span){0} : group->span->id;
}

bool spans_annotation(const struct group *group, struct span_list *out_name,
                      struct span_list *out_ids)
{
    if (group->span == NULL || group->span->is_default) {
        return false;
    }
    *out_name = group->span->name;
    *out_ids = group->span->ids;
    return true;
}

/* ---- metrics of workers ---- */

static double metric_value(const struct map_entry *entry)
{
    double value;
    memcpy(&value, &entry->value.number, sizeof value);
    return value;
}

void spans_metrics(struct scheduler *s, const struct event *event)
{
    const struct event_span_metrics *metrics = &event->of.span_metrics;
    uint32_t count = metrics->spans.count < metrics->metrics.count ? metrics->spans.count
                                                                   : metrics->metrics.count;
    for (uint32_t i = 0; i < count; i++) {
        struct span_node *node = find(s->spans, metrics->spans.items[i]);
        if (node == NULL) {
            continue; /* dropped meanwhile */
        }
        struct map_entry *entry = map_put(&node->metrics, metrics->metrics.items[i].name, NULL);
        double sum = metric_value(entry) + metrics->metrics.items[i].amount;
        memcpy(&entry->value.number, &sum, sizeof sum);
    }
}

/* ---- views ---- */

uint32_t spans_count(const struct scheduler *s)
{
    return s->spans->all.count;
}

static void note_run(struct span_view *out, double start, double stop)
{
    if (start != 0 && (out->start == 0 || start < out->start)) {
        out->start = start;
    }
    out->stop = stop > out->stop ? stop : out->stop;
}

/* Add up one node of the tree. */
static void sum_node(const struct span_node *node, struct span_view *out)
{
    out->state_counts[TASK_FORGOTTEN] += node->gone_count;
    out->duration += (double)node->gone_duration_us / 1e6;
    out->nbytes_total += node->gone_nbytes;
    note_run(out, node->gone_start, node->gone_stop);
    for (uint32_t i = 0; i < node->groups.count; i++) {
        const struct group *group = node->groups.items[i];
        for (int state = 0; state < TASK_STATE_COUNT; state++) {
            out->state_counts[state] += group->state_counts[state];
        }
        out->duration += (double)group->duration_us / 1e6;
        out->nbytes_total += group->nbytes_total;
        out->done = out->done && group_done(group);
        note_run(out, group->start, group->stop);
    }
}

/* The next node of the tree below `root`, depth first; NULL: that was the last. */
static const struct span_node *tree_next(const struct span_node *node, const struct span_node *root)
{
    if (node->children.count > 0) {
        return node->children.items[0];
    }
    while (node != root) {
        const struct span_node *parent = node->parent;
        if (node->child_place + 1 < parent->children.count) {
            return parent->children.items[node->child_place + 1];
        }
        node = parent;
    }
    return NULL;
}

bool spans_at(const struct scheduler *s, uint32_t index, struct span_view *out)
{
    if (index >= s->spans->all.count) {
        return false;
    }
    const struct span_node *root = s->spans->all.items[index];
    *out = (struct span_view){
        .id = root->id,
        .name = root->name,
        .parent_id = root->parent == NULL ? (struct span){0} : root->parent->id,
        .enqueued = root->enqueued,
        .done = true,
        .code = root->code.items,
        .code_count = root->code.count,
        .metadata = root->metadata.items,
        .metadata_count = root->metadata.count,
        .metric_count = root->metrics.count,
    };
    for (const struct span_node *node = root; node != NULL; node = tree_next(node, root)) {
        sum_node(node, out);
    }
    if (!out->done) {
        out->stop = s->now;
    }
    /* Small errors in the workers' clocks. */
    out->stop = out->stop > out->enqueued ? out->stop : out->enqueued;
    if (out->start != 0 && out->start < out->enqueued) {
        out->start = out->enqueued;
    }
    return true;
}

bool spans_metric_at(const struct scheduler *s, uint32_t index, uint32_t which,
                     struct resource *out)
{
    if (index >= s->spans->all.count) {
        return false;
    }
    uint32_t cursor = 0;
    const struct map_entry *entry;
    do {
        entry = map_next(&s->spans->all.items[index]->metrics, &cursor);
    } while (entry != NULL && which-- > 0);
    if (entry != NULL) {
        *out = (struct resource){.name = entry->name, .amount = metric_value(entry)};
    }
    return entry != NULL;
}
