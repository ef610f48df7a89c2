/* worker_nanny.c: what a stock nanny is to its scheduler and to user code, beside ending and restarting.
 *
 * It registers before its worker does, and gets the nanny plugins. They, preload modules of the nanny and `run`
 * need Python: a process of its own, in the executors' protocol, started when the first of them is there. It
 * outlives executors and restarts of the worker. What it puts into its environment and its sys.path goes to the
 * executors that start from then on. Source: distributed nanny.py start_unsafe, plugin_add; protocol.md 3.8. */
#include "base/log.h"
#include "node/worker_internal.h"

#define LOGGER "distributed.nanny"
#define TRY_AGAIN_SECONDS 0.1
#define QUESTIONS_MAX 1000u /* that wait for an answer */

/* What the nanny's Python is ready for. */
enum nanny_phase {
    NANNY_STARTING, /* nothing yet, or there is none */
    NANNY_WELCOME,  /* HELLO was answered */
    NANNY_ADDING,   /* plugins are being added */
    NANNY_READY,
};

struct worker_nanny {
    struct supervisor *supervisor; /* NULL: nobody has needed Python yet */
    struct executor *executor;     /* NULL: none now */
    enum nanny_phase phase;
    uint32_t adding;                /* plugins under way; whoever adds them counts as one */
    struct map plugins;             /* name (msgpack) → struct blob * */
    struct VEC(uint64_t) waiting;   /* calls that came before it was ready */
    struct VEC(uint64_t) questions; /* ASKs that are answered when the worker has registered anew */
    struct slice told;              /* {environ, path} for executors */
    bool has_changes;               /* `told` is new since the first executors were started */
    struct comm *comm;              /* of the registration; NULL: none */
    struct message_decoder decoder;
    struct io_timer *again;
    bool is_registered;
};

static void connect_now(struct worker_node *worker);

/* ---- the start is over ------------------------------------------------------------------------- */

bool worker_nanny_is_started(const struct worker_node *worker)
{
    const struct worker_nanny *nanny = worker->nanny_side;
    return nanny->is_registered && (nanny->supervisor == NULL || nanny->phase == NANNY_READY);
}

bool worker_nanny_has_python(const struct worker_node *worker)
{
    return worker->nanny_side->phase == NANNY_READY;
}

/* The worker may register; executors that know nothing of what plugins set are replaced first. */
static void started(struct worker_node *worker)
{
    struct worker_nanny *nanny = worker->nanny_side;
    if (!worker_nanny_is_started(worker)) {
        return;
    }
    if (nanny->has_changes && !worker->link.is_registered) {
        worker_executors_replace(worker, "the nanny has another environment for them");
    }
    nanny->has_changes = false;
    for (uint32_t i = 0; i < nanny->waiting.count; i++) {
        struct request *request = request_find(&worker->nanny, nanny->waiting.items[i]);
        if (request != NULL) {
            request_dispatch(request);
        }
    }
    nanny->waiting.count = 0;
    worker_link_open(worker);
}

/* ---- plugins ----------------------------------------------------------------------------------- */

/* One of the plugins was added, or could not be: as with stock, that is only said. */
static void plugin_added(void *user, struct worker_node *worker, const struct frames *reply)
{
    struct worker_nanny *nanny = worker->nanny_side;
    struct span text;
    (void)user;
    if (nanny->phase != NANNY_ADDING) {
        return; /* it has died meanwhile */
    }
    if (reply != NULL && msgpack_find(frames_head(reply), "exception_text", &text) == OK) {
        log_error(LOGGER, "A nanny plugin failed to setup: %.*s", (int)text.size,
                  (const char *)text.data);
    }
    if (--nanny->adding == 0) {
        nanny->phase = NANNY_READY;
        started(worker);
    }
}

static void add_plugins(struct worker_node *worker)
{
    struct worker_nanny *nanny = worker->nanny_side;
    uint32_t cursor = 0;
    if (nanny->phase != NANNY_WELCOME || !nanny->is_registered) {
        return;
    }
    nanny->phase = NANNY_ADDING;
    nanny->adding = 1; /* this function */
    for (struct map_entry *entry; (entry = map_next(&nanny->plugins, &cursor)) != NULL;) {
        struct call_wish wish = {
            .seat = SEAT_NANNY, .op = SPAN("plugin_add"), .replied = plugin_added};
        nanny->adding++;
        worker_call_plugin_add(worker, &wish, entry->name, entry->value.pointer);
    }
    plugin_added(NULL, worker, NULL);
}

void worker_nanny_keep_plugin(struct worker_node *worker, struct span name, struct blob *plugin)
{
    struct map_entry *entry = map_put(&worker->nanny_side->plugins, name, NULL);
    blob_unref(entry->value.pointer);
    entry->value.pointer = blob_ref(plugin);
}

void worker_nanny_drop_plugin(struct worker_node *worker, struct span name)
{
    struct map_entry *entry = map_find(&worker->nanny_side->plugins, name);
    if (entry != NULL) {
        blob_unref(entry->value.pointer);
        map_remove(&worker->nanny_side->plugins, name);
    }
}

/* ---- its Python: what it says ------------------------------------------------------------------ */

static void answer(struct worker_node *worker, uint64_t number, bool ok, const char *text)
{
    struct worker_nanny *nanny = worker->nanny_side;
    struct text value = {0};
    msgpack_write_cstr(&value, text);
    const struct executor_payload payload = {.value = text_span(&value), .segment = -1};
    if (nanny->executor != NULL) {
        int code = channel_add_answer(executor_out(nanny->executor), number, ok, &payload);
        ASSERT(code == OK); /* it is short, and all inline */
    }
    text_fini(&value);
}

/* restart, kill: [reason]. Answered when the worker has registered again, if it had. */
static void asked(struct worker_node *worker, const struct executor_message *ask)
{
    struct text reason = {0};
    if (!span_equal(ask->text, SPAN("restart"))) {
        answer(worker, ask->handle, false, "the worker does not answer this question");
    } else if (worker->nanny_side->questions.count >= QUESTIONS_MAX) {
        answer(worker, ask->handle, false, "too many wait for a restart already");
    } else if (!worker->link.is_registered || worker->nanny_side->phase != NANNY_READY) {
        answer(worker, ask->handle, true, "OK"); /* its executors have, or will get, what was set */
    } else {
        text_add(&reason, worker_text_at(ask->payload.value, 0));
        vec_push(&worker->nanny_side->questions, ask->handle);
        worker_end(worker, text_cstr(&reason), false);
    }
    text_fini(&reason);
}

/* {environ, path}: what executors get from now on. */
static void take_environment(struct worker_node *worker, struct span told)
{
    struct worker_nanny *nanny = worker->nanny_side;
    struct text python = {0}, texts = {0};
    slice_fini(&nanny->told);
    nanny->told = slice_copy(told);
    nanny->has_changes = true;
    const char **environment = worker_environment(worker, told, &python, &texts);
    supervisor_set_environment(worker->supervisor, environment);
    mem_free(environment);
    text_fini(&python);
    text_fini(&texts);
}

static void told(struct worker_node *worker, struct executor_message *tell)
{
    struct frames frames = {0};
    int code = worker_frames_of(&tell->payload, &frames);
    if (code != OK) {
        log_warning(LOGGER, "what the nanny's Python tells cannot be read: %s",
                    error_meaning(code));
    } else if (span_equal(tell->text, SPAN("environment"))) {
        take_environment(worker, frames_head(&frames));
    } else {
        worker_told_to_close(worker, tell->text, frames_head(&frames));
    }
    frames_fini(&frames);
}

static void welcome(struct worker_node *worker, const struct executor_message *message)
{
    if (worker->nanny_side->phase != NANNY_STARTING) {
        return; /* it is not believed a second time */
    }
    if (message->text.size > 0) {
        log_error(LOGGER, "The nanny could not start: %.*s", (int)message->text.size,
                  (const char *)message->text.data);
        worker_close(worker, "nanny-start-failed", 1);
        return;
    }
    worker->nanny_side->phase = NANNY_WELCOME;
    add_plugins(worker);
}

static void message_came(void *user, uint32_t index, struct executor *executor,
                         struct executor_message *message)
{
    struct worker_node *worker = user;
    (void)index;
    (void)executor;
    if (worker->is_closing) {
        return;
    }
    arena_reset(&worker->scratch);
    switch (message->op) {
    case EXECUTOR_WELCOME:
        welcome(worker, message);
        break;
    case EXECUTOR_REPLY:
        worker_call_replied(worker, SEAT_NANNY, message);
        break;
    case EXECUTOR_ASK:
        asked(worker, message);
        break;
    case EXECUTOR_TELL:
        told(worker, message);
        break;
    default:
        break; /* it runs no tasks: there is nothing else it could mean */
    }
}

/* ---- its Python: beginning and end ------------------------------------------------------------- */

static void assigned(void *user, uint32_t index, struct executor *executor)
{
    struct worker_node *worker = user;
    (void)index;
    worker->nanny_side->executor = executor;
    worker_say_hello_to_nanny(worker, executor);
}

/* One that had started is followed by another with the same plugins; one that dies of starting would go on to. */
static void died(void *user, uint32_t index, const struct executor_death *death)
{
    struct worker_node *worker = user;
    struct worker_nanny *nanny = worker->nanny_side;
    bool had_started = nanny->phase == NANNY_READY;
    struct text report = {0};
    (void)index;
    worker_death_print(worker, death, &report);
    log_error(LOGGER, "The nanny's Python: %s", text_cstr(&report));
    text_fini(&report);
    arena_reset(&worker->scratch);
    nanny->executor = NULL;
    nanny->phase = NANNY_STARTING;
    nanny->questions.count = 0;
    worker_calls_died(worker, SEAT_NANNY);
    if (!had_started) {
        worker_close(worker, "nanny-start-failed", 1);
    }
}

static void start_failed(void *user, uint32_t count, const struct executor_death *death)
{
    struct worker_node *worker = user;
    struct text report = {0};
    worker_death_print(worker, death, &report);
    log_error(LOGGER, "The nanny's Python did not start (%u in a row): %s", count,
              text_cstr(&report));
    text_fini(&report);
    if (count >= 3) {
        worker_close(worker, "nanny-start-failed", 1);
    }
}

static const struct supervisor_events supervisor_events = {
    .assigned = assigned,
    .message = message_came,
    .died = died,
    .start_failed = start_failed,
};

/* Unless it is there. */
static void start_python(struct worker_node *worker)
{
    struct worker_nanny *nanny = worker->nanny_side;
    struct text python = {0}, texts = {0}, why = {0};
    if (nanny->supervisor != NULL || worker->is_closing) {
        return;
    }
    const char **environment = worker_environment(worker, (struct span){0}, &python, &texts);
    const struct supervisor_options options = {
        .executor = {.python = text_cstr(&python), .environment = environment, .slot_count = 1},
        .executor_count = 1,
        .events = &supervisor_events,
        .user = worker,
    };
    if (supervisor_create(worker->loop, &options, &nanny->supervisor, &why) != OK) {
        log_error(LOGGER, "The nanny's Python could not be started: %s", text_cstr(&why));
        worker_close(worker, "nanny-start-failed", 1);
    }
    mem_free(environment);
    text_fini(&python);
    text_fini(&texts);
    text_fini(&why);
}

void worker_nanny_wait(struct worker_node *worker, struct request *request)
{
    vec_push(&worker->nanny_side->waiting, request->number);
    start_python(worker);
}

/* ---- the registration -------------------------------------------------------------------------- */

static void register_now(void *user, struct comm *comm)
{
    struct worker_node *worker = user;
    struct outgoing out;
    outgoing_init(&out);
    struct msg_register_nanny message = {.address = text_span(&worker->nanny.address)};
    message_encode(&out, MESSAGE_REGISTER_NANNY, &message);
    comm_send(comm, &out);
    outgoing_fini(&out);
}

static void on_message(void *user, struct comm *comm, const struct frames *frames)
{
    struct worker_node *worker = user;
    struct worker_nanny *nanny = worker->nanny_side;
    struct message message;
    arena_reset(&worker->scratch);
    if (nanny->is_registered) {
        return; /* there is nothing more to say */
    }
    if (message_decode_as(&nanny->decoder, MESSAGE_REPLY_REGISTER_NANNY, frames_head(frames),
                          &message) != OK ||
        !worker_take_plugins(&nanny->plugins, frames,
                             message.body.reply_register_nanny.nanny_plugins.raw)) {
        log_error(LOGGER, "The scheduler's answer to the nanny is malformed: %s",
                  text_cstr(&nanny->decoder.error));
        comm_abort(comm, "malformed");
        worker_close(worker, "nanny-start-failed", 1);
        return;
    }
    nanny->is_registered = true;
    if (nanny->plugins.count > 0) {
        start_python(worker);
    }
    add_plugins(worker);
    started(worker);
}

static void on_closed(void *user, struct comm *comm, int code, const char *text)
{
    struct worker_node *worker = user;
    struct worker_nanny *nanny = worker->nanny_side;
    (void)code;
    (void)text;
    if (nanny == NULL || nanny->comm != comm) {
        return;
    }
    nanny->comm = NULL;
    if (nanny->is_registered || worker->is_closing) {
        return;
    }
    log_info(LOGGER, "Waiting to connect to: %26s", text_cstr(&worker->scheduler));
    if (worker_link_has_patience(worker)) {
        io_timer_start(nanny->again, TRY_AGAIN_SECONDS, 0);
    }
}

static const struct comm_events comm_events = {
    .ready = register_now, .message = on_message, .closed = on_closed};

static void connect_now(struct worker_node *worker)
{
    worker->nanny_side->comm =
        comm_connect(&worker->comm_settings, text_span(&worker->scheduler), &comm_events, worker);
}

static void on_again(void *user)
{
    connect_now(user);
}

/* The second half: the scheduler adds plugins to those that have started, and waits for those that start. */
static void say_started(struct worker_node *worker, const char *status)
{
    struct worker_nanny *nanny = worker->nanny_side;
    if (nanny->comm == NULL) {
        return;
    }
    struct comm *comm = nanny->comm;
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_map(&out.head, 1);
    msgpack_write_cstr(&out.head, "status");
    msgpack_write_cstr(&out.head, status);
    comm_send(comm, &out);
    outgoing_fini(&out);
    nanny->comm = NULL;
    comm_close(comm);
}

/* ---- for the others ---------------------------------------------------------------------------- */

void worker_nanny_create(struct worker_node *worker)
{
    struct worker_nanny *nanny = mem_zalloc(1, sizeof *nanny);
    nanny->again = io_timer_create(worker->loop, on_again, worker);
    message_decoder_init(&nanny->decoder, PORT_WORKER_STREAM, &worker->scratch);
    worker->nanny_side = nanny;
}

void worker_nanny_begin(struct worker_node *worker)
{
    const char *module;
    struct worker_nanny *nanny = worker->nanny_side;
    if (!worker->options.has_nanny) {
        nanny->is_registered = true; /* nobody to register */
        return;
    }
    if ((worker->options.preload_nanny != NULL && worker->options.preload_nanny[0] != NULL) ||
        config_item(worker->config, "distributed.nanny.preload", 0, &module)) {
        start_python(worker);
    }
    connect_now(worker);
}

void worker_nanny_registered(struct worker_node *worker, bool is_fine)
{
    struct worker_nanny *nanny = worker->nanny_side;
    say_started(worker, is_fine ? "ok" : "error");
    if (is_fine && nanny->executor != NULL) {
        worker_update_nanny(worker, nanny->executor);
    }
    while (nanny->questions.count > 0) {
        answer(worker, vec_pop(&nanny->questions), is_fine, is_fine ? "OK" : "the worker closes");
    }
}

struct executor *worker_nanny_executor(const struct worker_node *worker)
{
    return worker->nanny_side->executor;
}

void worker_nanny_flush(struct worker_node *worker)
{
    if (worker->nanny_side->supervisor != NULL) {
        supervisor_flush(worker->nanny_side->supervisor);
    }
}

bool worker_nanny_close(struct worker_node *worker, double grace, void (*closed)(void *user))
{
    struct worker_nanny *nanny = worker->nanny_side;
    io_timer_stop(nanny->again);
    if (nanny->supervisor == NULL) {
        return false;
    }
    supervisor_close(nanny->supervisor, grace, closed);
    return true;
}

void worker_nanny_destroy(struct worker_node *worker)
{
    struct worker_nanny *nanny = worker->nanny_side;
    worker->nanny_side = NULL;
    if (nanny->comm != NULL) {
        comm_abort(nanny->comm, "the nanny ends");
    }
    supervisor_destroy(nanny->supervisor);
    io_timer_destroy(nanny->again);
    message_decoder_fini(&nanny->decoder);
    worker_forget_plugins(&nanny->plugins);
    vec_fini(&nanny->waiting);
    vec_fini(&nanny->questions);
    slice_fini(&nanny->told);
    mem_free(nanny);
}
