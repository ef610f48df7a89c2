/* cmd_status.c: `cask status`: the workers of a scheduler, and its tasks by prefix. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/top_fetch.h"
#include "cli/top_place.h"
#include "io/io.h"

static void print_duration(double seconds)
{
    int64_t whole = (int64_t)seconds;
    if (whole >= 86400) {
        printf("%ldd %ldh", (long)(whole / 86400), (long)(whole % 86400 / 3600));
    } else if (whole >= 3600) {
        printf("%ldh %ldm", (long)(whole / 3600), (long)(whole % 3600 / 60));
    } else {
        printf("%ldm %lds", (long)(whole / 60), (long)(whole % 60));
    }
}

static void print_head(struct span identity)
{
    char memory[24];
    struct span address = answer_text(identity, "address", SPAN("?"));
    double started = answer_number(identity, "started", 0);
    double workers = answer_number(identity, "n_workers", 0);
    double threads = answer_number(identity, "total_threads", 0);
    answer_bytes(answer_number(identity, "total_memory", 0), memory);
    printf("Scheduler %.*s", (int)address.size, (const char *)address.data);
    if (started > 0) {
        fputs(", up ", stdout);
        print_duration(io_now() - started);
    }
    printf("\n%.0f worker%s, %.0f thread%s, %s of memory\n", workers, workers == 1 ? "" : "s",
           threads, threads == 1 ? "" : "s", memory);
}

static void print_planner(struct span planner)
{
    char memory[24];
    double graphs = answer_number(planner, "graphs", 0);
    double pid = answer_number(planner, "pid", 0);
    if (pid == 0) {
        puts("No planner runs");
        return;
    }
    answer_bytes(answer_number(planner, "resident", 0), memory);
    printf("Planner: process %.0f, %s, %.1f s of CPU", pid, memory,
           answer_number(planner, "cpu", 0));
    if (graphs > 0) {
        printf("; %.0f graph%s in %.1f s", graphs, graphs == 1 ? "" : "s",
               answer_number(planner, "seconds", 0));
    }
    putchar('\n');
}

static void print_worker(struct span address, struct span worker)
{
    char used[24], limit[24], memory[52];
    struct span metrics = answer_field(worker, "metrics");
    struct span counts = answer_field(metrics, "task_counts");
    struct span status = answer_text(worker, "status", SPAN("?"));
    answer_bytes(answer_number(metrics, "memory", 0), used);
    answer_bytes(answer_number(worker, "memory_limit", 0), limit);
    snprintf(memory, sizeof memory, "%s/%s", used, limit);
    printf("%-27.*s %-8.*s %3.0f %4.0f%% %19s %5.0f %5.0f\n", (int)address.size,
           (const char *)address.data, (int)status.size, (const char *)status.data,
           answer_number(worker, "nthreads", 0), answer_number(metrics, "cpu", 0), memory,
           answer_number(counts, "executing", 0),
           answer_number(counts, "memory", answer_number(metrics, "in_memory", 0)));
}

static void print_workers(struct span identity)
{
    struct msgpack_reader reader;
    uint32_t count = answer_items(answer_field(identity, "workers"), &reader);
    if (count > 0) {
        printf("\n%-27s %-8s %3s %5s %19s %5s %5s\n", "worker", "status", "thr", "cpu", "memory",
               "runs", "holds");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct span address;
        if (msgpack_read_str(&reader, &address) != OK) {
            return;
        }
        print_worker(address, answer_next(&reader));
    }
}

static void print_tasks(struct span prefixes)
{
    static const char *const states[] = {"released", "waiting", "processing", "memory", "erred"};
    struct msgpack_reader reader;
    uint32_t count = answer_items(prefixes, &reader);
    if (count > 0) {
        printf("\n%-24s", "tasks");
        for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
            printf(" %10s", states[i]);
        }
        putchar('\n');
    }
    for (uint32_t i = 0; i < count; i++) {
        struct span name;
        if (msgpack_read_str(&reader, &name) != OK) {
            return;
        }
        struct span numbers = answer_next(&reader);
        printf("%-24.*s", name.size > 24 ? 24 : (int)name.size, (const char *)name.data);
        for (size_t j = 0; j < sizeof states / sizeof states[0]; j++) {
            printf(" %10.0f", answer_number(numbers, states[j], 0));
        }
        putchar('\n');
    }
}

#ifdef CASK_HAVE_OBSERVER
#define FINDINGS_SHOWN 10u
#define FAILURES_SHOWN 5u
#define FAILURES_PATH "failures?limit=5"

static void print_findings(const json_t *findings)
{
    size_t count = json_array_size(findings);
    if (count > 0) {
        printf("\nfindings (cask report --format text has what to do)\n");
    }
    for (size_t i = 0; i < count && i < FINDINGS_SHOWN; i++) {
        const json_t *finding = json_array_get(findings, i);
        const char *sentence = json_string_value(json_object_get(finding, "sentence"));
        const char *severity = json_string_value(json_object_get(finding, "severity"));
        bool is_active = json_is_true(json_object_get(finding, "active"));
        if (sentence != NULL && severity != NULL) {
            printf("%-8s %.*s%s\n", severity, (int)strcspn(sentence, "\n"), sentence,
                   is_active ? "" : " (past)");
        }
    }
    if (count > FINDINGS_SHOWN) {
        printf("and %zu more\n", count - FINDINGS_SHOWN);
    }
}

static const char *field(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value == NULL ? "" : value;
}

/* Users' text, up to its first line's end: it does not steer the terminal. */
static void print_plain(const char *text)
{
    for (size_t i = 0, size = strcspn(text, "\n"); i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        putchar(c < 0x20 || c == 0x7f ? '?' : c);
    }
}

/* What failed alike is one line, and the first of its keys another. */
static void print_failures(const json_t *failures)
{
    size_t count = json_array_size(failures);
    if (count > 0) {
        printf("\nfailures, the newest kind first (cask report --format text has tracebacks)\n");
    }
    for (size_t i = 0; i < count && i < FAILURES_SHOWN; i++) {
        const json_t *failure = json_array_get(failures, i);
        const json_t *keys = json_object_get(failure, "keys");
        const char *key = json_string_value(json_array_get(keys, 0));
        const char *where = field(failure, "where");
        printf("%" JSON_INTEGER_FORMAT " × ",
               json_integer_value(json_object_get(failure, "count")));
        print_plain(field(failure, "prefix"));
        fputs("  ", stdout);
        print_plain(field(failure, "type"));
        fputs(": ", stdout);
        print_plain(field(failure, "message"));
        if (key != NULL) {
            fputs("\n    ", stdout);
            print_plain(key);
            fputs(where[0] == '\0' ? "" : ", at ", stdout);
            print_plain(where);
        }
        putchar('\n');
    }
}

/* A list of the dashboard's; NULL: it cannot be had. The rest is told all the same. */
static json_t *ask_list(const struct top_place *place, const char *path, const char *name)
{
    struct text body = {0}, why = {0};
    json_t *answer = NULL;
    if (top_fetch(place, path, &body, &why) == OK) {
        answer = json_loadb(text_cstr(&body), body.size, 0, NULL);
    } else {
        fprintf(stderr, "cask status: no %s: %s\n", name, text_cstr(&why));
    }
    json_t *list = json_incref(json_object_get(answer, name));
    json_decref(answer);
    text_fini(&body);
    text_fini(&why);
    return list;
}

/* What went wrong, if there is a dashboard that knows. */
static void show_troubles(const struct ask_options *where, struct span identity)
{
    struct top_place place = {0};
    struct text address = {0}, why = {0};
    if (answer_number(answer_field(identity, "services"), "dashboard", 0) <= 0) {
        return;
    }
    if (top_place_find(where, NULL, &place, &address, &why) == OK) {
        json_t *failures = ask_list(&place, FAILURES_PATH, "failures");
        json_t *findings = ask_list(&place, "findings", "findings");
        print_failures(failures);
        print_findings(findings);
        json_decref(failures);
        json_decref(findings);
    } else {
        fprintf(stderr, "cask status: no findings: %s\n", text_cstr(&why));
    }
    top_place_fini(&place);
    text_fini(&address);
    text_fini(&why);
}
#else
static void show_troubles(const struct ask_options *where, struct span identity)
{
    (void)where; /* this cask was built without what finds them */
    (void)identity;
}
#endif

/* What is asked one after the other, each kept until all are there. */
struct answers {
    struct slice identity, prefixes, turns, planner;
};

/* {scheduler: identity, tasks: by prefix, turns: of its loop, planner: its status} */
static void print_json(const struct answers *answers)
{
    struct text all = {0};
    msgpack_write_map(&all, 4);
    msgpack_write_cstr(&all, "scheduler");
    msgpack_write_raw(&all, slice_span(answers->identity));
    msgpack_write_cstr(&all, "tasks");
    msgpack_write_raw(&all, slice_span(answers->prefixes));
    msgpack_write_cstr(&all, "turns");
    msgpack_write_raw(&all, slice_span(answers->turns));
    msgpack_write_cstr(&all, "planner");
    msgpack_write_raw(&all, slice_span(answers->planner));
    answer_print_json(text_span(&all));
    text_fini(&all);
}

static int ask(struct asker *asker, struct answers *answers, struct text *why)
{
    struct msg_identity identity;
    struct msg_get_task_prefix_states prefixes;
    struct msg_loop_turns turns;
    struct msg_planner_status planner;
    struct span answer;
    message_defaults(MESSAGE_IDENTITY, &identity);
    message_defaults(MESSAGE_GET_TASK_PREFIX_STATES, &prefixes);
    message_defaults(MESSAGE_LOOP_TURNS, &turns);
    message_defaults(MESSAGE_PLANNER_STATUS, &planner);
    int code = asker_call(asker, MESSAGE_IDENTITY, &identity, &answer, why);
    if (code == OK) {
        answers->identity = slice_copy(answer);
        code = asker_call(asker, MESSAGE_GET_TASK_PREFIX_STATES, &prefixes, &answer, why);
    }
    if (code == OK) {
        answers->prefixes = slice_copy(answer);
        code = asker_call(asker, MESSAGE_LOOP_TURNS, &turns, &answer, why);
    }
    if (code == OK) {
        answers->turns = slice_copy(answer);
        code = asker_call(asker, MESSAGE_PLANNER_STATUS, &planner, &answer, why);
    }
    if (code == OK) {
        answers->planner = slice_copy(answer);
    }
    return code;
}

static int status(struct asker *asker, const struct ask_options *where, bool as_json,
                  struct text *why)
{
    struct answers answers = {0};
    int code = ask(asker, &answers, why);
    if (code == OK && as_json) {
        print_json(&answers);
    } else if (code == OK) {
        print_head(slice_span(answers.identity));
        print_planner(slice_span(answers.planner));
        print_workers(slice_span(answers.identity));
        print_tasks(slice_span(answers.prefixes));
        /* A stock scheduler has no answer about its loop, and no findings. */
        if (answer_number(slice_span(answers.turns), "count", -1) >= 0) {
            show_troubles(where, slice_span(answers.identity));
        }
    }
    slice_fini(&answers.identity);
    slice_fini(&answers.prefixes);
    slice_fini(&answers.turns);
    slice_fini(&answers.planner);
    return code;
}

int cmd_status(int argc, char **argv)
{
    struct options options;
    struct asker *asker;
    struct text why = {0};
    int exit_code = options_parse(COMMAND_STATUS, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    const char *option = options.text[OPTION_STATUS_SCHEDULER];
    const struct ask_options where = {
        .address = options.argument_count > 0 ? options.arguments[0] : option,
        .scheduler_file = options.text[OPTION_STATUS_SCHEDULER_FILE],
        .timeout = options.text[OPTION_STATUS_TIMEOUT],
    };
    if (options.argument_count > 1) {
        exit_code =
            options_complain(COMMAND_STATUS, "one address is enough, not", options.arguments[1]);
    } else {
        exit_code = EXIT_FAILURE;
        if (asker_create(&where, &asker, &why) == OK) {
            bool as_json = options.is_on[OPTION_STATUS_JSON] == SWITCH_ON;
            exit_code = status(asker, &where, as_json, &why) == OK ? EXIT_SUCCESS : EXIT_FAILURE;
            asker_destroy(asker);
        }
    }
    if (why.size > 0) {
        fprintf(stderr, "cask status: %s\n", text_cstr(&why));
    }
    text_fini(&why);
    options_fini(&options);
    return exit_code;
}
