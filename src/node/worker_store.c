/* worker_store.c: the store of a worker: how it is set up, and what it asks and tells.
 * Source: distributed worker_memory.py, spill.py. */
#include "base/log.h"
#include "node/worker_internal.h"

#define LOGGER "distributed.spill"
/* What headers and alignment take beside a value's bytes. */
#define LENT_ROOM (16u * 1024)
#define LENT_BYTES_MAX (1ull << 40)
/* Without a memory limit. */
#define IDLE_BYTES_MAX (1ull << 30)
#define LEAVING_BYTES_MIN (16ull << 20) /* as much as is written at a time */
#define LEAVING_BYTES_MAX (128ull << 20)
/* A disk at its limit refuses and takes by turns: it is told once in so many seconds. */
#define TROUBLE_PAUSE 60.0

/* Memory for a value to be serialised into, used before if possible: a descriptor for its executor, or -1: it is small,
 * or its executor had better make some. Of no great matter if `nbytes` is wrong. */
static int lend_segment(struct worker_node *worker, struct object *object)
{
    struct store_info info;
    uint8_t *data;
    buf_unref(object->lent); /* to an executor that died meanwhile */
    object->lent = NULL;
    if (store_look(worker->store, object_store_key(object), &info) == STORE_UNKNOWN ||
        info.nbytes <= CHANNEL_INLINE_MAX || info.nbytes > LENT_BYTES_MAX) {
        return -1;
    }
    struct buf *segment = store_segment_take(store_segments(worker->store),
                                             info.nbytes + info.nbytes / 64 + LENT_ROOM, &data);
    int writer = segment == NULL ? -1 : store_segment_writer(segment);
    if (writer < 0) {
        buf_unref(segment);
        return -1;
    }
    object->lent = segment;
    return writer;
}

static void on_export(void *user, uint32_t seat, uint64_t handle)
{
    struct worker_node *worker = user;
    struct object *object = object_find(&worker->objects, handle);
    struct executor *executor = worker->seats.items[seat].executor;
    if (object != NULL && (object->known >> seat & 1) != 0 && executor != NULL) {
        channel_add_export(executor_out(executor), handle, lend_segment(worker, object));
    }
}

static void on_release(void *user, uint64_t handle)
{
    struct worker_node *worker = user;
    struct object *object = object_find(&worker->objects, handle);
    if (object != NULL) {
        object_release(worker, object);
    }
}

static void on_lost(void *user, struct span key, int code, const char *why)
{
    struct worker_node *worker = user;
    uint64_t handle;
    ASSERT(key.size == sizeof handle);
    memcpy(&handle, key.data, sizeof handle);
    struct object *object = object_find(&worker->objects, handle);
    if (object != NULL) {
        struct text name = {0};
        key_print(&name, object->key);
        log_error(LOGGER, "%s is lost (%s): %s", text_cstr(&name), error_name(code), why);
        text_fini(&name);
        object_lost(worker, object);
    }
}

static void on_trouble(void *user, int code, const char *why)
{
    struct worker_node *worker = user;
    double now = io_monotonic();
    if (worker->trouble_told != 0 && now - worker->trouble_told < TROUBLE_PAUSE) {
        return;
    }
    worker->trouble_told = now;
    log_error(LOGGER, "Spill to disk failed; keeping data in memory (%s): %s", error_name(code),
              why);
}

static const struct store_events events = {
    .export = on_export,
    .release = on_release,
    .lost = on_lost,
    .trouble = on_trouble,
};

/* Stock's "auto" is lz4, if it is installed. */
static enum compress_method compression(const struct config *config)
{
    const char *name = config_text(config, "distributed.worker.memory.spill-compression", "auto");
    enum compress_method method = COMPRESS_LZ4;
    if (strcmp(name, "auto") != 0 && !compress_find(span_of_text(name), &method)) {
        method = COMPRESS_NONE;
    }
    return method;
}

void worker_store_create(struct worker_node *worker)
{
    static const char max_spill[] = "distributed.worker.memory.max-spill";
    struct policy_settings settings = worker_memory_settings(worker);
    struct text directory = {0};
    struct store_options options = {.compression = compression(worker->config)};
    text_printf(&directory, "%s/storage", text_cstr(&worker->directory));
    if (policy_spills(&settings, &options.target_bytes)) {
        options.directory = text_cstr(&directory);
    }
    if (!config_is_false(worker->config, max_spill)) {
        options.spilled_bytes_max = (uint64_t)config_bytes(worker->config, max_spill, 0);
    }
    uint64_t limit = worker->options.memory_limit;
    uint64_t leaving = limit / 32;
    options.leaving_bytes_max = leaving < LEAVING_BYTES_MIN   ? LEAVING_BYTES_MIN
                                : leaving > LEAVING_BYTES_MAX ? LEAVING_BYTES_MAX
                                                              : leaving;
    options.idle_bytes_max = limit > 0 ? limit / 4 : IDLE_BYTES_MAX;
    options.segment_count_max = (uint32_t)(io_open_files_max() / 8);
    worker->store = store_create(worker->loop, &options, &events, worker);
    text_fini(&directory);
}
