/* task.c: tasks live in chunks and are found by key; what is forgotten rests until the step is over, because
 * its actions may still point to it. */
#include "core/worker/task.h"

#include "core/key.h"

#define CHUNK_TASKS (1u << WTASK_CHUNK_BITS)
#define SWEEP_TASKS_MAX 8192u /* a step; the rest follows in the next ones */
#define PREFIXES_MAX 65536u   /* further ones are counted as "Other", the first */

static struct span key_of(const void *context, uint32_t id)
{
    return wtask_at(context, id)->key;
}

/* ---- prefixes ---- */

static uint32_t prefix_add(struct worker_state *w, struct span name)
{
    bool added;
    struct map_entry *entry = map_put(&w->prefix_by_name, name, &added);
    if (added) {
        entry->value.number = w->prefixes.count;
        vec_push(&w->prefixes, (struct wprefix){.name = entry->name});
    }
    return (uint32_t)entry->value.number;
}

static uint32_t prefix_of(struct worker_state *w, struct span key)
{
    arena_reset(&w->arena);
    struct span name = key_prefix(key, &w->arena);
    const struct map_entry *known = map_find(&w->prefix_by_name, name);
    if (known != NULL) {
        return (uint32_t)known->value.number;
    }
    return w->prefixes.count < PREFIXES_MAX ? prefix_add(w, name) : 0;
}

void wprefix_count(struct worker_state *w, uint32_t prefix, unsigned state, int delta)
{
    ASSERT(prefix < w->prefixes.count);
    ASSERT(state < WTASK_STATE_COUNT);
    struct wcount *count = &w->prefixes.items[prefix].states[state];
    count->seconds += (double)count->tasks * (w->now - count->since);
    count->since = w->now;
    ASSERT(delta > 0 || count->tasks > 0);
    count->tasks += (uint64_t)(int64_t)delta;
}

/* ---- shared names ---- */

static void name_unref(struct worker_state *w, struct wname *name)
{
    if (name == NULL || --name->refs > 0) {
        return;
    }
    if (w->name_recent == name) {
        w->name_recent = NULL;
    }
    map_remove(&w->names, name->text);
    mem_free(name);
}

static struct wname *name_ref(struct worker_state *w, struct span text)
{
    if (text.size == 0) {
        return NULL;
    }
    if (w->name_recent == NULL || !span_equal(w->name_recent->text, text)) {
        bool added;
        struct map_entry *entry = map_put(&w->names, text, &added);
        if (added) {
            struct wname *made = mem_zalloc(1, sizeof *made);
            made->text = entry->name;
            entry->value.pointer = made;
        }
        w->name_recent = entry->value.pointer;
    }
    w->name_recent->refs++;
    return w->name_recent;
}

void wtask_set_span_id(struct worker_state *w, struct wtask *task, struct span span_id)
{
    struct wname *old = task->span_id;
    task->span_id = name_ref(w, span_id);
    name_unref(w, old);
}

void wtask_set_blob(struct blob **held, struct blob *blob)
{
    struct blob *old = *held;
    *held = blob == NULL ? NULL : blob_ref(blob);
    blob_unref(old);
}

int64_t wnbytes_of(int64_t nbytes)
{
    return nbytes < 0 ? 0 : nbytes < WNBYTES_MAX ? nbytes : WNBYTES_MAX;
}

/* ---- tasks ---- */

struct wtask *wtask_find(const struct worker_state *w, struct span key)
{
    uint32_t id = key_index_find(&w->keys, key, span_hash(key));
    return id == KEY_INDEX_NONE ? NULL : wtask_at(w, id);
}

static task_id id_take(struct worker_state *w)
{
    if (w->free_ids.count > 0) {
        return vec_pop(&w->free_ids);
    }
    if (w->task_end == (uint64_t)w->chunk_count * CHUNK_TASKS) {
        ASSERT(w->task_end < TASK_NONE - CHUNK_TASKS);
        w->chunks = mem_resize(w->chunks, (size_t)w->chunk_count + 1, sizeof *w->chunks);
        w->chunks[w->chunk_count++] = mem_zalloc(CHUNK_TASKS, sizeof(struct wtask));
    }
    return w->task_end++;
}

struct wtask *wtask_make(struct worker_state *w, struct span key)
{
    ASSERT(key.size > 0);
    uint64_t hash = span_hash(key);
    uint32_t known = key_index_find(&w->keys, key, hash);
    if (known != KEY_INDEX_NONE) {
        return wtask_at(w, known);
    }
    task_id id = id_take(w);
    struct wtask *task = wtask_at(w, id);
    *task = (struct wtask){
        .id = id,
        .key = {mem_copy(key.data, key.size), key.size},
        .nbytes = -1,
        .run_id = -1,
        .coming_from = WPEER_NONE,
        .prefix = prefix_of(w, key),
    };
    key_index_add(&w->keys, hash, id);
    w->state_counts[WTASK_RELEASED]++;
    wprefix_count(w, task->prefix, WTASK_RELEASED, 1);
    return task;
}

void wtask_bury(struct worker_state *w, struct wtask *task)
{
    ASSERT(task->state == WTASK_FORGOTTEN);
    ASSERT(task->dependencies.count == 0 && task->dependents.count == 0);
    ASSERT(task->who_has.count == 0);
    ASSERT((task->flags & (WTASK_RUNS | WTASK_IN_FLIGHT)) == 0);
    key_index_remove(&w->keys, span_hash(task->key), task->id);
    vec_push(&w->graveyard, task->id);
}

/* Links of a task that is freed without having been forgotten (the worker ends). */
static void links_drop(struct links *links)
{
    links->count = 0;
    links_fini(links);
}

static void task_free(struct worker_state *w, struct wtask *task)
{
    links_drop(&task->dependencies);
    links_drop(&task->dependents);
    links_drop(&task->who_has);
    wtask_set_blob(&task->run_spec, NULL);
    wtask_set_blob(&task->annotations, NULL);
    wtask_set_blob(&task->about, NULL);
    wtask_set_span_id(w, task, (struct span){0});
    mem_free(task->resources);
    task->resources = NULL;
    mem_free((void *)(uintptr_t)task->key.data);
    task->key = (struct span){0};
}

void wtasks_sweep(struct worker_state *w)
{
    for (uint32_t i = 0; i < SWEEP_TASKS_MAX && w->graveyard.count > 0; i++) {
        task_id id = vec_pop(&w->graveyard);
        task_free(w, wtask_at(w, id));
        vec_push(&w->free_ids, id);
    }
}

uint32_t wtraversal_begin(struct worker_state *w)
{
    if (++w->traversal == 0) { /* wrapped: old marks could be taken for new ones */
        for (task_id id = 0; id < w->task_end; id++) {
            wtask_at(w, id)->mark = 0;
        }
        w->traversal = 1;
    }
    return w->traversal;
}

struct links *wdependencies_of(void *w, uint32_t task)
{
    return &wtask_at(w, task)->dependencies;
}

struct links *wdependents_of(void *w, uint32_t task)
{
    return &wtask_at(w, task)->dependents;
}

struct links *wwho_has_of(void *w, uint32_t task)
{
    return &wtask_at(w, task)->who_has;
}

/* ---- all of them ---- */

void wtasks_init(struct worker_state *w)
{
    key_index_init(&w->keys, key_of, w);
    arena_init(&w->arena);
    ASSERT(prefix_add(w, SPAN("Other")) == 0);
}

void wtasks_fini(struct worker_state *w)
{
    for (task_id id = 0; id < w->task_end; id++) {
        task_free(w, wtask_at(w, id));
    }
    for (uint32_t i = 0; i < w->chunk_count; i++) {
        mem_free(w->chunks[i]);
    }
    mem_free(w->chunks);
    vec_fini(&w->free_ids);
    vec_fini(&w->graveyard);
    key_index_fini(&w->keys);
    map_fini(&w->prefix_by_name);
    vec_fini(&w->prefixes);
    ASSERT(w->names.count == 0);
    map_fini(&w->names);
    arena_fini(&w->arena);
}
