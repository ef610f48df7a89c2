/* planner_life.c: starting the planner, its end, and what the next one must be told.
 *
 * A planner that ends takes user code with it. Preload modules, memory policies and the plugins that clients registered
 * are known here, so the next planner gets them again, and it is started without being asked; what
 * functions left behind on `dask_scheduler` is gone. One that ends again and again before it has
 * finished any request is started ever more rarely, and meanwhile requests fail with the reason at
 * once: nothing is gained by starting an interpreter that lacks a module fifty times a second. */
#include "base/log.h"
#include "core/scheduler/amm.h"
#include "node/planner_internal.h"
#include "node/policies.h"
#include "wire/payload.h"

#define LOGGER "distributed.scheduler"

#define PREWARM_SECONDS 0.5      /* the client's first tasks come before what it may need later */
#define FAILURES_FREE 3u         /* ends in a row before any waiting */
#define WAIT_SECONDS_FIRST 1.0   /* doubled by each further end … */
#define WAIT_SECONDS_MAX 60.0    /* … up to this */
#define QUICK_END_SECONDS 30.0   /* a plugin may be why a planner that got it ended so soon */
#define PLUGIN_QUICK_ENDS_MAX 3u /* then it is not registered again */

/* ---- the plugins that clients registered ------------------------------------------------------- */

static uint32_t find_plugin(const struct planner_life *life, struct span name)
{
    uint32_t i = 0;
    while (i < life->plugins.count && !span_equal(text_span(&life->plugins.items[i].name), name)) {
        i++;
    }
    return i;
}

/* In order, for they start in the order in which they were registered. */
static void drop_plugin(struct planner_life *life, uint32_t index)
{
    struct kept_plugin *plugin = &life->plugins.items[index];
    text_fini(&plugin->name);
    blob_unref(plugin->plugin);
    life->plugins.count--;
    memmove(plugin, plugin + 1, (life->plugins.count - index) * sizeof *plugin);
}

void planner_keep_plugin(struct planner *planner, struct span name, const struct request *request)
{
    struct planner_life *life = &planner->life;
    struct span raw;
    struct blob *blob;
    if (msgpack_find(frames_head(&request->message), "plugin", &raw) != OK ||
        payload_take(&request->message, raw, &blob) != OK) {
        return; /* the planner has registered it, so this does not happen */
    }
    uint32_t known = find_plugin(life, name);
    if (known < life->plugins.count) {
        drop_plugin(life, known); /* replaced */
    }
    vec_push(&life->plugins, (struct kept_plugin){.plugin = blob});
    text_add(&life->plugins.items[life->plugins.count - 1].name, name);
}

void planner_forget_plugins(struct planner *planner)
{
    struct planner_life *life = &planner->life;
    for (uint32_t i = life->plugins.count; i-- > 0;) {
        const struct kept_plugin *plugin = &life->plugins.items[i];
        if (!plugin->is_restoring &&
            map_find(&planner->plugins, text_span(&plugin->name)) == NULL) {
            drop_plugin(life, i);
        }
    }
}

/* ---- what each planner is told ----------------------------------------------------------------- */

static struct pending *load(struct planner *planner, enum pending_kind kind, const char *what,
                            uint64_t *out_number)
{
    struct pending *pending = pending_add(planner, kind, out_number);
    text_add_cstr(&pending->what, what);
    return pending;
}

static void restore_plugin(struct planner *planner, struct kept_plugin *plugin)
{
    uint64_t number;
    struct pending *pending = load(planner, PENDING_RESTORE, "", &number);
    text_add(&pending->what, text_span(&plugin->name));
    pending->is_plugin = plugin->is_restoring = true;
    struct outgoing out;
    planner_begin(&out, "register_scheduler_plugin", number, 3);
    msgpack_write_cstr(&out.head, "plugin");
    payload_put(&out, plugin->plugin);
    msgpack_write_cstr(&out.head, "name");
    msgpack_write_str(&out.head, text_span(&plugin->name));
    msgpack_write_cstr(&out.head, "idempotent");
    msgpack_write_bool(&out.head, false);
    planner_send(planner, number, &out);
}

/* The setting distributed.scheduler.preload; false: nil or empty, there are none. */
static bool read_preloads(const struct planner *planner, struct text *out_preload)
{
    config_write(planner->node->config, "distributed.scheduler.preload", out_preload);
    struct msgpack_reader reader = msgpack_reader(text_span(out_preload));
    uint32_t count = 0;
    bool is_list = msgpack_read_array(&reader, &count) == OK;
    return is_list ? count > 0 : msgpack_peek(&reader) == MSGPACK_STR;
}

/* At the scheduler's start (PENDING_PRELOAD) they must load; in a later planner their failure is logged. */
static void send_preloads(struct planner *planner, enum pending_kind kind)
{
    struct text preload = {0}, argv = {0};
    if (read_preloads(planner, &preload)) {
        config_write(planner->node->config, "distributed.scheduler.preload-argv", &argv);
        uint64_t number;
        load(planner, kind, "the preload modules", &number);
        struct outgoing out;
        planner_begin(&out, "preload", number, 2);
        msgpack_write_cstr(&out.head, "preload");
        msgpack_write_raw(&out.head, text_span(&preload));
        msgpack_write_cstr(&out.head, "preload_argv");
        if (argv.size == 0) {
            msgpack_write_nil(&out.head);
        }
        msgpack_write_raw(&out.head, text_span(&argv));
        planner_send(planner, number, &out);
    }
    text_fini(&preload);
    text_fini(&argv);
}

/* The memory manager's policies that are Python classes. */
static void send_policies(struct planner *planner, enum pending_kind kind)
{
    if (policies_have_foreign(planner->node->config)) {
        uint64_t number;
        load(planner, kind, "the active memory manager's policies", &number);
        struct outgoing out;
        planner_begin(&out, "policies", number, 1);
        msgpack_write_cstr(&out.head, "start");
        msgpack_write_bool(&out.head, amm_running(planner->node->core));
        planner_send(planner, number, &out);
    }
}

static bool needs_planner(const struct planner *planner)
{
    struct text preload = {0};
    bool has_preloads = read_preloads(planner, &preload);
    text_fini(&preload);
    return has_preloads || planner->life.plugins.count > 0 ||
           policies_have_foreign(planner->node->config);
}

void planner_restored(const struct pending *pending, const char *failure)
{
    const char *what = text_cstr(&pending->what);
    const char *kind = pending->is_plugin ? "Scheduler plugin " : "";
    if (failure == NULL) {
        log_info(LOGGER, "%s%s: loaded again in the new planner", kind, what);
    } else {
        log_error(LOGGER, "%s%s could not be loaded again in the new planner: %s", kind, what,
                  failure);
    }
}

void planner_restore_answered(struct planner *planner, const struct pending *pending,
                              const char *failure)
{
    struct planner_life *life = &planner->life;
    uint32_t index = find_plugin(life, text_span(&pending->what));
    if (pending->is_plugin && index < life->plugins.count) {
        life->plugins.items[index].is_restoring = false;
        if (failure != NULL) { /* it would fail again */
            drop_plugin(life, index);
        }
    }
    planner_restored(pending, failure);
}

/* ---- start ------------------------------------------------------------------------------------- */

static void on_message(void *user, const struct frames *message)
{
    planner_take_message(user, message);
}

static void on_ended(void *user, const char *why);

static const struct planner_process_events process_events = {
    .message = on_message,
    .ended = on_ended,
};

/* How long no planner is started because too many ended. */
static double seconds_to_wait(const struct planner *planner)
{
    double wait = planner->life.not_before - io_monotonic();
    return wait > 0 ? wait : 0;
}

bool planner_ensure(struct planner *planner, struct text *why)
{
    struct planner_life *life = &planner->life;
    struct node *node = planner->node;
    if (planner->process != NULL) {
        return true;
    }
    if (planner->is_stopping) {
        text_add_cstr(why, "the scheduler is closing");
        return false;
    }
    double wait = seconds_to_wait(planner);
    if (wait > 0) {
        text_printf(why,
                    "%u planners in a row ended before they had finished a request; the next one "
                    "may start in %.1f s. Of the last: %s",
                    life->failures, wait, text_cstr(&life->last_end));
        return false;
    }
    planner->process =
        planner_process_start(node->loop, node->config, &process_events, planner, why);
    if (planner->process == NULL) {
        log_error(LOGGER, "%s", text_cstr(why));
        return false;
    }
    life->started = io_monotonic();
    life->was_asked = false;
    if (life->has_run) {
        send_preloads(planner, PENDING_RESTORE);
        send_policies(planner, PENDING_RESTORE);
    }
    life->has_run = true;
    for (uint32_t i = 0; i < life->plugins.count; i++) {
        restore_plugin(planner, &life->plugins.items[i]);
    }
    return true;
}

void planner_finished_request(struct planner *planner)
{
    planner->life.failures = 0;
    planner->life.ahead_failed = false;
}

/* ---- ahead of need ----------------------------------------------------------------------------- */

/* The setting cask.planner.prewarm: off if it is false or an empty list. What else it says is for the
 * planner to read. */
static bool may_prewarm(const struct config *config)
{
    struct text value = {0};
    config_write(config, "cask.planner.prewarm", &value);
    struct msgpack_reader reader = msgpack_reader(text_span(&value));
    bool is_on = true;
    uint32_t count;
    if (msgpack_peek(&reader) == MSGPACK_BOOL) {
        is_on = msgpack_read_bool(&reader, &is_on) == OK && is_on;
    } else if (msgpack_read_array(&reader, &count) == OK) {
        is_on = count > 0;
    }
    text_fini(&value);
    return is_on;
}

static void prewarm(void *user)
{
    struct planner *planner = user;
    struct planner_life *life = &planner->life;
    if (planner->process != NULL || life->ahead_failed || life->failures > 0 ||
        planner->node->is_closing || !may_prewarm(planner->node->config)) {
        return;
    }
    struct text why = {0};
    if (planner_ensure(planner, &why)) {
        struct outgoing out;
        outgoing_init(&out);
        msgpack_write_map(&out.head, 2);
        msgpack_write_cstr(&out.head, "op");
        msgpack_write_cstr(&out.head, "prewarm");
        msgpack_write_cstr(&out.head, "id");
        msgpack_write_nil(&out.head);
        planner_process_send(planner->process, &out);
        outgoing_fini(&out);
    } else {
        life->ahead_failed = true;
    }
    text_fini(&why);
}

void planner_prewarm(struct planner *planner)
{
    if (planner->process == NULL) {
        io_timer_start(planner->life.prewarm, PREWARM_SECONDS, 0);
    }
}

/* ---- the end ----------------------------------------------------------------------------------- */

static void log_lost_plugins(const struct planner *planner)
{
    struct text lost = {0};
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&planner->plugins, &cursor)) != NULL;) {
        if (find_plugin(&planner->life, entry->name) == planner->life.plugins.count) {
            text_add_cstr(&lost, lost.size > 0 ? ", " : "");
            text_add(&lost, entry->name);
        }
    }
    if (lost.size > 0) {
        log_error(LOGGER, "Scheduler plugins that functions had added were lost with it: %s",
                  text_cstr(&lost));
    }
    text_fini(&lost);
}

/* A plugin that planners do not survive is let go of. */
static void suspect_plugins(struct planner *planner)
{
    struct planner_life *life = &planner->life;
    bool is_quick = io_monotonic() - life->started < QUICK_END_SECONDS;
    for (uint32_t i = life->plugins.count; i-- > 0;) {
        struct kept_plugin *plugin = &life->plugins.items[i];
        plugin->quick_ends = is_quick ? plugin->quick_ends + 1 : 0;
        if (plugin->quick_ends >= PLUGIN_QUICK_ENDS_MAX) {
            log_error(LOGGER,
                      "Scheduler plugin %s is not registered again: %u planners in a row ended "
                      "within %.0f s with it",
                      text_cstr(&plugin->name), plugin->quick_ends, QUICK_END_SECONDS);
            drop_plugin(life, i);
        }
    }
}

static void count_failure(struct planner_life *life, const char *why)
{
    life->failures++;
    text_clear(&life->last_end);
    text_add_cstr(&life->last_end, why);
    double wait = WAIT_SECONDS_FIRST;
    for (uint32_t i = FAILURES_FREE; i < life->failures && wait < WAIT_SECONDS_MAX; i++) {
        wait *= 2;
    }
    wait = wait < WAIT_SECONDS_MAX ? wait : WAIT_SECONDS_MAX;
    life->not_before = life->failures < FAILURES_FREE ? 0 : io_monotonic() + wait;
}

static void on_ended(void *user, const char *why)
{
    struct planner *planner = user;
    planner->process = NULL;
    if (!planner->is_stopping && !planner->life.was_asked) {
        log_warning(LOGGER,
                    "%s\nNothing had been asked of it; the next one is started when it is needed",
                    why);
        planner->life.ahead_failed = true;
    } else if (!planner->is_stopping) {
        log_error(LOGGER, "%s", why);
        log_lost_plugins(planner);
        count_failure(&planner->life, why);
    }
    planner_forget_interest(planner);
    outgoing_clear(&planner->events);
    planner->event_count = 0;
    planner_abandon_queries(planner);
    for (uint32_t i = 0; i < planner->life.plugins.count; i++) {
        planner->life.plugins.items[i].is_restoring = false;
    }
    planner_fail_all(planner, why); /* whose owners may ask for the next at once */
    if (!planner->is_stopping && !planner->node->is_closing) {
        suspect_plugins(planner);
        if (planner->process == NULL && needs_planner(planner)) {
            io_timer_start(planner->life.restart, seconds_to_wait(planner), 0);
        }
    }
}

/* User code must live on: there is something to load again. */
static void on_restart(void *user)
{
    struct planner *planner = user;
    struct text why = {0};
    if (planner->node->is_closing || planner_ensure(planner, &why) || planner->is_stopping) {
        text_fini(&why);
        return;
    }
    double wait = seconds_to_wait(planner);
    io_timer_start(planner->life.restart, wait > 0 ? wait : WAIT_SECONDS_MAX, 0);
    text_fini(&why);
}

/* ---- life -------------------------------------------------------------------------------------- */

void planner_life_init(struct planner *planner)
{
    planner->life.restart = io_timer_create(planner->node->loop, on_restart, planner);
    planner->life.prewarm = io_timer_create(planner->node->loop, prewarm, planner);
    send_preloads(planner, PENDING_PRELOAD);
    send_policies(planner, PENDING_PRELOAD);
}

void planner_life_fini(struct planner *planner)
{
    struct planner_life *life = &planner->life;
    while (life->plugins.count > 0) {
        drop_plugin(life, life->plugins.count - 1);
    }
    vec_fini(&life->plugins);
    text_fini(&life->last_end);
    io_timer_destroy(life->restart);
    io_timer_destroy(life->prewarm);
}
