/* worker_objects.c: the values of a worker by their handles. */
#include "node/worker_internal.h"

/* Somebody waits for the store. */
struct object_want {
    struct store_waiter waiter;
    struct worker_node *worker;
    uint64_t handle;
    object_wanted *done;
    void *user;
};

struct handles VEC(uint64_t);

struct span object_store_key(const struct object *object)
{
    return span_of(&object->handle, sizeof object->handle);
}

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
    store_value_unref(object->value);
    buf_unref(object->lent);
    text_fini(&object->source);
    text_fini(&object->unfit);
    text_fini(&object->unfit_text);
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

void object_keep(struct worker_node *worker, struct object *object, task_id task, int64_t nbytes)
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
    store_put(worker->store, &(struct store_item){
                                 .key = object_store_key(object),
                                 .nbytes = nbytes > 0 ? (uint64_t)nbytes : 0,
                                 .executor = object->home,
                                 .handle = object->handle,
                                 .value = object->value,
                                 .stays = object->is_actor,
                             });
    object->value = NULL; /* the store has taken it */
    object->is_kept = true;
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
    if (object->is_kept) {
        store_drop(worker->store, object_store_key(object));
    }
    free_object(&worker->objects, object);
}

void object_used(struct worker_node *worker, const struct object *object)
{
    store_touch(worker->store, object_store_key(object));
}

void object_hold(struct worker_node *worker, const struct object *object)
{
    store_pin(worker->store, object_store_key(object));
}

void object_let_go(struct worker_node *worker, const struct object *object)
{
    store_unpin(worker->store, object_store_key(object));
}

void object_release(struct worker_node *worker, struct object *object)
{
    drop_everywhere(worker, object);
    object->home = SEAT_NONE;
}

/* ---- serialised forms ---- */

static void unlink_want(struct worker_objects *objects, const struct object_want *want)
{
    for (uint32_t i = 0; i < objects->wants.count; i++) {
        if (objects->wants.items[i] == want) {
            vec_swap_remove(&objects->wants, i);
            return;
        }
    }
}

static void answered(struct store_waiter *waiter, struct store_value *value, int code,
                     const char *why)
{
    struct object_want *want = (struct object_want *)waiter;
    struct worker_node *worker = want->worker;
    struct object *object = object_find(&worker->objects, want->handle);
    (void)why; /* what is lost the store tells by itself */
    unlink_want(&worker->objects, want);
    arena_reset(&worker->scratch);
    if (code == ERR_TYPE && object != NULL) {
        const struct executor_error error = {.exception = text_span(&object->unfit),
                                             .exception_text = text_span(&object->unfit_text)};
        want->done(want->user, object, NULL, &error);
    } else {
        want->done(want->user, object, object == NULL ? NULL : value, NULL);
    }
    mem_free(want);
}

void object_want(struct worker_node *worker, struct object *object, object_wanted *done, void *user)
{
    struct object_want *want = mem_zalloc(1, sizeof *want);
    *want = (struct object_want){{.answer = answered}, worker, object->handle, done, user};
    struct store_value *value = NULL;
    if (store_get(worker->store, object_store_key(object), &want->waiter, &value) == STORE_LATER) {
        vec_push(&worker->objects.wants, want);
        return;
    }
    mem_free(want);
    done(user, object, value, NULL);
}

void object_unfit(struct worker_node *worker, struct object *object, uint32_t seat,
                  const struct executor_error *error)
{
    text_clear(&object->unfit);
    text_clear(&object->unfit_text);
    text_add(&object->unfit, error->exception);
    text_add(&object->unfit_text, error->exception_text);
    store_export_failed(worker->store, seat, object->handle, "it cannot be serialised");
}

/* ---- ends ---- */

void object_lost(struct worker_node *worker, struct object *object)
{
    struct worker_event event = worker_event_of(WORKER_EVENT_DATA_LOST);
    arena_reset(&worker->scratch);
    struct span key = arena_copy(&worker->scratch, object->key);
    object->is_kept = false;
    object_give_up(worker, object);
    event.of.data_lost.keys = (struct span_list){&key, 1};
    event.stimulus = worker_stimulus(worker, "data-lost");
    worker_apply(worker, &event);
}

/* Its executor is gone: another one that has it takes over. */
static void move_home(struct worker_node *worker, struct object *object)
{
    object->home = SEAT_NONE;
    for (uint32_t i = 0; object->home == SEAT_NONE && i < worker->seats.count; i++) {
        if ((object->known >> i & 1) != 0) {
            object->home = i;
        }
    }
    if (object->home != SEAT_NONE && object->is_kept) {
        store_move(worker->store, object_store_key(object), object->home);
    }
}

static void note_lost(void *user, struct span key, uint64_t handle)
{
    struct handles *lost = user;
    (void)key;
    vec_push(lost, handle);
}

struct span_list objects_seat_died(struct worker_node *worker, uint32_t seat)
{
    struct worker_objects *objects = &worker->objects;
    for (uint32_t i = 0; i < objects->slots.count; i++) {
        struct object *object = objects->slots.items[i];
        if (object != NULL && object->run == NULL) {
            object->known &= ~((uint64_t)1 << seat);
            if (object->home == seat) {
                move_home(worker, object);
            }
        }
    }
    struct handles lost = {0};
    store_executor_lost(worker->store, seat, note_lost, &lost);
    struct span *keys = arena_array(&worker->scratch, struct span, lost.count + 1);
    for (uint32_t i = 0; i < lost.count; i++) {
        struct object *object = object_find(objects, lost.items[i]);
        ASSERT(object != NULL);
        keys[i] = arena_copy(&worker->scratch, object->key);
        object->is_kept = false;
        object_give_up(worker, object);
    }
    struct span_list list = {keys, lost.count};
    vec_fini(&lost);
    return list;
}

void objects_clear(struct worker_node *worker)
{
    struct worker_objects *objects = &worker->objects;
    while (objects->wants.count > 0) {
        struct object_want *want = vec_pop(&objects->wants);
        store_cancel(worker->store, &want->waiter);
        want->done(want->user, NULL, NULL, NULL);
        mem_free(want);
    }
    for (uint32_t i = 0; i < objects->slots.count; i++) {
        struct object *object = objects->slots.items[i];
        if (object != NULL) {
            object->known = 0;
            object_give_up(worker, object);
        }
    }
}

void objects_fini(struct worker_objects *objects)
{
    vec_fini(&objects->slots);
    vec_fini(&objects->free_slots);
    vec_fini(&objects->by_task);
    vec_fini(&objects->wants);
}
