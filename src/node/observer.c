/* observer.c: the observer's process: starting it, starting it again, answering it.
 *
 * Over its channel go Dask's frames. The first message to it is {settings}, with the ring and the listening socket as
 * descriptors; the last, {"close": whether it shall end}. From it come {"id": n, "call": {"op": …}}: `sample`,
 * `count-waiting`, or an RPC of the scheduler's; the answer is {"id": n, "answer": …}. It is our own program, but has
 * spoken with strangers: what it asks for is held against the list below. */
#include "node/observer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "node/observer_actions.h"
#include "node/record.h"
#include "record/last_words.h"
#include "record/ring.h"

#define LOGGER "distributed.scheduler"
#define PORT_DEFAULT 8787
#define CHANNEL_FD 3
#define QUERIES_MAX 32u
#define ADDRESSES_MAX 8u
#define MESSAGE_BYTES_MAX (1u << 20)
/* Tasks looked at for one `count-waiting`. */
#define PLACES_A_CALL 20000u
/* After its death, twice that each time; when it lived long, from the beginning. */
#define PAUSE_FIRST 0.1
#define PAUSE_LAST 60.0
#define LIVED_LONG 60.0

/* `cask observer` is in this program (-Dobserver). */
#ifdef CASK_HAVE_OBSERVER
#define IS_BUILT true
#else
#define IS_BUILT false
#endif

struct query {
    struct observer_link *link; /* NULL: the observer that asked is gone */
    struct query *next;
    struct request *request;
    uint64_t id;
};

struct observer_link {
    struct node *node;
    const char *program;
    struct ring_writer ring;
    struct recorder *recorder;
    struct io_address addresses[ADDRESSES_MAX]; /* the first is the one that is told */
    int listeners[ADDRESSES_MAX];
    uint32_t address_count;
    struct text settings; /* msgpack map */
    struct io_process *process;
    struct io_stream *channel; /* NULL: closed */
    struct io_timer *timer;    /* to start it again */
    struct frame_reader reader;
    struct query *queries;
    uint32_t query_count;
    double pause, started;
    bool is_closing;
    bool lingers; /* after an orderly end, too */
    bool is_destroyed;
};

/* The RPCs that pages need. */
static const char *const allowed[] = {
    "adaptive_target", "call_stack",       "check_idle", "explain",
    "get_error_cause", "get_runspec",      "get_story",  "get_task_status",
    "identity",        "neighbourhood",    "profile",    "retire_workers",
    "task_attempts",   "workers_to_close", "who_has",    "worker_logs",
};

/* ---- answers ------------------------------------------------------------------------------------ */

static void release_chunks(void *owner)
{
    frames_fini(owner);
    mem_free(owner);
}

/* Send what `out` holds; it is empty afterwards. */
static void send_message(struct observer_link *link, struct outgoing *out)
{
    if (link->channel == NULL) {
        outgoing_clear(out);
        return;
    }
    struct frames *chunks = mem_zalloc(1, sizeof *chunks);
    outgoing_flush(out, chunks);
    struct span *parts = mem_alloc((size_t)chunks->count * sizeof *parts);
    for (uint32_t i = 0; i < chunks->count; i++) {
        parts[i] = slice_span(chunks->items[i]);
    }
    io_stream_write(link->channel, parts, chunks->count, chunks, release_chunks);
    mem_free(parts);
}

static void begin_answer(struct outgoing *out, uint64_t id)
{
    outgoing_init(out);
    msgpack_write_map(&out->head, 2);
    msgpack_write_cstr(&out->head, "id");
    msgpack_write_uint(&out->head, id);
    msgpack_write_cstr(&out->head, "answer");
}

static void answer_raw(struct observer_link *link, uint64_t id, struct span value)
{
    struct outgoing out;
    begin_answer(&out, id);
    msgpack_write_raw(&out.head, value);
    send_message(link, &out);
    outgoing_fini(&out);
}

static void query_unlink(struct query *query)
{
    struct query **place = &query->link->queries;
    while (*place != query) {
        place = &(*place)->next;
    }
    *place = query->next;
    query->link->query_count--;
}

/* The answer of an RPC: its plain part; what has frames is not for pages. */
static void deliver(void *user, struct request *request, struct outgoing *answer)
{
    (void)request;
    struct query *query = user;
    if (query->link != NULL) {
        answer_raw(query->link, query->id, text_span(&answer->head));
        query_unlink(query);
    }
    mem_free(query);
}

/* ---- questions ---------------------------------------------------------------------------------- */

static void sample(struct observer_link *link, uint64_t id, struct span call)
{
    struct span raw;
    bool all = false;
    if (msgpack_find(call, "all", &raw) == OK) {
        struct msgpack_reader reader = msgpack_reader(raw);
        if (msgpack_read_bool(&reader, &all) != OK) {
            all = true;
        }
    }
    recorder_sample(link->recorder, all);
    answer_raw(link, id, SPAN("\xc3"));
}

/* {"cursor", "count", "done"}: tasks whose result others wait for, some thousands of places at a time. */
static void count_waiting(struct observer_link *link, uint64_t id, struct span call)
{
    struct span raw;
    uint64_t cursor_given = 0;
    if (msgpack_find(call, "cursor", &raw) == OK) {
        struct msgpack_reader reader = msgpack_reader(raw);
        if (msgpack_read_uint(&reader, &cursor_given) != OK || cursor_given > UINT32_MAX) {
            cursor_given = 0;
        }
    }
    uint32_t cursor = (uint32_t)cursor_given, found = 0, count = 0;
    const struct task **some = mem_alloc(PLACES_A_CALL * sizeof *some);
    bool more = view_tasks_some(link->node->core, &cursor, PLACES_A_CALL, some, &found);
    for (uint32_t i = 0; i < found; i++) {
        count += view_task_waiter_count(some[i]) > 0;
    }
    mem_free(some);
    struct text answer = {0};
    msgpack_write_array(&answer, 3);
    msgpack_write_uint(&answer, cursor);
    msgpack_write_uint(&answer, count);
    msgpack_write_bool(&answer, !more);
    answer_raw(link, id, text_span(&answer));
    text_fini(&answer);
}

static bool is_allowed(struct span op)
{
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
        if (span_equal_text(op, allowed[i])) {
            return true;
        }
    }
    return false;
}

static void ask_node(struct observer_link *link, uint64_t id, struct span call)
{
    struct frames frames = {0};
    frames_add(&frames, slice_copy(call));
    struct query *query = mem_zalloc(1, sizeof *query);
    query->link = link;
    query->id = id;
    int code = request_create(&link->node->server, &frames, deliver, query, &query->request);
    frames_fini(&frames);
    if (code != OK) {
        mem_free(query);
        answer_raw(link, id, SPAN("\xc0"));
        return;
    }
    query->next = link->queries;
    link->queries = query;
    link->query_count++;
    arena_reset(&link->node->scratch);
    request_dispatch(query->request);
}

/* Somebody at the dashboard wants something done. */
static void act(struct observer_link *link, uint64_t id, struct span question)
{
    struct span call;
    struct text count = {0};
    arena_reset(&link->node->scratch);
    switch (observer_action_read(link->node, question, &call)) {
    case OBSERVER_IS_RPC:
        ask_node(link, id, call);
        break;
    case OBSERVER_IS_CANCEL:
        msgpack_write_uint(&count, observer_action_cancel(link->node, call));
        answer_raw(link, id, text_span(&count));
        break;
    case OBSERVER_REFUSED:
        answer_raw(link, id, SPAN("\xc0"));
        break;
    }
    text_fini(&count);
}

static void take_question(struct observer_link *link, struct span head)
{
    struct span raw, call, op;
    uint64_t id;
    struct msgpack_reader reader;
    bool fine = msgpack_find(head, "id", &raw) == OK && msgpack_find(head, "call", &call) == OK &&
                msgpack_find(call, "op", &op) == OK;
    reader = msgpack_reader(fine ? raw : (struct span){0});
    fine = fine && msgpack_read_uint(&reader, &id) == OK;
    reader = msgpack_reader(fine ? op : (struct span){0});
    if (!fine || msgpack_read_str(&reader, &op) != OK) {
        log_error(LOGGER, "The observer sent what is no question; it is started anew");
        io_stream_abort(link->channel);
    } else if (span_equal_text(op, "sample")) {
        sample(link, id, call);
    } else if (span_equal_text(op, "count-waiting")) {
        count_waiting(link, id, call);
    } else if (span_equal_text(op, "act") && link->query_count < QUERIES_MAX) {
        act(link, id, call);
    } else if (is_allowed(op) && link->query_count < QUERIES_MAX) {
        ask_node(link, id, call);
    } else {
        answer_raw(link, id, SPAN("\xc0"));
    }
}

/* ---- its channel -------------------------------------------------------------------------------- */

static void channel_space(void *user, uint8_t **out_data, size_t *out_size)
{
    struct observer_link *link = user;
    frame_reader_space(&link->reader, out_data, out_size);
}

static void channel_read(void *user, size_t size)
{
    struct observer_link *link = user;
    struct frames message = {0};
    frame_reader_advance(&link->reader, size);
    int got = 0;
    while (link->channel != NULL && (got = frame_reader_next(&link->reader, &message)) == 1) {
        take_question(link, frames_head(&message));
    }
    frames_fini(&message);
    if (got < 0 && link->channel != NULL) {
        io_stream_abort(link->channel);
    }
}

/* Nobody waits for these any more. */
static void forget_queries(struct observer_link *link)
{
    while (link->queries != NULL) {
        struct query *query = link->queries;
        query_unlink(query);
        query->link = NULL;
        request_abandon(query->request);
    }
}

static void channel_closed(void *user, int code, const char *text)
{
    (void)code; /* its exit says what happened */
    (void)text;
    struct observer_link *link = user;
    link->channel = NULL;
    if (link->is_destroyed) {
        mem_free(link);
    } else if (link->process != NULL && !link->is_closing) {
        io_process_kill(link->process, SIGTERM); /* it cannot do without */
    }
}

static const struct io_stream_events channel_events = {
    .space = channel_space,
    .read = channel_read,
    .closed = channel_closed,
};

/* ---- its life ----------------------------------------------------------------------------------- */

static void on_exited(void *user, int status, int signal_number)
{
    struct observer_link *link = user;
    forget_queries(link);
    io_process_destroy(link->process);
    link->process = NULL;
    if (link->is_closing) {
        return;
    }
    bool lived_long = io_monotonic() - link->started > LIVED_LONG;
    link->pause = lived_long || link->pause == 0 ? PAUSE_FIRST : link->pause * 2;
    link->pause = link->pause > PAUSE_LAST ? PAUSE_LAST : link->pause;
    if (signal_number != 0) {
        log_warning(LOGGER, "The dashboard's process was ended by signal %d (%s); again in %.1f s",
                    signal_number, strsignal(signal_number), link->pause);
    } else {
        log_warning(LOGGER, "The dashboard's process ended with status %d; again in %.1f s", status,
                    link->pause);
    }
    io_timer_start(link->timer, link->pause, 0);
}

/* Settings, ring and sockets. */
static void send_settings(struct observer_link *link)
{
    struct outgoing out;
    struct frames chunks = {0};
    outgoing_init(&out);
    msgpack_write_raw(&out.head, text_span(&link->settings));
    outgoing_flush(&out, &chunks);
    ASSERT(chunks.count == 1); /* settings are small */
    int descriptors[1 + ADDRESSES_MAX];
    bool is_fine = true;
    for (uint32_t i = 0; i <= link->address_count; i++) {
        int fd = i == 0 ? link->ring.fd : link->listeners[i - 1];
        descriptors[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        is_fine = is_fine && descriptors[i] >= 0;
    }
    if (!is_fine) {
        log_error(LOGGER, "The dashboard cannot be told its sockets: %s", strerror(errno));
        for (uint32_t i = 0; i <= link->address_count; i++) {
            if (descriptors[i] >= 0) {
                close(descriptors[i]);
            }
        }
        io_stream_abort(link->channel);
    } else {
        io_stream_write_descriptors(link->channel, slice_span(chunks.items[0]), descriptors,
                                    link->address_count + 1);
    }
    frames_fini(&chunks);
    outgoing_fini(&out);
}

static void start(void *user)
{
    struct observer_link *link = user;
    struct text why = {0};
    const char *argv[] = {link->program, "observer", NULL};
    struct io_process_options options = {
        .argv = argv,
        .stdio = {IO_NULL, IO_INHERIT, IO_INHERIT},
        .channel = true,
        .own_group = true, /* Ctrl-C is for us; it learns from the channel that we end */
        .survives = true,
        .exited = on_exited,
        .user = link,
    };
    if (io_process_spawn(link->node->loop, &options, &link->process, &why) != OK) {
        log_error(LOGGER, "The dashboard's process cannot be started: %s", text_cstr(&why));
        link->pause = link->pause == 0 ? PAUSE_FIRST : link->pause * 2;
        link->pause = link->pause > PAUSE_LAST ? PAUSE_LAST : link->pause;
        io_timer_start(link->timer, link->pause, 0);
        text_fini(&why);
        return;
    }
    link->started = io_monotonic();
    frame_reader_fini(&link->reader);
    frame_reader_init(&link->reader);
    link->reader.message_bytes_max = MESSAGE_BYTES_MAX;
    link->channel = io_process_take_stream(link->process, CHANNEL_FD);
    io_stream_start(link->channel, &channel_events, link);
    send_settings(link);
    recorder_begin(link->recorder);
}

/* ---- beginning and end -------------------------------------------------------------------------- */

/* Source: distributed utils.py clean_dashboard_address. */
int observer_parse_address(const char *text, struct io_address *out, struct text *why)
{
    *out = (struct io_address){.transport = IO_TCP, .port = PORT_DEFAULT};
    if (text == NULL || *text == '\0') {
        return OK;
    }
    const char *scheme = strstr(text, "://");
    text = scheme != NULL ? scheme + 3 : text;
    const char *colon = strrchr(text, ':');
    bool is_number = strspn(text, "0123456789") == strlen(text);
    const char *port = is_number ? text : colon != NULL ? colon + 1 : "";
    size_t host_size = is_number ? 0 : colon != NULL ? (size_t)(colon - text) : strlen(text);
    if (host_size >= 2 && text[0] == '[' && text[host_size - 1] == ']') {
        text++;
        host_size -= 2;
    }
    char *end = NULL;
    unsigned long number = *port == '\0' ? 0 : strtoul(port, &end, 10);
    if (host_size >= sizeof out->host || number > UINT16_MAX || (end != NULL && *end != '\0')) {
        text_printf(why, "the dashboard's address cannot be '%s'", text);
        return ERR_ADDRESS;
    }
    memcpy(out->host, text, host_size);
    out->port = (uint16_t)number;
    return OK;
}

/* As stock: if the port is taken, any other will do. */
static int bind_socket(struct io_address *address, int *out_listener, struct text *why)
{
    uint16_t wanted = address->port;
    int code = io_listen_socket(address, out_listener, why);
    if (code != ERR_BUSY || wanted == 0) {
        return code;
    }
    text_clear(why);
    address->port = 0;
    code = io_listen_socket(address, out_listener, why);
    if (code == OK) {
        log_warning(LOGGER,
                    "Port %u is already in use.\nPerhaps you already have a cluster running?\n"
                    "Hosting the HTTP server on port %u instead",
                    wanted, address->port);
    }
    return code;
}

/* Of "ADDRESS,ADDRESS": all of them. Source: distributed node.py start_http_server. */
static int bind_all(struct observer_link *link, const char *text, struct text *why)
{
    const char *left = text == NULL ? "" : text;
    int code = OK;
    while (code == OK && left != NULL) {
        const char *comma = strchr(left, ',');
        struct text one = {0};
        text_add(&one, span_of(left, comma == NULL ? strlen(left) : (size_t)(comma - left)));
        if (link->address_count == ADDRESSES_MAX) {
            text_printf(why, "the dashboard has at most %u addresses", ADDRESSES_MAX);
            code = ERR_ADDRESS;
        } else {
            struct io_address *address = &link->addresses[link->address_count];
            code = observer_parse_address(text_cstr(&one), address, why);
            code = code == OK ? bind_socket(address, &link->listeners[link->address_count], why)
                              : code;
            link->address_count += code == OK;
        }
        text_fini(&one);
        left = comma == NULL ? NULL : comma + 1;
    }
    return code;
}

static void close_all(struct observer_link *link)
{
    while (link->address_count > 0) {
        close(link->listeners[--link->address_count]);
    }
}

static void put_setting(struct text *out, const char *name, const char *value)
{
    msgpack_write_cstr(out, name);
    if (value == NULL) {
        msgpack_write_nil(out);
    } else {
        msgpack_write_str_lossy(out, span_of_text(value));
    }
}

/* Names of built-in groups of routes; the default list has no "distributed.http.scheduler.api". */
static bool has_route(const struct config *config, const char *module)
{
    const char *name;
    for (uint32_t i = 0; config_item(config, "distributed.scheduler.http.routes", i, &name); i++) {
        if (strcmp(name, module) == 0) {
            return true;
        }
    }
    return false;
}

static void write_origins(const struct config *config, struct text *out)
{
    static const char place[] =
        "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin";
    const char *origin;
    uint32_t count = 0;
    while (config_item(config, place, count, &origin)) {
        count++;
    }
    msgpack_write_cstr(out, "origins");
    msgpack_write_array(out, count);
    for (uint32_t i = 0; i < count && config_item(config, place, i, &origin); i++) {
        msgpack_write_str_lossy(out, span_of_text(origin));
    }
}

/* Where it is kept is the observer's to know if we are told nothing. */
static void write_history(const struct node *node, struct text *out)
{
    const struct config *config = node->config;
    const char *path = config_text(config, "cask.history.path", "");
    bool is_off = config_is_false(config, "cask.history.path") || strcmp(path, "off") == 0;
    put_setting(out, "history", is_off ? "off" : path);
    put_setting(out, "cluster-id", text_cstr(&node->id));
    msgpack_write_cstr(out, "started");
    msgpack_write_float(out, node->started);
    msgpack_write_cstr(out, "history-bytes");
    msgpack_write_float(out, config_bytes(config, "cask.history.max-size", 2.0 * (1 << 30)));
    msgpack_write_cstr(out, "history-seconds");
    msgpack_write_float(out, config_seconds(config, "cask.history.max-age", 14 * 86400.0));
}

static void write_settings(struct observer_link *link, const struct observer_options *options)
{
    const struct config *config = link->node->config;
    struct text *out = &link->settings;
    msgpack_write_map(out, 19);
    put_setting(out, "prefix", options->prefix);
    put_setting(out, "tls-cert",
                config_text(config, "distributed.scheduler.dashboard.tls.cert", NULL));
    put_setting(out, "tls-key",
                config_text(config, "distributed.scheduler.dashboard.tls.key", NULL));
    put_setting(out, "tls-ca-file",
                config_text(config, "distributed.scheduler.dashboard.tls.ca-file", NULL));
    put_setting(out, "token", config_text(config, "cask.dashboard.token", NULL));
    put_setting(out, "namespace",
                config_text(config, "distributed.dashboard.prometheus.namespace", "dask"));
    write_history(link->node, out);
    msgpack_write_cstr(out, "api");
    msgpack_write_bool(out, has_route(config, "distributed.http.scheduler.api"));
    msgpack_write_cstr(out, "linger");
    msgpack_write_float(out, config_seconds(config, "cask.dashboard.linger", 600));
    msgpack_write_cstr(out, "actions");
    msgpack_write_bool(out, observer_actions_on(config));
    msgpack_write_cstr(out, "pages");
    msgpack_write_bool(out, options->pages);
    msgpack_write_cstr(out, "memory");
    msgpack_write_float(out, config_bytes(config, "cask.dashboard.memory", 96.0 * (1 << 20)));
    msgpack_write_cstr(out, "port");
    msgpack_write_uint(out, link->addresses[0].port);
    msgpack_write_cstr(out, "findings");
    config_write(config, "cask.findings", out);
    write_origins(config, out);
}

static void log_address(const struct observer_link *link, const struct io_address *address)
{
    bool is_local = strcmp(address->host, "127.0.0.1") == 0 || strcmp(address->host, "::1") == 0 ||
                    strcmp(address->host, "localhost") == 0;
    const char *cert =
        config_text(link->node->config, "distributed.scheduler.dashboard.tls.cert", NULL);
    struct io_address shown = *address;
    if (shown.host[0] == '\0' || strcmp(shown.host, "0.0.0.0") == 0) {
        io_outward_address(NULL, shown.host);
    }
    bool is_v6 = strchr(shown.host, ':') != NULL;
    log_info(LOGGER, "  dashboard at:  %s://%s%s%s:%u/status", cert == NULL ? "http" : "https",
             is_v6 ? "[" : "", shown.host, is_v6 ? "]" : "", shown.port);
    if (!is_local && config_text(link->node->config, "cask.dashboard.token", NULL) == NULL) {
        log_info(LOGGER, "The dashboard is open to everyone who reaches that address; "
                         "cask.dashboard.token closes it");
    }
    if (config_bool(link->node->config, "cask.dashboard.actions", false) &&
        !observer_actions_on(link->node->config)) {
        log_warning(LOGGER, "cask.dashboard.actions is on, but takes none: it wants a "
                            "cask.dashboard.token, too");
    }
}

int observer_link_create(struct node *node, const struct observer_options *options,
                         struct observer_link **out_link, struct text *why)
{
    *out_link = NULL;
    if (!IS_BUILT) {
        log_info(LOGGER, "This cask was built without a dashboard");
        return OK;
    }
    struct observer_link *link = mem_zalloc(1, sizeof *link);
    link->node = node;
    link->program = options->program;
    link->ring.fd = -1;
    int code = bind_all(link, options->address, why);
    code = code == OK ? ring_create(RING_SLOTS_DEFAULT, &link->ring, why) : code;
    if (code != OK) {
        close_all(link);
        mem_free(link);
        return code;
    }
    link->lingers = config_seconds(node->config, "cask.dashboard.linger", -1) > 0;
    write_settings(link, options);
    link->recorder = recorder_create(node, &link->ring);
    link->timer = io_timer_create(node->loop, start, link);
    frame_reader_init(&link->reader);
    last_words_set(link->ring.shared);
    for (uint32_t i = 0; i < link->address_count; i++) {
        log_address(link, &link->addresses[i]);
    }
    start(link);
    *out_link = link;
    return OK;
}

void observer_link_closing(struct observer_link *link, const char *reason)
{
    if (link != NULL && !link->is_closing) {
        link->is_closing = true;
        io_timer_stop(link->timer);
        recorder_sample(link->recorder, false);
        recorder_end(link->recorder, reason, link->node->exit_code);
        struct outgoing out;
        outgoing_init(&out);
        msgpack_write_map(&out.head, 1);
        msgpack_write_cstr(&out.head, "close");
        msgpack_write_bool(&out.head, !link->lingers);
        send_message(link, &out);
        outgoing_fini(&out);
    }
}

bool observer_link_is_ending(const struct observer_link *link)
{
    return link != NULL && link->is_closing && !link->lingers && link->process != NULL;
}

void observer_link_destroy(struct observer_link *link)
{
    if (link == NULL) {
        return;
    }
    observer_link_closing(link, "scheduler-close");
    last_words_set(NULL);
    forget_queries(link);
    if (link->channel != NULL) {
        io_stream_abort(link->channel);
    }
    if (link->process != NULL) {
        io_process_let_go(link->process); /* it was told, and ends when the history is written */
    }
    io_timer_destroy(link->timer);
    frame_reader_fini(&link->reader);
    recorder_destroy(link->recorder);
    ring_destroy(&link->ring);
    close_all(link);
    text_fini(&link->settings);
    link->is_destroyed = true;
    if (link->channel == NULL) { /* else with its last callback */
        mem_free(link);
    }
}

uint16_t observer_link_port(const struct observer_link *link)
{
    return link->addresses[0].port;
}

void observer_link_notice(struct observer_link *link, const struct notice *notice)
{
    if (link != NULL) {
        recorder_notice(link->recorder, notice);
    }
}

void observer_link_restart(struct observer_link *link)
{
    if (link != NULL) {
        recorder_restart(link->recorder);
    }
}

struct recorder *observer_link_recorder(struct observer_link *link)
{
    return link != NULL ? link->recorder : NULL;
}

void observer_link_event(struct observer_link *link, struct span topic, const struct blob *value)
{
    if (link != NULL && value->frame_count == 0) {
        recorder_event(link->recorder, topic, slice_span(value->value));
    }
}

void observer_link_failed(struct observer_link *link, struct span told)
{
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_map(&out.head, 1);
    msgpack_write_cstr(&out.head, "failed");
    msgpack_write_raw(&out.head, told);
    send_message(link, &out);
    outgoing_fini(&out);
}
