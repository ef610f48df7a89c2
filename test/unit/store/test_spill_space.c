/* Room in a spill file: what is given back is used again, and nothing is given twice. */
#include "unit/store/support.h"

#include "base/prng.h"
#include "store/spill_space.h"

/* Holes that touch become one; one at the end makes the file end sooner. */
static void test_merging(void **state)
{
    (void)state;
    struct spill_space space = {.end_max = 100};
    uint64_t at[5];
    for (int i = 0; i < 5; i++) {
        assert_true(spill_space_take(&space, 20, &at[i]));
        assert_int_equal(at[i], 20 * i);
    }
    uint64_t none;
    assert_false(spill_space_take(&space, 1, &none));
    spill_space_give(&space, at[0], 20);
    spill_space_give(&space, at[2], 20);
    assert_false(spill_space_take(&space, 21, &none));
    spill_space_give(&space, at[1], 20);
    assert_int_equal(space.holes.count, 1);
    assert_true(spill_space_take(&space, 50, &at[0]));
    assert_int_equal(at[0], 0);
    spill_space_give(&space, at[4], 20);
    assert_int_equal(space.end, 80);
    spill_space_give(&space, at[3], 20);
    assert_int_equal(space.end, 50);
    assert_int_equal(space.holes.count, 0);
    spill_space_give(&space, 10, 40); /* a part */
    spill_space_give(&space, 0, 10);
    assert_int_equal(space.end, 0);
    assert_int_equal(space.used, 0);
    spill_space_fini(&space);
}

enum { FILE_SIZE = 4096, PIECES = 64 };

struct piece {
    uint64_t offset, size;
};

static void check_taken(const uint8_t *taken, struct piece piece, uint8_t expected)
{
    for (uint64_t i = 0; i < piece.size; i++) {
        assert_int_equal(taken[piece.offset + i], expected);
    }
}

/* Whether there is a run of `size` bytes that are free. */
static bool has_room(const uint8_t *taken, uint64_t size)
{
    uint64_t run = 0;
    for (uint32_t i = 0; i < FILE_SIZE && run < size; i++) {
        run = taken[i] != 0 ? 0 : run + 1;
    }
    return run >= size;
}

/* 200,000 random takes and gives against a map of every byte: a take fails only if there is no such room. */
static void test_random(void **state)
{
    (void)state;
    struct spill_space space = {.end_max = FILE_SIZE};
    static uint8_t taken[FILE_SIZE];
    struct piece pieces[PIECES];
    uint32_t count = 0, refused = 0;
    struct prng prng;
    prng_init(&prng, 7);
    for (int step = 0; step < 200000; step++) {
        if (count < PIECES && prng_unit(&prng) < 0.55) {
            struct piece piece = {0, 1 + (uint64_t)(prng_unit(&prng) * 200)};
            if (!spill_space_take(&space, piece.size, &piece.offset)) {
                assert_false(has_room(taken, piece.size));
                refused++;
                continue;
            }
            check_taken(taken, piece, 0);
            memset(taken + piece.offset, 1, piece.size);
            pieces[count++] = piece;
        } else if (count > 0) {
            uint32_t index = (uint32_t)(prng_unit(&prng) * count);
            struct piece piece = pieces[index];
            pieces[index] = pieces[--count];
            check_taken(taken, piece, 1);
            memset(taken + piece.offset, 0, piece.size);
            spill_space_give(&space, piece.offset, piece.size);
        }
    }
    assert_true(refused > 100);
    while (count > 0) {
        count--;
        spill_space_give(&space, pieces[count].offset, pieces[count].size);
    }
    assert_int_equal(space.end, 0);
    assert_int_equal(space.holes.count, 0);
    spill_space_fini(&space);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merging),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
