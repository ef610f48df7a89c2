/* worker_story.h: a worker core on a stage: events are said in short words, and what it asks for comes back as
 * lines that a test compares whole.
 *
 *     struct wstage stage;
 *     wstage_open(&stage, NULL);
 *     wstage_compute(&stage, "y", "x(8)@r2,r3");      // y needs x: 8 bytes, at two remote peers
 *     wstage_expect(&stage, "gather r2 x (8)\n");
 *     wstage_gathered(&stage, "r2", "x(8)");
 *     wstage_expect(&stage, "keep x\nadd x\nexecute y <- x\n");
 *     wstage_close(&stage);
 *
 * Keys are strings; r<n> is a peer on another host, l<n> one on this host. Every step is checked
 * (worker_check). One second passes with each event. Run ids count up from 1 with compute. */
#ifndef CASK_TEST_SUPPORT_WORKER_STORY_H
#define CASK_TEST_SUPPORT_WORKER_STORY_H

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
#include "core/worker/view.h"

#define WSTAGE_FUNCTION __attribute__((unused)) static

struct wstage {
    struct worker_state *w;
    struct worker_step step;
    struct arena arena; /* of the events made; kept until wstage_close */
    struct text transcript;
    double time;
    int64_t run_id;
    struct worker_priority priority; /* of the next compute */
    const char *resource;            /* … of which the next compute takes `amount`; NULL none */
    double amount;
    bool actor, ahead; /* … as what */
};

/* ---- words to values ---- */

WSTAGE_FUNCTION struct span wstage_key(struct wstage *stage, const char *text, size_t size)
{
    assert_in_range(size, 1, 31);
    uint8_t *bytes = arena_alloc(&stage->arena, size + 1);
    bytes[0] = (uint8_t)(0xa0 | size);
    memcpy(bytes + 1, text, size);
    return span_of(bytes, size + 1);
}

WSTAGE_FUNCTION struct span wstage_peer(struct wstage *stage, const char *name, size_t size)
{
    assert_true(size >= 2 && (name[0] == 'l' || name[0] == 'r'));
    char *address = arena_alloc(&stage->arena, 32);
    int number = atoi(name + 1);
    snprintf(address, 32, name[0] == 'l' ? "tcp://127.0.0.1:%d" : "tcp://127.0.0.%d:1", number);
    return span_of_text(address);
}

/* "x(8)@r2,r3 y" → rows; size 1 if none is given. */
WSTAGE_FUNCTION struct worker_holding_list wstage_holdings(struct wstage *stage, const char *words)
{
    struct worker_holding *rows = arena_array(&stage->arena, struct worker_holding, 64);
    uint32_t count = 0;
    while (*words != '\0') {
        size_t size = strcspn(words, "(@ ");
        struct worker_holding row = {.key = wstage_key(stage, words, size), .nbytes = 1};
        words += size;
        if (*words == '(') {
            row.nbytes = strtoll(words + 1, NULL, 10);
            words = strchr(words, ')') + 1;
        }
        struct span *holders = arena_array(&stage->arena, struct span, 64);
        while (*words == '@' || *words == ',') {
            size = strcspn(words + 1, ", ");
            assert_true(row.holders.count < 64);
            holders[row.holders.count++] = wstage_peer(stage, words + 1, size);
            words += size + 1;
        }
        row.holders.items = holders;
        assert_true(count < 64);
        rows[count++] = row;
        words += *words == ' ';
    }
    return (struct worker_holding_list){rows, count};
}

WSTAGE_FUNCTION struct worker_offer_list wstage_offers(struct wstage *stage, const char *words)
{
    struct worker_holding_list rows = wstage_holdings(stage, words);
    struct worker_offer *offers = arena_array(&stage->arena, struct worker_offer, 64);
    for (uint32_t i = 0; i < rows.count; i++) {
        offers[i] = (struct worker_offer){rows.items[i].key, rows.items[i].nbytes, NULL};
    }
    return (struct worker_offer_list){offers, rows.count};
}

WSTAGE_FUNCTION struct span_list wstage_keys(struct wstage *stage, const char *words)
{
    struct worker_holding_list rows = wstage_holdings(stage, words);
    struct span *keys = arena_array(&stage->arena, struct span, 64);
    for (uint32_t i = 0; i < rows.count; i++) {
        keys[i] = rows.items[i].key;
    }
    return (struct span_list){keys, rows.count};
}

/* ---- what comes back ---- */

WSTAGE_FUNCTION void wstage_print_key(struct text *out, struct span key)
{
    for (size_t i = 1; i < key.size; i++) {
        text_add_char(out, (char)key.data[i]);
    }
}

WSTAGE_FUNCTION void wstage_print_keys(struct text *out, struct span_list keys)
{
    for (uint32_t i = 0; i < keys.count; i++) {
        text_add_cstr(out, i == 0 ? " " : ",");
        wstage_print_key(out, keys.items[i]);
    }
}

WSTAGE_FUNCTION void wstage_print_values(struct text *out, struct worker_value_list values)
{
    for (uint32_t i = 0; i < values.count; i++) {
        text_add_cstr(out, i == 0 ? " " : ",");
        wstage_print_key(out, values.items[i].key);
    }
}

WSTAGE_FUNCTION void wstage_print_peer(struct text *out, struct span address)
{
    char name[64];
    int host;
    int port;
    snprintf(name, sizeof name, "%.*s", (int)address.size, (const char *)address.data);
    assert_int_equal(sscanf(name, "tcp://127.0.0.%d:%d", &host, &port), 2);
    text_printf(out, host == 1 ? " l%d" : " r%d", host == 1 ? port : host);
}

WSTAGE_FUNCTION void wstage_print_more(struct text *out, const struct worker_action *action)
{
    switch (action->kind) {
    case WORKER_ACTION_TASK_FINISHED:
        text_printf(out, " #%lld (%lld)", (long long)action->of.task_finished.run_id,
                    (long long)action->of.task_finished.nbytes);
        break;
    case WORKER_ACTION_TASK_ERRED:
        text_printf(out, " #%lld", (long long)action->of.task_erred.run_id);
        break;
    case WORKER_ACTION_LONG_RUNNING:
        if (isnan(action->of.long_running.compute_duration)) {
            text_add_cstr(out, " nil");
        } else {
            text_printf(out, " %g", action->of.long_running.compute_duration);
        }
        break;
    case WORKER_ACTION_EXECUTE:
        if (action->of.execute.inputs.count > 0) {
            text_add_cstr(out, " <-");
            wstage_print_values(out, action->of.execute.inputs);
        }
        break;
    case WORKER_ACTION_STEAL_RESPONSE:
        text_printf(out, " %.*s", (int)action->of.steal_response.state.size,
                    (const char *)action->of.steal_response.state.data);
        break;
    default:
        break;
    }
}

WSTAGE_FUNCTION void wstage_print(struct text *out, const struct worker_action *action)
{
    static const char *const names[WORKER_ACTION_KIND_COUNT] = {
        [WORKER_ACTION_EXECUTE] = "execute",
        [WORKER_ACTION_INTERRUPT] = "interrupt",
        [WORKER_ACTION_GATHER] = "gather",
        [WORKER_ACTION_RETRY_BUSY_LATER] = "retry-later",
        [WORKER_ACTION_KEEP] = "keep",
        [WORKER_ACTION_REFUSE] = "refuse",
        [WORKER_ACTION_DROP] = "drop",
        [WORKER_ACTION_TASK_FINISHED] = "finished",
        [WORKER_ACTION_TASK_ERRED] = "erred",
        [WORKER_ACTION_RELEASE_WORKER_DATA] = "released",
        [WORKER_ACTION_RESCHEDULE] = "reschedule",
        [WORKER_ACTION_LONG_RUNNING] = "long-running",
        [WORKER_ACTION_ADD_KEYS] = "add",
        [WORKER_ACTION_REQUEST_REFRESH_WHO_HAS] = "refresh",
        [WORKER_ACTION_STEAL_RESPONSE] = "steal",
        [WORKER_ACTION_TRANSITION] = "transition",
    };
    text_add_cstr(out, names[action->kind]);
    switch (action->kind) {
    case WORKER_ACTION_GATHER:
        wstage_print_peer(out, action->of.gather.worker);
        wstage_print_values(out, action->of.gather.wanted);
        text_printf(out, " (%lld)", (long long)action->of.gather.nbytes);
        break;
    case WORKER_ACTION_RETRY_BUSY_LATER:
        wstage_print_peer(out, action->of.retry_busy_later.worker);
        break;
    case WORKER_ACTION_ADD_KEYS:
    case WORKER_ACTION_REQUEST_REFRESH_WHO_HAS:
        wstage_print_keys(out, action->of.add_keys.keys);
        break;
    case WORKER_ACTION_EXECUTE:
    case WORKER_ACTION_INTERRUPT:
    case WORKER_ACTION_KEEP:
    case WORKER_ACTION_REFUSE:
    case WORKER_ACTION_DROP:
    case WORKER_ACTION_TASK_FINISHED:
    case WORKER_ACTION_TASK_ERRED: /* of these the key comes second */
        text_add_char(out, ' ');
        wstage_print_key(out, action->of.keep.key);
        break;
    default:
        text_add_char(out, ' ');
        wstage_print_key(out, action->of.reschedule.key);
        break;
    }
    wstage_print_more(out, action);
    text_add_char(out, '\n');
}

/* ---- the stage ---- */

/* config may be NULL: Dask's defaults; equal peers go by address. */
WSTAGE_FUNCTION void wstage_open(struct wstage *stage, const struct worker_config *config)
{
    struct worker_config settings;
    worker_config_init(&settings);
    if (config != NULL) {
        settings = *config;
    }
    settings.address = SPAN("tcp://127.0.0.1:1");
    settings.draws_lots = false;
    settings.check = true;
    *stage = (struct wstage){.w = worker_create(&settings), .time = 1000};
    arena_init(&stage->arena);
    worker_step_init(&stage->step);
}

WSTAGE_FUNCTION void wstage_close(struct wstage *stage)
{
    worker_destroy(stage->w);
    worker_step_fini(&stage->step);
    text_fini(&stage->transcript);
    arena_fini(&stage->arena);
}

WSTAGE_FUNCTION void wstage_step(struct wstage *stage, struct worker_event event)
{
    event.time = stage->time++;
    if (event.stimulus.size == 0) {
        event.stimulus = SPAN("test");
    }
    worker_step(stage->w, &event, &stage->step);
    for (uint32_t i = 0; i < stage->step.action_count; i++) {
        wstage_print(&stage->transcript, &stage->step.actions[i]);
    }
}

/* All that was asked for since the last time. */
WSTAGE_FUNCTION void wstage_expect(struct wstage *stage, const char *lines)
{
    text_add_char(&stage->transcript, '\0');
    assert_string_equal((const char *)text_span(&stage->transcript).data, lines);
    text_fini(&stage->transcript);
    stage->transcript = (struct text){0};
}

/* "executing", "cancelled(flight)", "resumed(executing->fetch)"; NULL: the key is unknown. */
WSTAGE_FUNCTION void wstage_state(struct wstage *stage, const char *key, const char *state)
{
    task_id task = worker_task_find(stage->w, wstage_key(stage, key, strlen(key)));
    if (state == NULL) {
        assert_int_equal(task, TASK_NONE);
        return;
    }
    assert_int_not_equal(task, TASK_NONE);
    struct wtask_view view;
    worker_task(stage->w, task, &view);
    char shown[64];
    const char *previous = wtask_state_name(view.previous);
    if (view.state == WTASK_RESUMED) {
        snprintf(shown, sizeof shown, "resumed(%s->%s)", previous, wtask_state_name(view.next));
    } else if (view.state == WTASK_CANCELLED) {
        snprintf(shown, sizeof shown, "cancelled(%s)", previous);
    } else {
        snprintf(shown, sizeof shown, "%s", wtask_state_name(view.state));
    }
    assert_string_equal(shown, state);
}

WSTAGE_FUNCTION struct worker_summary wstage_summary(const struct wstage *stage)
{
    struct worker_summary all;
    worker_summarise(stage->w, &all);
    return all;
}

/* ---- events ---- */

WSTAGE_FUNCTION void wstage_compute(struct wstage *stage, const char *key, const char *inputs)
{
    struct resource *resource = arena_new(&stage->arena, struct resource);
    *resource = (struct resource){span_of_text(stage->resource), stage->amount};
    wstage_step(stage, (struct worker_event){.kind = WORKER_EVENT_COMPUTE_TASK,
                                             .of.compute_task = {
                                                 .key = wstage_key(stage, key, strlen(key)),
                                                 .run_id = ++stage->run_id,
                                                 .priority = stage->priority,
                                                 .inputs = wstage_holdings(stage, inputs),
                                                 .resources = {resource, stage->resource != NULL},
                                                 .actor = stage->actor,
                                                 .ahead = stage->ahead,
                                             }});
}

/* FREE_KEYS, REMOVE_REPLICAS, DATA_LOST. */
WSTAGE_FUNCTION void wstage_tell_keys(struct wstage *stage, enum worker_event_kind kind,
                                      const char *words)
{
    wstage_step(
        stage, (struct worker_event){.kind = kind, .of.free_keys.keys = wstage_keys(stage, words)});
}

WSTAGE_FUNCTION void wstage_free(struct wstage *stage, const char *words)
{
    wstage_tell_keys(stage, WORKER_EVENT_FREE_KEYS, words);
}

/* As the scheduler says it when a client cancels. */
WSTAGE_FUNCTION void wstage_cancel(struct wstage *stage, const char *words)
{
    wstage_step(stage, (struct worker_event){.kind = WORKER_EVENT_FREE_KEYS,
                                             .stimulus = SPAN("cancel-key-1"),
                                             .of.free_keys.keys = wstage_keys(stage, words)});
}

WSTAGE_FUNCTION void wstage_acquire(struct wstage *stage, const char *words)
{
    wstage_step(stage, (struct worker_event){.kind = WORKER_EVENT_ACQUIRE_REPLICAS,
                                             .of.acquire_replicas.holdings =
                                                 wstage_holdings(stage, words)});
}

WSTAGE_FUNCTION void wstage_who_has(struct wstage *stage, const char *words)
{
    wstage_step(
        stage, (struct worker_event){.kind = WORKER_EVENT_REFRESH_WHO_HAS,
                                     .of.refresh_who_has.holdings = wstage_holdings(stage, words)});
}

/* STEAL_REQUEST, CANCEL_COMPUTE. */
WSTAGE_FUNCTION void wstage_tell_key(struct wstage *stage, enum worker_event_kind kind,
                                     const char *key)
{
    wstage_step(stage,
                (struct worker_event){.kind = kind,
                                      .of.steal_request.key = wstage_key(stage, key, strlen(key))});
}

/* GATHER_BUSY, GATHER_NETWORK_FAILURE, RETRY_BUSY_WORKER, REMOVE_WORKER. */
WSTAGE_FUNCTION void wstage_tell_peer(struct wstage *stage, enum worker_event_kind kind,
                                      const char *peer)
{
    wstage_step(stage,
                (struct worker_event){
                    .kind = kind, .of.gather_busy.worker = wstage_peer(stage, peer, strlen(peer))});
}

WSTAGE_FUNCTION void wstage_gathered(struct wstage *stage, const char *peer, const char *words)
{
    wstage_step(stage,
                (struct worker_event){.kind = WORKER_EVENT_GATHER_SUCCESS,
                                      .of.gather_success = {wstage_peer(stage, peer, strlen(peer)),
                                                            wstage_offers(stage, words)}});
}

WSTAGE_FUNCTION void wstage_gather_failed(struct wstage *stage, const char *peer)
{
    static const struct worker_failure failure;
    wstage_step(stage,
                (struct worker_event){
                    .kind = WORKER_EVENT_GATHER_FAILURE,
                    .of.gather_failure = {wstage_peer(stage, peer, strlen(peer)), &failure}});
}

WSTAGE_FUNCTION void wstage_scatter(struct wstage *stage, const char *words)
{
    wstage_step(stage, (struct worker_event){.kind = WORKER_EVENT_UPDATE_DATA,
                                             .of.update_data.offers = wstage_offers(stage, words)});
}

/* PAUSE, UNPAUSE, FIND_MISSING. */
WSTAGE_FUNCTION void wstage_tell(struct wstage *stage, enum worker_event_kind kind)
{
    wstage_step(stage, (struct worker_event){.kind = kind});
}

WSTAGE_FUNCTION task_id wstage_task(struct wstage *stage, const char *key)
{
    return worker_task_find(stage->w, wstage_key(stage, key, strlen(key)));
}

/* It took so many seconds; 0: nobody knows. */
WSTAGE_FUNCTION void wstage_succeed_after(struct wstage *stage, const char *key, int64_t run_id,
                                          int64_t nbytes, double seconds)
{
    wstage_step(stage, (struct worker_event){.kind = WORKER_EVENT_EXECUTE_SUCCESS,
                                             .of.execute_success = {wstage_task(stage, key), run_id,
                                                                    nbytes, NULL, seconds}});
}

WSTAGE_FUNCTION void wstage_succeed(struct wstage *stage, const char *key, int64_t run_id,
                                    int64_t nbytes)
{
    wstage_succeed_after(stage, key, run_id, nbytes, 0);
}

WSTAGE_FUNCTION void wstage_fail(struct wstage *stage, const char *key, int64_t run_id)
{
    static const struct worker_failure failure;
    wstage_step(stage, (struct worker_event){.kind = WORKER_EVENT_EXECUTE_FAILURE,
                                             .of.execute_failure = {wstage_task(stage, key), run_id,
                                                                    &failure, NULL}});
}

WSTAGE_FUNCTION void wstage_reschedule(struct wstage *stage, const char *key)
{
    wstage_step(stage,
                (struct worker_event){.kind = WORKER_EVENT_EXECUTE_RESCHEDULE,
                                      .of.execute_reschedule.task = wstage_task(stage, key)});
}

WSTAGE_FUNCTION void wstage_secede(struct wstage *stage, const char *key, double duration)
{
    wstage_step(stage, (struct worker_event){.kind = WORKER_EVENT_SECEDE,
                                             .of.secede = {wstage_task(stage, key), duration}});
}

#endif
