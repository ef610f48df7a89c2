/* graph_queue.c: see graph_queue.h. */
#include "node/graph_queue.h"

#include "base/alloc.h"
#include "base/log.h"
#include "node/task_stream.h"
#include "node/turn.h"
#include "node/values.h"
#include "wire/pickle_make.h"

#define LOGGER "distributed.scheduler"

enum {
    FAIL_AT_ONCE = 256, /* keys that err in one event */
    SPEND_AT_ONCE =
        512, /* run_specs whose references are given back between two looks at the clock */
};

/* A graph whose keys err. */
struct failing {
    struct intake *intake;
    struct failure_info failure; /* owned: see failure_keep */
    struct arena arena;
    struct span_list keys;
};

struct graph_queue {
    struct node *node;
    struct intake *building;             /* the one that the core takes in pieces; NULL: none */
    struct VEC(struct intake *) waiting; /* each of another client */
    struct VEC(struct failing *) failing;
    struct VEC(struct intake *) spent; /* to be taken apart */
};

struct graph_queue *graph_queue_create(struct node *node)
{
    struct graph_queue *queue = mem_zalloc(1, sizeof *queue);
    queue->node = node;
    return queue;
}

static void failing_free(struct failing *failing)
{
    blob_unref(failing->failure.exception);
    blob_unref(failing->failure.traceback);
    arena_fini(&failing->arena);
    mem_free(failing);
}

void graph_queue_destroy(struct graph_queue *queue)
{
    if (queue == NULL) {
        return;
    }
    if (queue->building != NULL) {
        intake_free(queue->building);
    }
    while (queue->waiting.count > 0) {
        intake_free(vec_pop(&queue->waiting));
    }
    while (queue->spent.count > 0) {
        intake_free(vec_pop(&queue->spent));
    }
    while (queue->failing.count > 0) {
        struct failing *failing = vec_pop(&queue->failing);
        intake_free(failing->intake);
        failing_free(failing);
    }
    vec_fini(&queue->waiting);
    vec_fini(&queue->failing);
    vec_fini(&queue->spent);
    mem_free(queue);
}

bool graph_queue_is_building(const struct graph_queue *queue)
{
    return queue->building != NULL;
}

/* ---- the end of a graph ------------------------------------------------------------------------- */

void graph_queue_discard(struct graph_queue *queue, struct intake *intake)
{
    if (intake->is_large || intake->graph.task_count > INTAKE_LARGE_TASKS) {
        intake->done = 0;
        vec_push(&queue->spent, intake);
        turn_more(queue->node->turn);
    } else {
        intake_free(intake);
    }
}

/* Its client's stream goes on. */
static void finish(struct graph_queue *queue, struct intake *intake)
{
    struct stream *stream = stream_of_client(queue->node, intake->client);
    graph_queue_discard(queue, intake);
    if (stream != NULL && stream->is_held && !stream->is_late) {
        turn_later(queue->node->turn, stream);
    }
}

static void free_rest(void *user)
{
    intake_free_rest(user);
}

static void freed(void *user)
{
    (void)user;
}

/* References are the loop's to give back; the memory itself a thread frees. */
static void spend(struct graph_queue *queue, struct intake *intake)
{
    struct flat_graph *graph = &intake->graph;
    while (graph->run_specs != NULL && intake->done < graph->task_count) {
        for (uint32_t i = 0; i < SPEND_AT_ONCE && intake->done < graph->task_count; i++) {
            blob_unref(graph->run_specs[intake->done++]);
        }
        if (turn_is_over(queue->node->turn)) {
            return;
        }
    }
    graph->task_count = 0;
    for (uint32_t i = 0; i < graph->annotation_set_count; i++) {
        blob_unref(graph->annotation_sets[i]);
    }
    graph->annotation_set_count = 0;
    for (uint32_t i = 0; i < intake->info.annotation_count; i++) {
        blob_unref(intake->info.annotations[i].wire);
    }
    blob_unref(intake->info.code);
    blob_unref(intake->info.span_metadata);
    uint32_t kept = 0; /* what nobody else refers to the thread may free */
    for (uint32_t i = 0; i < intake->message.count; i++) {
        struct slice *slice = &intake->message.items[i];
        if (slice->owner != NULL && buf_is_alone(slice->owner)) {
            intake->message.items[kept++] = *slice;
        } else {
            slice_fini(slice);
        }
    }
    intake->message.count = kept;
    queue->spent.count--;
    io_work(queue->node->loop, free_rest, freed, intake);
}

/* ---- graphs that fail --------------------------------------------------------------------------- */

static void fail_some(struct graph_queue *queue, struct failing *failing)
{
    struct node *node = queue->node;
    struct intake *intake = failing->intake;
    uint32_t left = failing->keys.count - intake->done;
    uint32_t count = left < FAIL_AT_ONCE ? left : FAIL_AT_ONCE;
    struct event event = event_of(EVENT_GRAPH_FAILED);
    event.of.graph_failed.client = intake->client;
    event.of.graph_failed.keys = (struct span_list){failing->keys.items + intake->done, count};
    event.of.graph_failed.failure = &failing->failure;
    event.of.graph_failed.more = count < left;
    intake->done += count;
    arena_reset(&node->scratch);
    node_apply(node, &event);
}

/* True: it is done. */
static bool run_failing(struct graph_queue *queue, struct failing *failing)
{
    bool is_gone = stream_of_client(queue->node, failing->intake->client) == NULL;
    do {
        if (!is_gone) {
            fail_some(queue, failing);
        }
        if (is_gone || failing->intake->done == failing->keys.count) {
            finish(queue, failing->intake);
            failing_free(failing);
            return true;
        }
    } while (!turn_is_over(queue->node->turn));
    return false;
}

void graph_queue_fail(struct graph_queue *queue, struct intake *intake,
                      const struct failure_info *failure)
{
    log_error(LOGGER, "Graph submission failed: %.*s", (int)failure->exception_text.size,
              (const char *)failure->exception_text.data);
    struct failing *failing = mem_zalloc(1, sizeof *failing);
    arena_init(&failing->arena);
    failing->intake = intake;
    failing->failure = *failure;
    failing->failure.exception = blob_ref(failure->exception);
    if (failure->traceback != NULL) {
        blob_ref(failure->traceback);
    }
    failing->failure.exception_text = arena_copy(&failing->arena, failure->exception_text);
    failing->failure.traceback_text = arena_copy(&failing->arena, failure->traceback_text);
    failing->keys = values_keys(&failing->arena, intake->fields.keys);
    intake->done = 0;
    struct stream *stream = stream_of_client(queue->node, intake->client);
    if (stream != NULL && !stream->is_held && failing->keys.count > FAIL_AT_ONCE) {
        stream_hold(stream);
    }
    if (!run_failing(queue, failing)) {
        vec_push(&queue->failing, failing);
        turn_more(queue->node->turn);
    }
}

/* RuntimeError(text), made here. */
static void fail_text(struct graph_queue *queue, struct intake *intake)
{
    struct text pickle = {0};
    pickle_make_exception(&pickle, "builtins", "RuntimeError", text_span(&intake->why));
    struct failure_info failure = {.kind = FAILURE_USER,
                                   .exception = payload_serialized_bytes(text_span(&pickle)),
                                   .exception_text = text_span(&intake->why),
                                   .traceback_text = SPAN("")};
    graph_queue_fail(queue, intake, &failure);
    blob_unref(failure.exception);
    text_fini(&pickle);
}

/* ---- graphs that are applied -------------------------------------------------------------------- */

/* False: it must wait. */
static bool apply(struct graph_queue *queue, struct intake *intake)
{
    struct node *node = queue->node;
    struct event event = event_of(EVENT_GRAPH);
    event.of.graph.graph = &intake->info;
    event.stimulus = node_stimulus(node, "update-graph");
    node_apply(node, &event);
    if (node->step.graph_later) {
        return false;
    }
    task_stream_graph(node->task_stream, intake->info.wanted);
    if (node->step.graph_pending && queue->building == NULL) {
        queue->building = intake;
        turn_more(node->turn);
    } else {
        finish(queue, intake);
    }
    return true;
}

/* Only one that is large, or that waits, needs to hold its client's stream. */
static void hold(struct graph_queue *queue, const struct intake *intake)
{
    struct stream *stream = stream_of_client(queue->node, intake->client);
    if (stream != NULL && !stream->is_held) {
        stream_hold(stream);
    }
}

void graph_queue_submit(struct graph_queue *queue, struct intake *intake)
{
    if (stream_of_client(queue->node, intake->client) == NULL) {
        graph_queue_discard(queue, intake);
    } else if (intake->why.size > 0) {
        fail_text(queue, intake);
    } else if (!apply(queue, intake)) {
        hold(queue, intake);
        vec_push(&queue->waiting, intake);
        turn_more(queue->node->turn);
    }
}

static void run_waiting(struct graph_queue *queue)
{
    uint32_t kept = 0;
    uint32_t count = queue->waiting.count;
    for (uint32_t i = 0; i < count; i++) {
        struct intake *intake = queue->waiting.items[i];
        if (stream_of_client(queue->node, intake->client) == NULL) {
            graph_queue_discard(queue, intake);
        } else if (turn_is_over(queue->node->turn) || !apply(queue, intake)) {
            queue->waiting.items[kept++] = intake;
        }
    }
    queue->waiting.count = kept;
}

bool graph_queue_run(struct graph_queue *queue)
{
    struct node *node = queue->node;
    arena_reset(&node->scratch);
    if (queue->building != NULL && !node->step.graph_pending) {
        struct intake *built = queue->building;
        queue->building = NULL;
        finish(queue, built);
    }
    run_waiting(queue);
    if (queue->failing.count > 0 &&
        run_failing(queue, queue->failing.items[queue->failing.count - 1])) {
        queue->failing.count--;
    }
    if (queue->spent.count > 0) {
        spend(queue, queue->spent.items[queue->spent.count - 1]);
    }
    return queue->building != NULL || queue->waiting.count + queue->failing.count > 0 ||
           queue->spent.count > 0;
}
