/* test_profile.c: profiles of several workers become one, as profile.merge has it. */
#include "node/profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "wire/msgpack.h"

/* A tree without a description of its own; its children are appended by the caller. */
static void tree(struct text *out, const char *identifier, int count, uint32_t children)
{
    msgpack_write_map(out, 4);
    msgpack_write_cstr(out, "count");
    msgpack_write_int(out, count);
    msgpack_write_cstr(out, "identifier");
    msgpack_write_cstr(out, identifier);
    msgpack_write_cstr(out, "description");
    msgpack_write_map(out, 0);
    msgpack_write_cstr(out, "children");
    msgpack_write_map(out, children);
}

static void check(const struct span *trees, uint32_t count, const char *expected)
{
    struct text merged = {0}, shown = {0};
    profile_merge(&merged, trees, count);
    assert_true(profile_is_tree(text_span(&merged)));
    msgpack_print(&shown, text_span(&merged), 10000);
    assert_string_equal(text_cstr(&shown), expected);
    text_fini(&merged);
    text_fini(&shown);
}

/* No worker answered: the tree of nothing, as profile.create makes it. */
static void test_none(void **state)
{
    (void)state;
    check(NULL, 0,
          "{'count': 0, 'children': {}, 'identifier': 'root', "
          "'description': {'filename': '', 'name': '', 'line_number': 0, 'line': ''}}");
}

/* Two workers ran `f`, one of them also `g`: counts add up, children keep the order of appearance. */
static void test_two(void **state)
{
    (void)state;
    struct text a = {0}, b = {0};
    tree(&a, "root", 3, 1);
    msgpack_write_cstr(&a, "f");
    tree(&a, "f", 3, 0);
    tree(&b, "root", 7, 2);
    msgpack_write_cstr(&b, "g");
    tree(&b, "g", 2, 0);
    msgpack_write_cstr(&b, "f");
    tree(&b, "f", 5, 1);
    msgpack_write_cstr(&b, "h");
    tree(&b, "h", 5, 0);
    const struct span trees[] = {text_span(&a), text_span(&b)};
    check(trees, 2,
          "{'description': {}, 'children': {"
          "'f': {'description': {}, 'children': {"
          "'h': {'description': {}, 'children': {}, 'count': 5, 'identifier': 'h'}}, "
          "'count': 8, 'identifier': 'f'}, "
          "'g': {'description': {}, 'children': {}, 'count': 2, 'identifier': 'g'}}, "
          "'count': 10, 'identifier': 'root'}");
    text_fini(&a);
    text_fini(&b);
}

/* What a worker sends need not be a tree: such an answer is left out before anything is merged. */
static void test_no_tree(void **state)
{
    (void)state;
    struct text bad = {0};
    tree(&bad, "root", 1, 1);
    msgpack_write_cstr(&bad, "f");
    msgpack_write_nil(&bad);
    assert_false(profile_is_tree(text_span(&bad)));
    assert_false(profile_is_tree(SPAN("\x80")));
    assert_false(profile_is_tree(SPAN("\x84")));
    assert_false(profile_is_tree(SPAN("")));
    text_fini(&bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_two),
        cmocka_unit_test(test_no_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
