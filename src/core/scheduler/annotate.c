/* annotate.c: what annotations mean: where tasks may run, how often they are tried again.
 * Must agree with: scheduler.py _apply_annotations, coerce_address. */
#include "core/scheduler/graph.h"
#include "core/scheduler/pool.h"

/* "host:port" or "[ipv6]:port", perhaps with a scheme before: an address, not a host's name. */
static bool has_port(struct span text)
{
    size_t end = text.size;
    while (end > 0 && text.data[end - 1] >= '0' && text.data[end - 1] <= '9') {
        end--;
    }
    if (end == text.size || end < 2 || text.data[end - 1] != ':') {
        return false;
    }
    if (text.data[end - 2] == ']') {
        return true;
    }
    for (size_t i = 0; i + 1 < end; i++) { /* another colon: a bare IPv6 address, or a scheme's */
        if (text.data[i] == ':' && text.data[i + 1] != '/') {
            return false;
        }
    }
    return true;
}

static bool has_scheme(struct span text)
{
    for (size_t i = 0; i + 2 < text.size; i++) {
        if (memcmp(text.data + i, "://", 3) == 0) {
            return true;
        }
    }
    return false;
}

static struct span with_scheme(struct span text, struct arena *arena)
{
    static const char scheme[] = "tcp://";
    size_t size = sizeof scheme - 1;
    char *address = arena_alloc(arena, size + text.size);
    memcpy(address, scheme, size);
    memcpy(address + size, text.data, text.size);
    return span_of(address, size + text.size);
}

/* An item of `workers` (a msgpack scalar): an address (true), or a host to be looked up when it matters. */
static bool resolve(const struct scheduler *s, struct span item, struct arena *arena,
                    struct span *out)
{
    struct map_entry *alias = map_find(&s->aliases, item);
    if (alias != NULL) {
        *out = worker_at(s, (worker_id)alias->value.number)->address;
        return true;
    }
    struct span text = key_as_text(item, arena);
    bool scheme = has_scheme(text);
    *out = text;
    if (scheme && !has_port(text)) { /* unix:// and inproc:// have no ports */
        return !(text.size >= 6 &&
                 (memcmp(text.data, "tcp://", 6) == 0 || memcmp(text.data, "tls://", 6) == 0));
    }
    if (!scheme && has_port(text)) {
        *out = with_scheme(text, arena);
        return true;
    }
    return scheme;
}

/* A string: its first msgpack byte says so. */
static bool is_text(struct span item)
{
    uint8_t first = item.size > 0 ? item.data[0] : 0;
    return (first >= 0xa0 && first <= 0xbf) || (first >= 0xd9 && first <= 0xdb);
}

struct span annotations_refuse(const struct scheduler *s, const struct graph_info *graph,
                               struct arena *arena)
{
    for (uint32_t i = 0; i < graph->annotation_count; i++) {
        const struct span_list *workers = &graph->annotations[i].workers;
        for (uint32_t j = 0; j < workers->count; j++) {
            if (is_text(workers->items[j]) || map_find(&s->aliases, workers->items[j]) != NULL) {
                continue;
            }
            static const char head[] = "addresses should be strings or tuples, got ";
            struct span item = key_as_repr(workers->items[j], arena);
            char *text = arena_alloc(arena, sizeof head - 1 + item.size);
            memcpy(text, head, sizeof head - 1);
            memcpy(text + sizeof head - 1, item.data, item.size);
            return span_of(text, sizeof head - 1 + item.size);
        }
    }
    return (struct span){0};
}

static struct span_list copy_spans(struct span_list list)
{
    struct span *copies = list.count == 0 ? NULL : mem_zalloc(list.count, sizeof *copies);
    for (uint32_t i = 0; i < list.count; i++) {
        copies[i] = span_own(list.items[i]);
    }
    return (struct span_list){copies, list.count};
}

/* Add what is not there yet. */
static void add_once(struct span *items, uint32_t *count, struct span item)
{
    uint32_t at = 0;
    while (at < *count && !span_equal(items[at], item)) {
        at++;
    }
    if (at == *count) {
        items[(*count)++] = item;
    }
}

static struct restrictions *make_restrictions(struct scheduler *s,
                                              const struct annotation_info *info)
{
    struct arena *arena = &s->step->arena;
    struct span *workers = arena_array(arena, struct span, info->workers.count);
    struct span *hosts = arena_array(arena, struct span, info->workers.count);
    struct span_list worker_list = {workers, 0};
    struct span_list host_list = {hosts, 0};
    for (uint32_t i = 0; i < info->workers.count; i++) {
        struct span resolved;
        if (resolve(s, info->workers.items[i], arena, &resolved)) {
            add_once(workers, &worker_list.count, resolved);
        } else {
            add_once(hosts, &host_list.count, resolved);
        }
    }
    if (info->workers.count + info->resource_count == 0) {
        return NULL;
    }
    return restrictions_create(s, worker_list, host_list, info->resources, info->resource_count);
}

static struct annotations *make_annotations(const struct annotation_info *info)
{
    bool empty = info->wire == NULL && !info->has_priority && info->span_name.count == 0;
    if (empty) {
        return NULL;
    }
    struct annotations *made = mem_zalloc(1, sizeof *made);
    made->refs = 1;
    made->wire = info->wire == NULL ? NULL : blob_ref(info->wire);
    made->priority = info->priority;
    made->has_priority = info->has_priority;
    made->retries = info->retries;
    made->span_name = copy_spans(info->span_name);
    made->span_ids = copy_spans(info->span_ids);
    return made;
}

struct annotation_use *annotations_begin(const struct graph_info *graph, struct arena *arena)
{
    struct annotation_use *uses =
        arena_array(arena, struct annotation_use, graph->annotation_count);
    for (uint32_t i = 0; i < graph->annotation_count; i++) {
        uses[i] = (struct annotation_use){0};
    }
    return uses;
}

void annotations_apply(struct scheduler *s, const struct graph_info *graph,
                       struct annotation_use *uses, uint32_t index, struct task *task)
{
    ASSERT(index < graph->annotation_count);
    const struct annotation_info *info = &graph->annotations[index];
    struct annotation_use *use = &uses[index];
    if (!use->ready) {
        use->annotations = make_annotations(info);
        use->restrictions = make_restrictions(s, info);
        use->ready = true;
    }
    if (use->annotations == NULL && use->restrictions == NULL && info->retries == 0) {
        return;
    }
    struct task_extra *extra = task_extra_make(task);
    ASSERT(extra->annotations == NULL && extra->restrictions == NULL);
    if (use->annotations != NULL) {
        use->annotations->refs++;
        extra->annotations = use->annotations;
    }
    extra->restrictions = restrictions_ref(use->restrictions);
    extra->retries = info->retries;
    task->flags |= info->allow_other_workers ? TASK_LOOSE : 0;
}

void annotations_end(struct annotation_use *uses, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        annotations_unref(uses[i].annotations);
        restrictions_unref(uses[i].restrictions);
    }
}
