/* The values of a worker by their handles, with a store behind them: who wants one is answered, and what is left when an
 * executor dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/worker_internal.h"
#include "wire/payload.h"

#define KEY(text) SPAN("\xa1" text)

/* What the store asked for. */
static uint32_t export_count;

static void on_export(void *user, uint32_t executor, uint64_t handle)
{
    (void)user;
    (void)executor;
    (void)handle;
    export_count++;
}

static void on_release(void *user, uint64_t handle)
{
    struct worker_node *worker = user;
    object_release(worker, object_find(&worker->objects, handle));
}

static void on_lost(void *user, struct span key, int code, const char *why)
{
    (void)user;
    (void)key;
    (void)code;
    fail_msg("%s", why);
}

static void on_trouble(void *user, int code, const char *why)
{
    (void)user;
    (void)code;
    fail_msg("%s", why);
}

static const struct store_events events = {on_export, on_release, on_lost, on_trouble};

static int setup(void **state)
{
    struct worker_node *worker = mem_zalloc(1, sizeof *worker);
    arena_init(&worker->scratch);
    objects_init(&worker->objects);
    for (int i = 0; i < 2; i++) {
        vec_push(&worker->seats, ((struct seat){.state = SEAT_EMPTY}));
    }
    worker->loop = io_loop_create();
    worker->store = store_create(worker->loop, &(struct store_options){0}, &events, worker);
    export_count = 0;
    *state = worker;
    return 0;
}

static int teardown(void **state)
{
    struct worker_node *worker = *state;
    objects_clear(worker);
    store_destroy(worker->store);
    io_loop_destroy(worker->loop);
    objects_fini(&worker->objects);
    vec_fini(&worker->seats);
    arena_fini(&worker->scratch);
    mem_free(worker);
    return 0;
}

static void stop(void *user)
{
    io_loop_stop(((struct worker_node *)user)->loop);
}

/* What the store has to say comes from the loop. */
static void run_loop(struct worker_node *worker)
{
    struct io_timer *alive = io_timer_create(worker->loop, stop, worker);
    io_timer_start(alive, 60, 0); /* a loop that waits for posts only has nothing to wait for */
    io_post(worker->loop, stop, worker);
    io_loop_run(worker->loop);
    io_timer_destroy(alive);
}

/* A value that came from a peer. */
static struct object *add(struct worker_node *worker, struct span key, task_id task)
{
    struct object *object = object_create(&worker->objects, key);
    object->value = store_value_create(payload_nil());
    object_keep(worker, object, task, 10);
    return object;
}

/* One that executors have, in seats by bits. */
static struct object *add_live(struct worker_node *worker, struct span key, task_id task,
                               uint64_t seats)
{
    struct object *object = object_create(&worker->objects, key);
    object->known = seats;
    object->home = (seats & 1) != 0 ? 0 : 1;
    object_keep(worker, object, task, 10);
    return object;
}

struct answer {
    uint32_t count;
    bool has_value, has_error;
};

static void take_answer(void *user, struct object *object, struct store_value *value,
                        const struct executor_error *error)
{
    struct answer *answer = user;
    (void)object;
    answer->count++;
    answer->has_value = value != NULL;
    answer->has_error = error != NULL;
}

/* An executor still speaks of a value that was given up: its handle names nothing, even when its place in the
 * table has a new owner. */
static void test_handles_are_not_used_again(void **state)
{
    struct worker_node *worker = *state;
    struct object *first = add(worker, KEY("a"), 3);
    uint64_t handle = first->handle;
    assert_true(handle != 0);
    assert_ptr_equal(object_find(&worker->objects, handle), first);
    object_give_up(worker, first);
    assert_null(object_find(&worker->objects, handle));
    struct object *second = add(worker, KEY("b"), 3);
    assert_null(object_find(&worker->objects, handle));
    assert_true(second->handle != handle);
    assert_null(object_find(&worker->objects, 0));
    assert_null(object_find(&worker->objects, UINT64_MAX));
}

/* A task is computed again while its old value is still here: the new one takes its place. */
static void test_a_new_value_takes_the_place_of_the_old(void **state)
{
    struct worker_node *worker = *state;
    uint64_t old = add(worker, KEY("a"), 7)->handle;
    struct object *object = add(worker, KEY("a"), 7);
    assert_null(object_find(&worker->objects, old));
    assert_ptr_equal(object_of_task(&worker->objects, 7), object);
    object_give_up(worker, object);
    assert_null(object_of_task(&worker->objects, 7));
    assert_null(object_of_task(&worker->objects, TASK_NONE));
}

/* A peer asks for what is serialised, for what lives in an executor, for what that cannot serialise, and for what is
 * released meanwhile. */
static void test_who_wants_a_value_is_answered(void **state)
{
    struct worker_node *worker = *state;
    struct answer answer = {0};
    object_want(worker, add(worker, KEY("s"), 1), take_answer, &answer);
    assert_true(answer.count == 1 && answer.has_value);

    struct object *live = add_live(worker, KEY("x"), 2, 1);
    object_want(worker, live, take_answer, &answer);
    object_want(worker, live, take_answer, &answer);
    run_loop(worker);
    assert_true(answer.count == 1 && export_count == 1);
    store_exported(worker->store, 0, live->handle, store_value_create(payload_nil()));
    run_loop(worker);
    assert_true(answer.count == 3 && answer.has_value);

    struct object *unfit = add_live(worker, KEY("u"), 3, 1);
    const struct executor_error error = {.exception = SPAN("pickle"),
                                         .exception_text = SPAN("TypeError()")};
    object_want(worker, unfit, take_answer, &answer);
    object_unfit(worker, unfit, 0, &error);
    run_loop(worker);
    assert_true(answer.count == 4 && !answer.has_value && answer.has_error);

    struct object *released = add_live(worker, KEY("r"), 4, 1);
    uint64_t handle = released->handle;
    object_want(worker, released, take_answer, &answer);
    object_give_up(worker, released);
    assert_null(object_find(&worker->objects, handle));
    store_exported(worker->store, 0, handle, store_value_create(payload_nil())); /* too late */
    run_loop(worker);
    assert_true(answer.count == 5 && !answer.has_value && !answer.has_error);
}

/* An executor dies: what lived only there is lost, a copy elsewhere takes over, what is serialised stays. */
static void test_what_an_executor_takes_with_it(void **state)
{
    struct worker_node *worker = *state;
    struct answer answer = {0};
    add_live(worker, KEY("a"), 1, 1);
    struct object *copied = add_live(worker, KEY("b"), 2, 3);
    struct object *stored = add_live(worker, KEY("c"), 3, 1);
    object_want(worker, stored, take_answer, &answer);
    store_exported(worker->store, 0, stored->handle, store_value_create(payload_nil()));
    run_loop(worker);
    assert_int_equal(answer.count, 1);
    object_want(worker, add_live(worker, KEY("d"), 4, 1), take_answer, &answer);

    struct span_list lost = objects_seat_died(worker, 0);
    assert_int_equal(lost.count, 2);
    assert_true(span_equal(lost.items[0], KEY("a")) && span_equal(lost.items[1], KEY("d")));
    assert_null(object_of_task(&worker->objects, 1));
    run_loop(worker);
    assert_true(answer.count == 2 && !answer.has_value);
    assert_int_equal(copied->home, 1);
    assert_int_equal(stored->home, SEAT_NONE);
    assert_ptr_equal(object_of_task(&worker->objects, 3), stored);
    object_want(worker, stored, take_answer, &answer);
    assert_true(answer.count == 3 && answer.has_value);

    lost = objects_seat_died(worker, 1);
    assert_int_equal(lost.count, 1);
    assert_true(span_equal(lost.items[0], KEY("b")));
}

/* A value comes from an executor with one frame inline and one in a segment, and goes to another in the same
 * segment. */
static void test_payloads_become_values_and_back(void **state)
{
    struct worker_node *worker = *state;
    /* {"num-sub-frames": 1}, then the frame */
    const struct span header = SPAN("\x81\xaenum-sub-frames\x01"),
                      value = SPAN("\x81\xae__Serialized__\x01");
    int segment = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(segment, "....large", 9), 9);
    const struct executor_frame frames[] = {{.data = header.data, .size = header.size},
                                            {.offset = 4, .size = 5}};
    struct executor_payload payload = {
        .value = value, .frame_count = 1, .frames = frames, .segment = -1};
    struct store_value *opened;
    struct object *object = object_create(&worker->objects, SPAN("\xa3key"));
    /* it refers to a frame that it does not have */
    assert_int_equal(worker_value_of(worker, object, &payload, &opened), ERR_MALFORMED);
    payload.frame_count = 2;
    payload.segment = segment;
    payload.segment_size = 9;
    /* its executor may still write there */
    assert_int_equal(worker_value_of(worker, object, &payload, &opened), ERR_MALFORMED);
    payload.is_sealed = true;
    assert_int_equal(worker_value_of(worker, object, &payload, &opened), OK);
    assert_int_equal(opened->blob->frame_count, 2);
    assert_true(span_equal(slice_span(opened->blob->frames[1]), SPAN("large")));
    struct executor_payload back = worker_payload_of_value(&worker->scratch, opened);
    assert_true(span_equal(back.value, value));
    assert_int_equal(back.frame_count, 2);
    assert_int_equal(back.segment, segment);
    assert_memory_equal(back.frames[0].data, header.data, header.size);
    assert_null(back.frames[1].data);
    assert_int_equal(back.frames[1].offset, 4);
    store_value_unref(opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_handles_are_not_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_new_value_takes_the_place_of_the_old, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_who_wants_a_value_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_an_executor_takes_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_payloads_become_values_and_back, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
