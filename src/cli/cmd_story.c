/* cmd_story.c: `cask story KEY…`: the moves of tasks, when, and what caused them. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/options.h"

/* [key, start, finish, {key: state}, stimulus, time], as stock's story has them. */
struct move {
    struct span key, start, finish, recommendations, stimulus;
    double time;
};

static bool read_move(struct span raw, struct move *out)
{
    struct msgpack_reader reader;
    if (answer_items(raw, &reader) != 6) {
        return false;
    }
    out->key = answer_next(&reader);
    bool has_states = msgpack_read_str(&reader, &out->start) == OK &&
                      msgpack_read_str(&reader, &out->finish) == OK;
    out->recommendations = has_states ? answer_next(&reader) : (struct span){0};
    return has_states && msgpack_read_str(&reader, &out->stimulus) == OK &&
           msgpack_read_float(&reader, &out->time) == OK;
}

static void print_time(double seconds)
{
    time_t whole = (time_t)seconds;
    struct tm parts;
    char text[32];
    localtime_r(&whole, &parts);
    strftime(text, sizeof text, "%H:%M:%S", &parts);
    printf("%s.%03d", text, (int)((seconds - (double)whole) * 1000));
}

static void print_move(const struct move *move)
{
    enum { SHOWN_MAX = 5 };
    struct msgpack_reader reader;
    uint32_t count = answer_items(move->recommendations, &reader);
    print_time(move->time);
    printf("  %10.*s → %-10.*s  ", (int)move->start.size, (const char *)move->start.data,
           (int)move->finish.size, (const char *)move->finish.data);
    answer_print_key(move->key);
    printf("\n              because of %.*s\n", (int)move->stimulus.size,
           (const char *)move->stimulus.data);
    for (uint32_t i = 0; i < count && i < SHOWN_MAX; i++) {
        struct span key = answer_next(&reader);
        struct span state;
        fputs("              so ", stdout);
        answer_print_key(key);
        if (msgpack_read_str(&reader, &state) == OK) {
            printf(" → %.*s", (int)state.size, (const char *)state.data);
        }
        putchar('\n');
    }
    if (count > SHOWN_MAX) {
        printf("              and %u more\n", count - SHOWN_MAX);
    }
}

static void print_story(struct span answer)
{
    struct msgpack_reader reader;
    uint32_t count = answer_items(answer, &reader);
    if (count == 0) {
        puts("Nothing is remembered: no such key or stimulus, or it was too long ago\n"
             "(distributed.admin.low-level-log-length says how many moves are kept).");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct move move;
        if (read_move(answer_next(&reader), &move)) {
            print_move(&move);
        }
    }
}

static int story(const struct options *options, struct key_list keys, struct text *why)
{
    const struct ask_options where = {
        .address = options->text[OPTION_STORY_SCHEDULER],
        .scheduler_file = options->text[OPTION_STORY_SCHEDULER_FILE],
        .timeout = options->text[OPTION_STORY_TIMEOUT],
    };
    struct asker *asker;
    struct span answer;
    if (asker_create(&where, &asker, why) != OK) {
        return EXIT_FAILURE;
    }
    struct msg_get_story request = {.keys_or_stimuli = keys};
    int code = asker_call(asker, MESSAGE_GET_STORY, &request, &answer, why);
    if (code == OK && options->is_on[OPTION_STORY_JSON] == SWITCH_ON) {
        answer_print_json(answer);
    } else if (code == OK) {
        print_story(answer);
    }
    asker_destroy(asker);
    return code == OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int cmd_story(int argc, char **argv)
{
    struct options options;
    struct text keys = {0}, why = {0};
    int exit_code = options_parse(COMMAND_STORY, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    if (options.argument_count == 0) {
        exit_code = options_complain(COMMAND_STORY, "a key or a stimulus is needed", NULL);
    }
    for (uint32_t i = 0; exit_code < 0 && i < options.argument_count; i++) {
        if (!answer_parse_key(options.arguments[i], &keys)) {
            exit_code = options_complain(COMMAND_STORY,
                                         "not a tuple as Python writes it:", options.arguments[i]);
        }
    }
    if (exit_code < 0) {
        struct key_list list = {
            .keys = text_span(&keys), .count = options.argument_count, .given = true};
        exit_code = story(&options, list, &why);
    }
    if (why.size > 0) {
        fprintf(stderr, "cask story: %s\n", text_cstr(&why));
    }
    text_fini(&keys);
    text_fini(&why);
    options_fini(&options);
    return exit_code;
}
