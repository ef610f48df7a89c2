/* rpc_workers.c: questions that the workers answer: call stacks, profiles, logs, benchmarks.
 * Source: distributed scheduler.py get_call_stack, get_profile, get_worker_logs, benchmark_hardware. */
#include "base/alloc.h"
#include "node/broadcast.h"
#include "node/fanout.h"
#include "node/profile.h"
#include "node/values.h"

/* ---- call stacks ------------------------------------------------------------------------------- */

/* {worker: stacks}, workers that run nothing left out. */
static void call_stack_done(struct fanout *fanout)
{
    struct request *request = request_find(&fanout->node->server, (uintptr_t)fanout->user);
    const struct fanout_reply *failed = fanout_first_failed(fanout);
    if (failed != NULL) {
        fanout_raise(request, failed);
        return;
    }
    uint32_t shown = 0;
    struct outgoing answer;
    outgoing_init(&answer);
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        struct span value = fanout_value(fanout->replies.items[i]);
        shown += !msgpack_is_nil(value) && !span_equal(value, SPAN("\x80"));
    }
    msgpack_write_map(&answer.head, shown);
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        const struct fanout_reply *reply = fanout->replies.items[i];
        struct span value = fanout_value(reply);
        if (!msgpack_is_nil(value) && !span_equal(value, SPAN("\x80"))) {
            msgpack_write_str(&answer.head, reply->worker);
            payload_put(&answer, reply->answer);
        }
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

/* call_stack of `keys` (canonical, one after the other); data NULL: of all that runs. */
static void ask_call_stack(struct fanout *fanout, worker_id worker, struct span keys,
                           uint32_t count)
{
    struct msg_worker_call_stack call;
    struct outgoing out;
    outgoing_init(&out);
    message_defaults(MESSAGE_WORKER_CALL_STACK, &call);
    call.keys = (struct key_list){keys, count, keys.data != NULL};
    message_encode(&out, MESSAGE_WORKER_CALL_STACK, &call);
    struct span address = view_worker_address(fanout->node->core, worker);
    fanout_call(fanout, address, address, &out, 0);
    outgoing_fini(&out);
}

struct stack_search {
    struct node *node;
    struct map seen; /* keys */
    struct map keys; /* worker_id → struct text *: its processing keys */
    struct VEC(const struct task *) todo;
};

static void add_todo(struct stack_search *search, const struct task *task)
{
    bool is_new;
    map_put(&search->seen, view_task_key(task), &is_new);
    if (is_new) {
        vec_push(&search->todo, task);
    }
}

/* A waiting task runs nowhere: its inputs may. */
static void look_at(struct stack_search *search, const struct task *task)
{
    struct task_view view;
    view_task(search->node->core, task, &view);
    if (view.state == TASK_WAITING) {
        for (uint32_t i = 0; i < view.dependency_count; i++) {
            add_todo(search, view_task_dependency(search->node->core, task, i));
        }
    } else if (view.processing_on != WORKER_NONE) {
        worker_id worker = view.processing_on;
        struct map_entry *entry = map_put(&search->keys, span_of(&worker, sizeof worker), NULL);
        if (entry->value.pointer == NULL) {
            entry->value.pointer = mem_zalloc(1, sizeof(struct text));
        }
        text_add(entry->value.pointer, view.key);
    }
}

static uint32_t count_keys(struct span keys)
{
    uint32_t count = 0;
    for (struct msgpack_reader reader = msgpack_reader(keys); !msgpack_at_end(&reader); count++) {
        int code = msgpack_skip(&reader);
        ASSERT(code == OK);
    }
    return count;
}

static void ask_found(struct stack_search *search, struct fanout *fanout)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&search->keys, &cursor)) != NULL;) {
        struct text *keys = entry->value.pointer;
        worker_id worker;
        memcpy(&worker, entry->name.data, sizeof worker);
        ask_call_stack(fanout, worker, text_span(keys), count_keys(text_span(keys)));
        text_fini(keys);
        mem_free(keys);
    }
    map_fini(&search->keys);
    map_fini(&search->seen);
    vec_fini(&search->todo);
}

void rpc_call_stack(struct node *node, struct request *request, const struct message *message)
{
    struct key_list keys = message->body.call_stack.keys;
    struct fanout *fanout = fanout_create(node, call_stack_done, broadcast_user(request));
    if (!keys.given) {
        for (uint32_t i = 0; i < view_worker_count(node->core); i++) {
            ask_call_stack(fanout, view_worker_at(node->core, i), (struct span){0}, 0);
        }
        fanout_go(fanout);
        return;
    }
    struct stack_search search = {.node = node};
    struct span key;
    while (key_list_next(&keys, &key)) {
        const struct task *task = view_task_find(node->core, key);
        if (task != NULL) { /* forgotten meanwhile, so running nowhere */
            add_todo(&search, task);
        }
    }
    while (search.todo.count > 0) {
        look_at(&search, vec_pop(&search.todo));
    }
    ask_found(&search, fanout);
    fanout_go(fanout);
}

/* ---- profiles ---------------------------------------------------------------------------------- */

struct profile_question {
    uint64_t request;
    bool merge;
};

static bool is_profile(const struct fanout_reply *reply)
{
    return !fanout_failed(reply) && reply->answer->frame_count == 0 &&
           profile_is_tree(fanout_value(reply));
}

/* Workers that did not answer are left out. */
static void profile_done(struct fanout *fanout)
{
    const struct profile_question *question = fanout->user;
    struct request *request = request_find(&fanout->node->server, question->request);
    struct span *trees = arena_array(&fanout->arena, struct span, fanout->replies.count);
    uint32_t count = 0;
    struct outgoing answer;
    outgoing_init(&answer);
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        if (is_profile(fanout->replies.items[i])) {
            trees[count++] = fanout_value(fanout->replies.items[i]);
        }
    }
    if (question->merge) {
        profile_merge(&answer.head, trees, count);
    } else {
        msgpack_write_map(&answer.head, count);
        for (uint32_t i = 0; i < fanout->replies.count; i++) {
            if (is_profile(fanout->replies.items[i])) {
                msgpack_write_str(&answer.head, fanout->replies.items[i]->worker);
                msgpack_write_raw(&answer.head, fanout_value(fanout->replies.items[i]));
            }
        }
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

static void ask_profile(struct fanout *fanout, worker_id worker, const struct msg_profile *m)
{
    struct msg_worker_profile call = {
        .start = msgpack_is_nil(m->start) ? SPAN("\xc0") : m->start,
        .stop = msgpack_is_nil(m->stop) ? SPAN("\xc0") : m->stop,
        .key = m->key,
        .server = m->server,
    };
    struct outgoing out;
    outgoing_init(&out);
    message_encode(&out, MESSAGE_WORKER_PROFILE, &call);
    struct span address = view_worker_address(fanout->node->core, worker);
    fanout_call(fanout, address, address, &out, 0);
    outgoing_fini(&out);
}

/* The scheduler runs no Python, so a profile of its loop is an empty tree. */
static void reply_empty_profile(struct request *request)
{
    struct outgoing answer;
    outgoing_init(&answer);
    profile_merge(&answer.head, NULL, 0);
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

static bool is_time_or_nil(struct span value)
{
    struct msgpack_reader reader = msgpack_reader(value);
    double seconds;
    return msgpack_is_nil(value) || msgpack_read_float(&reader, &seconds) == OK;
}

void rpc_profile(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_profile *m = &message->body.profile;
    if (m->scheduler) {
        reply_empty_profile(request);
        return;
    }
    if (!is_time_or_nil(m->start) || !is_time_or_nil(m->stop)) {
        request_raise_builtin(request, "TypeError", "start and stop must be numbers of seconds");
        return;
    }
    struct fanout *fanout = fanout_create(node, profile_done, NULL);
    struct profile_question *question = arena_new(&fanout->arena, struct profile_question);
    *question = (struct profile_question){request->number, m->merge_workers};
    fanout->user = question;
    bool given;
    struct worker_list workers = values_workers(node, m->workers, &given);
    uint32_t count = given ? workers.count : view_worker_count(node->core);
    for (uint32_t i = 0; i < count; i++) {
        ask_profile(fanout, given ? workers.items[i] : view_worker_at(node->core, i), m);
    }
    fanout_go(fanout);
}

/* ---- logs -------------------------------------------------------------------------------------- */

static void ask_logs(struct fanout *fanout, struct span address, struct span worker, int64_t n)
{
    struct msg_worker_get_logs call;
    struct outgoing out;
    outgoing_init(&out);
    message_defaults(MESSAGE_WORKER_GET_LOGS, &call);
    call.n = n;
    message_encode(&out, MESSAGE_WORKER_GET_LOGS, &call); /* a nanny's is the same */
    fanout_call(fanout, address, worker, &out, 0);
    outgoing_fini(&out);
}

void rpc_worker_logs(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_worker_logs *m = &message->body.worker_logs;
    struct fanout *fanout = fanout_create(node, broadcast_reply, broadcast_user(request));
    bool given;
    struct worker_list workers = values_workers(node, m->workers, &given);
    uint32_t count = given ? workers.count : view_worker_count(node->core);
    for (uint32_t i = 0; i < count; i++) {
        struct worker_view view;
        bool is_known = view_worker(
            node->core, given ? workers.items[i] : view_worker_at(node->core, i), &view);
        ASSERT(is_known);
        if (!m->nanny || view.nanny.size > 0) {
            ask_logs(fanout, m->nanny ? view.nanny : view.address, view.address, m->n);
        }
    }
    fanout_go(fanout);
}

/* ---- benchmarks: disk on all workers, then memory, then network between pairs -------------------- */

enum benchmark_kind { BENCHMARK_DISK, BENCHMARK_MEMORY, BENCHMARK_NETWORK, BENCHMARK_COUNT };

struct benchmark {
    struct node *node;
    uint64_t request;
    enum benchmark_kind kind;
    struct map sums[BENCHMARK_COUNT]; /* size as text → struct mean * */
};

struct mean {
    double sum;
    uint32_t count;
};

static void benchmark_next(struct benchmark *benchmark);

static void benchmark_free(struct benchmark *benchmark)
{
    for (int kind = 0; kind < BENCHMARK_COUNT; kind++) {
        uint32_t cursor = 0;
        for (struct map_entry *entry;
             (entry = map_next(&benchmark->sums[kind], &cursor)) != NULL;) {
            mem_free(entry->value.pointer);
        }
        map_fini(&benchmark->sums[kind]);
    }
    mem_free(benchmark);
}

/* Add one worker's {size: bandwidth}; what is no such map is left out. */
static void add_speeds(struct map *sums, struct span value)
{
    struct msgpack_reader reader = msgpack_reader(value);
    uint32_t count;
    struct span size;
    double speed;
    if (msgpack_read_map(&reader, &count) != OK) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (msgpack_read_str(&reader, &size) != OK || msgpack_read_float(&reader, &speed) != OK) {
            return;
        }
        struct map_entry *entry = map_put(sums, size, NULL);
        if (entry->value.pointer == NULL) {
            entry->value.pointer = mem_zalloc(1, sizeof(struct mean));
        }
        struct mean *mean = entry->value.pointer;
        mean->sum += speed;
        mean->count++;
    }
}

static void benchmark_reply(struct benchmark *benchmark)
{
    static const char *const names[BENCHMARK_COUNT] = {"disk", "memory", "network"};
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, BENCHMARK_COUNT);
    for (int kind = 0; kind < BENCHMARK_COUNT; kind++) {
        const struct map *sums = &benchmark->sums[kind];
        uint32_t cursor = 0;
        msgpack_write_cstr(&answer.head, names[kind]);
        msgpack_write_map(&answer.head, sums->count);
        for (struct map_entry *entry; (entry = map_next(sums, &cursor)) != NULL;) {
            const struct mean *mean = entry->value.pointer;
            msgpack_write_str(&answer.head, entry->name);
            msgpack_write_float(&answer.head, mean->sum / mean->count);
        }
    }
    request_reply(request_find(&benchmark->node->server, benchmark->request), &answer);
    outgoing_fini(&answer);
    benchmark_free(benchmark);
}

static void benchmark_done(struct fanout *fanout)
{
    struct benchmark *benchmark = fanout->user;
    const struct fanout_reply *failed = fanout_first_failed(fanout);
    if (failed != NULL) {
        fanout_raise(request_find(&benchmark->node->server, benchmark->request), failed);
        benchmark_free(benchmark);
        return;
    }
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        if (fanout->replies.items[i]->answer->frame_count == 0) {
            add_speeds(&benchmark->sums[benchmark->kind], fanout_value(fanout->replies.items[i]));
        }
    }
    benchmark->kind++;
    benchmark_next(benchmark);
}

static void ask_benchmark(struct fanout *fanout, worker_id worker, enum message_id id,
                          struct span other)
{
    struct msg_worker_benchmark_network call = {.address = other}; /* the others have no fields */
    struct outgoing out;
    outgoing_init(&out);
    message_encode(&out, id, &call);
    struct span address = view_worker_address(fanout->node->core, worker);
    fanout_call(fanout, address, address, &out, 0);
    outgoing_fini(&out);
}

/* Pairs are drawn at random: neighbours by address often share a machine. */
static void ask_pairs(struct fanout *fanout)
{
    struct node *node = fanout->node;
    uint32_t count = view_worker_count(node->core);
    worker_id *workers = arena_array(&fanout->arena, worker_id, count);
    struct prng prng;
    uint64_t seed;
    io_entropy(&seed, sizeof seed);
    prng_init(&prng, seed);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = prng_below(&prng, i + 1);
        workers[i] = workers[at];
        workers[at] = view_worker_at(node->core, i);
    }
    for (uint32_t i = 0; i + 1 < count; i += 2) {
        ask_benchmark(fanout, workers[i], MESSAGE_WORKER_BENCHMARK_NETWORK,
                      view_worker_address(node->core, workers[i + 1]));
    }
}

static void benchmark_next(struct benchmark *benchmark)
{
    static const enum message_id ids[] = {MESSAGE_WORKER_BENCHMARK_DISK,
                                          MESSAGE_WORKER_BENCHMARK_MEMORY};
    if (benchmark->kind == BENCHMARK_COUNT) {
        benchmark_reply(benchmark);
        return;
    }
    struct node *node = benchmark->node;
    struct fanout *fanout = fanout_create(node, benchmark_done, benchmark);
    if (benchmark->kind == BENCHMARK_NETWORK) {
        ask_pairs(fanout);
    } else {
        for (uint32_t i = 0; i < view_worker_count(node->core); i++) {
            ask_benchmark(fanout, view_worker_at(node->core, i), ids[benchmark->kind],
                          (struct span){0});
        }
    }
    fanout_go(fanout);
}

void rpc_benchmark_hardware(struct node *node, struct request *request,
                            const struct message *message)
{
    (void)message;
    struct benchmark *benchmark = mem_zalloc(1, sizeof *benchmark);
    benchmark->node = node;
    benchmark->request = request->number;
    benchmark_next(benchmark);
}
