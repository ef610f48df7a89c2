/* restart.c: workers killed and started again by their nannies; those without one are sent away.
 *
 * Stock counts workers and takes one that has not noticed its end yet for one that is back. Here a restart
 * ends when the old ones are gone as well.
 * Source: distributed scheduler.py restart, restart_workers; protocol.md 5.8. */
#include "node/restart.h"

#include <math.h>

#include "base/alloc.h"
#include "base/log.h"
#include "node/fanout.h"
#include "node/lifecycle.h"
#include "node/planner.h"
#include "node/topics.h"
#include "node/values.h"

#define LOGGER "distributed.scheduler"
#define POLL_SECONDS 0.1

enum outcome { OUTCOME_OK, OUTCOME_REMOVED, OUTCOME_TIMED_OUT };

struct restarted {
    worker_id worker;
    struct span address, nanny; /* nanny empty: none */
    enum outcome outcome;
};

struct restart {
    struct node *node;
    struct arena arena;
    struct restart_options options; /* spans in the arena */
    struct restarted *workers;
    uint32_t count, nanny_count, bad_count;
    uint32_t known_before; /* workers of the whole cluster */
    double deadline;
};

static void restart_free(struct restart *restart)
{
    arena_fini(&restart->arena);
    mem_free(restart);
}

static struct request *request_of(struct restart *restart)
{
    return restart->options.request == 0
               ? NULL
               : request_find(&restart->node->server, restart->options.request);
}

/* ---- the end ------------------------------------------------------------------------------------- */

/* {address: "OK" | "removed" | "timed out"}, or nil. */
static void reply(struct restart *restart)
{
    static const char *const names[] = {"OK", "removed", "timed out"};
    struct request *request = request_of(restart);
    if (request == NULL) {
        return;
    }
    if (restart->options.reply_nil) {
        request_reply_nil(request);
        return;
    }
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, restart->count);
    for (uint32_t i = 0; i < restart->count; i++) {
        msgpack_write_str(&answer.head, restart->workers[i].address);
        msgpack_write_cstr(&answer.head, names[restart->workers[i].outcome]);
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

/* TimeoutError, where somebody is there to see it. */
static void raise_timeout(struct restart *restart, const struct text *why)
{
    struct request *request = request_of(restart);
    if (request != NULL) {
        request_raise_builtin(request, "TimeoutError", "%s", text_cstr(why));
    }
}

static void finish(struct restart *restart)
{
    log_info(LOGGER, "Workers restart finished (stimulus_id='%.*s')",
             (int)restart->options.stimulus.size, (const char *)restart->options.stimulus.data);
    reply(restart);
    restart_free(restart);
}

/* ---- waiting for them to come back --------------------------------------------------------------- */

static bool any_left(const struct restart *restart)
{
    for (uint32_t i = 0; i < restart->count; i++) {
        struct worker_view view;
        if (view_worker(restart->node->core, restart->workers[i].worker, &view)) {
            return true;
        }
    }
    return false;
}

static bool has_nanny(struct node *node, struct span nanny)
{
    for (uint32_t i = 0; i < view_worker_count(node->core); i++) {
        struct worker_view view;
        if (view_worker(node->core, view_worker_at(node->core, i), &view) &&
            span_equal(view.nanny, nanny)) {
            return true;
        }
    }
    return false;
}

static void write_waited(const struct restart *restart, struct text *out)
{
    uint32_t now = view_worker_count(restart->node->core),
             lonely = restart->count - restart->nanny_count;
    uint32_t missing = restart->known_before > now ? restart->known_before - now : 0;
    text_printf(out,
                "Waited for %u worker(s) to reconnect after restarting but, after %gs, %u have not "
                "returned. "
                "Consider a longer timeout, or `wait_for_workers=False`.",
                restart->count, restart->options.timeout, missing);
    if (lonely > 0) {
        text_printf(out,
                    " The %u worker(s) not using Nannies were just shut down instead of restarted "
                    "(restart is only "
                    "possible with Nannies). If your deployment system does not automatically "
                    "re-launch terminated "
                    "processes, then those workers will never come back, and `Client.restart` will "
                    "always time out. "
                    "Do not use `Client.restart` in that case.",
                    lonely);
    }
}

static void give_up(struct restart *restart)
{
    struct text why = {0};
    write_waited(restart, &why);
    if (restart->options.raises) {
        raise_timeout(restart, &why);
        restart_free(restart);
    } else {
        log_error(LOGGER, "%s", text_cstr(&why));
        for (uint32_t i = 0; i < restart->count; i++) {
            struct restarted *one = &restart->workers[i];
            if (one->nanny.size > 0 && !has_nanny(restart->node, one->nanny)) {
                one->outcome = OUTCOME_TIMED_OUT;
            }
        }
        finish(restart);
    }
    text_fini(&why);
}

static void look(void *user)
{
    struct restart *restart = user;
    if (view_worker_count(restart->node->core) >= restart->known_before && !any_left(restart)) {
        finish(restart);
    } else if (io_monotonic() >= restart->deadline || restart->node->is_closing) {
        give_up(restart);
    } else {
        lifecycle_pause(restart->node, POLL_SECONDS, look, restart);
    }
}

/* ---- stopping them ------------------------------------------------------------------------------- */

static void remove_worker(struct restart *restart, const struct restarted *one, const char *cause)
{
    struct worker_view view;
    if (view_worker(restart->node->core, one->worker, &view)) {
        struct event event = event_of(EVENT_WORKER_REMOVE);
        event.of.worker_remove.worker = one->worker;
        event.of.worker_remove.close = true;
        event.of.worker_remove.cause = span_of_text(cause);
        event.stimulus = restart->options.stimulus;
        node_apply(restart->node, &event);
    }
}

/* {"action": "restart-workers", "workers": […], ("client": …)} */
static void log_to(struct restart *restart, const char *topic, bool with_client)
{
    struct text event = {0};
    msgpack_write_map(&event, with_client ? 3 : 2);
    msgpack_write_cstr(&event, "action");
    msgpack_write_cstr(&event, "restart-workers");
    msgpack_write_cstr(&event, "workers");
    msgpack_write_array(&event, restart->count);
    for (uint32_t i = 0; i < restart->count; i++) {
        msgpack_write_str(&event, restart->workers[i].address);
    }
    if (with_client) {
        msgpack_write_cstr(&event, "client");
        if (restart->options.client.size > 0) {
            msgpack_write_str(&event, restart->options.client);
        } else {
            msgpack_write_nil(&event);
        }
    }
    topics_log_value(restart->node->topics, topic, text_span(&event));
    text_fini(&event);
}

static void log_restart(struct restart *restart)
{
    if (restart->options.client.size > 0) {
        struct text client = {0};
        text_add(&client, restart->options.client);
        log_to(restart, text_cstr(&client), false);
        text_fini(&client);
    }
    log_to(restart, "all", true);
}

static void go_on(struct restart *restart)
{
    log_restart(restart);
    if (restart->options.wait_for_workers) {
        look(restart);
    } else {
        finish(restart);
    }
}

/* Some nannies did not stop their workers in time. */
static void write_bad(const struct restart *restart, struct text *out)
{
    const char *before = "{";
    text_printf(out, "%u/%u nanny worker(s) did not shut down within %gs: ", restart->bad_count,
                restart->nanny_count, restart->options.timeout);
    for (uint32_t i = 0; i < restart->count; i++) {
        if (restart->workers[i].outcome == OUTCOME_TIMED_OUT) {
            text_printf(out, "%s'%.*s'", before, (int)restart->workers[i].address.size,
                        (const char *)restart->workers[i].address.data);
            before = ", ";
        }
    }
    text_add_char(out, '}');
}

static void remove_bad(struct restart *restart)
{
    log_error(LOGGER, "%u workers did not shut down within %gs; force closing", restart->bad_count,
              restart->options.timeout);
    for (uint32_t i = 0; i < restart->count; i++) {
        if (restart->workers[i].outcome == OUTCOME_TIMED_OUT) {
            remove_worker(restart, &restart->workers[i],
                          "it did not shut down in time for a restart");
        }
    }
}

/* A nanny could be reached, but its kill raised. */
static const struct fanout_reply *find_raised(const struct fanout *fanout)
{
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        if (fanout->replies.items[i]->code == OK && fanout_failed(fanout->replies.items[i])) {
            return fanout->replies.items[i];
        }
    }
    return NULL;
}

static void killed(struct fanout *fanout)
{
    struct restart *restart = fanout->user;
    const struct fanout_reply *raised = find_raised(fanout);
    uint32_t call = 0;
    for (uint32_t i = 0; i < restart->count; i++) {
        struct restarted *one = &restart->workers[i];
        if (one->nanny.size > 0 && fanout->replies.items[call++]->code != OK) {
            one->outcome = OUTCOME_TIMED_OUT;
            restart->bad_count++;
        }
    }
    if (restart->bad_count > 0) {
        remove_bad(restart);
    }
    if (raised != NULL && request_of(restart) != NULL) {
        fanout_raise(request_of(restart), raised);
        restart_free(restart);
    } else if (restart->bad_count > 0 && restart->options.raises) {
        struct text why = {0};
        write_bad(restart, &why);
        raise_timeout(restart, &why);
        text_fini(&why);
        restart_free(restart);
    } else {
        go_on(restart);
    }
}

static void remove_lonely(struct restart *restart)
{
    struct text names = {0};
    for (uint32_t i = 0; i < restart->count; i++) {
        if (restart->workers[i].nanny.size == 0) {
            text_printf(&names, "%s'%.*s'", names.size == 0 ? "" : ", ",
                        (int)restart->workers[i].address.size,
                        (const char *)restart->workers[i].address.data);
        }
    }
    if (names.size > 0) {
        log_warning(
            LOGGER,
            "Workers [%s] do not use a nanny and will be terminated without restarting them",
            text_cstr(&names));
    }
    text_fini(&names);
    for (uint32_t i = 0; i < restart->count; i++) {
        if (restart->workers[i].nanny.size == 0) {
            restart->workers[i].outcome = OUTCOME_REMOVED;
            remove_worker(restart, &restart->workers[i], "a restart, and it has no nanny");
        }
    }
}

static void kill_by_nannies(struct restart *restart)
{
    struct fanout *fanout = fanout_create(restart->node, killed, restart);
    for (uint32_t i = 0; i < restart->count; i++) {
        const struct restarted *one = &restart->workers[i];
        struct msg_nanny_kill kill;
        struct outgoing out;
        if (one->nanny.size == 0) {
            continue;
        }
        outgoing_init(&out);
        message_defaults(MESSAGE_NANNY_KILL, &kill);
        kill.reason = restart->options.stimulus;
        message_encode(&out, MESSAGE_NANNY_KILL, &kill);
        fanout_call(fanout, one->nanny, one->address, &out, restart->options.timeout);
        outgoing_fini(&out);
    }
    fanout_go(fanout);
}

/* Note who they are before they go. */
static void note_workers(struct restart *restart, const struct restart_options *options)
{
    struct node *node = restart->node;
    uint32_t count = options->all ? view_worker_count(node->core) : options->workers.count;
    restart->workers = arena_array(&restart->arena, struct restarted, count);
    for (uint32_t i = 0; i < count; i++) {
        worker_id worker = options->all ? view_worker_at(node->core, i) : options->workers.items[i];
        struct worker_view view;
        if (view_worker(node->core, worker, &view)) {
            restart->nanny_count += view.nanny.size > 0;
            restart->workers[restart->count++] = (struct restarted){
                .worker = worker,
                .address = arena_copy(&restart->arena, view.address),
                .nanny = view.nanny.size == 0 ? (struct span){0}
                                              : arena_copy(&restart->arena, view.nanny),
            };
        }
    }
}

void restart_workers(struct node *node, const struct restart_options *options)
{
    struct restart *restart = mem_zalloc(1, sizeof *restart);
    arena_init(&restart->arena);
    restart->node = node;
    restart->options = *options;
    restart->options.client = arena_copy(&restart->arena, options->client);
    restart->options.stimulus = arena_copy(&restart->arena, options->stimulus);
    restart->options.workers = (struct worker_list){0};
    restart->known_before = view_worker_count(node->core);
    restart->deadline = io_monotonic() + options->timeout;
    note_workers(restart, options);
    log_info(LOGGER, "Restarting %u workers (stimulus_id='%.*s')", restart->count,
             (int)options->stimulus.size, (const char *)options->stimulus.data);
    remove_lonely(restart);
    kill_by_nannies(restart);
}

/* ---- a worker that went silent ------------------------------------------------------------------- */

struct silent {
    struct node *node;
    worker_id worker;
};

static void restart_silent(void *user)
{
    struct silent *silent = user;
    struct node *node = silent->node;
    arena_reset(&node->scratch);
    if (!node->is_closing) {
        restart_workers(node, &(struct restart_options){
                                  .workers = {&silent->worker, 1},
                                  .stimulus = node_stimulus(node, "check-worker-ttl"),
                                  .timeout = 30,
                              });
    }
    mem_free(silent);
}

void lifecycle_restart_worker(struct node *node, worker_id worker, struct span reason)
{
    struct span address = view_worker_address(node->core, worker);
    log_debug(LOGGER, "Restart of %.*s: %.*s", (int)address.size, (const char *)address.data,
              (int)reason.size, (const char *)reason.data);
    struct silent *silent = mem_zalloc(1, sizeof *silent);
    *silent = (struct silent){node, worker};
    io_post(node->loop, restart_silent, silent);
}

/* ---- the RPCs ------------------------------------------------------------------------------------ */

static double timeout_of(double seconds)
{
    return isnan(seconds) || seconds < 0 ? 0.001 : seconds; /* the pool takes 0 for none */
}

void rpc_restart(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_restart *m = &message->body.restart;
    log_info(LOGGER, "Restarting workers and releasing all keys (stimulus_id='%.*s')",
             (int)m->stimulus_id.size, (const char *)m->stimulus_id.data);
    struct event event = event_of(EVENT_RESTART);
    event.of.restart.client =
        m->client.size == 0 ? CLIENT_NONE : view_client_find(node->core, m->client);
    event.stimulus = m->stimulus_id;
    node_apply(node, &event);
    if (planner_wants(node->planner, PLANNER_HOOK_RESTART)) {
        msgpack_write_map(&planner_event(node->planner, PLANNER_HOOK_RESTART)->head, 0);
    }
    restart_workers(node, &(struct restart_options){
                              .request = request->number,
                              .reply_nil = true,
                              .all = true,
                              .client = m->client,
                              .stimulus = m->stimulus_id,
                              .timeout = timeout_of(m->timeout),
                              .wait_for_workers = m->wait_for_workers,
                              .raises = true,
                          });
}

void rpc_restart_workers(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_restart_workers *m = &message->body.restart_workers;
    bool given;
    struct worker_list workers = values_workers(node, m->workers, &given);
    restart_workers(node, &(struct restart_options){
                              .request = request->number,
                              .all = !given,
                              .workers = workers,
                              .client = m->client,
                              .stimulus = m->stimulus_id,
                              .timeout = timeout_of(m->timeout),
                              .wait_for_workers = m->wait_for_workers,
                              .raises = !span_equal(m->on_error, SPAN("return")),
                          });
}
