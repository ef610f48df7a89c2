/* Spill files: what is written comes back, or an error that says what happened; nothing stays behind. */
#include "unit/store/spill_support.h"

#include <sys/resource.h>

#include "store/spill.h"

static struct spill *new_spill(uint64_t bytes_max, const struct faults *faults)
{
    return spill_create(&(struct spill_options){
        .directory = spill_directory(),
        .bytes_max = bytes_max,
        .compression = COMPRESS_LZ4,
        .system = faults == NULL ? NULL : &faults->system,
    });
}

static struct spill_write write_one(struct spill *spill, const struct store_value *value)
{
    struct spill_write write = {.serial = 1, .value = value};
    struct text why = {0};
    spill_write_all(spill, &write, 1, &why);
    assert_int_equal(why.size > 0, write.code != OK);
    text_fini(&why);
    return write;
}

/* Read it; what is expected is the value, or a code. */
static void expect_read(const struct spill *spill, const struct spill_write *write, int code)
{
    struct spill_loaded loaded;
    struct text why = {0};
    assert_int_equal(spill_read(spill, &write->place, write->serial, &loaded, &why), code);
    assert_int_equal(why.size > 0, code != OK);
    if (code == OK) {
        struct store_segments *segments =
            store_segments_create(&(struct store_segments_options){0});
        struct store_value *value = spill_value(&loaded, segments);
        assert_same_value(value, write->value);
        assert_int_equal(value->segment >= 0, write->value->size > CHANNEL_INLINE_MAX + 100);
        store_value_unref(value);
        assert_int_equal(store_segments_bytes(segments), 0);
        store_segments_unref(segments);
    }
    text_fini(&why);
}

static void unref_value(struct spill_write *write)
{
    store_value_unref((struct store_value *)(uintptr_t)write->value);
}

/* Values of all shapes: none, empty and many frames; within a block, at its edges, over it; with a file of their
 * own; such as compress and such as do not. */
static void test_shapes(void **state)
{
    (void)state;
    static const struct {
        uint32_t count;
        size_t sizes[3];
    } shapes[] = {
        {0, {0}},
        {1, {0}},
        {1, {1}},
        {3, {10, 0, 3}},
        {1, {10240}},
        {2, {200, 200000}},
        {1, {256 * 1024}},
        {3, {300000, 0, 100}},
        {1, {SPILL_BLOCK_MAX}},
        {2, {SPILL_BLOCK_MAX + 1, 2 * SPILL_BLOCK_MAX}},
        {2, {100, 5000000}},
        {1, {17 * 1024 * 1024}},
    };
    enum { COUNT = sizeof shapes / sizeof shapes[0] };
    struct spill *spill = new_spill(0, NULL);
    struct spill_write writes[2 * COUNT];
    for (uint32_t i = 0; i < 2 * COUNT; i++) {
        bool is_random = i >= COUNT;
        writes[i] = (struct spill_write){
            .serial = 100 + i,
            .value = frames_value(shapes[i % COUNT].sizes, shapes[i % COUNT].count, is_random, i),
        };
    }
    struct text why = {0};
    spill_write_all(spill, writes, 2 * COUNT, &why);
    assert_string_equal(text_cstr(&why), "");
    for (uint32_t i = 0; i < 2 * COUNT; i++) {
        assert_int_equal(writes[i].code, OK);
        expect_read(spill, &writes[i], OK);
        if (shapes[i % COUNT].sizes[0] >= 10000) {
            bool is_smaller = writes[i].place.size < writes[i].value->size;
            assert_int_equal(is_smaller, i < COUNT);
        }
    }
    assert_true(spill_files(NULL) >= 3);
    for (uint32_t i = 0; i < 2 * COUNT; i++) {
        spill_free(spill, &writes[i].place);
        unref_value(&writes[i]);
    }
    assert_int_equal(spill_files(NULL), 2); /* one empty file of each class that is shared */
    spill_destroy(spill);
    assert_int_equal(spill_files(NULL), -1);
}

/* Keys come and go: the file does not grow, and what stays is not touched. Small values are written many at a
 * time. */
static void test_room_is_used_again(void **state)
{
    (void)state;
    enum { COUNT = 600 };
    struct faults faults;
    faults_init(&faults);
    struct spill *spill = new_spill(0, &faults);
    static struct spill_write writes[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        writes[i] = (struct spill_write){.serial = i, .value = sized_value(10240, true, i)};
    }
    struct text why = {0};
    spill_write_all(spill, writes, COUNT, &why);
    assert_true(faults.write_count <= 8);
    uint64_t bytes, bytes_then;
    assert_int_equal(spill_files(&bytes), 1);
    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t i = round % 2; i < COUNT; i += 2) {
            spill_free(spill, &writes[i].place);
            unref_value(&writes[i]);
            uint64_t serial = i + COUNT * (round + 1);
            writes[i] =
                (struct spill_write){.serial = serial, .value = sized_value(10240, true, serial)};
            spill_write_all(spill, &writes[i], 1, &why);
        }
    }
    assert_int_equal(spill_files(&bytes_then), 1);
    assert_int_equal(bytes_then, bytes);
    for (uint32_t i = 0; i < COUNT; i++) {
        expect_read(spill, &writes[i], OK);
        unref_value(&writes[i]);
    }
    spill_destroy(spill);
    assert_int_equal(spill_files(NULL), -1);
}

/* One wrong byte, wherever it is in the record, is found; so is another value's record. */
static void test_spoiled(void **state)
{
    (void)state;
    static const size_t sizes[] = {10240, 3000000, 17 * 1024 * 1024};
    for (uint32_t i = 0; i < 3; i++) {
        struct spill *spill = new_spill(0, NULL);
        struct store_value *value = sized_value(sizes[i], i == 1, 3);
        struct spill_write write = write_one(spill, value);
        uint64_t size = write.place.size;
        const uint64_t offsets[] = {0,
                                    5,
                                    9,
                                    17,
                                    25,
                                    33,
                                    45,
                                    50,
                                    write.place.header_size - 1,
                                    write.place.header_size,
                                    size / 2,
                                    size - 1};
        for (uint32_t k = 0; k < sizeof offsets / sizeof offsets[0]; k++) {
            spoil(0, write.place.offset + offsets[k]);
            expect_read(spill, &write, ERR_CORRUPT);
            spoil(0, write.place.offset + offsets[k]);
        }
        expect_read(spill, &write, OK);
        write.serial++;
        expect_read(spill, &write, ERR_CORRUPT);
        store_value_unref(value);
        spill_destroy(spill);
    }
}

/* A file cut short, or removed by somebody; a directory removed before the first write is made again, and
 * what lies in open files is not lost with it. */
static void test_files_vanish(void **state)
{
    (void)state;
    struct spill *spill = new_spill(0, NULL);
    struct store_value *small = sized_value(10240, true, 1);
    struct store_value *large = sized_value(17 * 1024 * 1024, true, 2);
    struct spill_write in_shared = write_one(spill, small);
    struct spill_write in_own = write_one(spill, large);
    char path[128];
    snprintf(path, sizeof path, "%s/1.spill", spill_directory());
    assert_int_equal(truncate(path, 1000000), 0);
    expect_read(spill, &in_own, ERR_TRUNCATED);
    assert_int_equal(unlink(path), 0);
    expect_read(spill, &in_own, ERR_NOT_FOUND);
    snprintf(path, sizeof path, "%s/0.spill", spill_directory());
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(spill_directory()), 0);
    expect_read(spill, &in_shared, OK);
    struct spill_write again = write_one(spill, large);
    assert_int_equal(again.code, OK);
    expect_read(spill, &again, OK);
    store_value_unref(small);
    store_value_unref(large);
    spill_destroy(spill);
    assert_int_equal(spill_files(NULL), -1);
}

/* The directory cannot be made. */
static void test_no_directory(void **state)
{
    (void)state;
    struct spill *spill = spill_create(&(struct spill_options){.directory = "/proc/cask/storage"});
    struct store_value *value = sized_value(10240, true, 1);
    assert_int_equal(write_one(spill, value).code, ERR_NOT_FOUND);
    store_value_unref(value);
    spill_destroy(spill);
}

/* Every call of the system may do less than asked, or be interrupted. */
static void test_short_calls(void **state)
{
    (void)state;
    struct faults faults;
    faults_init(&faults);
    faults.part_max = 1000;
    struct spill *spill = new_spill(0, &faults);
    static const size_t sizes[] = {100, 10240, 1500000};
    for (uint32_t i = 0; i < 3; i++) {
        struct store_value *value = sized_value(sizes[i], true, i);
        struct spill_write write = write_one(spill, value);
        assert_int_equal(write.code, OK);
        expect_read(spill, &write, OK);
        store_value_unref(value);
    }
    spill_destroy(spill);
}

/* What errno the system gives, and what is made of it. */
static void test_errors(void **state)
{
    (void)state;
    static const struct {
        int error, code;
    } cases[] = {
        {ENOSPC, ERR_NO_SPACE}, {EDQUOT, ERR_NO_SPACE}, {EFBIG, ERR_NO_SPACE},
        {EIO, ERR_IO},          {EMFILE, ERR_BUSY},     {ENOMEM, ERR_BUSY},
    };
    struct store_value *small = sized_value(10240, true, 1);
    struct store_value *large = sized_value(3000000, true, 1);
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct faults faults;
        faults_init(&faults);
        struct spill *spill = new_spill(0, &faults);
        faults.open_error = cases[i].error;
        assert_int_equal(write_one(spill, small).code, cases[i].code);
        faults.open_error = 0;
        faults.write_error = cases[i].error;
        assert_int_equal(write_one(spill, small).code, cases[i].code);
        faults.writes_good = 2; /* in the middle of it */
        assert_int_equal(write_one(spill, large).code, cases[i].code);
        faults.write_error = 0;
        struct spill_write good = write_one(spill, small);
        assert_int_equal(good.place.offset, 0); /* the failed one's room was given back */
        faults.read_error = cases[i].error;
        expect_read(spill, &good, cases[i].code);
        spill_destroy(spill);
        assert_int_equal(spill_files(NULL), -1);
    }
    store_value_unref(small);
    store_value_unref(large);
}

/* The disk is full in the middle of a batch: what could not be written is named, the rest is there. */
static void test_full_in_a_batch(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    struct faults faults;
    faults_init(&faults);
    struct spill *spill = new_spill(0, &faults);
    static struct spill_write writes[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        writes[i] = (struct spill_write){.serial = i, .value = sized_value(10240, true, i)};
    }
    faults.write_error = ENOSPC;
    faults.writes_good = 1;
    struct text why = {0};
    spill_write_all(spill, writes, COUNT, &why);
    assert_non_null(strstr(text_cstr(&why), "No space left"));
    text_fini(&why);
    uint32_t good = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(writes[i].code, i < 90 ? OK : i < 110 ? writes[i].code : ERR_NO_SPACE);
        if (writes[i].code == OK) {
            expect_read(spill, &writes[i], OK);
            good++;
        } else {
            assert_null(writes[i].place.file);
        }
        unref_value(&writes[i]);
    }
    assert_true(good > 90 && good < 110); /* a megabyte */
    spill_destroy(spill);
}

/* distributed.worker.memory.max-spill: bytes on disk, after compression. */
static void test_bytes_max(void **state)
{
    (void)state;
    struct spill *spill = new_spill(100000, NULL);
    struct store_value *value = sized_value(60000, true, 1);
    struct store_value *packed = sized_value(200000, false, 1);
    struct spill_write first = write_one(spill, value);
    assert_int_equal(first.code, OK);
    assert_int_equal(write_one(spill, value).code, ERR_NO_SPACE);
    assert_int_equal(write_one(spill, packed).code, OK);
    spill_free(spill, &first.place);
    assert_int_equal(write_one(spill, value).code, OK);
    store_value_unref(value);
    store_value_unref(packed);
    spill_destroy(spill);
}

/* A limit of the process on the size of files fails the write; it does not end the process. */
static void test_file_size_limit(void **state)
{
    (void)state;
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){.rlim_cur = 1000000, .rlim_max = before.rlim_max};
    struct spill *spill = new_spill(0, NULL);
    struct store_value *value = sized_value(3000000, true, 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct spill_write write = write_one(spill, value);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(write.code, ERR_NO_SPACE);
    assert_int_equal(write_one(spill, value).code, OK);
    store_value_unref(value);
    spill_destroy(spill);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),       cmocka_unit_test(test_room_is_used_again),
        cmocka_unit_test(test_spoiled),      cmocka_unit_test(test_files_vanish),
        cmocka_unit_test(test_no_directory), cmocka_unit_test(test_short_calls),
        cmocka_unit_test(test_errors),       cmocka_unit_test(test_full_in_a_batch),
        cmocka_unit_test(test_bytes_max),    cmocka_unit_test(test_file_size_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
