/* The table's moves as stories, then random scripts against a model: whatever order things end in,
 * a key has the value that was put last, and everything written is freed once. */
#include "unit/store/support.h"

#include "base/prng.h"
#include "store/table.h"

/* ---- a world for the table: executors and a disk whose answers the test gives ---- */

enum { KEYS = 12, WAITERS = 16, PENDING = 256, HISTORY = 4096 };

/* Where `file` of a place points: what was written there. */
struct written {
    uint64_t number;
    bool is_free;
};

struct pending {
    enum { PENDING_EXPORT, PENDING_WRITE, PENDING_READ } kind;
    struct held *held;
    uint32_t executor;
    uint64_t handle;
    uint64_t number; /* an export's: what the object was when it was asked for */
};

struct waiting {
    struct store_waiter waiter;
    uint32_t key;
    bool is_busy;
};

struct world {
    struct table table;
    struct prng prng;
    struct text log;        /* of actions, if wanted */
    uint64_t numbers[KEYS]; /* what each key's value is; 0: there is none */
    uint64_t live[HISTORY]; /* handle → number; 0: the executor does not know it */
    uint32_t executor_of[HISTORY];
    uint64_t handle_next, number_next;
    struct written disk[HISTORY];
    uint32_t written_count;
    struct pending pending[PENDING];
    uint32_t pending_count;
    struct waiting waiting[WAITERS];
    uint32_t answers, lost;
};

static struct world *new_world(uint64_t seed)
{
    struct world *world = mem_zalloc(1, sizeof *world);
    prng_init(&world->prng, seed);
    world->handle_next = 1;
    world->number_next = 1;
    return world;
}

static struct span key_name(uint32_t key)
{
    static char name[16];
    snprintf(name, sizeof name, "key-%u", key);
    return span_of_text(name);
}

static uint32_t random_below(struct world *world, uint32_t bound)
{
    return (uint32_t)(prng_unit(&world->prng) * bound);
}

static void add_pending(struct world *world, struct pending pending)
{
    assert_true(world->pending_count < PENDING);
    world->pending[world->pending_count++] = pending;
}

/* What the table asks for begins; only the answers to waiters are complete at once. */
static void run(struct world *world)
{
    struct table *table = &world->table;
    struct table_action action;
    while (table_next_action(table, &action)) {
        switch (action.kind) {
        case TABLE_EXPORT:
            text_printf(&world->log, "export %u/%u ", action.executor, (unsigned)action.handle);
            add_pending(world, (struct pending){.kind = PENDING_EXPORT,
                                                .executor = action.executor,
                                                .handle = action.handle,
                                                .number = world->live[action.handle]});
            break;
        case TABLE_RELEASE:
            text_printf(&world->log, "release %u ", (unsigned)action.handle);
            world->live[action.handle] = 0;
            break;
        case TABLE_FREE: {
            text_printf(&world->log, "free ");
            struct written *written = (struct written *)action.place.file;
            assert_false(written->is_free);
            written->is_free = true;
            break;
        }
        case TABLE_ANSWER: {
            text_printf(&world->log, "answer %s ", error_name(action.code));
            world->answers++;
            struct waiting *waiting = (struct waiting *)action.waiter;
            if (waiting != NULL) {
                waiting->waiter.is_due = false;
                waiting->is_busy = false;
                if (action.value != NULL && world->numbers[waiting->key] != 0) {
                    /* What it waited for may have been put anew since, but then it was told so. */
                    assert_int_equal(action.code, OK);
                }
            }
            store_value_unref(action.value);
            break;
        }
        case TABLE_LOST:
            text_printf(&world->log, "lost %.*s ", (int)action.key.size, action.key.data);
            world->lost++;
            for (uint32_t key = 0; key < KEYS; key++) {
                if (span_equal(key_name(key), action.key) &&
                    table_find(table, action.key) == NULL) {
                    world->numbers[key] = 0;
                }
            }
            break;
        }
        mem_free((void *)(uintptr_t)action.key.data);
        text_fini(&action.why);
    }
    for (struct held *held; (held = table_next_write(table)) != NULL;) {
        text_printf(&world->log, "write ");
        add_pending(world, (struct pending){.kind = PENDING_WRITE, .held = held});
    }
    for (struct held *held; (held = table_next_read(table)) != NULL;) {
        text_printf(&world->log, "read ");
        add_pending(world, (struct pending){.kind = PENDING_READ, .held = held});
    }
    table_check(table);
}

static void end_write(struct world *world, struct held *held, int code)
{
    struct spill_place place = {0};
    if (code == OK) {
        assert_true(world->written_count < HISTORY);
        struct written *written = &world->disk[world->written_count++];
        written->number = value_number(held->value);
        place = (struct spill_place){.file = (struct spill_file *)written, .size = 100};
    }
    table_wrote(&world->table, held, code, place);
}

static void end_read(struct world *world, struct held *held, int code)
{
    const struct written *written = (const struct written *)held->place.file;
    assert_false(written->is_free);
    struct store_value *value = code == OK ? number_value(written->number) : NULL;
    table_read(&world->table, held, code, value, "the disk is broken");
}

static void end_export(struct world *world, const struct pending *pending, bool fails)
{
    if (pending->number == 0) {
        return; /* its executor has died, or was told to forget it before */
    }
    if (fails) {
        table_export_failed(&world->table, pending->executor, pending->handle, "cannot be pickled");
    } else {
        table_exported(&world->table, pending->executor, pending->handle,
                       number_value(pending->number));
    }
}

/* Pending thing `index` ends; code: of a read or write; not OK: an export fails. */
static void end_pending(struct world *world, uint32_t index, int code)
{
    struct pending pending = world->pending[index];
    world->pending[index] = world->pending[--world->pending_count];
    switch (pending.kind) {
    case PENDING_EXPORT:
        end_export(world, &pending, code != OK);
        break;
    case PENDING_WRITE:
        end_write(world, pending.held, code);
        break;
    case PENDING_READ:
        end_read(world, pending.held, code);
        break;
    }
}

static void finish(struct world *world)
{
    while (world->pending_count > 0) {
        end_pending(world, 0, OK);
        run(world);
    }
}

static struct held *put(struct world *world, uint32_t key, uint32_t executor, bool with_value)
{
    assert_true(world->handle_next < HISTORY);
    uint64_t handle = world->handle_next++;
    uint64_t number = world->number_next++;
    world->numbers[key] = number;
    if (executor != STORE_NO_EXECUTOR) {
        world->live[handle] = number;
        world->executor_of[handle] = executor;
    }
    struct store_item item = {
        .key = key_name(key),
        .nbytes = 10,
        .type = SPAN("int"),
        .executor = executor,
        .handle = handle,
        .value = with_value ? number_value(number) : NULL,
    };
    return table_put(&world->table, &item);
}

static void drop(struct world *world, uint32_t key)
{
    struct held *held = table_find(&world->table, key_name(key));
    if (held != NULL) {
        world->live[held->handle] = 0; /* the node tells the executors */
        table_drop(&world->table, held);
    }
    world->numbers[key] = 0;
}

static void get(struct world *world, uint32_t key, struct waiting *waiting)
{
    struct held *held = table_find(&world->table, key_name(key));
    if (held == NULL) {
        return;
    }
    const struct store_value *value = table_get(&world->table, held, &waiting->waiter);
    if (value != NULL) {
        assert_int_equal(value_number(value), world->numbers[key]);
    } else {
        waiting->key = key;
        waiting->is_busy = true;
    }
}

static void end_world(struct world *world)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        drop(world, key);
    }
    run(world);
    finish(world);
    for (uint32_t i = 0; i < world->written_count; i++) {
        assert_true(world->disk[i].is_free);
    }
    for (uint32_t i = 0; i < WAITERS; i++) {
        assert_false(world->waiting[i].is_busy);
    }
    assert_int_equal(world->table.disk_bytes, 0);
    assert_int_equal(world->table.managed_bytes, 0);
    table_fini(&world->table);
    text_fini(&world->log);
    mem_free(world);
}

static void expect_log(struct world *world, const char *log)
{
    run(world);
    assert_string_equal(text_cstr(&world->log), log);
    text_clear(&world->log);
}

/* ---- stories ---- */

/* Memory is short: a live object is exported, written, and only then forgotten everywhere; asked for, it
 * is read, and leaves a second time without being written. */
static void test_there_and_back(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    struct held *held = put(world, 0, 3, false);
    assert_int_equal(table_evict(&world->table, 1), 10);
    expect_log(world, "export 3/1 ");
    assert_int_equal(world->table.leaving_bytes, 10);
    end_pending(world, 0, OK);
    expect_log(world, "write ");
    assert_int_equal(world->table.managed_bytes, 10);
    end_pending(world, 0, OK);
    expect_log(world, "release 1 ");
    assert_int_equal(world->table.managed_bytes, 0);
    assert_int_equal(world->table.spilled_memory, 10);
    assert_int_equal(world->table.spilled_disk, 100);

    get(world, 0, &world->waiting[0]);
    get(world, 0, &world->waiting[1]);
    expect_log(world, "read ");
    end_pending(world, 0, OK);
    expect_log(world, "answer OK answer OK ");
    assert_int_equal(world->table.memory_count, 1);
    assert_int_equal(world->table.spilled_disk, 0);
    assert_int_equal(world->table.disk_bytes, 100);
    assert_non_null(held->value);
    assert_int_equal(table_evict(&world->table, 1), 10);
    expect_log(world, "release 1 ");
    assert_int_equal(world->table.spilled_count, 1);
    end_world(world);
}

/* Of three values the one that was not used for the longest time goes; what a peer is being sent stays. */
static void test_order_of_use(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    struct held *first = put(world, 0, STORE_NO_EXECUTOR, true);
    struct held *second = put(world, 1, STORE_NO_EXECUTOR, true);
    struct held *third = put(world, 2, STORE_NO_EXECUTOR, true);
    table_touch(&world->table, first);
    struct store_value *sent = store_value_ref(second->value);
    assert_int_equal(table_evict(&world->table, 10), 10);
    assert_int_equal(third->job, HELD_TO_WRITE);
    assert_int_equal(second->job, HELD_IDLE);
    assert_int_equal(table_evict(&world->table, 100), 10);
    assert_int_equal(first->job, HELD_TO_WRITE);
    store_value_unref(sent);
    run(world);
    finish(world);
    assert_int_equal(world->table.spilled_count, 2);
    end_world(world);
}

/* A key is dropped and computed again while its first value is being written: the second stays, the first
 * one's record is freed as soon as it is there. */
static void test_put_again_while_written(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    put(world, 0, STORE_NO_EXECUTOR, true);
    table_evict(&world->table, 1);
    expect_log(world, "write ");
    drop(world, 0);
    put(world, 0, STORE_NO_EXECUTOR, true);
    expect_log(world, "");
    end_pending(world, 0, OK);
    expect_log(world, "free ");
    get(world, 0, &world->waiting[0]);
    assert_false(world->waiting[0].is_busy);
    end_world(world);
}

/* Put again over the old one, without a drop between, while that is being read for somebody: he is told, and
 * the old executors' copies go. */
static void test_put_over_while_read(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    put(world, 0, STORE_NO_EXECUTOR, true);
    table_evict(&world->table, 1);
    run(world);
    finish(world);
    text_clear(&world->log);
    get(world, 0, &world->waiting[0]);
    expect_log(world, "read ");
    put(world, 0, 1, false);
    expect_log(world, "release 1 answer NOT_FOUND ");
    end_pending(world, 0, OK);
    expect_log(world, "free ");
    end_world(world);
}

/* Used while it is being written: it is on disk now, but stays in memory as well. */
static void test_used_while_written(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    put(world, 0, STORE_NO_EXECUTOR, true);
    table_evict(&world->table, 1);
    expect_log(world, "write ");
    get(world, 0, &world->waiting[0]);
    end_pending(world, 0, OK);
    expect_log(world, "");
    assert_int_equal(world->table.memory_count, 1);
    assert_int_equal(world->table.disk_bytes, 100);
    assert_true(table_free_clean(&world->table));
    assert_false(table_free_clean(&world->table));
    expect_log(world, "free ");
    end_world(world);
}

/* Used while it only stands in the queue: it is not written at all. */
static void test_used_while_queued(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    put(world, 0, STORE_NO_EXECUTOR, true);
    table_evict(&world->table, 1);
    get(world, 0, &world->waiting[0]);
    expect_log(world, "");
    assert_int_equal(world->table.leaving_bytes, 0);
    end_world(world);
}

/* The disk is full: the value stays in memory, and others are tried before it. */
static void test_write_fails(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    struct held *first = put(world, 0, STORE_NO_EXECUTOR, true);
    put(world, 1, STORE_NO_EXECUTOR, true);
    table_evict(&world->table, 1);
    expect_log(world, "write ");
    end_pending(world, 0, ERR_NO_SPACE);
    expect_log(world, "");
    assert_int_equal(world->table.managed_bytes, 20);
    assert_int_equal(world->table.leaving_bytes, 0);
    assert_ptr_equal(world->table.by_use.newest, first);
    end_world(world);
}

/* A record cannot be read back: who waits is told, the key is gone, and the node hears of it. When reading
 * could only not be tried, the value stays. */
static void test_read_fails(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    put(world, 0, STORE_NO_EXECUTOR, true);
    table_evict(&world->table, 1);
    run(world);
    finish(world);
    text_clear(&world->log);
    get(world, 0, &world->waiting[0]);
    expect_log(world, "read ");
    end_pending(world, 0, ERR_BUSY);
    expect_log(world, "answer BUSY ");
    get(world, 0, &world->waiting[0]);
    expect_log(world, "read ");
    end_pending(world, 0, ERR_CORRUPT);
    expect_log(world, "lost key-0 answer CORRUPT free ");
    assert_null(table_find(&world->table, key_name(0)));
    end_world(world);
}

/* Nobody wants it any more before its turn to be read has come; and after. */
static void test_cancelled_reads(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    put(world, 0, STORE_NO_EXECUTOR, true);
    table_evict(&world->table, 1);
    run(world);
    finish(world);
    text_clear(&world->log);
    struct waiting *waiting = &world->waiting[0];
    get(world, 0, waiting);
    table_unwait(&world->table, &waiting->waiter);
    expect_log(world, "");
    get(world, 0, waiting);
    expect_log(world, "read ");
    table_unwait(&world->table, &waiting->waiter);
    end_pending(world, 0, OK);
    expect_log(world, "");
    assert_int_equal(world->table.spilled_count, 1);
    /* Even when the answer is on its way. */
    get(world, 0, waiting);
    expect_log(world, "read ");
    end_pending(world, 0, OK);
    table_unwait(&world->table, &waiting->waiter);
    assert_false(waiting->waiter.is_due);
    waiting->is_busy = false;
    expect_log(world, "answer OK "); /* to nobody */
    end_world(world);
}

/* An executor dies: what is only there is lost and named, what was exported or is on disk survives. */
static void note_lost(void *user, struct span key, uint64_t handle)
{
    struct text *text = user;
    text_printf(text, "%.*s/%u ", (int)key.size, key.data, (unsigned)handle);
}

static void test_executor_lost(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    put(world, 0, 7, false);
    put(world, 1, 7, true);
    put(world, 2, 8, false);
    put(world, 3, 7, false);
    get(world, 3, &world->waiting[0]);
    expect_log(world, "export 7/4 ");
    struct text lost = {0};
    table_executor_lost(&world->table, 7, note_lost, &lost);
    assert_string_equal(text_cstr(&lost), "key-0/1 key-3/4 ");
    text_fini(&lost);
    expect_log(world, "answer CLOSED ");
    assert_int_equal(world->table.live_count, 1);
    assert_int_equal(world->table.memory_count, 1);
    end_world(world);
}

/* What cannot be pickled never leaves, and is not tried again for want of memory; who asks is told why. */
static void test_cannot_be_exported(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    put(world, 0, 2, false);
    table_evict(&world->table, 1);
    expect_log(world, "export 2/1 ");
    end_pending(world, 0, ERR_TYPE);
    assert_int_equal(table_evict(&world->table, 1), 0);
    expect_log(world, "");
    get(world, 0, &world->waiting[0]);
    expect_log(world, "export 2/1 ");
    end_pending(world, 0, ERR_TYPE);
    expect_log(world, "answer TYPE ");
    end_world(world);
}

/* All inputs of a task are brought to one executor: none goes to disk meanwhile, not even what is being written. */
static void test_pins(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    struct held *first = put(world, 0, STORE_NO_EXECUTOR, true);
    struct held *second = put(world, 1, 5, false);
    table_pin(&world->table, first);
    table_pin(&world->table, first);
    assert_int_equal(table_evict(&world->table, 100), 10);
    expect_log(world, "export 5/2 ");
    table_pin(&world->table, second);
    end_pending(world, 0, OK);
    expect_log(world, "write ");
    end_pending(world, 0, OK);
    expect_log(world, ""); /* written, but not released */
    assert_int_equal(world->table.live_count, 1);
    table_unpin(&world->table, second);
    table_unpin(&world->table, first);
    assert_int_equal(table_evict(&world->table, 100), 10);
    expect_log(world, "release 2 ");
    table_unpin(&world->table, first);
    assert_int_equal(table_evict(&world->table, 100), 10);
    expect_log(world, "write ");
    end_world(world);
}

/* An actor never leaves its executor. */
static void test_stays(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    struct store_item actor = {
        .key = key_name(0), .nbytes = 10, .executor = 1, .handle = 1, .stays = true};
    table_put(&world->table, &actor);
    assert_int_equal(world->table.evictable_bytes, 0);
    assert_int_equal(table_evict(&world->table, 100), 0);
    expect_log(world, "");
    end_world(world);
}

/* The executor that was asked to export dies, but another one has the object as well: that one is asked. */
static void test_moved(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    struct held *held = put(world, 0, 7, false);
    get(world, 0, &world->waiting[0]);
    expect_log(world, "export 7/1 ");
    table_move(&world->table, held, 8);
    struct text lost = {0};
    table_executor_lost(&world->table, 7, note_lost, &lost);
    assert_int_equal(lost.size, 0);
    expect_log(world, "export 8/1 ");
    end_pending(world, 0, OK); /* the first one's answer, too late */
    expect_log(world, "");
    end_pending(world, 0, OK);
    expect_log(world, "answer OK ");
    end_world(world);
}

/* Exported for a peer: the copy is kept for the next one, within bounds. */
static void test_extras(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    for (uint32_t key = 0; key < 3; key++) {
        put(world, key, 1, false);
        get(world, key, &world->waiting[key]);
    }
    run(world);
    finish(world);
    uint64_t each = sizeof(uint64_t) + SERIALIZED.size;
    assert_int_equal(world->table.extra_bytes, 3 * each);
    table_trim_extras(&world->table, 2 * each);
    assert_int_equal(world->table.extra_bytes, 2 * each);
    assert_null(table_find(&world->table, key_name(0))->value);
    assert_non_null(table_find(&world->table, key_name(2))->value);
    end_world(world);
}

/* ---- random scripts ---- */

static void random_end(struct world *world)
{
    static const int codes[] = {OK, OK, OK, OK, OK, ERR_NO_SPACE, ERR_BUSY, ERR_CORRUPT};
    if (world->pending_count > 0) {
        end_pending(world, random_below(world, world->pending_count),
                    codes[random_below(world, 8)]);
    }
}

static void ignore_lost(void *user, struct span key, uint64_t handle)
{
    (void)handle;
    struct world *world = user;
    for (uint32_t i = 0; i < KEYS; i++) {
        if (span_equal(key_name(i), key)) {
            world->numbers[i] = 0;
        }
    }
}

static void lose_executor(struct world *world, uint32_t executor)
{
    for (uint64_t handle = 1; handle < world->handle_next; handle++) {
        if (world->executor_of[handle] == executor) {
            world->live[handle] = 0;
        }
    }
    for (uint32_t i = 0; i < world->pending_count; i++) {
        if (world->pending[i].kind == PENDING_EXPORT && world->pending[i].executor == executor) {
            world->pending[i].number = 0;
        }
    }
    table_executor_lost(&world->table, executor, ignore_lost, world);
}

static void random_use(struct world *world, uint32_t key)
{
    struct waiting *waiting = &world->waiting[random_below(world, WAITERS)];
    if (!waiting->is_busy) {
        get(world, key, waiting);
    } else if (random_below(world, 3) == 0) {
        table_unwait(&world->table, &waiting->waiter);
        waiting->is_busy = false;
    }
}

static void random_pin(struct world *world, uint32_t key)
{
    struct held *held = table_find(&world->table, key_name(key));
    if (held == NULL) {
        return;
    }
    if (held->pins > 0) {
        table_unpin(&world->table, held);
    } else if (random_below(world, 3) == 0) {
        table_pin(&world->table, held);
    } else if (held->executor != STORE_NO_EXECUTOR) {
        uint32_t executor = random_below(world, 3);
        world->executor_of[held->handle] = executor;
        table_move(&world->table, held, executor);
    }
}

static void random_step(struct world *world)
{
    uint32_t key = random_below(world, KEYS);
    switch (random_below(world, 13)) {
    case 0:
        put(world, key, STORE_NO_EXECUTOR, true);
        break;
    case 1:
        put(world, key, random_below(world, 3), random_below(world, 3) == 0);
        break;
    case 2:
        drop(world, key);
        break;
    case 3:
    case 4:
    case 5:
        random_use(world, key);
        break;
    case 6:
        table_evict(&world->table, random_below(world, 60));
        break;
    case 7:
        table_trim_extras(&world->table, random_below(world, 60));
        break;
    case 8:
        if (random_below(world, 8) == 0) {
            lose_executor(world, random_below(world, 3));
        } else if (random_below(world, 8) == 0) {
            table_free_clean(&world->table);
        }
        break;
    case 9:
        random_pin(world, key);
        break;
    default:
        random_end(world);
    }
    if (random_below(world, 4) != 0) {
        run(world); /* else what was asked for waits while more happens */
    }
    table_check(&world->table);
}

/* 400 scripts of 600 steps. Each get in them compares what it finds with what was put last; at the end so does
 * one of every key, then all is dropped and nothing may be left. */
static void test_random_scripts(void **state)
{
    (void)state;
    uint32_t answers = 0, lost = 0, written = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct world *world = new_world(seed);
        for (int step = 0; step < 600; step++) {
            random_step(world);
        }
        run(world);
        finish(world);
        for (uint32_t key = 0; key < KEYS; key++) {
            struct held *held = table_find(&world->table, key_name(key));
            assert_int_equal(held != NULL, world->numbers[key] != 0);
            for (uint32_t i = 0; held != NULL && held->value == NULL && i < WAITERS; i++) {
                if (!world->waiting[i].is_busy) {
                    get(world, key, &world->waiting[i]);
                    break;
                }
            }
            run(world);
            finish(world);
            if (held != NULL) {
                assert_ptr_equal(table_find(&world->table, key_name(key)), held);
                assert_int_equal(value_number(held->value), world->numbers[key]);
            }
        }
        answers += world->answers;
        lost += world->lost;
        written += world->written_count;
        end_world(world);
    }
    assert_true(answers > 1000 && lost > 100 && written > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_order_of_use),
        cmocka_unit_test(test_put_again_while_written),
        cmocka_unit_test(test_put_over_while_read),
        cmocka_unit_test(test_used_while_written),
        cmocka_unit_test(test_used_while_queued),
        cmocka_unit_test(test_write_fails),
        cmocka_unit_test(test_read_fails),
        cmocka_unit_test(test_cancelled_reads),
        cmocka_unit_test(test_executor_lost),
        cmocka_unit_test(test_cannot_be_exported),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_stays),
        cmocka_unit_test(test_moved),
        cmocka_unit_test(test_extras),
        cmocka_unit_test(test_random_scripts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
