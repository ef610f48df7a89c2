/* failed_inputs.c: see failed_inputs.h.
 *
 * One failure: hold (before the core hears of it) → notice (it failed for good) → take → run on the worker → the
 * worker is asked what its runs of the task cost and printed → the observer is told → the inputs are let go. Of a task that fails without a word of a worker (its worker was lost), nothing
 * is held, and what is still there is taken.
 *
 * What goes to the observer: {"key": str(key), "time", "worker": address, "inputs": [[str(key), nbytes, type], …], "total": of
 * inputs, "spec": bin or nil, "look": bin or nil (the worker's answer: failed_inputs.py), "why": str or nil, "attempts": what
 * `task_records` answered, of a worker of cask's, or nil}. */
#include "node/failed_inputs.h"

#include "base/alloc.h"
#include "base/log.h"
#include "node/failed_inputs_source.h"
#include "node/lifecycle.h"
#include "node/observer.h"
#include "node/task_records.h"
#include "wire/key.h"
#include "wire/pickle_make.h"

#define LOGGER "distributed.scheduler"
#define CLIENT "cask-failed-inputs"
#define SPEC_BYTES_MAX (1 << 20) /* as in failed_inputs.py */
#define ANSWER_BYTES_MAX ((size_t)16 << 20)
/* Of all failed tasks together. */
#define ALL_BYTES_MAX ((size_t)64 << 20)
/* Tasks that are being asked about; inputs of one that are asked for. */
#define OPEN_MAX 16u
#define INPUTS_MAX 100u
/* Of failures of one prefix at one place the first ones, which are those that pages name; of so many places. */
#define ALIKE_MAX 10u
#define PLACES_MAX 1024u
#define PLACE_BYTES_MAX 4096u
#define ASK_SECONDS 20
/* Of what is told of its runs. */
#define ATTEMPTS_BYTES_MAX (256u << 10)
/* An executor that died with the task has a successor soon. */
#define TRIES_MAX 4u
#define TRY_PAUSE 0.5

struct taking {
    struct failed_inputs *owner;
    struct taking *next;
    struct text key, name; /* name: as people write it */
    struct text worker;    /* the address of who is asked; empty: nobody */
    struct blob *spec;     /* NULL: none */
    double time;
    uint32_t input_count, input_total;
    struct text inputs;    /* msgpack, one after the other: [str(key), nbytes, type] */
    struct text questions; /* the same inputs: [key, nbytes] */
    struct text held;      /* keys, one after the other */
    uint32_t held_count;
    struct slice look; /* what the worker answered, while it is asked for the attempts */
    uint32_t tries;
    bool has_failed; /* for good: the core said so */
};

struct failed_inputs {
    struct node *node;
    struct taking *held; /* between hold and take; NULL: none */
    struct taking *open; /* being asked about */
    uint32_t open_count;
    struct map places; /* prefix and place → how many were taken */
    size_t bytes;      /* that were told to the observer */
    bool is_destroyed; /* and waits for those that are open */
};

/* ---- what is worth it --------------------------------------------------------------------------- */

/* How many failures of this prefix at this place were taken; NULL: there are too many places. */
static uint64_t *count_of(struct failed_inputs *inputs, const struct task *task, struct span place)
{
    struct task_brief brief;
    view_task_brief(task, &brief);
    struct text name = {0};
    text_add(&name, brief.prefix_name);
    text_add_char(&name, '\0');
    size_t skipped = place.size > PLACE_BYTES_MAX ? place.size - PLACE_BYTES_MAX : 0;
    text_add(&name, span_of(place.data + skipped, place.size - skipped));
    struct map_entry *entry = map_find(&inputs->places, text_span(&name));
    if (entry == NULL && inputs->places.count < PLACES_MAX) {
        entry = map_put(&inputs->places, text_span(&name), NULL);
    }
    text_fini(&name);
    return entry == NULL ? NULL : &entry->value.number;
}

static bool is_wanted(struct failed_inputs *inputs, const struct task *task, struct span place)
{
    if (inputs->open_count >= OPEN_MAX || inputs->bytes >= ALL_BYTES_MAX ||
        inputs->node->is_closing) {
        return false;
    }
    uint64_t *count = count_of(inputs, task, place);
    if (count == NULL || *count >= ALIKE_MAX) {
        return false;
    }
    ++*count;
    return true;
}

/* ---- a task and its inputs ---------------------------------------------------------------------- */

static void taking_free(struct taking *taking)
{
    struct text *texts[] = {&taking->key,    &taking->name,      &taking->worker,
                            &taking->inputs, &taking->questions, &taking->held};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        text_fini(texts[i]);
    }
    blob_unref(taking->spec);
    slice_fini(&taking->look);
    mem_free(taking);
}

static void add_input(struct taking *taking, const struct task *input)
{
    struct task_view view;
    struct text name = {0};
    view_task(taking->owner->node->core, input, &view);
    key_print(&name, view.key);
    msgpack_write_array(&taking->inputs, 3);
    msgpack_write_str_lossy(&taking->inputs, text_span(&name));
    msgpack_write_int(&taking->inputs, view.nbytes);
    msgpack_write_str_lossy(&taking->inputs, view.type);
    msgpack_write_array(&taking->questions, 2);
    msgpack_write_raw(&taking->questions, view.key);
    msgpack_write_int(&taking->questions, view.nbytes < 0 ? 0 : view.nbytes);
    taking->input_count++;
    if (view.holder_count > 0) {
        msgpack_write_raw(&taking->held, view.key);
        taking->held_count++;
    }
    text_fini(&name);
}

static struct taking *taking_create(struct failed_inputs *inputs, const struct task *task,
                                    const struct task_view *view)
{
    struct taking *taking = mem_zalloc(1, sizeof *taking);
    taking->owner = inputs;
    taking->time = inputs->node->now;
    text_add(&taking->key, view->key);
    key_print(&taking->name, view->key);
    taking->spec = view->run_spec == NULL ? NULL : blob_ref(view->run_spec);
    taking->input_total = view->dependency_count;
    for (uint32_t i = 0; i < view->dependency_count && i < INPUTS_MAX; i++) {
        add_input(taking, view_task_dependency(inputs->node->core, task, i));
    }
    return taking;
}

/* The keys of what is held, in the scratch arena. */
static struct span_list held_keys(const struct taking *taking)
{
    struct arena *scratch = &taking->owner->node->scratch;
    struct span *keys = arena_array(scratch, struct span, taking->held_count + 1);
    struct msgpack_reader reader = msgpack_reader(text_span(&taking->held));
    for (uint32_t i = 0; i < taking->held_count; i++) {
        int code = msgpack_read_value(&reader, &keys[i]);
        ASSERT(code == OK); /* we wrote it */
    }
    return (struct span_list){keys, taking->held_count};
}

static void hold(struct taking *taking)
{
    if (taking->held_count > 0) {
        struct event event = event_of(EVENT_CLIENT_DESIRES);
        event.of.client_desires.client_name = SPAN(CLIENT);
        event.of.client_desires.keys = held_keys(taking);
        node_apply(taking->owner->node, &event);
    }
}

static bool is_held_by_others(const struct taking *taking, struct span key)
{
    for (const struct taking *other = taking->owner->open; other != NULL; other = other->next) {
        struct span_list theirs = held_keys(other);
        for (uint32_t i = 0; other != taking && i < theirs.count; i++) {
            if (span_equal(theirs.items[i], key)) {
                return true;
            }
        }
    }
    return false;
}

/* Let its inputs go, and forget it. What others hold, too, the last of them lets go. */
static void let_go(struct taking *taking)
{
    struct node *node = taking->owner->node;
    struct span_list keys = held_keys(taking);
    struct span *ours = arena_array(&node->scratch, struct span, keys.count + 1);
    uint32_t count = 0;
    for (uint32_t i = 0; i < keys.count; i++) {
        if (!is_held_by_others(taking, keys.items[i])) {
            ours[count++] = keys.items[i];
        }
    }
    if (count > 0 && !node->is_closing) {
        struct event event = event_of(EVENT_CLIENT_RELEASES);
        event.of.client_releases.client_name = SPAN(CLIENT);
        event.of.client_releases.keys = (struct span_list){ours, count};
        event.stimulus = node_stimulus(node, "failed-inputs-kept");
        node_apply(node, &event);
    }
    taking_free(taking);
}

/* ---- telling ------------------------------------------------------------------------------------ */

/* The task's pickle, if it is in one piece and small. */
static void write_spec(struct text *out, const struct blob *spec)
{
    struct slice pickle;
    if (spec == NULL || blob_size(spec) > 2 * SPEC_BYTES_MAX ||
        payload_bytes(spec, &pickle) != OK) {
        msgpack_write_nil(out);
        return;
    }
    if (slice_span(pickle).size <= SPEC_BYTES_MAX) {
        msgpack_write_bin(out, slice_span(pickle));
    } else {
        msgpack_write_nil(out);
    }
    slice_fini(&pickle);
}

/* The worker's answers: the look (empty: none, and `why`), and the attempts, if it is a list. */
static void tell(struct taking *taking, struct span look, struct span attempts, const char *why)
{
    struct failed_inputs *inputs = taking->owner;
    struct text out = {0};
    msgpack_write_map(&out, 9);
    msgpack_write_cstr(&out, "key");
    msgpack_write_str_lossy(&out, text_span(&taking->name));
    msgpack_write_cstr(&out, "time");
    msgpack_write_float(&out, taking->time);
    msgpack_write_cstr(&out, "worker");
    msgpack_write_str_lossy(&out, text_span(&taking->worker));
    msgpack_write_cstr(&out, "inputs");
    msgpack_write_array(&out, taking->input_count);
    msgpack_write_raw(&out, text_span(&taking->inputs));
    msgpack_write_cstr(&out, "total");
    msgpack_write_uint(&out, taking->input_total);
    msgpack_write_cstr(&out, "spec");
    if (look.size > 0) {
        msgpack_write_nil(&out); /* the worker's answer has it, in one piece */
    } else {
        write_spec(&out, taking->spec);
    }
    msgpack_write_cstr(&out, "look");
    if (look.size > 0) {
        msgpack_write_bin(&out, look);
    } else {
        msgpack_write_nil(&out);
    }
    msgpack_write_cstr(&out, "why");
    if (why != NULL) {
        msgpack_write_str_lossy(&out, span_of_text(why));
    } else {
        msgpack_write_nil(&out);
    }
    struct msgpack_reader list = msgpack_reader(attempts);
    uint32_t count;
    msgpack_write_cstr(&out, "attempts");
    if (attempts.size <= ATTEMPTS_BYTES_MAX && msgpack_read_array(&list, &count) == OK) {
        msgpack_write_raw(&out, attempts);
    } else {
        msgpack_write_nil(&out);
    }
    inputs->bytes += out.size;
    observer_link_failed(inputs->node->observer, text_span(&out));
    text_fini(&out);
}

static void finish(struct taking *taking, struct span attempts, const char *why)
{
    struct failed_inputs *inputs = taking->owner;
    struct taking **place = &inputs->open;
    while (*place != taking) {
        place = &(*place)->next;
    }
    *place = taking->next;
    inputs->open_count--;
    if (inputs->is_destroyed) {
        taking_free(taking);
        failed_inputs_destroy(inputs);
        return;
    }
    tell(taking, slice_span(taking->look), attempts, why);
    let_go(taking);
}

/* ---- asking ------------------------------------------------------------------------------------- */

/* eval("lambda source: …")(source): the function that the source defines. */
static void write_function(struct text *out)
{
    pickle_begin(out);
    pickle_put_global(out, "builtins", "eval");
    pickle_put_mark(out);
    pickle_put_text(out, SPAN("lambda source: (lambda names: exec(source, names) or "
                              "names['keep_inputs_of_failed_task'])({})"));
    pickle_put_tuple(out);
    pickle_put_call(out);
    pickle_put_mark(out);
    pickle_put_text(out, span_of_text(failed_inputs_source));
    pickle_put_tuple(out);
    pickle_put_call(out);
    pickle_end(out);
}

/* The task's pickle, then its buffers; none if it is none or large. */
static void put_spec(struct text *out, const struct blob *spec)
{
    struct payload_content content;
    struct slice pickle;
    pickle_put_mark(out);
    if (spec != NULL && blob_size(spec) <= ALL_BYTES_MAX / 4) {
        if (payload_bytes(spec, &pickle) == OK) {
            pickle_put_bytes(out, slice_span(pickle));
            slice_fini(&pickle);
        } else if (payload_open(spec, &content) == OK) {
            for (uint32_t i = 0; i < content.parts.count; i++) {
                pickle_put_bytes(out, slice_span(content.parts.items[i]));
            }
            payload_content_fini(&content);
        }
    }
    pickle_put_tuple(out);
}

/* (spec's parts, ((key, nbytes), …)) */
static void write_arguments(struct text *out, const struct taking *taking)
{
    struct msgpack_reader reader = msgpack_reader(text_span(&taking->questions));
    pickle_begin(out);
    pickle_put_mark(out);
    put_spec(out, taking->spec);
    pickle_put_mark(out);
    for (uint32_t i = 0; i < taking->input_count; i++) {
        struct span key;
        uint32_t count;
        int64_t nbytes;
        int code = msgpack_read_array(&reader, &count);
        code = code == OK ? msgpack_read_value(&reader, &key) : code;
        code = code == OK ? msgpack_read_int(&reader, &nbytes) : code;
        ASSERT(code == OK); /* we wrote it */
        pickle_put_mark(out);
        pickle_put_key(out, key);
        pickle_put_int(out, nbytes);
        pickle_put_tuple(out);
    }
    pickle_put_tuple(out);
    pickle_put_tuple(out);
    pickle_end(out);
}

static void put_bin(struct text *head, const char *name, const struct text *pickle)
{
    msgpack_write_cstr(head, name);
    msgpack_write_bin(head, text_span(pickle));
}

static void write_call(struct outgoing *call, const struct taking *taking)
{
    struct text function = {0}, arguments = {0}, keywords = {0};
    write_function(&function);
    write_arguments(&arguments, taking);
    int code = pickle_make_value(&keywords, SPAN("\x80"), false);
    ASSERT(code == OK); /* an empty map */
    msgpack_write_map(&call->head, 6);
    msgpack_write_cstr(&call->head, "op");
    msgpack_write_cstr(&call->head, "run");
    put_bin(&call->head, "function", &function);
    put_bin(&call->head, "args", &arguments);
    put_bin(&call->head, "kwargs", &keywords);
    msgpack_write_cstr(&call->head, "wait");
    msgpack_write_bool(&call->head, true);
    msgpack_write_cstr(&call->head, "reply");
    msgpack_write_bool(&call->head, true);
    text_fini(&function);
    text_fini(&arguments);
    text_fini(&keywords);
}

/* {"status": "OK", "result": Serialize(bytes)}: owned. False: it is an error. */
static bool read_reply(const struct frames *reply, struct slice *out_look)
{
    struct span status, result;
    struct blob *blob;
    if (msgpack_find(frames_head(reply), "status", &status) != OK ||
        !span_equal(status, SPAN("\xa2OK")) ||
        msgpack_find(frames_head(reply), "result", &result) != OK ||
        payload_take(reply, result, &blob) != OK) {
        return false;
    }
    bool is_fine = blob_size(blob) <= ANSWER_BYTES_MAX && payload_bytes(blob, out_look) == OK;
    blob_unref(blob);
    return is_fine;
}

static void ask(void *user);

static void give_up(void *user)
{
    finish(user, SPAN(""), "its worker could not be asked for them");
}

static void finish_without(void *user)
{
    finish(user, SPAN(""), NULL);
}

static void told_attempts(void *user, int code, const char *text, const struct frames *reply)
{
    (void)text; /* the failure is told without them */
    struct taking *taking = user;
    if (code == OK) {
        arena_reset(&taking->owner->node->scratch);
        finish(taking, frames_head(reply), NULL);
    } else {
        lifecycle_pause(taking->owner->node, 0, finish_without, taking); /* as in `answered` */
    }
}

static void ask_attempts(struct taking *taking)
{
    struct key_list keys = {.keys = text_span(&taking->key), .count = 1, .given = true};
    struct rpc_options options = {.timeout = ASK_SECONDS, .done = told_attempts, .user = taking};
    struct outgoing call;
    outgoing_init(&call);
    task_records_call(&call, keys);
    rpc_call(taking->owner->node->rpc, text_span(&taking->worker), &call, &options);
    outgoing_fini(&call);
}

static void answered(void *user, int code, const char *text, const struct frames *reply)
{
    struct taking *taking = user;
    struct node *node = taking->owner->node;
    if (code == OK && read_reply(reply, &taking->look)) {
        arena_reset(&node->scratch);
        worker_id worker = view_worker_by_address(node->core, text_span(&taking->worker));
        if (!taking->owner->is_destroyed && task_records_are_kept(node, worker)) {
            ask_attempts(taking);
        } else {
            finish(taking, SPAN(""), NULL);
        }
    } else if (code == OK && ++taking->tries < TRIES_MAX) {
        lifecycle_pause(node, TRY_PAUSE, ask, taking);
    } else {
        log_debug(LOGGER, "the inputs of %s are not kept: %s", text_cstr(&taking->name),
                  code == OK ? "its worker could not look at them" : text);
        lifecycle_pause(node, 0, give_up, taking); /* this may be inside a step */
    }
}

static void ask(void *user)
{
    struct taking *taking = user;
    struct outgoing call;
    if (taking->owner->is_destroyed || taking->owner->node->is_closing) {
        give_up(taking);
        return;
    }
    outgoing_init(&call);
    write_call(&call, taking);
    struct rpc_options options = {.timeout = ASK_SECONDS, .done = answered, .user = taking};
    rpc_call(taking->owner->node->rpc, text_span(&taking->worker), &call, &options);
    outgoing_fini(&call);
}

/* Who ran it, if it is still there; else who has the first of its inputs. */
static void choose_worker(struct taking *taking, const struct task *task,
                          const struct task_view *view)
{
    struct node *node = taking->owner->node;
    struct failure_view failure;
    struct worker_view worker;
    view_failure(view->failure, &failure);
    worker_id id =
        failure.worker.size == 0 ? WORKER_NONE : view_worker_by_address(node->core, failure.worker);
    for (uint32_t i = 0; id == WORKER_NONE && i < view->dependency_count; i++) {
        const struct task *input = view_task_dependency(node->core, task, i);
        struct task_view its;
        view_task(node->core, input, &its);
        id = its.holder_count > 0 ? view_task_holder(node->core, input, 0) : WORKER_NONE;
    }
    if (id != WORKER_NONE && view_worker(node->core, id, &worker)) {
        text_add(&taking->worker, worker.address);
    }
}

static void begin(void *user)
{
    struct taking *taking = user;
    struct node *node = taking->owner->node;
    bool is_over = taking->owner->is_destroyed || node->is_closing;
    const struct task *task = is_over ? NULL : view_task_find(node->core, text_span(&taking->key));
    struct task_view view = {0};
    if (task != NULL) {
        view_task(node->core, task, &view);
    }
    if (view.failure != NULL) {
        choose_worker(taking, task, &view);
    }
    if (taking->worker.size > 0) {
        ask(taking);
    } else {
        finish(taking, SPAN(""), "its worker was gone");
    }
}

static void open_taking(struct taking *taking)
{
    taking->next = taking->owner->open;
    taking->owner->open = taking;
    taking->owner->open_count++;
}

/* ---- what happens ------------------------------------------------------------------------------- */

void failed_inputs_hold(struct failed_inputs *inputs, struct span key, struct span place)
{
    const struct task *task = inputs == NULL ? NULL : view_task_find(inputs->node->core, key);
    struct task_view view;
    if (task == NULL || view_task_state(task) != TASK_PROCESSING) {
        return;
    }
    ASSERT(inputs->held == NULL);
    view_task(inputs->node->core, task, &view);
    if (view.run_spec != NULL && is_wanted(inputs, task, place)) {
        inputs->held = taking_create(inputs, task, &view);
        hold(inputs->held);
    }
}

void failed_inputs_take(struct failed_inputs *inputs)
{
    struct taking *taking = inputs == NULL ? NULL : inputs->held;
    if (taking == NULL) {
        return;
    }
    inputs->held = NULL;
    if (taking->has_failed) {
        open_taking(taking);
        begin(taking);
    } else {
        let_go(taking);
    }
}

void failed_inputs_notice(struct failed_inputs *inputs, const struct notice *notice)
{
    struct task_brief brief;
    struct failure_view failure;
    struct task_view view;
    view_task_brief(notice->task, &brief);
    if (inputs == NULL || brief.failure == NULL) {
        return;
    }
    view_failure(brief.failure, &failure);
    if (!span_equal(failure.key, brief.key)) {
        return; /* an input's */
    }
    if (inputs->held != NULL && span_equal(text_span(&inputs->held->key), brief.key)) {
        inputs->held->has_failed = true;
        return;
    }
    view_task(inputs->node->core, notice->task, &view);
    bool by_worker = failure.kind == FAILURE_USER; /* then it was held, or not wanted */
    if (!by_worker && view.run_spec != NULL && is_wanted(inputs, notice->task, failure.attempts)) {
        struct taking *taking = taking_create(inputs, notice->task, &view);
        text_clear(&taking->held);
        taking->held_count = 0;
        open_taking(taking);
        lifecycle_pause(inputs->node, 0, begin, taking);
    }
}

/* ---- beginning and end -------------------------------------------------------------------------- */

struct failed_inputs *failed_inputs_create(struct node *node)
{
    if (node->observer == NULL || !config_bool(node->config, "cask.history.keep-inputs", true)) {
        return NULL;
    }
    struct failed_inputs *inputs = mem_zalloc(1, sizeof *inputs);
    inputs->node = node;
    return inputs;
}

void failed_inputs_destroy(struct failed_inputs *inputs)
{
    if (inputs != NULL) {
        ASSERT(inputs->held == NULL);
        inputs->is_destroyed = true;
        if (inputs->open == NULL) {
            map_fini(&inputs->places);
            mem_free(inputs);
        }
    }
}
