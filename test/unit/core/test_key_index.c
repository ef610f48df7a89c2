/* test_key_index.c: keys to ids under random use, compared with a plain list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "core/key_index.h"

#define KEYS 200u

static struct span key_of(const void *context, uint32_t id)
{
    return span_of((const uint32_t *)context + id, sizeof(uint32_t));
}

/* `clash`: all keys have the same hash, and still are told apart. */
static void use_at_random(uint64_t seed, bool clash)
{
    uint32_t numbers[KEYS];
    bool there[KEYS] = {false};
    uint32_t count = 0;
    struct prng prng;
    prng_init(&prng, seed);
    for (uint32_t i = 0; i < KEYS; i++) {
        numbers[i] = i * 7919;
    }
    struct key_index index;
    key_index_init(&index, key_of, numbers);
    for (uint32_t step = 0; step < 5000; step++) {
        uint32_t id = prng_below(&prng, KEYS);
        struct span key = key_of(numbers, id);
        uint64_t hash = clash ? 5 : span_hash(key);
        assert_int_equal(key_index_find(&index, key, hash), there[id] ? id : KEY_INDEX_NONE);
        uint32_t guess = key_index_guess(&index, hash);
        assert_true(guess == KEY_INDEX_NONE || there[guess]);
        assert_true(guess != KEY_INDEX_NONE || !there[id]);
        if (there[id]) {
            key_index_remove(&index, hash, id);
        } else {
            key_index_add(&index, hash, id);
        }
        there[id] = !there[id];
        count = there[id] ? count + 1 : count - 1;
        assert_int_equal(index.count, count);
    }
    key_index_fini(&index);
}

static void test_random_use(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++) {
        use_at_random(seed, false);
    }
    use_at_random(11, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_use)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
