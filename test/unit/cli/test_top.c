/* `cask top`: frames become a model, the model a screen, keys move in it; compared with golden/top_*.txt.
 *
 * CASK_GOLDEN_WRITE=1 writes the files anew; read the difference before committing it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "cli/top_draw.h"
#include "observer/columns.h"

#define NOW 1795342260.0 /* a day that began at 0:00 UTC, and 10:11:00 */
#define T_F64 COLUMN_F64
#define T_F32 COLUMN_F32
#define T_U32 COLUMN_U32
#define T_U8 COLUMN_U8
#define T_TEXT COLUMN_TEXT

struct fixture {
    struct top_model model;
    struct top_view view;
};

/* ---- a cluster ---------------------------------------------------------------------------------- */

static void send(struct top_model *model, struct columns *columns, uint16_t channel,
                 enum frame_mode mode)
{
    struct text frame = {0};
    const struct frame_head head = {.mode = mode, .channel = channel, .time = NOW};
    columns_write(columns, &head, &frame);
    assert_int_equal(top_model_frame(model, text_span(&frame)), OK);
    text_fini(&frame);
}

/* Columns of one value, of small numbers, and without what did not change, as workers' frames mostly are. */
static void test_frames_are_as_narrow_as_their_numbers(void **state)
{
    (void)state;
    static const enum column_type types[] = {T_U32, T_TEXT, T_U32, T_F64, T_F32, T_F64, T_TEXT};
    static const double wide[] = {1.5, 70000, -1}, third[] = {300, 3, 65535};
    struct columns columns = {0};
    struct text bytes = {0};
    struct top_frame frame;
    columns_begin(&columns, types, sizeof types / sizeof types[0]);
    for (uint32_t i = 0; i < 3; i++) {
        columns_int(&columns, 1000000u + i);
        columns_text(&columns, SPAN("running"));
        columns_int(&columns, i == 2 ? 255 : i);
        columns_real(&columns, wide[i]);
        columns_real(&columns, 0);
        columns_real(&columns, third[i]);
        columns_text(&columns, i == 1 ? SPAN("") : SPAN("w"));
    }
    const struct frame_head head = {.mode = MODE_UPSERT, .channel = TOP_CHANNEL_WORKERS};
    columns_write(&columns, &head, &bytes);
    /* 12 + 4 bytes, 8 + 7 + 1, 3 + 5, 24, 1 + 7, 6 + 2, 4 × 4 + 2 + 6 */
    assert_int_equal(bytes.size, 32 + 7 * 8 + 16 + 16 + 8 + 24 + 8 + 8 + 24);
    assert_int_equal(top_frame_read(text_span(&bytes), &frame), OK);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(top_frame_number(&frame, 0, i) == 1000000 + i);
        assert_true(span_equal_text(top_frame_text(&frame, 1, i), "running"));
        assert_true(top_frame_number(&frame, 2, i) == (i == 2 ? 255 : i));
        assert_true(top_frame_number(&frame, 3, i) == wide[i]);
        assert_true(top_frame_number(&frame, 4, i) == 0);
        assert_true(top_frame_number(&frame, 5, i) == third[i]);
        assert_true(span_equal_text(top_frame_text(&frame, 6, i), i == 1 ? "" : "w"));
    }
    columns_begin(&columns, types, 3);
    columns_int(&columns, 5);
    columns_text(&columns, SPAN("running"));
    columns_int(&columns, 4);
    columns.left_out = 1u << 1;
    text_clear(&bytes);
    columns_write(&columns, &head, &bytes);
    assert_int_equal(top_frame_read(text_span(&bytes), &frame), OK);
    assert_true(top_frame_has(&frame, 0) && !top_frame_has(&frame, 1) && top_frame_has(&frame, 2));
    assert_true(top_frame_number(&frame, 2, 0) == 4);
    text_fini(&bytes);
    columns_fini(&columns);
}

static void send_summary(struct top_model *model, double rate)
{
    static const enum column_type types[] = {
        T_U8,  T_U32, T_U32, T_U32, T_U32, T_U32, T_U32, T_U32,  T_U32, T_U32, T_U32, T_U32,
        T_U32, T_U32, T_U32, T_F64, T_F64, T_F32, T_F32, T_F32,  T_F64, T_F64, T_F64, T_F64,
        T_F64, T_F64, T_F64, T_F32, T_F32, T_F64, T_F32, T_TEXT, T_U32, T_U32};
    static const uint64_t counts[] = {0, 3, 12, 1, 0, 1, 0, 2, 20, 40, 0, 12345, 12, 80, 7};
    const double reals[] = {120034, 10003, rate,  0.4, 31,  12.5,  3 * 16.0 * (1 << 30),
                            9e9,    5e9,   3.5e9, 5e8, 2e8, 0.003, 0.12,
                            0,      11.2};
    struct columns columns = {0};
    columns_begin(&columns, types, sizeof types / sizeof types[0]);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        columns_int(&columns, counts[i]);
    }
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        columns_real(&columns, reals[i]);
    }
    columns_text(&columns, SPAN(""));
    columns_int(&columns, 3);
    columns_int(&columns, 4);
    send(model, &columns, TOP_CHANNEL_SUMMARY, MODE_REPLACE);
    columns_fini(&columns);
}

static const enum column_type worker_types[] = {
    T_U32, T_TEXT, T_TEXT, T_TEXT, T_U32, T_F64, T_F64, T_F64, T_F64, T_F64, T_F64, T_F32, T_U32,
    T_U32, T_U32,  T_F64,  T_F32,  T_F32, T_F32, T_F32, T_U32, T_F64, T_F64, T_U32, T_F64, T_F64};

static void add_worker(struct columns *columns, uint32_t id, const char *name, double removed)
{
    double gib = 1 << 30;
    columns_int(columns, id);
    columns_text(columns, id == 2 ? SPAN("paused") : SPAN("running"));
    columns_text(columns, span_of_text(name));
    columns_text(columns, SPAN("tcp://10.0.0.2:40001"));
    columns_int(columns, 4);
    const double sizes[] = {16 * gib, id * gib, id * gib / 2, id * gib / 4, id * gib / 4, id * 1e8};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        columns_real(columns, sizes[i]);
    }
    columns_real(columns, 312.5);
    columns_int(columns, 40);
    columns_int(columns, 4);
    columns_int(columns, 230);
    const double rates[] = {3.1, 1.2e6, 0, 0, 5e5};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        columns_real(columns, rates[i]);
    }
    columns_int(columns, 40);
    columns_real(columns, NOW - 1);
    columns_real(columns, 30211);
    columns_int(columns, id == 2 ? 7 : 0);
    columns_real(columns, 28123.5);
    columns_real(columns, removed);
}

static void send_workers(struct top_model *model)
{
    struct columns columns = {0};
    columns_begin(&columns, worker_types, sizeof worker_types / sizeof worker_types[0]);
    add_worker(&columns, 1, "w0", 0);
    add_worker(&columns, 2, "evil \x1b[2J\n\xe2\x80\xae name", 0);
    add_worker(&columns, 3, "\xe4\xbd\x9c\xe6\xa5\xad\xe8\x80\x85 \xc3\xa9\xff", 0);
    send(model, &columns, TOP_CHANNEL_WORKERS, MODE_REPLACE);
    columns_fini(&columns);
}

static void send_groups(struct top_model *model, uint32_t count)
{
    static const enum column_type types[] = {T_U32, T_TEXT, T_TEXT, T_U32, T_U32, T_U32,
                                             T_U32, T_U32,  T_U32,  T_U32, T_U32, T_U32,
                                             T_F64, T_U32,  T_F64,  T_F64, T_F64, T_F64};
    struct columns columns = {0};
    struct text name = {0};
    columns_begin(&columns, types, sizeof types / sizeof types[0]);
    for (uint32_t i = 1; i <= count; i++) {
        text_clear(&name);
        text_printf(&name, "('sum-9c5f%u', ...)", i);
        columns_int(&columns, i);
        columns_text(&columns, text_span(&name));
        columns_text(&columns, SPAN("sum"));
        const uint64_t counts[] = {100, 0, 40 - i, 0, 10, 4, 40 + i, 6, 0};
        for (size_t j = 0; j < sizeof counts / sizeof counts[0]; j++) {
            columns_int(&columns, counts[j]);
        }
        columns_real(&columns, 46);
        columns_int(&columns, 6);
        const double reals[] = {9.1, 720000, NOW - 100 + i, NOW};
        for (size_t j = 0; j < sizeof reals / sizeof reals[0]; j++) {
            columns_real(&columns, reals[j]);
        }
    }
    send(model, &columns, TOP_CHANNEL_GROUPS, MODE_REPLACE);
    text_fini(&name);
    columns_fini(&columns);
}

static void send_failures(struct top_model *model)
{
    static const enum column_type types[] = {T_U32, T_TEXT, T_TEXT, T_TEXT, T_TEXT,
                                             T_F64, T_F64,  T_F64,  T_U8};
    static const char *const texts[][4] = {
        {"inc", "ZeroDivisionError", "division by zero", "user.py:12 in inc"},
        {"load", "FileNotFoundError", "No such file: '/data/x.csv'\nTry another",
         "io.py:7 in load"}};
    struct columns columns = {0};
    columns_begin(&columns, types, sizeof types / sizeof types[0]);
    for (uint32_t i = 0; i < 2; i++) {
        columns_int(&columns, i + 1);
        for (int j = 0; j < 4; j++) {
            columns_text(&columns, span_of_text(texts[i][j]));
        }
        columns_real(&columns, i == 0 ? 10000 : 3);
        columns_real(&columns, NOW - 60);
        columns_real(&columns, NOW - 10 + i);
        columns_int(&columns, 0);
    }
    send(model, &columns, TOP_CHANNEL_FAILURES, MODE_REPLACE);
    columns_fini(&columns);
}

static void send_stream(struct top_model *model)
{
    struct text json = {0};
    text_printf(&json, "{\"since\": %.1f, \"until\": %.1f, \"lanes\": [", NOW - 60, NOW);
    for (int lane = 0; lane < 3; lane++) {
        static const char *const names[] = {"busy", "transfer", "failed"};
        text_printf(&json, "%s{\"name\": \"w%d\"", lane > 0 ? ", " : "", lane);
        for (int part = 0; part < 3; part++) {
            text_printf(&json, ", \"%s\": [", names[part]);
            for (int i = 0; i < 65; i++) {
                double values[] = {lane == 2 ? 0 : (i % 9) / 8.0, i / 10 == 3 + lane ? 0.9 : 0,
                                   i == 50 && lane == 1};
                text_printf(&json, "%s%g", i > 0 ? "," : "", values[part]);
            }
            text_add_char(&json, ']');
        }
        text_add_char(&json, '}');
    }
    text_add_cstr(&json, "]}");
    assert_int_equal(top_model_stream(model, text_span(&json)), OK);
    text_fini(&json);
}

static int setup(void **state)
{
    struct fixture *fixture = mem_zalloc(1, sizeof *fixture);
    struct top_model *model = &fixture->model;
    top_view_init(&fixture->view);
    text_add_cstr(&model->address, "tcp://10.0.0.1:8786");
    top_model_connected(model, true, "");
    for (int i = 0; i < 12; i++) {
        send_summary(model, 100.0 * (i % 8));
    }
    send_workers(model);
    send_groups(model, 30);
    send_failures(model);
    send_stream(model);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    top_model_fini(&fixture->model);
    top_view_fini(&fixture->view);
    mem_free(fixture);
    return 0;
}

/* ---- pictures ----------------------------------------------------------------------------------- */

static void picture(const struct fixture *fixture, int width, int height, bool is_ascii,
                    struct text *out)
{
    struct top_screen screen = {0};
    top_screen_init(&screen, width, height);
    screen.is_ascii = is_ascii;
    top_draw(&fixture->model, &fixture->view, &screen);
    top_screen_lines(&screen, out);
    top_screen_fini(&screen);
}

static void expect_picture(const struct fixture *fixture, int width, int height, const char *name)
{
    char path[512], space[65536];
    struct text got = {0};
    bool is_ascii = strstr(name, "ascii") != NULL;
    picture(fixture, width, height, is_ascii, &got);
    snprintf(path, sizeof path, CASK_TEST_DIR "/cli/golden/top_%s_%dx%d.txt", name, width, height);
    bool writes = getenv("CASK_GOLDEN_WRITE") != NULL;
    FILE *file = fopen(path, writes ? "w" : "r");
    assert_non_null(file);
    if (writes) {
        assert_int_equal(fwrite(got.data, 1, got.size, file), got.size);
    } else {
        size_t size = fread(space, 1, sizeof space - 1, file);
        space[size] = '\0';
        assert_string_equal(text_cstr(&got), space);
    }
    assert_int_equal(fclose(file), 0);
    text_fini(&got);
}

static enum top_task press(struct fixture *fixture, const char *keys)
{
    struct span bytes = span_of_text(keys);
    enum top_task task = TOP_DO_NOTHING;
    while (bytes.size > 0) {
        task = top_view_key(&fixture->view, &fixture->model, &bytes);
    }
    return task;
}

/* Every page on the smallest and on a large terminal. */
static void test_pages_are_as_drawn(void **state)
{
    static const struct {
        const char *key, *name;
    } pages[] = {{"1", "overview"}, {"2", "workers"}, {"3", "groups"},
                 {"4", "failures"}, {"5", "stream"},  {"?", "help"}};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        press(fixture, pages[i].key);
        expect_picture(fixture, 80, 24, pages[i].name);
        expect_picture(fixture, 120, 40, pages[i].name);
    }
}

/* A terminal that has no UTF-8 gets nothing but ASCII, whatever names are. */
static void test_ascii_is_enough(void **state)
{
    struct fixture *fixture = *state;
    expect_picture(fixture, 80, 24, "ascii_overview");
    press(fixture, "w");
    struct text got = {0};
    picture(fixture, 80, 24, true, &got);
    for (size_t i = 0; i < got.size; i++) {
        assert_true(got.data[i] == '\n' || (got.data[i] >= ' ' && got.data[i] <= '~'));
    }
    text_fini(&got);
}

/* Any size is drawn, within its cells. */
static void test_any_size_is_drawn(void **state)
{
    struct fixture *fixture = *state;
    static const char *const keys[] = {"1", "2", "3", "4", "5", "?"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        press(fixture, keys[i]);
        for (int size = 1; size < 60; size += 7) {
            struct text got = {0};
            picture(fixture, size * 3, size, false, &got);
            uint32_t lines = 0;
            for (size_t at = 0; at < got.size; at++) {
                lines += got.data[at] == '\n';
            }
            assert_int_equal(lines, size);
            text_fini(&got);
        }
    }
}

/* What a worker calls itself cannot steer the terminal: of all bytes only our own sequences begin with ESC. */
static void test_names_do_not_steer_the_terminal(void **state)
{
    struct fixture *fixture = *state;
    struct top_screen screen = {0};
    struct text bytes = {0};
    press(fixture, "w");
    top_screen_init(&screen, 80, 24);
    top_draw(&fixture->model, &fixture->view, &screen);
    top_screen_paint(&screen, NULL, &bytes);
    uint32_t clears = 0;
    for (const char *at = text_cstr(&bytes); (at = strstr(at, "\x1b[2J")) != NULL; at++) {
        clears++;
    }
    assert_int_equal(clears, 1); /* that of a new screen */
    assert_non_null(strstr(text_cstr(&bytes), "\\x1b[2J\\n"));
    assert_null(strchr(text_cstr(&bytes), '\n'));
    assert_null(strstr(text_cstr(&bytes), "\xe2\x80\xae"));
    text_fini(&bytes);
    top_screen_fini(&screen);
}

/* Without colour no sequence sets one; with it, some do; nothing changed: not a byte. */
static void test_paint(void **state)
{
    struct fixture *fixture = *state;
    struct top_screen screen = {0};
    struct text plain = {0}, coloured = {0}, none = {0};
    top_screen_init(&screen, 80, 24);
    top_draw(&fixture->model, &fixture->view, &screen);
    top_screen_paint(&screen, NULL, &plain);
    assert_null(strstr(text_cstr(&plain), ";31m"));
    assert_null(strstr(text_cstr(&plain), ";32m"));
    screen.is_coloured = true;
    top_screen_paint(&screen, NULL, &coloured);
    assert_non_null(strstr(text_cstr(&coloured), ";31m"));
    top_screen_paint(&screen, &screen, &none);
    assert_int_equal(none.size, 0);
    text_fini(&plain);
    text_fini(&coloured);
    text_fini(&none);
    top_screen_fini(&screen);
}

/* ---- keys --------------------------------------------------------------------------------------- */

static uint32_t shown(const struct fixture *fixture)
{
    struct top_rows rows;
    top_view_rows(&fixture->view, &fixture->model, &rows);
    uint32_t count = rows.count;
    vec_fini(&rows);
    return count;
}

/* Moving stays in the list; a filter narrows it while it is typed; escape takes it away. */
static void test_keys_move_and_filter(void **state)
{
    struct fixture *fixture = *state;
    press(fixture, "g\x1b[B\x1b[Bj");
    assert_int_equal(fixture->view.selected[TOP_GROUPS], 3);
    press(fixture, "kkkkkk");
    assert_int_equal(fixture->view.selected[TOP_GROUPS], 0);
    press(fixture, "G");
    assert_int_equal(fixture->view.selected[TOP_GROUPS], 29);
    press(fixture, "/9C5F12");
    assert_int_equal(shown(fixture), 1);
    press(fixture, "\x7f\r");
    assert_int_equal(shown(fixture), 11);
    assert_int_equal(press(fixture, "\r"), TOP_DO_OPEN);
    press(fixture, "\x1b");
    assert_int_equal(shown(fixture), 30);
    assert_int_equal(press(fixture, "q"), TOP_DO_QUIT);
    assert_int_equal(press(fixture, "/\x03"), TOP_DO_QUIT);
    assert_int_equal(press(fixture, "\x1a"), TOP_DO_SUSPEND);
}

/* An action is done only where the observer takes it, and only after a y. */
static void test_actions_are_confirmed(void **state)
{
    struct fixture *fixture = *state;
    press(fixture, "wx");
    assert_false(fixture->view.is_confirming);
    assert_true(fixture->model.notice.size > 0);
    fixture->model.can_act = true;
    press(fixture, "x");
    assert_true(fixture->view.is_confirming);
    assert_int_equal(press(fixture, "n"), TOP_DO_DRAW);
    press(fixture, "x");
    assert_int_equal(press(fixture, "y"), TOP_DO_ACT);
}

/* ---- frames ------------------------------------------------------------------------------------- */

/* A worker that left goes from the list; one that came is added; the others stay. */
static void test_workers_come_and_go(void **state)
{
    struct fixture *fixture = *state;
    struct columns columns = {0};
    columns_begin(&columns, worker_types, sizeof worker_types / sizeof worker_types[0]);
    add_worker(&columns, 2, "gone", NOW);
    add_worker(&columns, 9, "new", 0);
    add_worker(&columns, 1, "other", 0);
    send(&fixture->model, &columns, TOP_CHANNEL_WORKERS, MODE_UPSERT);
    columns_fini(&columns);
    static const char *const names[] = {"other",
                                        "\xe4\xbd\x9c\xe6\xa5\xad\xe8\x80\x85 \xc3\xa9\xff", "new"};
    assert_int_equal(fixture->model.workers.rows.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_string_equal(text_cstr(&fixture->model.workers.rows.items[i]->texts[1]), names[i]);
    }
}

/* Every frame that was cut short, and every one with a byte of its lengths changed, is refused or read within its
 * bounds (the sanitizers watch). */
static void test_malformed_frames_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct columns columns = {0};
    struct text frame = {0};
    const struct frame_head head = {.mode = MODE_UPSERT, .channel = TOP_CHANNEL_WORKERS};
    columns_begin(&columns, worker_types, sizeof worker_types / sizeof worker_types[0]);
    add_worker(&columns, 1, "w", 0);
    columns_write(&columns, &head, &frame);
    for (size_t size = 0; size + 8 <= frame.size; size++) {
        void *exact = mem_copy(frame.data, size + 1);
        assert_int_equal(top_model_frame(&fixture->model, span_of(exact, size)), ERR_MALFORMED);
        mem_free(exact);
    }
    for (size_t at = 0; at < 32 + 26 * 8; at++) {
        uint8_t *exact = mem_copy(frame.data, frame.size);
        exact[at] ^= 0x81;
        int code = top_model_frame(&fixture->model, span_of(exact, frame.size));
        assert_true(code == OK || code == ERR_MALFORMED);
        mem_free(exact);
    }
    text_fini(&frame);
    columns_fini(&columns);
}

/* The answer to a GET is JSON of the right shape, or refused. */
static void test_malformed_stream_is_refused(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(top_model_stream(&fixture->model, SPAN("")), ERR_MALFORMED);
    assert_int_equal(top_model_stream(&fixture->model, SPAN("[1]")), ERR_MALFORMED);
    assert_int_equal(top_model_stream(&fixture->model, SPAN("{\"lanes\": {}}")), ERR_MALFORMED);
    assert_int_equal(top_model_stream(&fixture->model, SPAN("{\"lanes\": [1, {\"busy\": 2}]}")),
                     OK);
    struct text got = {0};
    press(fixture, "s");
    picture(fixture, 80, 24, false, &got);
    text_fini(&got);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_pages_are_as_drawn),
        STORY(test_ascii_is_enough),
        STORY(test_any_size_is_drawn),
        STORY(test_names_do_not_steer_the_terminal),
        STORY(test_paint),
        STORY(test_keys_move_and_filter),
        STORY(test_actions_are_confirmed),
        STORY(test_workers_come_and_go),
        STORY(test_frames_are_as_narrow_as_their_numbers),
        STORY(test_malformed_frames_are_refused),
        STORY(test_malformed_stream_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
