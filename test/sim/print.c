/* print.c: the transcript: a line an event, a line an action; hashed, the last ones kept. The lines follow
 * from events.def and actions.def, so a new field shows up by itself. A key is printed as k<number>. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/sim.h"

static void end_line(struct sim *sim)
{
    struct text *line = &sim->line;
    sim->hash = (sim->hash ^ span_hash(text_span(line))) * UINT64_C(0x100000001b3);
    snprintf(sim->kept[sim->line_count++ % LINES_KEPT], sizeof sim->kept[0],
             "%10.4f %6" PRIu64 " %s", sim->now, sim->steps, text_cstr(line));
    if (sim->options.verbose) {
        printf("%10.4f %6" PRIu64 " %s\n", sim->now, sim->steps, text_cstr(line));
    }
    text_clear(line);
}

void say(struct sim *sim, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text_vprintf(&sim->line, format, arguments);
    va_end(arguments);
    end_line(sim);
}

void print_last_lines(const struct sim *sim)
{
    uint64_t first = sim->line_count > LINES_KEPT ? sim->line_count - LINES_KEPT : 0;
    for (uint64_t i = first; i < sim->line_count; i++) {
        fprintf(stderr, "%s\n", sim->kept[i % LINES_KEPT]);
    }
}

void fail(struct sim *sim, const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    fprintf(stderr, "sim: seed %" PRIu64 " step %" PRIu64 ": ", sim->options.seed, sim->steps);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    abort(); /* the handler of SIGABRT prints the last lines */
}

void say_story(struct sim *sim, uint32_t key)
{
    uint32_t count;
    struct span_list keys = {&sim->keys.items[key].bytes, 1};
    const struct story_move *moves =
        view_story(sim->s, keys, (struct span_list){0}, &sim->scratch, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct map_entry *entry = map_find(&sim->key_numbers, moves[i].key);
        say(sim, "  %.4f k%u %s -> %s (%.*s)", moves[i].time - EPOCH, (uint32_t)entry->value.number,
            task_state_name(moves[i].start), task_state_name(moves[i].finish),
            (int)moves[i].stimulus.size, (const char *)moves[i].stimulus.data);
    }
}

/* ---- one value ---- */

static void say_span(struct sim *sim, struct span span)
{
    struct map_entry *entry = span.size == 0 ? NULL : map_find(&sim->key_numbers, span);
    if (entry != NULL) {
        text_printf(&sim->line, "k%u", (uint32_t)entry->value.number);
        return;
    }
    for (size_t i = 0; i < span.size && i < 40; i++) {
        uint8_t c = span.data[i];
        text_add_char(&sim->line, c < 32 || c > 126 ? '.' : (char)c);
    }
}

static void say_span_list(struct sim *sim, struct span_list list)
{
    for (uint32_t i = 0; i < list.count; i++) {
        text_add_cstr(&sim->line, i == 0 ? "" : ",");
        say_span(sim, list.items[i]);
    }
}

static void say_blob(struct sim *sim, const struct blob *blob)
{
    text_add_cstr(&sim->line, blob == NULL ? "-" : "blob");
}

static void say_number(struct sim *sim, int64_t number)
{
    text_printf(&sim->line, "%lld", (long long)number);
}

static void say_f64(struct sim *sim, double number)
{
    text_printf(&sim->line, "%g", number);
}

static void say_graph(struct sim *sim, const struct graph_info *graph)
{
    text_printf(&sim->line, "c%u%s wants ", graph->client, graph->cull ? " (cull)" : "");
    say_span_list(sim, graph->wanted);
    text_add_cstr(&sim->line, " of");
    for (uint32_t i = 0; i < graph->task_count; i++) {
        text_add_char(&sim->line, ' ');
        say_span(sim, graph->keys[i]);
        for (uint32_t j = graph->dep_start[i]; j < graph->dep_start[i + 1]; j++) {
            text_add_cstr(&sim->line, j == graph->dep_start[i] ? "<-" : ",");
            say_span(sim, graph->keys[graph->deps[j]]);
        }
    }
}

static void say_worker_info(struct sim *sim, const struct worker_info *info)
{
    say_span(sim, info->address);
    text_printf(&sim->line, " threads=%u gpus=%u ", info->nthreads, info->resource_count);
    say_span(sim, info->status);
}

static void say_metrics(struct sim *sim, const struct metrics_info *metrics)
{
    text_printf(&sim->line, "memory=%lld executing=", (long long)metrics->memory);
    say_span_list(sim, (struct span_list){metrics->executing_keys, metrics->executing_count});
}

static void say_failure_info(struct sim *sim, const struct failure_info *failure)
{
    text_printf(&sim->line, "kind %d", (int)failure->kind);
}

static void say_workers(struct sim *sim, struct worker_list list)
{
    for (uint32_t i = 0; i < list.count; i++) {
        text_printf(&sim->line, i == 0 ? "w%u" : ",w%u", list.items[i]);
    }
}

static void say_count(struct sim *sim, uint32_t count)
{
    text_printf(&sim->line, "#%u", count);
}

static void say_inputs(struct sim *sim, struct input_list inputs)
{
    for (uint32_t i = 0; i < inputs.count; i++) {
        text_add_cstr(&sim->line, i == 0 ? "" : " ");
        say_span(sim, inputs.items[i].key);
        text_add_char(&sim->line, '@');
        say_workers(sim,
                    (struct worker_list){inputs.items[i].holders, inputs.items[i].holder_count});
    }
}

static void say_failure(struct sim *sim, const struct failure *failure)
{
    struct failure_view view = {0};
    if (failure != NULL) {
        view_failure(failure, &view);
        text_printf(&sim->line, "kind %d of ", (int)view.kind);
        say_span(sim, view.key);
    }
}

static void say_answer(struct sim *sim, const struct answer *answer)
{
    text_printf(&sim->line, "kind %d %lld ", (int)answer->kind, (long long)answer->number);
    say_span(sim, answer->text);
    if (answer->shuffle != NULL) {
        text_printf(&sim->line, "run %lld", (long long)answer->shuffle->run_id);
    }
}

static void say_notice(struct sim *sim, const struct notice *notice)
{
    text_printf(&sim->line, "notice %d w%u c%u ", (int)notice->kind, notice->worker,
                notice->client);
    say_span(sim, notice->text);
    text_add_char(&sim->line, ' ');
    say_span(sim, notice->text2);
    text_add_char(&sim->line, ' ');
    say_span_list(sim, notice->keys);
}

/* ---- by the tables ---- */

#define SAY_span(value) say_span(sim, value)
#define SAY_span_list(value) say_span_list(sim, value)
#define SAY_blob(value) say_blob(sim, value)
#define SAY_f64(value) say_f64(sim, value)
#define SAY_i64(value) say_number(sim, value)
#define SAY_u64(value) say_number(sim, (int64_t)(value))
#define SAY_u32(value) say_number(sim, value)
#define SAY_flag(value) say_number(sim, value)
#define SAY_worker(value) say_number(sim, value)
#define SAY_client(value) say_number(sim, value)
#define SAY_graph(value) say_graph(sim, value)
#define SAY_worker_info(value) say_worker_info(sim, value)
#define SAY_metrics(value) say_metrics(sim, value)
#define SAY_failure_info(value) say_failure_info(sim, value)
#define SAY_startstops(value) say_count(sim, (value).count)
#define SAY_workers(value) say_workers(sim, value)
#define SAY_sizes(value) say_count(sim, (value).count)
#define SAY_resources(value) say_count(sim, (value).count)
#define SAY_task_ref(value) say_span(sim, view_task_key(value))
#define SAY_inputs(value) say_inputs(sim, value)
#define SAY_failure(value) say_failure(sim, value)
#define SAY_answer(value) say_answer(sim, value)
#define SAY_notice(value) say_notice(sim, value)

#define SAY_FIELD(type, field)                                                                     \
    text_add_cstr(&sim->line, " " #field "=");                                                     \
    SAY_##type(what->field);

#define EVENT(ID, name, FIELDS)                                                                    \
    static void say_event_##name(struct sim *sim, const struct event_##name *what)                 \
    {                                                                                              \
        FIELDS(SAY_FIELD)                                                                          \
    }
#include "core/scheduler/events.def"

#define ACTION(ID, name, FIELDS)                                                                   \
    static void say_action_##name(struct sim *sim, const struct action_##name *what)               \
    {                                                                                              \
        FIELDS(SAY_FIELD)                                                                          \
    }
#include "core/scheduler/actions.def"

void say_event(struct sim *sim, const struct event *event)
{
    switch (event->kind) {
#define EVENT(ID, name, FIELDS)                                                                    \
    case EVENT_##ID:                                                                               \
        text_add_cstr(&sim->line, "> " #name);                                                     \
        say_event_##name(sim, &event->of.name);                                                    \
        break;
#include "core/scheduler/events.def"
    default:
        UNREACHABLE();
    }
    end_line(sim);
}

void say_actions(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->step.action_count; i++) {
        const struct action *action = &sim->step.actions[i];
        switch (action->kind) {
#define ACTION(ID, name, FIELDS)                                                                   \
    case ACTION_##ID:                                                                              \
        text_add_cstr(&sim->line, "    " #name);                                                   \
        say_action_##name(sim, &action->of.name);                                                  \
        break;
#include "core/scheduler/actions.def"
        default:
            UNREACHABLE();
        }
        end_line(sim);
    }
}
