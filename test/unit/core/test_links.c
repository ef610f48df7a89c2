/* test_links.c: relations kept on both sides, and the map of ids, under random use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "core/id_map.h"
#include "core/links.h"

#define THINGS 20u

struct world {
    struct links left[THINGS], right[THINGS];
    bool linked[THINGS][THINGS];
};

static struct links *left_of(void *context, uint32_t id)
{
    return &((struct world *)context)->left[id];
}

static struct links *right_of(void *context, uint32_t id)
{
    return &((struct world *)context)->right[id];
}

static void check(struct world *world)
{
    for (uint32_t i = 0; i < THINGS; i++) {
        uint32_t count = 0;
        for (uint32_t j = 0; j < THINGS; j++) {
            uint32_t slot = links_find(&world->left[i], j);
            assert_int_equal(slot != LINK_NOT_FOUND, world->linked[i][j]);
            count += world->linked[i][j];
            if (slot == LINK_NOT_FOUND) {
                assert_int_equal(links_find(&world->right[j], i), LINK_NOT_FOUND);
                continue;
            }
            struct link link = links_items(&world->left[i])[slot];
            struct link back = links_items(&world->right[j])[link.slot & LINK_SLOT_MASK];
            assert_int_equal(back.other, i);
            assert_int_equal(back.slot & LINK_SLOT_MASK, slot);
            assert_int_equal((link.slot & LINK_FLAG_A) != 0,
                             j % 2 == 1); /* flags move with their link */
            assert_int_equal(back.slot & LINK_FLAG_A, 0);
        }
        assert_int_equal(world->left[i].count, count);
    }
}

/* Links come and go from either end; both ends always know each other. */
static void test_links(void **state)
{
    (void)state;
    static struct world world;
    struct prng prng;
    prng_init(&prng, 7);
    for (uint32_t turn = 0; turn < 20000; turn++) {
        uint32_t i = prng_below(&prng, THINGS);
        uint32_t j = prng_below(&prng, THINGS);
        if (!world.linked[i][j]) {
            links_add(&world.left[i], i, &world.right[j], j, j % 2 == 1 ? LINK_FLAG_A : 0);
        } else if (prng_below(&prng, 2) == 0) {
            links_remove(&world.left[i], links_find(&world.left[i], j), right_of, left_of, &world);
        } else {
            links_remove(&world.right[j], links_find(&world.right[j], i), left_of, right_of,
                         &world);
        }
        world.linked[i][j] = !world.linked[i][j];
        if (turn % 100 == 0) {
            check(&world);
        }
    }
    for (uint32_t i = 0; i < THINGS; i++) {
        while (world.left[i].count > 0) {
            links_remove(&world.left[i], 0, right_of, left_of, &world);
        }
        links_fini(&world.left[i]);
    }
    for (uint32_t i = 0; i < THINGS; i++) {
        links_fini(&world.right[i]);
    }
}

/* Room asked for in advance keeps what is there. */
static void test_reserve(void **state)
{
    (void)state;
    struct links one = {0};
    struct links others[10] = {{0}};
    links_add(&one, 0, &others[0], 0, 0);
    links_reserve(&one, 10);
    struct link *items = links_items(&one);
    for (uint32_t i = 1; i < 10; i++) {
        links_add(&one, 0, &others[i], i, 0);
    }
    assert_ptr_equal(items, links_items(&one));
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(items[i].other, i);
    }
    one.count = 0;
    links_fini(&one);
}

/* Ids that collide and go in any order: the map says what an array would. */
static void test_id_map(void **state)
{
    (void)state;
    static uint32_t values[3000]; /* 0: not there */
    struct id_map map = {0};
    struct prng prng;
    prng_init(&prng, 3);
    uint32_t count = 0;
    for (uint32_t turn = 0; turn < 100000; turn++) {
        uint32_t id = prng_below(&prng, turn < 60000 ? 3000 : 50);
        if (prng_below(&prng, 3) > 0) {
            count += values[id] == 0;
            values[id] = turn + 1;
            *id_map_put(&map, id) = turn + 1;
        } else {
            assert_int_equal(id_map_remove(&map, id), values[id] != 0);
            count -= values[id] != 0;
            values[id] = 0;
        }
        assert_int_equal(map.count, count);
    }
    for (uint32_t id = 0; id < 3000; id++) {
        uint32_t *found = id_map_find(&map, id);
        assert_int_equal(found == NULL ? 0 : *found, values[id]);
    }
    id_map_fini(&map);
    assert_null(id_map_find(&map, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_id_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
