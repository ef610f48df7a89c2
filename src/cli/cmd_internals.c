/* cmd_internals.c: `cask internals TABLE`: the tables that the program is made of, from the program itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/answer.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/options_print.h"
#include "node/tables.h"

/* The texts of a map, side by side; its lists go to the lines below, indented. */
static void print_row(struct span row, int indent)
{
    struct msgpack_reader reader;
    uint32_t count = answer_items(row, &reader);
    int gap = indent;
    for (uint32_t i = 0; i < count; i++) {
        struct span name, text, list;
        bool has_name = msgpack_read_str(&reader, &name) == OK;
        ASSERT(has_name);
        if (msgpack_read_str(&reader, &text) == OK) {
            int width = i == 0 ? 26 - indent : 12;
            printf("%*s%.*s", gap, "", (int)text.size, (const char *)text.data);
            gap = 1 + ((int)text.size < width ? width - (int)text.size : 0);
        } else {
            struct msgpack_reader items;
            list = answer_next(&reader);
            putchar('\n');
            for (uint32_t left = answer_items(list, &items); left > 0; left--) {
                print_row(answer_next(&items), indent + 4);
            }
            return;
        }
    }
    putchar('\n');
}

static void print_table(struct span table, bool as_json)
{
    struct msgpack_reader reader;
    if (as_json) {
        answer_print_json(table);
        return;
    }
    for (uint32_t left = answer_items(table, &reader); left > 0; left--) {
        print_row(answer_next(&reader), 0);
    }
}

/* `cask internals options`, for --man with the name of a command. */
static int print_options(const struct options *options)
{
    enum command_id command;
    if (options->is_on[OPTION_INTERNALS_COMPLETION] == SWITCH_ON) {
        options_completion(stdout);
    } else if (options->is_on[OPTION_INTERNALS_MAN] == SWITCH_ON) {
        const char *name = options->argument_count < 2 ? "" : options->arguments[1];
        if (!options_find_command(name, &command)) {
            return options_complain(COMMAND_INTERNALS, "there is no command", name);
        }
        options_man(command, stdout);
    } else {
        struct text table = {0};
        options_write(&table);
        print_table(text_span(&table), options->is_on[OPTION_INTERNALS_JSON] == SWITCH_ON);
        text_fini(&table);
    }
    return EXIT_SUCCESS;
}

static int print_named(const char *name, const struct options *options)
{
    struct text text = {0};
    int exit_code = EXIT_SUCCESS;
    if (options->is_on[OPTION_INTERNALS_DOT] == SWITCH_ON) {
        if (tables_dot(name, &text)) {
            fputs(text_cstr(&text), stdout);
        } else {
            exit_code = options_complain(COMMAND_INTERNALS, "--dot draws states only, not", name);
        }
    } else if (tables_write(name, &text)) {
        print_table(text_span(&text), options->is_on[OPTION_INTERNALS_JSON] == SWITCH_ON);
    } else {
        exit_code = options_complain(COMMAND_INTERNALS, "there is no table", name);
    }
    text_fini(&text);
    return exit_code;
}

int cmd_internals(int argc, char **argv)
{
    struct options options;
    int exit_code = options_parse(COMMAND_INTERNALS, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    if (options.argument_count == 0) {
        options_fini(&options);
        return options_complain(COMMAND_INTERNALS, "a table is needed", NULL);
    }
    const char *name = options.arguments[0];
    exit_code =
        strcmp(name, "options") == 0 ? print_options(&options) : print_named(name, &options);
    options_fini(&options);
    return exit_code;
}
