/* options_print.c: the table of options as help text, man page, completion and msgpack. */
#include "cli/options_print.h"

#include <string.h>

#include "wire/msgpack.h"

enum { WIDTH = 80, MEANING_COLUMN = 30 };

static const struct option_info COMMON[] = {
    {"version", KIND_FLAG, "", "Show the version and exit"},
    {"help", KIND_FLAG, "", "Show this text and exit"},
};

/* "--port TEXT", "--show / --no-show" */
static void option_title(const struct option_info *option, struct text *out)
{
    text_printf(out, "--%s", option->name);
    if (options_can_negate(option)) {
        text_printf(out, " / --no-%s", option->name);
    } else if (option->argument[0] != '\0') {
        text_printf(out, " %s", option->argument);
    }
}

/* Words from column `indent` on, where the caller stands, broken before WIDTH. */
static void print_wrapped(const char *words, int indent, FILE *out)
{
    int column = indent;
    while (*words != '\0') {
        int size = (int)strcspn(words, " ");
        if (column > indent && column + 1 + size > WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        }
        column += fprintf(out, "%s%.*s", column > indent ? " " : "", size, words);
        words += size;
        words += strspn(words, " ");
    }
    fputc('\n', out);
}

static void print_option(const struct option_info *option, FILE *out)
{
    struct text title = {0};
    option_title(option, &title);
    int column = fprintf(out, "  %s", text_cstr(&title));
    if (column >= MEANING_COLUMN) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", MEANING_COLUMN - column, "");
    print_wrapped(option->meaning, MEANING_COLUMN, out);
    text_fini(&title);
}

void options_help(enum command_id command, FILE *out)
{
    const struct command_info *info = options_command(command);
    struct text summary = {0};
    text_printf(&summary, "%c%s.", info->summary[0] - 'a' + 'A', info->summary + 1);
    fprintf(out, "Usage: cask %s %s\n\n  ", info->name, info->arguments);
    print_wrapped(text_cstr(&summary), 2, out);
    fputs("\nOptions:\n", out);
    text_fini(&summary);
    for (enum option_id i = 0; i < OPTION_COUNT; i++) {
        if (options_command_of(i) == command) {
            print_option(options_option(i), out);
        }
    }
    for (size_t i = 0; i < sizeof COMMON / sizeof COMMON[0]; i++) {
        print_option(&COMMON[i], out);
    }
}

/* A dash is a minus in troff; a line must not begin with a control character. */
static void print_troff(const char *text, FILE *out)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '-') {
            fputs("\\-", out);
        } else if (*c == '\\') {
            fputs("\\e", out);
        } else if (c == text && (*c == '.' || *c == '\'')) {
            fprintf(out, "\\&%c", *c);
        } else {
            fputc(*c, out);
        }
    }
}

static void man_option(const struct option_info *option, FILE *out)
{
    struct text title = {0};
    option_title(option, &title);
    fputs(".TP\n.B ", out);
    print_troff(text_cstr(&title), out);
    fputc('\n', out);
    print_troff(option->meaning, out);
    fputs(".\n", out);
    text_fini(&title);
}

void options_man(enum command_id command, FILE *out)
{
    const struct command_info *info = options_command(command);
    fprintf(out, ".SH NAME\ncask\\-%s \\- ", info->name);
    print_troff(info->summary, out);
    fprintf(out, "\n.SH SYNOPSIS\n.B cask %s\n", info->name);
    print_troff(info->arguments, out);
    fputs("\n.SH OPTIONS\n", out);
    for (enum option_id i = 0; i < OPTION_COUNT; i++) {
        if (options_command_of(i) == command) {
            man_option(options_option(i), out);
        }
    }
    for (size_t i = 0; i < sizeof COMMON / sizeof COMMON[0]; i++) {
        man_option(&COMMON[i], out);
    }
}

static void completion_words(enum command_id command, FILE *out)
{
    for (enum option_id i = 0; i < OPTION_COUNT; i++) {
        const struct option_info *option = options_option(i);
        if (options_command_of(i) == command) {
            fprintf(out, "--%s ", option->name);
            if (options_can_negate(option)) {
                fprintf(out, "--no-%s ", option->name);
            }
        }
    }
    fputs("--help --version", out);
}

void options_completion(FILE *out)
{
    fputs(
        "# bash completion for cask, made from its table of options\n_cask()\n{\n"
        "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=\n"
        "    case ${COMP_WORDS[1]} in\n",
        out);
    for (enum command_id i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "    %s) words=\"", options_command(i)->name);
        completion_words(i, out);
        fputs("\" ;;\n", out);
    }
    fputs("    esac\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words=\"", out);
    for (enum command_id i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "%s ", options_command(i)->name);
    }
    fputs("version --help\"\n    fi\n"
          "    case $previous in\n"
          "    --*-file | --file | --tls-*) COMPREPLY=($(compgen -f -- \"$current\")) ;;\n"
          "    *) COMPREPLY=($(compgen -W \"$words\" -- \"$current\")) ;;\n    esac\n}\n"
          "complete -F _cask cask\n",
          out);
}

static void write_pair(struct text *out, const char *name, const char *value)
{
    msgpack_write_cstr(out, name);
    msgpack_write_cstr(out, value);
}

static void write_option(struct text *out, const struct option_info *option)
{
    static const char *const kinds[] = {
        [KIND_TEXT] = "text", [KIND_MANY] = "many",       [KIND_SWITCH] = "switch",
        [KIND_FLAG] = "flag", [KIND_IGNORED] = "ignored",
    };
    msgpack_write_map(out, 4);
    write_pair(out, "name", option->name);
    write_pair(out, "kind", kinds[option->kind]);
    write_pair(out, "argument", option->argument);
    write_pair(out, "meaning", option->meaning);
}

void options_write(struct text *out)
{
    msgpack_write_array(out, COMMAND_COUNT);
    for (enum command_id command = 0; command < COMMAND_COUNT; command++) {
        const struct command_info *info = options_command(command);
        uint32_t count = 0;
        for (enum option_id i = 0; i < OPTION_COUNT; i++) {
            count += options_command_of(i) == command;
        }
        msgpack_write_map(out, 4);
        write_pair(out, "command", info->name);
        write_pair(out, "arguments", info->arguments);
        write_pair(out, "summary", info->summary);
        msgpack_write_cstr(out, "options");
        msgpack_write_array(out, count);
        for (enum option_id i = 0; i < OPTION_COUNT; i++) {
            if (options_command_of(i) == command) {
                write_option(out, options_option(i));
            }
        }
    }
}
