/* options.c: the command line, read by options.def. */
#include "cli/options.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum option_kind { KIND_TEXT, KIND_MANY, KIND_SWITCH, KIND_FLAG, KIND_IGNORED };

struct option_info {
    int place; /* in the table */
    const char *name;
    enum option_kind kind;
    const char *argument; /* "": takes none */
    const char *meaning;
};

struct command_info {
    const char *name, *arguments, *summary;
};

static const struct command_info COMMANDS[] = {
#define COMMAND(ID, name, arguments, summary) {name, arguments, summary},
#include "cli/options.def"
};

/* The table once more as one sequence: an option belongs to the command before it. */
enum {
#define COMMAND(ID, name, arguments, summary) PLACE_COMMAND_##ID,
#define OPTION(ID, name, kind, argument, meaning) PLACE_OPTION_##ID,
#include "cli/options.def"
};

static const int COMMAND_PLACES[] = {
#define COMMAND(ID, name, arguments, summary) PLACE_COMMAND_##ID,
#include "cli/options.def"
};

static const struct option_info OPTIONS[] = {
#define OPTION(ID, name, kind, argument, meaning) {PLACE_OPTION_##ID, name, KIND_##kind, argument, meaning},
#include "cli/options.def"
};

static enum command_id command_of(int option)
{
    int command = COMMAND_COUNT - 1;
    while (COMMAND_PLACES[command] > OPTIONS[option].place) {
        command--;
    }
    return (enum command_id)command;
}

static void print_option(FILE *out, const struct option_info *option)
{
    char left[64];
    if (option->kind == KIND_SWITCH) {
        snprintf(left, sizeof left, "--%s / --no-%s", option->name, option->name);
    } else {
        snprintf(left, sizeof left, "--%s%s%s", option->name, option->argument[0] == '\0' ? "" : " ",
                 option->argument);
    }
    fprintf(out, "  %-32s %s\n", left, option->meaning);
}

void options_help(enum command_id command, FILE *out)
{
    fprintf(out, "Usage: cask %s %s\n\n  %s\n\nOptions:\n", COMMANDS[command].name,
            COMMANDS[command].arguments, COMMANDS[command].summary);
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (command_of(i) == command) {
            print_option(out, &OPTIONS[i]);
        }
    }
    fprintf(out, "  %-32s %s\n  %-32s %s\n", "--version", "Show the version and exit", "--help",
            "Show this text and exit");
}

/* The option of this name (without dashes, up to "="); negated: "no-" stood before. −1: none. */
static int find_option(enum command_id command, const char *name, size_t size, bool *out_negated)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct option_info *option = &OPTIONS[i];
        bool can_negate = option->kind == KIND_SWITCH || (option->kind == KIND_IGNORED && option->argument[0] == '\0');
        *out_negated = can_negate && size > 3 && strncmp(name, "no-", 3) == 0 &&
                       strlen(option->name) == size - 3 && strncmp(name + 3, option->name, size - 3) == 0;
        bool is_it = strlen(option->name) == size && strncmp(name, option->name, size) == 0;
        if ((is_it || *out_negated) && command_of(i) == command) {
            return i;
        }
    }
    return -1;
}

static int complain(enum command_id command, const char *what, const char *argument)
{
    fprintf(stderr, "cask %s: %s '%s'. Try 'cask %s --help'.\n", COMMANDS[command].name, what, argument,
            COMMANDS[command].name);
    return 2;
}

/* Store one option; gives how many further arguments it took, or −1 after a complaint. */
static int take_option(enum command_id command, char **at, struct options *out, uint32_t *many_count)
{
    const char *name = at[0] + 2;
    size_t size = strcspn(name, "=");
    bool negated;
    int id = find_option(command, name, size, &negated);
    if (id < 0) {
        complain(command, "there is no option", at[0]);
        return -1;
    }
    const struct option_info *option = &OPTIONS[id];
    bool takes_value = option->argument[0] != '\0';
    if (!takes_value) {
        if (name[size] == '=') {
            complain(command, "this option takes no value:", at[0]);
            return -1;
        }
        out->is_on[id] = negated ? SWITCH_OFF : SWITCH_ON;
        return 0;
    }
    const char *value = name[size] == '=' ? name + size + 1 : at[1];
    if (value == NULL) {
        complain(command, "this option needs a value:", at[0]);
        return -1;
    }
    if (option->kind == KIND_MANY) {
        out->many[(*many_count)++] = value;
        out->text[id] = out->text[id] == NULL ? value : out->text[id];
    } else {
        out->text[id] = value;
    }
    return name[size] == '=' ? 0 : 1;
}

int options_parse(enum command_id command, int argc, char **argv, struct options *out)
{
    uint32_t many_count = 0;
    bool only_arguments = false;
    memset(out, 0, sizeof *out);
    out->many = mem_zalloc((size_t)argc + 1, sizeof *out->many);
    out->arguments = mem_zalloc((size_t)argc + 1, sizeof *out->arguments);
    for (int i = 1; i < argc; i++) {
        if (!only_arguments && strcmp(argv[i], "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            options_help(command, stdout);
            options_fini(out);
            return EXIT_SUCCESS;
        } else if (!only_arguments && strcmp(argv[i], "--version") == 0) {
            puts("cask " CASK_VERSION);
            options_fini(out);
            return EXIT_SUCCESS;
        } else if (!only_arguments && strncmp(argv[i], "--", 2) == 0) {
            int taken = take_option(command, argv + i, out, &many_count);
            if (taken < 0) {
                options_fini(out);
                return 2;
            }
            i += taken;
        } else {
            out->arguments[out->argument_count++] = argv[i];
        }
    }
    return -1;
}

void options_fini(struct options *options)
{
    mem_free(options->many);
    mem_free(options->arguments);
    memset(options, 0, sizeof *options);
}
