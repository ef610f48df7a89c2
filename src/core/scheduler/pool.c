/* pool.c: tasks live in chunks and are found by key; what is forgotten rests until the step is over, because
 * its actions may still point to it.
 *
 * Nothing here takes long at once, however many tasks there are: what was forgotten is recycled over the
 * following steps, and so grows the index (key_index.c). */
#include "core/scheduler/pool.h"

#include "base/text.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/forward.h"
#include "core/scheduler/groups.h"
#include "core/scheduler/runs.h"

#define CHUNK_TASKS (1u << TASK_CHUNK_BITS)
#define SWEEP_TASKS_MAX 32u   /* a step; more than most steps forget */
#define SWEEP_TASKS_IDLE 512u /* a step that has nothing else to do */
#define TYPES_MAX                                                                                  \
    65536u /* names of result types kept; a worker that makes up more gets "unknown" */

/* ---- tasks by key ---- */

static struct span key_of(const void *s, uint32_t task)
{
    return task_at(s, task)->key;
}

void pool_init(struct scheduler *s)
{
    key_index_init(&s->keys, key_of, s);
    vec_push(&s->workers, NULL); /* ids begin with 1 */
    vec_push(&s->clients, NULL);
    vec_push(&s->types, (struct span){0});
}

struct task *task_find_hashed(const struct scheduler *s, struct span key, uint64_t hash)
{
    uint32_t id = key_index_find(&s->keys, key, hash);
    return id == KEY_INDEX_NONE ? NULL : task_at(s, id);
}

void task_prefetch_hashed(const struct scheduler *s, uint64_t hash)
{
    key_index_prefetch(&s->keys, hash);
}

void task_prefetch_found(const struct scheduler *s, uint64_t hash)
{
    uint32_t id = key_index_guess(&s->keys, hash);
    if (id != KEY_INDEX_NONE) { /* a wrong guess costs nothing */
        task_prefetch(task_at(s, id));
    }
}

struct task *task_find(const struct scheduler *s, struct span key)
{
    return task_find_hashed(s, key, span_hash(key));
}

/* ---- tasks ---- */

struct task *task_live_at(const struct scheduler *s, task_id id)
{
    struct task *task = task_at(s, id);
    return task->state == TASK_FORGOTTEN ? NULL : task; /* so is a slot that is free */
}

static void chunk_add(struct scheduler *s)
{
    uint32_t count = s->task_chunk_count + 1;
    s->task_chunks = mem_resize(s->task_chunks, count, sizeof *s->task_chunks);
    s->task_memory = mem_resize(s->task_memory, count, sizeof *s->task_memory);
    char *memory = mem_alloc(CHUNK_TASKS * sizeof(struct task) + CACHE_LINE);
    size_t past = (uintptr_t)memory % CACHE_LINE;
    s->task_memory[count - 1] = memory;
    s->task_chunks[count - 1] =
        (struct task *)(void *)(memory + (past == 0 ? 0 : CACHE_LINE - past));
    s->task_chunk_count = count;
}

static task_id id_take(struct scheduler *s)
{
    if (s->task_free.count > 0) {
        return vec_pop(&s->task_free);
    }
    if (s->task_high == (uint64_t)s->task_chunk_count * CHUNK_TASKS) {
        ASSERT(s->task_high < TASK_NONE - CHUNK_TASKS);
        chunk_add(s);
    }
    return s->task_high++;
}

struct task *task_create(struct scheduler *s, struct span key, uint64_t hash, enum task_state state)
{
    ASSERT(key.size > 0);
    task_id id = id_take(s);
    struct task *task = task_at(s, id);
    *task = (struct task){
        .id = id,
        .state = (uint8_t)state,
        .key = span_own(key),
        .nbytes = -1,
        .serial = s->task_serial++,
    };
    key_index_add(&s->keys, hash, id);
    group_add_task(s, group_of_key(s, key), task);
    s->task_count++;
    return task;
}

void task_bury(struct scheduler *s, struct task *task)
{
    ASSERT(task->state == TASK_FORGOTTEN);
    ASSERT(task->dependencies.count == 0 && task->dependents.count == 0);
    ASSERT(task->who_has.count == 0 && task->who_wants.count == 0);
    ASSERT(task->processing_on == WORKER_NONE);
    key_index_remove(&s->keys, span_hash(task->key), task->id);
    vec_push(&s->graveyard, task->id);
    ASSERT(s->task_count > 0);
    s->task_count--;
}

static void extra_free(struct task_extra *extra)
{
    if (extra == NULL) {
        return;
    }
    annotations_unref(extra->annotations);
    restrictions_unref(extra->restrictions);
    failure_unref(extra->failure);
    for (uint32_t i = 0; i < extra->erred_on.count; i++) {
        span_disown(&extra->erred_on.items[i]);
    }
    vec_fini(&extra->erred_on);
    blob_unref(extra->metadata);
    if (extra->deaths != NULL) {
        text_fini(extra->deaths);
        mem_free(extra->deaths);
    }
    mem_free(extra);
}

/* Links of a task that is freed without having been forgotten (the scheduler ends). */
static void links_drop(struct links *links)
{
    links->count = 0;
    links_fini(links);
}

static void task_free(struct task *task)
{
    links_drop(&task->dependencies);
    links_drop(&task->dependents);
    links_drop(&task->who_has);
    links_drop(&task->who_wants);
    extra_free(task->extra);
    blob_unref(task->run_spec);
    group_unref(task->group);
    span_disown(&task->key);
}

struct task_extra *task_extra_make(struct task *task)
{
    if (task->extra == NULL) {
        task->extra = mem_zalloc(1, sizeof *task->extra);
    }
    return task->extra;
}

uint32_t traversal_begin(struct scheduler *s)
{
    if (++s->traversal == 0) { /* wrapped: old marks could be taken for new ones */
        for (task_id id = 0; id < s->task_high; id++) {
            task_at(s, id)->mark = 0;
        }
        s->traversal = 1;
    }
    return s->traversal;
}

/* ---- resolvers ---- */

struct links *dependencies_of(void *s, uint32_t task)
{
    return &task_at(s, task)->dependencies;
}

struct links *dependents_of(void *s, uint32_t task)
{
    return &task_at(s, task)->dependents;
}

struct links *who_has_of(void *s, uint32_t task)
{
    return &task_at(s, task)->who_has;
}

struct links *has_what_of(void *s, uint32_t worker)
{
    return &worker_at(s, worker)->has_what;
}

struct links *who_wants_of(void *s, uint32_t task)
{
    return &task_at(s, task)->who_wants;
}

struct links *wants_what_of(void *s, uint32_t client)
{
    return &client_at(s, client)->wants_what;
}

/* ---- workers, clients ---- */

struct worker *worker_find(const struct scheduler *s, worker_id id)
{
    if (id == WORKER_NONE || id >= s->workers.count) {
        return NULL;
    }
    struct worker *worker = s->workers.items[id];
    return worker != NULL && worker->known ? worker : NULL;
}

struct worker *worker_find_address(const struct scheduler *s, struct span address)
{
    struct map_entry *entry = map_find(&s->worker_by_address, address);
    return entry == NULL ? NULL : worker_at(s, (worker_id)entry->value.number);
}

void worker_free(struct worker *worker)
{
    vec_fini(&worker->processing);
    vec_fini(&worker->long_running);
    vec_fini(&worker->tally);
    id_map_fini(&worker->tally_index);
    id_map_fini(&worker->needs_what);
    links_drop(&worker->has_what);
    vec_fini(&worker->resources);
    vec_fini(&worker->used_resources);
    vec_fini(&worker->actors);
    vec_fini(&worker->forwarded);
    for (uint32_t level = 0; level < STEAL_LEVELS; level++) {
        vec_fini(&worker->stealable[level]);
    }
    struct span *owned[] = {&worker->address, &worker->host,      &worker->name,
                            &worker->nanny,   &worker->server_id, &worker->local_directory};
    for (uint32_t i = 0; i < sizeof owned / sizeof *owned; i++) {
        span_disown(owned[i]);
    }
    vec_fini(&worker->memory_history);
    vec_fini(&worker->executing);
    blob_unref(worker->metrics);
    blob_unref(worker->services);
    blob_unref(worker->extra);
    blob_unref(worker->versions);
    mem_free(worker);
}

struct client *client_find(const struct scheduler *s, client_id id)
{
    if (id == CLIENT_NONE || id >= s->clients.count) {
        return NULL;
    }
    struct client *client = s->clients.items[id];
    return client != NULL && client->known ? client : NULL;
}

struct client *client_find_name(const struct scheduler *s, struct span name)
{
    struct map_entry *entry = map_find(&s->client_by_name, name);
    return entry == NULL ? NULL : client_at(s, (client_id)entry->value.number);
}

struct client *client_create(struct scheduler *s, struct span name, bool is_pseudo)
{
    struct client *client = mem_zalloc(1, sizeof *client);
    client->id = s->clients.count;
    client->name = span_own(name);
    client->is_pseudo = is_pseudo;
    client->known = true;
    client->last_seen = s->now;
    vec_push(&s->clients, client);
    map_put(&s->client_by_name, name, NULL)->value.number = client->id;
    return client;
}

void client_bury(struct scheduler *s, struct client *client)
{
    ASSERT(client->wants_what.count == 0);
    ASSERT(!client->known);
    vec_push(&s->client_graveyard, client);
}

void client_unname(struct scheduler *s, struct client *client)
{
    ASSERT(client->known);
    struct map_entry *entry = map_find(&s->client_by_name, client->name);
    if (entry != NULL && entry->value.number == client->id) {
        map_remove(&s->client_by_name, client->name);
    }
    client->known = false;
    client->is_pseudo = true;
}

static void client_free(struct client *client)
{
    links_drop(&client->wants_what);
    span_disown(&client->name);
    mem_free(client);
}

/* ---- shared pieces ---- */

struct span span_own(struct span bytes)
{
    return bytes.size == 0 ? (struct span){0}
                           : (struct span){mem_copy(bytes.data, bytes.size), bytes.size};
}

void span_disown(struct span *bytes)
{
    mem_free((void *)(uintptr_t)bytes->data);
    *bytes = (struct span){0};
}

struct span name_intern(struct scheduler *s, struct span name)
{
    return map_put(&s->names, name, NULL)->name;
}

uint32_t type_intern(struct scheduler *s, struct span name)
{
    if (name.size == 0) {
        return 0;
    }
    struct map_entry *found = map_find(&s->type_by_name, name);
    if (found != NULL) {
        return (uint32_t)found->value.number;
    }
    if (s->types.count >= TYPES_MAX) {
        return 0;
    }
    struct map_entry *entry = map_put(&s->type_by_name, name, NULL);
    entry->value.number = s->types.count;
    vec_push(&s->types, entry->name);
    return s->types.count - 1;
}

static struct span *spans_own(struct span_list list)
{
    struct span *copies = list.count == 0 ? NULL : mem_zalloc(list.count, sizeof *copies);
    for (uint32_t i = 0; i < list.count; i++) {
        copies[i] = span_own(list.items[i]);
    }
    return copies;
}

static void spans_disown(const struct span *items, uint32_t count)
{
    struct span *owned = (struct span *)(uintptr_t)items;
    for (uint32_t i = 0; i < count; i++) {
        span_disown(&owned[i]);
    }
    mem_free(owned);
}

struct restrictions *restrictions_create(struct scheduler *s, struct span_list workers,
                                         struct span_list hosts, const struct resource *resources,
                                         uint32_t resource_count)
{
    struct restrictions *made = mem_zalloc(1, sizeof *made);
    made->refs = 1;
    made->workers = spans_own(workers);
    made->worker_count = workers.count;
    made->hosts = spans_own(hosts);
    made->host_count = hosts.count;
    made->resources =
        resource_count == 0 ? NULL : mem_zalloc(resource_count, sizeof *made->resources);
    made->resource_count = resource_count;
    for (uint32_t i = 0; i < resource_count; i++) {
        made->resources[i].name = name_intern(s, resources[i].name);
        made->resources[i].amount = resources[i].amount;
    }
    return made;
}

struct restrictions *restrictions_ref(struct restrictions *restrictions)
{
    if (restrictions != NULL) {
        ASSERT(restrictions->refs > 0);
        restrictions->refs++;
    }
    return restrictions;
}

void restrictions_unref(struct restrictions *restrictions)
{
    if (restrictions == NULL || --restrictions->refs > 0) {
        return;
    }
    spans_disown(restrictions->workers, restrictions->worker_count);
    spans_disown(restrictions->hosts, restrictions->host_count);
    mem_free(restrictions->resources);
    mem_free(restrictions);
}

void task_restrict_workers(struct scheduler *s, struct task *task, struct span_list addresses)
{
    forward_withdraw(s, task, s->step);
    struct restrictions *old = task_restrictions(task);
    struct restrictions none = {0};
    const struct restrictions *kept = old == NULL ? &none : old;
    struct restrictions *now = NULL;
    if (addresses.count + kept->host_count + kept->resource_count > 0) {
        now = restrictions_create(s, addresses, (struct span_list){kept->hosts, kept->host_count},
                                  kept->resources, kept->resource_count);
    }
    if (old != NULL || now != NULL) {
        task_extra_make(task)->restrictions = now;
    }
    restrictions_unref(old);
}

void annotations_unref(struct annotations *annotations)
{
    if (annotations == NULL || --annotations->refs > 0) {
        return;
    }
    blob_unref(annotations->wire);
    spans_disown(annotations->span_name.items, annotations->span_name.count);
    spans_disown(annotations->span_ids.items, annotations->span_ids.count);
    mem_free(annotations);
}

/* ---- sweeping ---- */

static void sweep_tasks(struct scheduler *s, uint32_t count_max)
{
    uint32_t left = s->graveyard.count - s->graveyard_head;
    uint32_t count = left < count_max ? left : count_max;
    for (uint32_t i = 0; i < count; i++) {
        task_id id = s->graveyard.items[s->graveyard_head++];
        task_free(task_at(s, id));
        vec_push(&s->task_free, id);
    }
    if (s->graveyard_head == s->graveyard.count) {
        s->graveyard_head = 0;
        s->graveyard.count = 0;
    }
}

bool pool_has_much_to_sweep(const struct scheduler *s)
{
    return s->graveyard.count - s->graveyard_head > SWEEP_TASKS_IDLE;
}

void pool_sweep(struct scheduler *s, bool is_idle)
{
    sweep_tasks(s, is_idle ? SWEEP_TASKS_IDLE : SWEEP_TASKS_MAX);
    while (s->worker_graveyard.count > 0) {
        struct worker *worker = vec_pop(&s->worker_graveyard);
        s->workers.items[worker->id] = NULL;
        worker_free(worker);
    }
    while (s->client_graveyard.count > 0) {
        struct client *client = vec_pop(&s->client_graveyard);
        s->clients.items[client->id] = NULL;
        client_free(client);
    }
    while (s->failures_dropped.count > 0) {
        failure_unref(vec_pop(&s->failures_dropped));
    }
}

void pool_fini(struct scheduler *s)
{
    sweep_tasks(s, UINT32_MAX);
    for (task_id id = 0; id < s->task_high; id++) {
        struct task *task = task_live_at(s, id);
        if (task != NULL) {
            task_free(task);
        }
    }
    pool_sweep(s, true);
    for (uint32_t i = 0; i < s->workers.count; i++) {
        if (s->workers.items[i] != NULL) {
            worker_free(s->workers.items[i]);
        }
    }
    for (uint32_t i = 0; i < s->clients.count; i++) {
        if (s->clients.items[i] != NULL) {
            client_free(s->clients.items[i]);
        }
    }
    for (uint32_t i = 0; i < s->task_chunk_count; i++) {
        mem_free(s->task_memory[i]);
    }
    mem_free(s->task_memory);
    mem_free(s->task_chunks);
    runs_fini(s);
    key_index_fini(&s->keys);
    vec_fini(&s->task_free);
    vec_fini(&s->graveyard);
    vec_fini(&s->workers);
    vec_fini(&s->worker_graveyard);
    vec_fini(&s->clients);
    vec_fini(&s->client_graveyard);
    vec_fini(&s->failures_dropped);
    vec_fini(&s->types);
    map_fini(&s->worker_by_address);
    map_fini(&s->aliases);
    map_fini(&s->client_by_name);
    map_fini(&s->names);
    map_fini(&s->type_by_name);
}
