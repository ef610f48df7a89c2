/* options.c: the command line, read by options.def. */
#include "cli/options.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/options_print.h"

static const struct command_info COMMANDS[] = {
#define COMMAND(ID, function, name, arguments, summary) {name, arguments, summary},
#include "cli/options.def"
};

static const struct option_info OPTIONS[] = {
#define OPTION(ID, name, kind, argument, meaning) {name, KIND_##kind, argument, meaning},
#include "cli/options.def"
};

/* The table once more as one sequence: an option belongs to the command before it. */
enum {
#define COMMAND(ID, function, name, arguments, summary) PLACE_COMMAND_##ID,
#define OPTION(ID, name, kind, argument, meaning) PLACE_OPTION_##ID,
#include "cli/options.def"
};

static const int COMMAND_PLACES[] = {
#define COMMAND(ID, function, name, arguments, summary) PLACE_COMMAND_##ID,
#include "cli/options.def"
};

static const int OPTION_PLACES[] = {
#define OPTION(ID, name, kind, argument, meaning) PLACE_OPTION_##ID,
#include "cli/options.def"
};

const struct command_info *options_command(enum command_id command)
{
    return &COMMANDS[command];
}

const struct option_info *options_option(enum option_id option)
{
    return &OPTIONS[option];
}

enum command_id options_command_of(enum option_id option)
{
    int command = COMMAND_COUNT - 1;
    while (COMMAND_PLACES[command] > OPTION_PLACES[option]) {
        command--;
    }
    return (enum command_id)command;
}

bool options_can_negate(const struct option_info *option)
{
    return option->kind == KIND_SWITCH ||
           (option->kind == KIND_IGNORED && option->argument[0] == '\0');
}

bool options_find_command(const char *name, enum command_id *out_command)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(COMMANDS[i].name, name) == 0) {
            *out_command = (enum command_id)i;
            return true;
        }
    }
    return false;
}

int options_complain(enum command_id command, const char *what, const char *argument)
{
    const char *name = COMMANDS[command].name;
    fprintf(stderr, "cask %s: %s", name, what);
    if (argument != NULL) {
        fprintf(stderr, " '%s'", argument);
    }
    fprintf(stderr, ". Try 'cask %s --help'.\n", name);
    return 2;
}

/* The option of this name (without dashes, up to "="); negated: "no-" stood before. −1: none. */
static int find_option(enum command_id command, const char *name, size_t size, bool *out_negated)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct option_info *option = &OPTIONS[i];
        *out_negated = options_can_negate(option) && size > 3 && strncmp(name, "no-", 3) == 0 &&
                       strlen(option->name) == size - 3 &&
                       strncmp(name + 3, option->name, size - 3) == 0;
        bool is_it = strlen(option->name) == size && strncmp(name, option->name, size) == 0;
        if ((is_it || *out_negated) && options_command_of((enum option_id)i) == command) {
            return i;
        }
    }
    return -1;
}

/* Reading argv. */
struct parse {
    enum command_id command;
    struct options *out;
    uint32_t many_count;
    const char *unknown; /* the first option that the table lacks */
};

/* Store an option with its value; gives how many further arguments it took, or −1 after a complaint. */
static int take_value(struct parse *parse, int id, char **at, const char *behind_equals)
{
    const char *value = behind_equals != NULL ? behind_equals : at[1];
    struct options *out = parse->out;
    if (value == NULL) {
        options_complain(parse->command, "this option needs a value:", at[0]);
        return -1;
    }
    if (OPTIONS[id].kind == KIND_MANY) {
        out->many_options[parse->many_count] = (enum option_id)id;
        out->many[parse->many_count++] = value;
        value = out->text[id] == NULL ? value : out->text[id];
    }
    out->text[id] = value;
    return behind_equals != NULL ? 0 : 1;
}

/* Store one option; as take_value. */
static int take_option(struct parse *parse, char **at)
{
    const char *name = at[0] + 2;
    size_t size = strcspn(name, "=");
    bool negated = false;
    int id = at[0][1] == '-' ? find_option(parse->command, name, size, &negated) : -1;
    if (id < 0) {
        parse->unknown = parse->unknown != NULL ? parse->unknown : at[0];
        parse->out->arguments[parse->out->argument_count++] = at[0];
        return 0;
    }
    if (OPTIONS[id].kind == KIND_IGNORED) {
        fprintf(stderr, "cask %s: --%s does nothing here\n", COMMANDS[parse->command].name,
                OPTIONS[id].name);
    }
    if (OPTIONS[id].argument[0] != '\0') {
        return take_value(parse, id, at, name[size] == '=' ? name + size + 1 : NULL);
    }
    if (name[size] == '=') {
        options_complain(parse->command, "this option takes no value:", at[0]);
        return -1;
    }
    parse->out->is_on[id] = negated ? SWITCH_OFF : SWITCH_ON;
    return 0;
}

/* --help and --version answer at once. */
static bool is_answered(enum command_id command, const char *argument)
{
    if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
        options_help(command, stdout);
        return true;
    }
    if (strcmp(argument, "--version") == 0) {
        puts("cask " CASK_VERSION);
        return true;
    }
    return false;
}

static int take_all(struct parse *parse, int argc, char **argv)
{
    bool only_arguments = false;
    for (int i = 1; i < argc; i++) {
        bool is_option = !only_arguments && argv[i][0] == '-' && argv[i][1] != '\0' &&
                         !isdigit((unsigned char)argv[i][1]);
        if (!is_option) {
            parse->out->arguments[parse->out->argument_count++] = argv[i];
        } else if (strcmp(argv[i], "--") == 0) {
            only_arguments = true;
        } else if (is_answered(parse->command, argv[i])) {
            return EXIT_SUCCESS;
        } else {
            int taken = take_option(parse, argv + i);
            if (taken < 0) {
                return 2;
            }
            i += taken;
        }
    }
    if (parse->unknown != NULL && parse->many_count == 0) {
        return options_complain(parse->command, "there is no option", parse->unknown);
    }
    return -1;
}

int options_parse(enum command_id command, int argc, char **argv, struct options *out)
{
    struct parse parse = {.command = command, .out = out};
    memset(out, 0, sizeof *out);
    out->many = mem_zalloc((size_t)argc + 1, sizeof *out->many);
    out->many_options = mem_zalloc((size_t)argc + 1, sizeof *out->many_options);
    out->arguments = mem_zalloc((size_t)argc + 1, sizeof *out->arguments);
    int done = take_all(&parse, argc, argv);
    if (done >= 0) {
        options_fini(out);
    }
    return done;
}

const char **options_values(const struct options *options, enum option_id option)
{
    size_t count = 0, kept = 0;
    while (options->many[count] != NULL) {
        count++;
    }
    const char **values = mem_zalloc(count + 1, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        if (options->many_options[i] == option) {
            values[kept++] = options->many[i];
        }
    }
    return values;
}

void options_fini(struct options *options)
{
    mem_free(options->many);
    mem_free(options->many_options);
    mem_free(options->arguments);
    memset(options, 0, sizeof *options);
}
