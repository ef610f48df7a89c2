/* update_graph.c: graphs that clients send, on their way to the core.
 *
 * submit, map, get, actors and delayed are cut in C (wire/pickle_graph.h) and applied at once, or, if they name
 * functions that were not seen before, as soon as a worker has shown to have them. All other graphs go
 * to the planner. What takes long is done by threads (intake.h), and the core takes large graphs piece by
 * piece (graph_queue.h); until that is done the client's stream is held, so that its later messages find the
 * tasks they speak of. Source: distributed scheduler.py update_graph; protocol.md 4. */
#include "base/alloc.h"
#include "node/graph_queue.h"
#include "node/node.h"
#include "node/observer.h"
#include "node/planner.h"
#include "node/prove.h"
#include "node/record.h"
#include "record/record.h"

static void plan(struct intake *intake);

/* The client's stream, held from here on; NULL: the client has left. */
static struct stream *hold(struct intake *intake)
{
    struct stream *stream = stream_of_client(intake->node, intake->client);
    if (stream != NULL && !stream->is_held) {
        stream_hold(stream);
    }
    return stream;
}

/* A thread works on it, or a worker, or the planner. */
static void under_way(struct intake *intake, bool begins)
{
    uint32_t *count = &intake->node->graphs_under_way;
    ASSERT(begins || *count > 0);
    *count = begins ? *count + 1 : *count - 1;
}

static void by_thread(struct intake *intake, void (*work)(void *user), void (*done)(void *user))
{
    hold(intake);
    under_way(intake, true);
    io_work(intake->node->loop, work, done, intake);
}

/* ---- to the core ------------------------------------------------------------------------------ */

static void prepare(void *user)
{
    intake_prepare(user);
}

static void prepared(void *user)
{
    struct intake *intake = user;
    under_way(intake, false);
    graph_queue_submit(intake->node->graph_queue, intake);
}

static void apply(struct intake *intake)
{
    if (intake->graph.task_count > INTAKE_LARGE_TASKS) {
        by_thread(intake, prepare, prepared);
    } else {
        intake_prepare(intake);
        graph_queue_submit(intake->node->graph_queue, intake);
    }
}

/* ---- names that must be proven ------------------------------------------------------------------ */

static void looked_up(void *user, enum proof_result result)
{
    struct intake *intake = user;
    struct node *node = intake->node;
    under_way(intake, false);
    if (result != PROOF_FAILED) {
        pickle_trust_add(&node->trust, intake->graph.foreign, result == PROOF_PLAIN);
        apply(intake);
    } else {
        plan(intake);
    }
}

/* The graph names things that no worker has shown to have: ask one, or else the planner. */
static void prove(struct intake *intake)
{
    hold(intake);
    if (prove_graph(intake->node, &intake->graph, looked_up, intake)) {
        under_way(intake, true);
    } else {
        plan(intake);
    }
}

/* ---- through the planner ----------------------------------------------------------------------- */

/* What the planner read of the message's pickles. Its annotation sets hold the global annotations already;
 * the global set itself is for the computation only. */
static void take_plain(struct text *out, const struct blob *value)
{
    if (value != NULL) {
        text_add(out, slice_span(value->value));
    }
}

static void ask_planner(struct intake *intake, bool as_arrays);

static void planned(void *user, struct planner_graph *result)
{
    struct intake *intake = user;
    under_way(intake, false);
    if (result->is_uncut) {
        ask_planner(intake, true);
    } else if (!result->is_ok) {
        struct failure_info failure = {
            .kind = FAILURE_USER,
            .exception = result->exception,
            .traceback = result->traceback,
            .exception_text = result->exception_text,
            .traceback_text = result->traceback_text,
        };
        graph_queue_fail(intake->node->graph_queue, intake, &failure);
    } else {
        intake->graph = *result->graph;
        memset(result->graph, 0, sizeof *result->graph);
        take_plain(&intake->annotations, result->annotations);
        take_plain(&intake->span_metadata, result->span_metadata);
        take_plain(&intake->code, result->code);
        apply(intake);
    }
}

static void ask_planner(struct intake *intake, bool as_arrays)
{
    const struct msg_update_graph *fields = &intake->fields;
    struct planner_graph_request request = {
        .message = &intake->message,
        .expr_ser = fields->expr_ser.raw,
        .annotations = fields->annotations.raw,
        .span_metadata = fields->span_metadata.raw,
        .code = fields->code.raw,
        .as_arrays = as_arrays,
    };
    under_way(intake, true);
    planner_materialise(intake->node->planner, &request, planned, intake);
}

static void plan(struct intake *intake)
{
    if (hold(intake) == NULL) {
        graph_queue_discard(intake->node->graph_queue, intake);
        return;
    }
    /* It may have been cut, but not proven, or with odd annotations. */
    graph_queue_discard(intake->node->graph_queue, intake_split(intake));
    text_clear(&intake->annotations);
    text_clear(&intake->span_metadata);
    text_clear(&intake->code);
    ask_planner(intake, false);
}

/* ---- what a client sent ------------------------------------------------------------------------ */

static void decide(struct intake *intake)
{
    if (intake->error != OK) {
        plan(intake);
    } else if (!pickle_trust_covers(&intake->node->trust, intake->graph.foreign)) {
        prove(intake);
    } else {
        apply(intake);
    }
}

static void cut(void *user)
{
    intake_cut(user);
}

static void was_cut(void *user)
{
    struct intake *intake = user;
    under_way(intake, false);
    decide(intake);
}

void update_graph(struct node *node, struct stream *stream, const struct frames *message,
                  const struct msg_update_graph *graph)
{
    struct intake *intake = intake_create(node, stream->client, message, graph);
    struct recorder *recorder = observer_link_recorder(node->observer);
    if (recorder != NULL && frames_size(message) >= GRAPH_BYTES_TOLD) {
        recorder_graph_bytes(recorder, stream->client, frames_size(message));
    }
    if (intake->is_large) {
        by_thread(intake, cut, was_cut);
    } else {
        intake_cut(intake);
        decide(intake);
    }
}
