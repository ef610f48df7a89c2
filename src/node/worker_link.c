/* worker_link.c: a worker and its scheduler: registration, the stream, heartbeats.
 *
 * A worker registers over the connection that then is its stream. It does not register twice: once the stream
 * ends, so does the worker, as with stock. Source: distributed worker.py, _register_with_scheduler, heartbeat. */
#include <math.h>
#include <unistd.h>

#include "base/log.h"
#include "node/worker_gauges.h"
#include "node/worker_http.h"
#include "node/worker_internal.h"

#define LOGGER "distributed.worker"
#define TRY_AGAIN_SECONDS 0.1
#define KEEP_ALIVE_SECONDS 60.0
#define MISSING_SECONDS 1.0

static void connect_now(struct worker_node *worker);

/* ---- registration ------------------------------------------------------------------------------ */

static void write_resources(const struct worker_node *worker, struct text *out)
{
    msgpack_write_map(out, worker->resources.count);
    for (uint32_t i = 0; i < worker->resources.count; i++) {
        msgpack_write_str(out, worker->resources.items[i].name);
        msgpack_write_number(out, worker->resources.items[i].amount);
    }
}

/* {"dashboard": port}, if it serves one. */
static void write_services(const struct worker_node *worker, struct text *out)
{
    uint16_t port = worker_http_port(worker->http);
    msgpack_write_map(out, port > 0);
    if (port > 0) {
        msgpack_write_cstr(out, "dashboard");
        msgpack_write_uint(out, port);
    }
}

static void register_now(void *user, struct comm *comm)
{
    struct worker_node *worker = user;
    struct text resources = {0}, metrics = {0}, services = {0};
    struct outgoing out;
    outgoing_init(&out);
    arena_reset(&worker->scratch);
    write_resources(worker, &resources);
    worker_gauges_write(worker, (struct span){0}, &metrics);
    write_services(worker, &services);
    worker->link.asked = io_now();
    struct msg_register_worker message = {
        .address = text_span(&worker->server.address),
        .status = SPAN("init"),
        .nthreads = worker->options.nthreads,
        .name = slice_span(worker->name),
        .now = worker->link.asked,
        .resources = text_span(&resources),
        .memory_limit = (int64_t)worker->options.memory_limit,
        .local_directory = text_span(&worker->directory),
        .services = text_span(&services),
        .pid = getpid(),
        .versions = slice_span(worker->versions->value),
        .metrics = text_span(&metrics),
        .extra = {.raw = SPAN("\x81\xb1"
                              "cask-task-records\xc3")}, /* task_records.h */
        .stimulus_id = worker_stimulus(worker, "worker-connect"),
        .server_id = text_span(&worker->id),
        /* That compute-task may be "cask-ahead". Stock's scheduler takes no argument it does not know, but
         * never looks into this one. */
        .host_info = SPAN("\x81\xb4"
                          "cask-takes-forwarded\xc3"),
        .resolve_address = true,
    };
    if (worker->nanny.address.size > 0) {
        message.nanny = text_span(&worker->nanny.address);
    }
    message_encode_request(&out, MESSAGE_REGISTER_WORKER, &message, false, false);
    comm_send(comm, &out);
    outgoing_fini(&out);
    text_fini(&services);
    text_fini(&resources);
    text_fini(&metrics);
}

bool worker_take_plugins(struct map *plugins, const struct frames *frames, struct span raw)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count;
    if (msgpack_read_map(&reader, &count) != OK) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct span name, value;
        struct blob *plugin;
        if (msgpack_read_value(&reader, &name) != OK || msgpack_read_value(&reader, &value) != OK ||
            payload_take(frames, value, &plugin) != OK) {
            return false;
        }
        struct map_entry *entry = map_put(plugins, name, NULL);
        blob_unref(entry->value.pointer);
        entry->value.pointer = plugin;
    }
    return true;
}

/* How the registration was refused, in words. */
static void say_refused(const struct frames *frames)
{
    struct span text, head = frames_head(frames);
    if (msgpack_find(head, "message", &text) != OK &&
        msgpack_find(head, "exception_text", &text) != OK) {
        text = head;
    }
    struct text shown = {0};
    msgpack_print(&shown, text, 1000);
    log_error(LOGGER, "Unable to connect to scheduler: %s", text_cstr(&shown));
    text_fini(&shown);
}

static bool take_answer(struct worker_node *worker, const struct frames *frames)
{
    struct worker_link *link = &worker->link;
    struct message message;
    if (message_decode_as(&link->decoder, MESSAGE_REPLY_REGISTER_WORKER, frames_head(frames),
                          &message) != OK) {
        return false;
    }
    const struct msg_reply_register_worker *m = &message.body.reply_register_worker;
    if (!span_equal(m->status, SPAN("OK")) ||
        !worker_take_plugins(&worker->plugins, frames, m->worker_plugins.raw)) {
        return false;
    }
    if (m->warning.size > 0) {
        log_warning(LOGGER, "%.*s", (int)m->warning.size, (const char *)m->warning.data);
    }
    link->delay = m->time - (link->asked + io_now()) / 2;
    link->beat_interval = m->heartbeat_interval;
    link->counts_deaths = m->counts_deaths;
    return true;
}

/* The scheduler's clock is known now. */
static void tell_executors(struct worker_node *worker)
{
    struct text map = {0};
    msgpack_write_map(&map, 2);
    msgpack_write_cstr(&map, "scheduler_delay");
    msgpack_write_float(&map, worker->link.delay);
    msgpack_write_cstr(&map, "status");
    msgpack_write_cstr(&map, worker_phase_text(worker->status));
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        if (worker->seats.items[i].state >= SEAT_WELCOME) {
            channel_add_settings(executor_out(worker->seats.items[i].executor), EXECUTOR_UPDATE,
                                 text_span(&map));
        }
    }
    text_fini(&map);
}

static void registered(struct worker_node *worker)
{
    struct worker_link *link = &worker->link;
    link->is_registered = true;
    worker_change_status(worker, WORKER_STATUS_RUNNING, worker_stimulus(worker, "worker-status"));
    worker_executors_prepare(worker);
    tell_executors(worker);
    worker_restarted(worker, true);
    io_timer_start(link->beat, link->beat_interval, 0);
    io_timer_start(link->alive, KEEP_ALIVE_SECONDS, KEEP_ALIVE_SECONDS);
    io_timer_start(link->missing, MISSING_SECONDS, MISSING_SECONDS);
    if (worker->options.lifetime >
        0) { /* of this life; its executors may have been slow to start */
        io_timer_start(worker->lifetime, worker->options.lifetime, 0);
    }
    log_info(LOGGER, "        Registered to: %26s", text_cstr(&worker->scheduler));
    log_info(LOGGER, "-------------------------------------------------");
}

/* ---- the connection ---------------------------------------------------------------------------- */

static void on_message(void *user, struct comm *comm, const struct frames *frames)
{
    struct worker_node *worker = user;
    struct text why = {0};
    arena_reset(&worker->scratch);
    if (worker->link.is_registered) {
        if (!worker_inbound(worker, frames, &why)) {
            log_error(LOGGER, "Closing the stream from the scheduler: %s", text_cstr(&why));
            comm_close(comm);
        }
    } else if (take_answer(worker, frames)) {
        registered(worker);
    } else {
        say_refused(frames);
        worker_close(worker, "worker-registration-refused", 1);
    }
    text_fini(&why);
}

bool worker_link_has_patience(struct worker_node *worker)
{
    double waited = io_monotonic() - worker->link.waiting_since;
    double patience = worker->options.death_timeout;
    if (patience > 0 && waited > patience) {
        log_error(LOGGER, "No scheduler at %s within %g seconds%s%s", text_cstr(&worker->scheduler),
                  patience, worker->link.why.size > 0 ? ": " : "", text_cstr(&worker->link.why));
        worker_close(worker, "worker-death-timeout", 1);
        return false;
    }
    return true;
}

/* Why there is no connection: said once, as long as it stays the same. */
static void note_failure(struct worker_link *link, const char *text)
{
    if (!span_equal_text(text_span(&link->why), text)) {
        log_warning(LOGGER, "No connection to the scheduler yet: %s", text);
        text_clear(&link->why);
        text_add_cstr(&link->why, text);
    }
}

static void on_closed(void *user, struct comm *comm, int code, const char *text)
{
    struct worker_node *worker = user;
    struct worker_link *link = &worker->link;
    (void)code;
    if (link->comm != comm) {
        return; /* an earlier life's */
    }
    link->comm = NULL;
    io_timer_stop(link->beat);
    io_timer_stop(link->alive);
    io_timer_stop(link->missing);
    if (worker->is_closing) {
        return;
    }
    if (link->is_registered) {
        log_info(LOGGER, "Connection to the scheduler has been closed: %s", text);
        worker_close(worker, "worker-handle-scheduler-connection-broken", 0);
    } else {
        log_info(LOGGER, "Waiting to connect to: %26s", text_cstr(&worker->scheduler));
        note_failure(link, text);
        if (worker_link_has_patience(worker)) {
            io_timer_start(link->beat, TRY_AGAIN_SECONDS, 0);
        }
    }
}

static const struct comm_events link_events = {
    .ready = register_now, .message = on_message, .closed = on_closed};

static void connect_now(struct worker_node *worker)
{
    worker->link.comm =
        comm_connect(&worker->comm_settings, text_span(&worker->scheduler), &link_events, worker);
    comm_trust(worker->link.comm);
}

/* ---- heartbeats -------------------------------------------------------------------------------- */

static void beaten(void *user, int code, const char *text, const struct frames *reply)
{
    struct worker_node *worker = user;
    struct worker_link *link = &worker->link;
    struct span status;
    struct message message;
    link->is_beating = false;
    if (!link->is_registered || worker->is_closing) {
        return;
    }
    io_timer_start(link->beat, link->beat_interval, 0);
    if (code != OK) {
        log_warning(LOGGER, "Failed to communicate with scheduler during heartbeat: %s", text);
        return;
    }
    if (msgpack_find(frames_head(reply), "status", &status) == OK &&
        span_equal(status, SPAN("\xa7missing"))) {
        log_warning(LOGGER, "Scheduler was unaware of this worker; shutting down.");
        worker_close(worker, "worker-heartbeat-missing", 0);
        return;
    }
    link->latency = io_now() - link->asked;
    worker_gauges_latency(worker, link->latency);
    arena_reset(&worker->scratch);
    if (message_decode_as(&link->decoder, MESSAGE_REPLY_HEARTBEAT, frames_head(reply), &message) !=
        OK) {
        log_warning(LOGGER, "Malformed answer to a heartbeat: %s", text_cstr(&link->decoder.error));
        return;
    }
    const struct msg_reply_heartbeat *m = &message.body.reply_heartbeat;
    link->delay = m->time - (link->asked + io_now()) / 2;
    if (m->heartbeat_interval > 0) {
        link->beat_interval = m->heartbeat_interval;
    }
}

/* {key: seconds that it has run} */
static void write_executing(struct worker_node *worker, struct text *out)
{
    struct worker_summary summary;
    worker_summarise(worker->core, &summary);
    uint32_t count = summary.executing_count + summary.long_running_count;
    double now = io_now();
    msgpack_write_map(out, count);
    for (uint32_t i = 0; i < count; i++) {
        struct wtask_view view;
        worker_task(worker->core, worker_task_running(worker->core, i), &view);
        msgpack_write_raw(out, view.key);
        msgpack_write_float(out, now > view.started ? now - view.started : 0);
    }
}

/* Those of user code, and spans. */
static void write_extensions(struct worker_node *worker, struct span theirs, struct text *out)
{
    struct text spans = {0};
    struct msgpack_reader reader = msgpack_reader(theirs);
    uint32_t count = 0;
    bool has_theirs = theirs.size > 0 && msgpack_read_map(&reader, &count) == OK;
    bool has_spans = worker_gauges_write_spans(worker, &spans);
    msgpack_write_map(out, (has_theirs ? count : 0) + has_spans);
    if (has_theirs) {
        msgpack_write_raw(out, span_of(reader.at, (size_t)(reader.end - reader.at)));
    }
    if (has_spans) {
        msgpack_write_cstr(out, "spans");
        msgpack_write_raw(out, text_span(&spans));
    }
    text_fini(&spans);
}

/* `parts`: {extensions, metrics} that user code adds, or empty. */
static void send_beat(struct worker_node *worker, struct span parts)
{
    struct span theirs = {0}, more = {0};
    if (parts.size > 0 && (msgpack_find(parts, "extensions", &theirs) != OK ||
                           msgpack_find(parts, "metrics", &more) != OK)) {
        theirs = more = (struct span){0};
    }
    struct text metrics = {0}, executing = {0}, extensions = {0};
    struct outgoing out;
    outgoing_init(&out);
    arena_reset(&worker->scratch);
    worker_gauges_write(worker, more, &metrics);
    write_executing(worker, &executing);
    write_extensions(worker, theirs, &extensions);
    log_debug(LOGGER, "Heartbeat: %s", text_cstr(&worker->server.address));
    worker->link.asked = io_now();
    struct msg_heartbeat_worker message = {
        .address = text_span(&worker->server.address),
        .now = worker->link.asked,
        .metrics = text_span(&metrics),
        .executing = text_span(&executing),
        .extensions = {.raw = text_span(&extensions)},
        .resolve_address = true,
    };
    message_encode(&out, MESSAGE_HEARTBEAT_WORKER, &message);
    const struct rpc_options options = {.done = beaten, .user = worker};
    rpc_call(worker->rpc, text_span(&worker->scheduler), &out, &options);
    outgoing_fini(&out);
    text_fini(&metrics);
    text_fini(&executing);
    text_fini(&extensions);
}

/* What user code adds, if it could be had and is plain. */
static void parts_came(void *user, struct worker_node *worker, const struct frames *reply)
{
    bool is_plain = reply != NULL && reply->count == 1;
    if ((uintptr_t)user != worker->life || !worker->link.is_registered) {
        worker->link.is_beating = false;
    } else {
        send_beat(worker, is_plain ? frames_head(reply) : (struct span){0});
    }
}

/* The first executor whose user code adds to heartbeats is asked for that. */
static void begin_beat(struct worker_node *worker)
{
    worker->link.is_beating = true;
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        if (worker->seats.items[i].state == SEAT_USABLE && worker->seats.items[i].beats) {
            const struct call_wish wish = {.seat = i,
                                           .op = SPAN("heartbeat_parts"),
                                           .replied = parts_came,
                                           .user = (void *)(uintptr_t)worker->life};
            worker_call(worker, &wish);
            return;
        }
    }
    send_beat(worker, (struct span){0});
}

static void beat(void *user)
{
    struct worker_node *worker = user;
    if (!worker->link.is_registered) {
        connect_now(worker);
    } else if (!worker->link.is_beating && !worker->is_closing) {
        begin_beat(worker);
    }
}

static void keep_alive(void *user)
{
    struct msg_keep_alive message = {0};
    message_encode(worker_to_scheduler(user), MESSAGE_KEEP_ALIVE, &message);
}

static void find_missing(void *user)
{
    struct worker_node *worker = user;
    struct worker_event event = worker_event_of(WORKER_EVENT_FIND_MISSING);
    arena_reset(&worker->scratch);
    event.stimulus = worker_stimulus(worker, "find-missing");
    worker_apply(worker, &event);
}

/* ---- for the others ---------------------------------------------------------------------------- */

void worker_link_init(struct worker_node *worker)
{
    struct worker_link *link = &worker->link;
    outgoing_init(&link->batch);
    outgoing_start_batch(&link->batch);
    message_decoder_init(&link->decoder, PORT_WORKER_STREAM, &worker->scratch);
    link->beat = io_timer_create(worker->loop, beat, worker);
    link->alive = io_timer_create(worker->loop, keep_alive, worker);
    link->missing = io_timer_create(worker->loop, find_missing, worker);
    link->waiting_since = io_monotonic();
}

void worker_link_fini(struct worker_node *worker)
{
    struct worker_link *link = &worker->link;
    outgoing_fini(&link->batch);
    message_decoder_fini(&link->decoder);
    text_fini(&link->why);
    io_timer_destroy(link->beat);
    io_timer_destroy(link->alive);
    io_timer_destroy(link->missing);
}

void worker_link_open(struct worker_node *worker)
{
    if (worker->link.comm == NULL && !worker->is_closing && worker_nanny_is_started(worker) &&
        worker_executors_are_there(worker)) {
        worker->link.waiting_since = io_monotonic();
        connect_now(worker);
    }
}

void worker_link_close(struct worker_node *worker)
{
    struct worker_link *link = &worker->link;
    io_timer_stop(link->beat);
    io_timer_stop(link->alive);
    io_timer_stop(link->missing);
    if (link->comm != NULL) {
        struct comm *comm = link->comm;
        worker_link_flush(worker);
        link->comm = NULL;
        comm_close(comm);
    }
    link->is_registered = false;
    link->is_beating = false;
    outgoing_clear(&link->batch);
}

struct outgoing *worker_to_scheduler(struct worker_node *worker)
{
    return &worker->link.batch;
}

void worker_link_flush(struct worker_node *worker)
{
    struct worker_link *link = &worker->link;
    if (link->batch.item_count > 0 && link->comm != NULL && link->is_registered) {
        comm_send(link->comm, &link->batch);
    }
}
