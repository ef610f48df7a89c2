/* cmd_explain.c: `cask explain KEY`: why a task is not running, in the scheduler's own words. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/options.h"

static void print_advice(struct span answer)
{
    struct msgpack_reader reader;
    uint32_t count = answer_items(answer_field(answer, "advice"), &reader);
    for (uint32_t i = 0; i < count; i++) {
        struct span advice;
        if (msgpack_read_str(&reader, &advice) == OK) {
            fputs(i == 0 ? "\nWhat would help:\n  - " : "  - ", stdout);
            answer_print_wrapped(advice, 4);
        }
    }
}

static void print_missing(struct span answer)
{
    enum { SHOWN_MAX = 10 };
    struct msgpack_reader reader;
    struct span cause = answer_field(answer, "root_cause");
    uint32_t count = answer_items(answer_field(answer, "missing"), &reader);
    double total = answer_number(answer, "missing_total", count);
    if (count > 0) {
        printf("\nInputs that are not there yet (%.0f):\n", total);
    }
    for (uint32_t i = 0; i < count && i < SHOWN_MAX; i++) {
        fputs("  ", stdout);
        answer_print_key(answer_next(&reader));
        putchar('\n');
    }
    if (total > SHOWN_MAX) {
        printf("  … and %.0f more\n", total - SHOWN_MAX);
    }
    if (!msgpack_is_nil(cause)) {
        fputs("In the end all waits for: ", stdout);
        answer_print_key(cause);
        putchar('\n');
    }
}

static void print_workers(struct span answer)
{
    struct msgpack_reader reader;
    uint32_t count = answer_items(answer_field(answer, "workers"), &reader);
    if (count > 0) {
        puts("\nWorkers:");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct span worker = answer_next(&reader);
        struct span address = answer_text(worker, "address", SPAN("?"));
        struct span reason = answer_text(worker, "reason", SPAN(""));
        printf("  %-3s  %.*s\n", answer_bool(worker, "eligible") ? "yes" : "no", (int)address.size,
               (const char *)address.data);
        if (reason.size > 0) {
            fputs("       ", stdout);
            answer_print_wrapped(reason, 7);
        }
    }
}

static int print_answer(const char *key, struct span answer, bool as_json)
{
    if (as_json) {
        answer_print_json(answer);
    } else {
        printf("%s\n  ", key);
        answer_print_wrapped(answer_text(answer, "summary", SPAN("no summary came")), 2);
        print_missing(answer);
        print_workers(answer);
        print_advice(answer);
    }
    return answer_bool(answer, "known") ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int explain(const struct options *options, struct span key, struct text *why)
{
    const struct ask_options where = {
        .address = options->text[OPTION_EXPLAIN_SCHEDULER],
        .scheduler_file = options->text[OPTION_EXPLAIN_SCHEDULER_FILE],
        .timeout = options->text[OPTION_EXPLAIN_TIMEOUT],
    };
    struct asker *asker;
    struct span answer;
    if (asker_create(&where, &asker, why) != OK) {
        return EXIT_FAILURE;
    }
    struct msg_explain request = {.key = key};
    int exit_code = EXIT_FAILURE;
    if (asker_call(asker, MESSAGE_EXPLAIN, &request, &answer, why) == OK) {
        if (answer_field(answer, "summary").size > 0) {
            exit_code = print_answer(options->arguments[0], answer,
                                     options->is_on[OPTION_EXPLAIN_JSON] == SWITCH_ON);
        } else {
            text_printf(why, "%s does not know 'explain': is it a stock scheduler?",
                        asker_address(asker));
        }
    }
    asker_destroy(asker);
    return exit_code;
}

int cmd_explain(int argc, char **argv)
{
    struct options options;
    struct text key = {0}, why = {0};
    int exit_code = options_parse(COMMAND_EXPLAIN, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    if (options.argument_count == 0) {
        exit_code = options_complain(COMMAND_EXPLAIN, "a key is needed", NULL);
    } else if (options.argument_count > 1) {
        exit_code =
            options_complain(COMMAND_EXPLAIN, "one key is enough, not", options.arguments[1]);
    } else if (!answer_parse_key(options.arguments[0], &key)) {
        exit_code = options_complain(COMMAND_EXPLAIN,
                                     "not a tuple as Python writes it:", options.arguments[0]);
    } else {
        exit_code = explain(&options, text_span(&key), &why);
    }
    if (why.size > 0) {
        fprintf(stderr, "cask explain: %s\n", text_cstr(&why));
    }
    text_fini(&key);
    text_fini(&why);
    options_fini(&options);
    return exit_code;
}
