/* cmd_logs.c: `cask logs KEY…`: what tasks printed and what they cost, as the workers remember it.
 *
 * The scheduler passes the question on (broadcast), so stock's will do; only cask's workers know an answer. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/options.h"

static void print_text(struct span text)
{
    printf("%.*s", (int)text.size, (const char *)text.data);
}

static void print_start(struct span record)
{
    double start = answer_number(record, "start", 0);
    double seconds = answer_number(record, "stop", 0) - start;
    time_t whole = (time_t)start;
    struct tm parts;
    char text[32];
    if (start <= 0 || localtime_r(&whole, &parts) == NULL) {
        return;
    }
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
    printf(", began at %s, took %.3f s", text, seconds > 0 ? seconds : 0);
}

static void print_cost(struct span record)
{
    static const char *const names[] = {"rss_peak", "rss_growth", "read_bytes", "written_bytes"};
    char bytes[4][24];
    for (int i = 0; i < 4; i++) {
        answer_bytes(answer_number(record, names[i], 0), bytes[i]);
    }
    printf("  CPU %.3f s, in the kernel %.3f s; disk: read %s, written %s\n"
           "  memory of its process: highest %s, raised by %s; page faults %.0f, from disk %.0f\n",
           answer_number(record, "cpu_user", 0), answer_number(record, "cpu_system", 0), bytes[2],
           bytes[3], bytes[0], bytes[1], answer_number(record, "faults_minor", 0),
           answer_number(record, "faults_major", 0));
}

/* Indented lines. */
static void print_output(struct span record)
{
    struct span output = answer_text(record, "output", SPAN(""));
    double all = answer_number(record, "output_bytes", 0);
    if (all > (double)output.size) {
        printf("  printed %.0f bytes; the last ones:\n", all);
    } else if (output.size > 0) {
        puts("  printed:");
    }
    while (output.size > 0) {
        const uint8_t *stop = memchr(output.data, '\n', output.size);
        size_t size = stop == NULL ? output.size : (size_t)(stop - output.data);
        fputs("    ", stdout);
        print_text(span_of(output.data, size));
        putchar('\n');
        size += stop != NULL;
        output = span_of(output.data + size, output.size - size);
    }
}

static uint32_t print_worker(struct span address, struct span records)
{
    struct msgpack_reader reader;
    uint32_t count = answer_items(records, &reader);
    for (uint32_t i = 0; i < count; i++) {
        struct span record = answer_next(&reader);
        answer_print_key(answer_field(record, "key"));
        fputs(": ", stdout);
        print_text(answer_text(record, "status", SPAN("?")));
        fputs(" on ", stdout);
        print_text(address);
        print_start(record);
        putchar('\n');
        if (!span_equal(answer_text(record, "status", SPAN("")), SPAN("running"))) {
            print_cost(record);
        }
        print_output(record);
    }
    return count;
}

static int print_answer(struct span answer, bool as_json)
{
    if (as_json) {
        answer_print_json(answer);
        return EXIT_SUCCESS;
    }
    struct msgpack_reader reader;
    uint32_t workers = answer_items(answer, &reader), found = 0;
    for (uint32_t i = 0; i < workers; i++) {
        struct span address;
        if (msgpack_read_str(&reader, &address) != OK) {
            break;
        }
        found += print_worker(address, answer_next(&reader));
    }
    if (found == 0) {
        puts("No worker remembers such a task: it has not begun, it was too long ago (each "
             "remembers its last 4096),\n"
             "or its worker is Dask's or gone.");
    }
    return found > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int logs(const struct options *options, struct key_list keys, struct text *why)
{
    const struct ask_options where = {
        .address = options->text[OPTION_LOGS_SCHEDULER],
        .scheduler_file = options->text[OPTION_LOGS_SCHEDULER_FILE],
        .timeout = options->text[OPTION_LOGS_TIMEOUT],
    };
    struct asker *asker;
    struct span answer;
    if (asker_create(&where, &asker, why) != OK) {
        return EXIT_FAILURE;
    }
    struct text question = {0};
    msgpack_write_map(&question, 2);
    msgpack_write_cstr(&question, "op");
    msgpack_write_cstr(&question, "task_records");
    msgpack_write_cstr(&question, "keys");
    msgpack_write_array(&question, keys.count);
    msgpack_write_raw(&question, keys.keys);
    struct msg_broadcast request;
    message_defaults(MESSAGE_BROADCAST, &request);
    request.msg.raw = text_span(&question);
    request.on_error = SPAN("ignore");
    int code = asker_call(asker, MESSAGE_BROADCAST, &request, &answer, why);
    int exit_code = EXIT_FAILURE;
    if (code == OK) {
        exit_code = print_answer(answer, options->is_on[OPTION_LOGS_JSON] == SWITCH_ON);
    }
    text_fini(&question);
    asker_destroy(asker);
    return exit_code;
}

int cmd_logs(int argc, char **argv)
{
    struct options options;
    struct text keys = {0}, why = {0};
    int exit_code = options_parse(COMMAND_LOGS, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    if (options.argument_count == 0) {
        exit_code = options_complain(COMMAND_LOGS, "a key is needed", NULL);
    }
    for (uint32_t i = 0; exit_code < 0 && i < options.argument_count; i++) {
        if (!answer_parse_key(options.arguments[i], &keys)) {
            exit_code = options_complain(COMMAND_LOGS,
                                         "not a tuple as Python writes it:", options.arguments[i]);
        }
    }
    if (exit_code < 0) {
        struct key_list list = {
            .keys = text_span(&keys), .count = options.argument_count, .given = true};
        exit_code = logs(&options, list, &why);
    }
    if (why.size > 0) {
        fprintf(stderr, "cask logs: %s\n", text_cstr(&why));
    }
    text_fini(&keys);
    text_fini(&why);
    options_fini(&options);
    return exit_code;
}
