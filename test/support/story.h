/* story.h: a scheduler core on a stage: events are said in short words, and what it does comes back as
 * lines that a test compares whole.
 *
 *     struct stage stage;
 *     stage_open(&stage);
 *     worker_id a = stage_worker(&stage, "a", 1);
 *     client_id c = stage_client(&stage, "c");
 *     stage_graph(&stage, c, "x y:x", "y");          // y depends on x; y is wanted
 *     stage_expect(&stage, "compute x@a\n");
 *     stage_finish(&stage, a, "x");
 *     stage_expect(&stage, "compute y@a <- x(8)@a\n");
 *     stage_close(&stage);
 *
 * Keys are strings. Every step is checked (scheduler_check). Notices and log lines are left out of the
 * transcript; counts of notices are kept by kind. One second passes with each event. */
#ifndef CASK_TEST_SUPPORT_STORY_H
#define CASK_TEST_SUPPORT_STORY_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/text.h"
#include "core/scheduler/scheduler.h"
#include "core/scheduler/view.h"

#define STAGE_FUNCTION __attribute__((unused)) static
#define STAGE_WORDS_MAX 4096

struct stage {
    struct scheduler_config config;
    struct scheduler *s;
    struct step step;
    struct arena arena; /* of the event being made; kept until stage_close */
    struct text transcript;
    struct blob *run_spec; /* of all tasks */
    uint32_t notices[64];  /* by kind, since stage_open */
    double time;
};

/* ---- small things ---- */

/* Canonical msgpack of a string of up to 255 bytes. */
STAGE_FUNCTION struct span stage_key(struct stage *stage, const char *text)
{
    size_t size = strlen(text);
    assert_true(size < 256);
    uint8_t *bytes = arena_alloc(&stage->arena, size + 2);
    size_t head = size < 32 ? 1 : 2;
    bytes[0] = size < 32 ? (uint8_t)(0xa0 | size) : 0xd9;
    bytes[head - 1] = head == 2 ? (uint8_t)size : bytes[0];
    memcpy(bytes + head, text, size);
    return span_of(bytes, head + size);
}

/* Keys of a list of words separated by `separator`. */
STAGE_FUNCTION struct span_list stage_keys(struct stage *stage, const char *words, char separator)
{
    struct span *keys = arena_array(&stage->arena, struct span, STAGE_WORDS_MAX);
    uint32_t count = 0;
    while (*words != '\0') {
        const char *end = strchr(words, separator);
        size_t size = end == NULL ? strlen(words) : (size_t)(end - words);
        char *word = arena_alloc(&stage->arena, size + 1);
        memcpy(word, words, size);
        word[size] = '\0';
        if (size > 0) {
            assert_true(count < STAGE_WORDS_MAX);
            keys[count++] = stage_key(stage, word);
        }
        words += size + (end == NULL ? 0 : 1);
    }
    return (struct span_list){keys, count};
}

STAGE_FUNCTION struct blob *stage_blob(const char *bytes)
{
    return blob_create(slice_copy(span_of_text(bytes)), 0);
}

/* ---- the transcript ---- */

/* A key without its msgpack head. */
STAGE_FUNCTION void stage_print_key(struct stage *stage, struct span key)
{
    size_t head = key.data[0] == 0xd9 ? 2 : 1;
    text_add(&stage->transcript, (struct span){key.data + head, key.size - head});
}

STAGE_FUNCTION void stage_print_worker(struct stage *stage, worker_id id)
{
    struct worker_view view;
    if (id == WORKER_NONE || !view_worker(stage->s, id, &view)) {
        text_add_char(&stage->transcript, '*');
    } else {
        stage_print_key(stage, view.name);
    }
}

STAGE_FUNCTION void stage_print_client(struct stage *stage, client_id id)
{
    struct client_view view;
    if (id == CLIENT_NONE || !view_client(stage->s, id, &view)) {
        text_add_char(&stage->transcript, '*');
    } else {
        text_add(&stage->transcript, view.name);
    }
}

STAGE_FUNCTION void stage_print_keys(struct stage *stage, struct span_list keys)
{
    for (uint32_t i = 0; i < keys.count; i++) {
        text_add_cstr(&stage->transcript, i == 0 ? "" : ",");
        stage_print_key(stage, keys.items[i]);
    }
}

/* " <- x(8)@a,b y(?)@c" */
STAGE_FUNCTION void stage_print_inputs(struct stage *stage, struct input_list inputs)
{
    for (uint32_t i = 0; i < inputs.count; i++) {
        const struct input *input = &inputs.items[i];
        text_add_cstr(&stage->transcript, i == 0 ? " <- " : " ");
        stage_print_key(stage, input->key);
        text_printf(&stage->transcript, input->nbytes < 0 ? "(?)@" : "(%lld)@",
                    (long long)input->nbytes);
        for (uint32_t j = 0; j < input->holder_count; j++) {
            text_add_cstr(&stage->transcript, j == 0 ? "" : ",");
            stage_print_worker(stage, input->holders[j]);
        }
    }
}

STAGE_FUNCTION const char *stage_failure_name(enum failure_kind kind)
{
    static const char *const names[] = {"user",      "killed-worker",   "memory", "actor-lost",
                                        "no-worker", "no-valid-worker", "text"};
    return names[kind];
}

STAGE_FUNCTION void stage_print_worker_action(struct stage *stage, const struct action *action)
{
    struct text *out = &stage->transcript;
    switch (action->kind) {
    case ACTION_COMPUTE:
        text_add_cstr(out, action->of.compute.ahead ? "ahead " : "compute ");
        stage_print_key(stage, view_task_key(action->of.compute.task));
        text_add_char(out, '@');
        stage_print_worker(stage, action->of.compute.worker);
        stage_print_inputs(stage, action->of.compute.inputs);
        break;
    case ACTION_FREE_KEYS:
    case ACTION_REMOVE_REPLICAS:
        text_add_cstr(out, action->kind == ACTION_FREE_KEYS ? "free " : "remove-replicas ");
        stage_print_worker(stage, action->of.free_keys.worker);
        text_add_cstr(out, ": ");
        stage_print_keys(stage, action->of.free_keys.keys);
        break;
    case ACTION_ACQUIRE_REPLICAS:
    case ACTION_REFRESH_WHO_HAS:
        text_add_cstr(out, action->kind == ACTION_ACQUIRE_REPLICAS ? "acquire " : "refresh ");
        stage_print_worker(stage, action->of.acquire_replicas.worker);
        stage_print_inputs(stage, action->of.acquire_replicas.inputs);
        break;
    case ACTION_STEAL_REQUEST:
        text_add_cstr(out, "steal ");
        stage_print_key(stage, action->of.steal_request.key);
        text_add_cstr(out, " from ");
        stage_print_worker(stage, action->of.steal_request.worker);
        break;
    case ACTION_CHANGE_STATUS:
        text_add_cstr(out, "status ");
        stage_print_worker(stage, action->of.change_status.worker);
        text_add_cstr(out, ": ");
        text_add(out, action->of.change_status.status);
        break;
    case ACTION_FORGET_WORKER:
        text_add_cstr(out, "gone ");
        stage_print_worker(stage, action->of.forget_worker.gone);
        break;
    case ACTION_CLOSE_WORKER:
        text_add_cstr(out, "close ");
        stage_print_worker(stage, action->of.close_worker.worker);
        break;
    case ACTION_RESTART_WORKER:
        text_add_cstr(out, "restart ");
        stage_print_worker(stage, action->of.restart_worker.worker);
        break;
    default:
        text_printf(out, "action %d", (int)action->kind);
        break;
    }
}

STAGE_FUNCTION void stage_print_client_key(struct stage *stage, const char *what, client_id client,
                                           struct span key)
{
    text_add_cstr(&stage->transcript, what);
    stage_print_client(stage, client);
    text_add_cstr(&stage->transcript, ": ");
    stage_print_key(stage, key);
}

STAGE_FUNCTION bool stage_print_client_action(struct stage *stage, const struct action *action)
{
    struct text *out = &stage->transcript;
    switch (action->kind) {
    case ACTION_KEY_IN_MEMORY:
        stage_print_client_key(stage, "memory ", action->of.key_in_memory.client,
                               action->of.key_in_memory.key);
        break;
    case ACTION_KEY_ERRED: {
        struct failure_view failure;
        view_failure(action->of.key_erred.failure, &failure);
        stage_print_client_key(stage, "erred ", action->of.key_erred.client,
                               action->of.key_erred.key);
        text_printf(out, " (%s of ", stage_failure_name(failure.kind));
        stage_print_key(stage, failure.key);
        text_add_char(out, ')');
        break;
    }
    case ACTION_LOST_DATA:
        stage_print_client_key(stage, "lost ", action->of.lost_data.client,
                               action->of.lost_data.key);
        break;
    case ACTION_KEY_RETRIED:
        stage_print_client_key(stage, "retried ", action->of.key_retried.client,
                               action->of.key_retried.key);
        break;
    case ACTION_KEYS_CANCELLED:
        text_add_cstr(out, "cancelled ");
        stage_print_client(stage, action->of.keys_cancelled.client);
        text_add_cstr(out, ": ");
        stage_print_keys(stage, action->of.keys_cancelled.keys);
        text_add_cstr(out, " (");
        text_add(out, action->of.keys_cancelled.reason);
        text_add_char(out, ')');
        break;
    case ACTION_CLIENT_RESTART:
        text_add_cstr(out, "restart clients");
        break;
    default:
        return false;
    }
    return true;
}

STAGE_FUNCTION void stage_print_action(struct stage *stage, const struct action *action)
{
    if (action->kind == ACTION_NOTICE) {
        assert_true((unsigned)action->of.notice.notice->kind < 64);
        stage->notices[action->of.notice.notice->kind]++;
        return;
    }
    if (action->kind == ACTION_LOG || action->kind == ACTION_REPLY ||
        action->kind == ACTION_RETIRED) {
        return;
    }
    if (!stage_print_client_action(stage, action)) {
        stage_print_worker_action(stage, action);
    }
    text_add_char(&stage->transcript, '\n');
}

/* ---- events ---- */

STAGE_FUNCTION void stage_step(struct stage *stage, struct event *event)
{
    stage->time += 1;
    event->time = stage->time;
    scheduler_step(stage->s, event, &stage->step);
    for (uint32_t i = 0; i < stage->step.action_count; i++) {
        stage_print_action(stage, &stage->step.actions[i]);
    }
}

/* The whole transcript since the last call. */
STAGE_FUNCTION void stage_expect(struct stage *stage, const char *expected)
{
    assert_string_equal(text_cstr(&stage->transcript), expected);
    text_clear(&stage->transcript);
}

STAGE_FUNCTION void stage_forget_transcript(struct stage *stage)
{
    text_clear(&stage->transcript);
}

/* Dask's defaults, checked after each step; change stage->config before stage_begin() if need be. */
STAGE_FUNCTION void stage_prepare(struct stage *stage)
{
    *stage = (struct stage){.time = 1000};
    scheduler_config_init(&stage->config);
    stage->config.check = true;
    stage->config.work_stealing = false;
    stage->config.amm_start = false;
}

STAGE_FUNCTION void stage_begin(struct stage *stage)
{
    arena_init(&stage->arena);
    step_init(&stage->step);
    stage->s = scheduler_create(&stage->config);
    stage->run_spec = stage_blob("\xa4spec");
}

STAGE_FUNCTION void stage_open(struct stage *stage)
{
    stage_prepare(stage);
    stage_begin(stage);
}

STAGE_FUNCTION void stage_close(struct stage *stage)
{
    scheduler_destroy(stage->s);
    blob_unref(stage->run_spec);
    step_fini(&stage->step);
    arena_fini(&stage->arena);
    text_fini(&stage->transcript);
}

STAGE_FUNCTION client_id stage_client(struct stage *stage, const char *name)
{
    struct event event = {.kind = EVENT_CLIENT_ADD, .of.client_add = {.name = span_of_text(name)}};
    stage_step(stage, &event);
    assert_int_not_equal(stage->step.client, CLIENT_NONE);
    return stage->step.client;
}

/* A worker tcp://<name>:1 on host <host>, in state `status`. */
STAGE_FUNCTION worker_id stage_worker_with(struct stage *stage, const char *name,
                                           struct worker_info info)
{
    struct text address = {0};
    text_printf(&address, "tcp://%s:1", name);
    info.address = arena_copy(&stage->arena, text_span(&address));
    text_fini(&address);
    info.name = stage_key(stage, name);
    info.host = info.host.size == 0 ? span_of_text(name) : info.host;
    info.status = info.status.size == 0 ? SPAN("running") : info.status;
    info.nthreads = info.nthreads == 0 ? 1 : info.nthreads;
    struct event event = {.kind = EVENT_WORKER_ADD, .of.worker_add = {.info = &info}};
    stage_step(stage, &event);
    return stage->step.worker;
}

STAGE_FUNCTION worker_id stage_worker(struct stage *stage, const char *name, uint32_t nthreads)
{
    return stage_worker_with(stage, name, (struct worker_info){.nthreads = nthreads});
}

STAGE_FUNCTION void stage_worker_status(struct stage *stage, worker_id worker, const char *status)
{
    struct event event = {.kind = EVENT_WORKER_STATUS,
                          .of.worker_status = {.worker = worker, .status = span_of_text(status)}};
    stage_step(stage, &event);
}

STAGE_FUNCTION void stage_worker_lost(struct stage *stage, worker_id worker, const char *cause)
{
    struct event event = {.kind = EVENT_WORKER_REMOVE,
                          .of.worker_remove = {.worker = worker, .cause = span_of_text(cause)}};
    stage_step(stage, &event);
}

/* A graph in words: "x y:x z:x,y"; further fields of `graph` may be set by the caller. */
STAGE_FUNCTION void stage_graph_with(struct stage *stage, client_id client, const char *words,
                                     const char *wanted, struct graph_info graph)
{
    struct span *keys = arena_array(&stage->arena, struct span, STAGE_WORDS_MAX);
    struct span_list *inputs = arena_array(&stage->arena, struct span_list, STAGE_WORDS_MAX);
    uint32_t *dep_start = arena_array(&stage->arena, uint32_t, STAGE_WORDS_MAX + 1);
    uint32_t *deps = arena_array(&stage->arena, uint32_t, 4 * STAGE_WORDS_MAX);
    uint32_t dep_count = 0;
    graph.task_count = 0;
    while (*words != '\0') {
        size_t size = strcspn(words, " ");
        char *word = arena_alloc(&stage->arena, size + 1);
        memcpy(word, words, size);
        word[size] = '\0';
        words += size + (words[size] == ' ');
        char *colon = strchr(word, ':');
        inputs[graph.task_count] = (struct span_list){0};
        if (colon != NULL) {
            *colon = '\0';
            inputs[graph.task_count] = stage_keys(stage, colon + 1, ',');
        }
        assert_true(graph.task_count < STAGE_WORDS_MAX);
        keys[graph.task_count++] = stage_key(stage, word);
    }
    graph.key_count = graph.task_count;
    for (uint32_t i = 0; i < graph.task_count; i++) {
        dep_start[i] = dep_count;
        for (uint32_t j = 0; j < inputs[i].count; j++) {
            uint32_t number = 0;
            while (number < graph.key_count && !span_equal(keys[number], inputs[i].items[j])) {
                number++;
            }
            if (number == graph.key_count) {
                keys[graph.key_count++] = inputs[i].items[j];
            }
            deps[dep_count++] = number;
        }
    }
    dep_start[graph.task_count] = dep_count;
    struct blob **run_specs = arena_array(&stage->arena, struct blob *, graph.task_count);
    for (uint32_t i = 0; i < graph.task_count; i++) {
        run_specs[i] = stage->run_spec;
    }
    graph.client = client;
    graph.keys = keys;
    graph.dep_start = dep_start;
    graph.deps = deps;
    graph.run_specs = run_specs;
    graph.wanted = stage_keys(stage, wanted, ' ');
    graph.started = stage->time;
    struct graph_info *lent = arena_new(&stage->arena, struct graph_info);
    *lent = graph; /* one that comes in slices is read for longer than this call */
    struct event event = {.kind = EVENT_GRAPH, .of.graph = {.graph = lent}};
    stage_step(stage, &event);
}

STAGE_FUNCTION void stage_graph(struct stage *stage, client_id client, const char *words,
                                const char *wanted)
{
    stage_graph_with(stage, client, words, wanted, (struct graph_info){0});
}

STAGE_FUNCTION const struct task *stage_task(struct stage *stage, const char *key)
{
    return view_task_find(stage->s, stage_key(stage, key));
}

STAGE_FUNCTION struct task_view stage_view(struct stage *stage, const char *key)
{
    const struct task *task = stage_task(stage, key);
    assert_non_null(task);
    struct task_view view;
    view_task(stage->s, task, &view);
    return view;
}

/* "released", …; "gone" for an unknown key. */
STAGE_FUNCTION const char *stage_state(struct stage *stage, const char *key)
{
    const struct task *task = stage_task(stage, key);
    return task == NULL ? "gone" : task_state_name(view_task_state(task));
}

STAGE_FUNCTION void stage_finish_run(struct stage *stage, worker_id worker, const char *key,
                                     int64_t run_id, double seconds, int64_t nbytes)
{
    struct startstop run = {SPAN("compute"), stage->time - seconds, stage->time, {0}};
    struct event event = {
        .kind = EVENT_TASK_FINISHED,
        .of.task_finished = {.worker = worker,
                             .key = stage_key(stage, key),
                             .run_id = run_id,
                             .nbytes = nbytes,
                             .type = SPAN("\x80\x05int"),
                             .typename_ = SPAN("int"),
                             .startstops = {&run, seconds < 0 ? 0 : 1}},
    };
    stage_step(stage, &event);
}

/* It took half a second, as unknown tasks are expected to, and is 8 bytes large. */
STAGE_FUNCTION void stage_finish(struct stage *stage, worker_id worker, const char *key)
{
    const struct task *task = stage_task(stage, key);
    struct task_view view = {0};
    if (task != NULL) {
        view_task(stage->s, task, &view);
    }
    stage_finish_run(stage, worker, key, view.run_id, 0.5, 8);
}

STAGE_FUNCTION void stage_erred_run(struct stage *stage, worker_id worker, const char *key,
                                    int64_t run_id)
{
    struct blob *exception = stage_blob("\xa4oops");
    struct event event = {.kind = EVENT_TASK_ERRED,
                          .of.task_erred = {.worker = worker,
                                            .key = stage_key(stage, key),
                                            .run_id = run_id,
                                            .exception = exception,
                                            .exception_text = SPAN("ValueError('oops')")}};
    stage_step(stage, &event);
    blob_unref(exception);
}

STAGE_FUNCTION void stage_erred(struct stage *stage, worker_id worker, const char *key)
{
    stage_erred_run(stage, worker, key, stage_view(stage, key).run_id);
}

STAGE_FUNCTION void stage_release(struct stage *stage, const char *client, const char *keys)
{
    struct event event = {
        .kind = EVENT_CLIENT_RELEASES,
        .of.client_releases = {span_of_text(client), stage_keys(stage, keys, ' ')}};
    stage_step(stage, &event);
}

STAGE_FUNCTION void stage_desire(struct stage *stage, const char *client, const char *keys)
{
    struct event event = {
        .kind = EVENT_CLIENT_DESIRES,
        .of.client_desires = {span_of_text(client), stage_keys(stage, keys, ' ')}};
    stage_step(stage, &event);
}

STAGE_FUNCTION void stage_tick(struct stage *stage, double seconds_later)
{
    struct event event = {.kind = EVENT_TICK};
    stage->time += seconds_later;
    stage_step(stage, &event);
}

#endif
