/* worker_objects.c: the values of a worker: which executor has which live, which are serialised. */
#include "node/worker_internal.h"

/* Serialised forms up to this size stay once they were made: they are asked for again, and outlive their
 * executor. Larger ones would be there twice. */
#define STORED_MAX (64u * 1024)

void objects_init(struct worker_objects *objects)
{
    objects->generation = 1; /* so that no handle is 0 */
}

static void free_object(struct worker_objects *objects, struct object *object)
{
    uint32_t slot = (uint32_t)object->handle - 1;
    ASSERT(objects->slots.items[slot] == object);
    ASSERT(object->run == NULL);
    objects->slots.items[slot] = NULL;
    vec_push(&objects->free_slots, slot);
    blob_unref(object->stored);
    vec_fini(&object->wants);
    mem_free((void *)(uintptr_t)object->key.data);
    mem_free(object);
}

struct object *object_create(struct worker_objects *objects, struct span key)
{
    struct object *object = mem_zalloc(1, sizeof *object);
    uint32_t slot = objects->slots.count;
    if (objects->free_slots.count > 0) {
        slot = vec_pop(&objects->free_slots);
    } else {
        vec_push(&objects->slots, NULL);
    }
    objects->slots.items[slot] = object;
    object->handle = (uint64_t)objects->generation++ << 32 | (slot + 1);
    if (objects->generation == 0) {
        objects->generation = 1; /* 2³² handles later nobody remembers the first ones */
    }
    object->task = TASK_NONE;
    object->key = span_of(mem_copy(key.data, key.size), key.size);
    object->home = SEAT_NONE;
    return object;
}

struct object *object_find(const struct worker_objects *objects, uint64_t handle)
{
    uint32_t number = (uint32_t)handle;
    if (number == 0 || number > objects->slots.count) {
        return NULL;
    }
    struct object *object = objects->slots.items[number - 1];
    return object != NULL && object->handle == handle ? object : NULL;
}

struct object *object_of_task(const struct worker_objects *objects, task_id task)
{
    return task < objects->by_task.count ? objects->by_task.items[task] : NULL;
}

void object_keep(struct worker_node *worker, struct object *object, task_id task)
{
    struct worker_objects *objects = &worker->objects;
    struct object *former = object_of_task(objects, task);
    ASSERT(former != object);
    if (former != NULL) {
        object_give_up(worker, former);
    }
    while (objects->by_task.count <= task) {
        vec_push(&objects->by_task, NULL);
    }
    objects->by_task.items[task] = object;
    object->task = task;
}

/* No task has it any more. */
static void detach(struct worker_objects *objects, struct object *object)
{
    if (object->task != TASK_NONE) {
        ASSERT(objects->by_task.items[object->task] == object);
        objects->by_task.items[object->task] = NULL;
        object->task = TASK_NONE;
    }
}

static void drop_everywhere(struct worker_node *worker, struct object *object)
{
    for (uint32_t i = 0; object->known != 0 && i < worker->seats.count; i++) {
        struct seat *seat = &worker->seats.items[i];
        if ((object->known >> i & 1) != 0 && seat->executor != NULL) {
            channel_add_drop(executor_out(seat->executor), &object->handle, 1);
        }
    }
    object->known = 0;
}

void object_give_up(struct worker_node *worker, struct object *object)
{
    detach(&worker->objects, object);
    drop_everywhere(worker, object);
    if (!object->is_exporting && object->wants.count == 0) {
        free_object(&worker->objects, object);
    }
}

/* ---- serialised forms ---- */

static void ask_home(struct worker_node *worker, struct object *object)
{
    struct executor *executor = worker->seats.items[object->home].executor;
    ASSERT(executor != NULL);
    object->is_exporting = true;
    channel_add_export(executor_out(executor), object->handle);
}

void object_want(struct worker_node *worker, struct object *object, object_wanted *done, void *user)
{
    if (object->stored != NULL || (object->home == SEAT_NONE && !object->is_exporting)) {
        done(user, object, object->stored, NULL);
        return;
    }
    vec_push(&object->wants, ((struct object_want){done, user}));
    if (!object->is_exporting) {
        ask_home(worker, object);
    }
}

/* Everybody who waits gets it. */
static void serve(struct object *object, struct blob *blob, const struct executor_error *error)
{
    for (uint32_t i = 0; i < object->wants.count; i++) {
        struct object_want want = object->wants.items[i];
        want.done(want.user, object, blob, error);
    }
    object->wants.count = 0;
}

void object_exported(struct worker_node *worker, struct object *object, struct blob *blob,
                     const struct executor_error *error)
{
    object->is_exporting = false;
    if (blob != NULL && object->stored == NULL && blob_size(blob) <= STORED_MAX &&
        !object->is_actor) {
        object->stored = blob_ref(blob);
    }
    serve(object, blob, error);
    if (object->task == TASK_NONE && object->run == NULL) {
        object_give_up(worker, object);
    }
}

/* ---- ends ---- */

/* Its executor is gone: another one that has it takes over. */
static void move_home(struct worker_node *worker, struct object *object)
{
    object->home = SEAT_NONE;
    for (uint32_t i = 0; object->home == SEAT_NONE && i < worker->seats.count; i++) {
        if ((object->known >> i & 1) != 0) {
            object->home = i;
        }
    }
    if (object->is_exporting) {
        object->is_exporting = false;
        if (object->home != SEAT_NONE && object->wants.count > 0) {
            ask_home(worker, object);
        }
    }
}

struct span_list objects_seat_died(struct worker_node *worker, uint32_t seat)
{
    struct worker_objects *objects = &worker->objects;
    struct VEC(struct span) lost = {0};
    for (uint32_t i = 0; i < objects->slots.count; i++) {
        struct object *object = objects->slots.items[i];
        if (object == NULL || object->run != NULL) {
            continue;
        }
        object->known &= ~((uint64_t)1 << seat);
        if (object->home == seat) {
            move_home(worker, object);
        }
        if (object->home == SEAT_NONE && object->stored == NULL) {
            if (object->task != TASK_NONE) {
                vec_push(&lost, arena_copy(&worker->scratch, object->key));
            }
            serve(object, NULL, NULL);
            object_give_up(worker, object);
        }
    }
    struct span *keys = arena_array(&worker->scratch, struct span, lost.count + 1);
    if (lost.count > 0) {
        memcpy(keys, lost.items, lost.count * sizeof *keys);
    }
    struct span_list list = {keys, lost.count};
    vec_fini(&lost);
    return list;
}

void objects_clear(struct worker_node *worker)
{
    struct worker_objects *objects = &worker->objects;
    for (uint32_t i = 0; i < objects->slots.count; i++) {
        struct object *object = objects->slots.items[i];
        if (object != NULL) {
            serve(object, NULL, NULL);
            detach(objects, object);
            free_object(objects, object);
        }
    }
}

void objects_fini(struct worker_objects *objects)
{
    vec_fini(&objects->slots);
    vec_fini(&objects->free_slots);
    vec_fini(&objects->by_task);
}
