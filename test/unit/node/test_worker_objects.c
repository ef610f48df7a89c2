/* The table of a worker's values: where each is, and what is left of them when an executor dies. */
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

static int setup(void **state)
{
    struct worker_node *worker = mem_zalloc(1, sizeof *worker);
    arena_init(&worker->scratch);
    objects_init(&worker->objects);
    for (int i = 0; i < 2; i++) {
        vec_push(&worker->seats, ((struct seat){.state = SEAT_EMPTY}));
    }
    *state = worker;
    return 0;
}

static int teardown(void **state)
{
    struct worker_node *worker = *state;
    objects_clear(worker);
    objects_fini(&worker->objects);
    vec_fini(&worker->seats);
    arena_fini(&worker->scratch);
    mem_free(worker);
    return 0;
}

static struct object *add(struct worker_node *worker, struct span key, task_id task)
{
    struct object *object = object_create(&worker->objects, key);
    object_keep(worker, object, task);
    return object;
}

static struct object *add_live(struct worker_node *worker, struct span key, task_id task,
                               uint64_t seats)
{
    struct object *object = add(worker, key, task);
    object->known = seats;
    object->home = (seats & 1) != 0 ? 0 : 1;
    return object;
}

struct answer {
    uint32_t count;
    bool has_blob, has_error;
};

static void take_answer(void *user, struct object *object, struct blob *blob,
                        const struct executor_error *error)
{
    struct answer *answer = user;
    (void)object;
    answer->count++;
    answer->has_blob = blob != NULL;
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

/* A peer asks for what is serialised, for what is nowhere any more, and for what is being serialised. */
static void test_who_wants_a_value_is_answered(void **state)
{
    struct worker_node *worker = *state;
    struct answer answer = {0};
    struct object *stored = add(worker, KEY("s"), 1);
    stored->stored = payload_nil();
    object_want(worker, stored, take_answer, &answer);
    assert_true(answer.count == 1 && answer.has_blob);

    struct object *lost = add(worker, KEY("l"), 2);
    object_want(worker, lost, take_answer, &answer);
    assert_true(answer.count == 2 && !answer.has_blob && !answer.has_error);

    struct object *live = add_live(worker, KEY("x"), 3, 1);
    live->is_exporting = true; /* as if EXPORT had been sent */
    object_want(worker, live, take_answer, &answer);
    assert_int_equal(answer.count, 2);
    object_give_up(worker, live); /* the task is released meanwhile: who waits still gets it */
    struct blob *blob = payload_nil();
    uint64_t handle = live->handle;
    object_exported(worker, live, blob, NULL);
    blob_unref(blob);
    assert_true(answer.count == 3 && answer.has_blob);
    assert_null(object_find(&worker->objects, handle));
}

/* An executor dies: what lived only there is lost, a copy elsewhere takes over, what is serialised stays. */
static void test_what_an_executor_takes_with_it(void **state)
{
    struct worker_node *worker = *state;
    struct answer answer = {0};
    add_live(worker, KEY("a"), 1, 1);
    struct object *copied = add_live(worker, KEY("b"), 2, 3);
    struct object *stored = add_live(worker, KEY("c"), 3, 1);
    stored->stored = payload_nil();
    struct object *waited = add_live(worker, KEY("d"), 4, 1);
    waited->is_exporting = true;
    object_want(worker, waited, take_answer, &answer);

    struct span_list lost = objects_seat_died(worker, 0);
    assert_int_equal(lost.count, 2);
    assert_true(span_equal(lost.items[0], KEY("a")) && span_equal(lost.items[1], KEY("d")));
    assert_null(object_of_task(&worker->objects, 1));
    assert_true(answer.count == 1 && !answer.has_blob);
    assert_int_equal(copied->home, 1);
    assert_int_equal(stored->home, SEAT_NONE);
    assert_ptr_equal(object_of_task(&worker->objects, 3), stored);

    lost = objects_seat_died(worker, 1);
    assert_int_equal(lost.count, 1);
    assert_true(span_equal(lost.items[0], KEY("b")));
}

/* A value comes from an executor with one frame inline and one in a segment, and goes to another. */
static void test_payloads_become_blobs_and_back(void **state)
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
        .value = value, .frame_count = 2, .frames = frames, .segment = segment, .segment_size = 9};
    struct blob *blob;
    assert_int_equal(worker_blob_of(&payload, &blob), OK);
    assert_int_equal(blob->frame_count, 2);
    assert_true(span_equal(slice_span(blob->frames[1]), SPAN("large")));
    struct executor_payload back = worker_payload_of(&worker->scratch, blob);
    assert_true(span_equal(back.value, value));
    assert_int_equal(back.frame_count, 2);
    assert_memory_equal(back.frames[1].data, "large", 5);
    blob_unref(blob);

    payload.frame_count = 1; /* it refers to a frame that it does not have */
    assert_int_equal(worker_blob_of(&payload, &blob), ERR_MALFORMED);
    payload.frame_count = 2;
    assert_int_equal(ftruncate(segment, 6), 0); /* what it says is there is not */
    assert_int_equal(worker_blob_of(&payload, &blob), ERR_IO);
    close(segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_handles_are_not_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_new_value_takes_the_place_of_the_old, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_who_wants_a_value_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_an_executor_takes_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_payloads_become_blobs_and_back, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
