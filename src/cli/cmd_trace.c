/* cmd_trace.c: `cask trace`: a conversation for people, from a proxy or from a capture.
 *
 * A capture is what --json --raw prints (one JSON object a line), a JSON object with a list "messages" of such
 * objects, or the bare bytes of one direction. Of an object, "hex" is needed; "dir", "conn" and "time" are shown. */
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "node/trace_proxy.h"
#include "wire/trace.h"

#define CAPTURE_BYTES_MAX ((size_t)1024 * 1024 * 1024)
#define TRACE_TO_SERVER (TRACE_TO_SCHEDULER | TRACE_TO_WORKER | TRACE_TO_NANNY)

enum direction { TO_SERVER, FROM_SERVER, EITHER, DIRECTION_COUNT };

/* How messages are shown. */
struct printer {
    struct trace traces[DIRECTION_COUNT];
    bool as_json, with_bytes;
    struct io_loop *loop; /* of the proxy */
};

/* Where a message stands: what goes before it. */
struct place {
    enum direction direction;
    json_int_t connection;
    double time; /* NaN: unknown */
};

static void printer_init(struct printer *printer, const struct options *options)
{
    *printer = (struct printer){.as_json = options->is_on[OPTION_TRACE_JSON] == SWITCH_ON,
                                .with_bytes = options->is_on[OPTION_TRACE_RAW] == SWITCH_ON};
    trace_init(&printer->traces[TO_SERVER], TRACE_TO_SERVER);
    trace_init(&printer->traces[FROM_SERVER], TRACE_FROM_SCHEDULER);
    trace_init(&printer->traces[EITHER], TRACE_ANY);
}

static void printer_fini(struct printer *printer)
{
    for (int i = 0; i < DIRECTION_COUNT; i++) {
        trace_fini(&printer->traces[i]);
    }
}

/* ---- one message ------------------------------------------------------------------------------ */

static void print_place(const struct place *place)
{
    static const char *const arrows[] = {[TO_SERVER] = "→", [FROM_SERVER] = "←", [EITHER] = "·"};
    if (!isnan(place->time)) {
        time_t whole = (time_t)place->time;
        struct tm parts;
        char text[32];
        localtime_r(&whole, &parts);
        strftime(text, sizeof text, "%H:%M:%S", &parts);
        printf("%s.%03d ", text, (int)((place->time - (double)whole) * 1000));
    }
    printf("#%lld %s ", (long long)place->connection, arrows[place->direction]);
}

/* 16 bytes a line. */
static void print_dump(struct span bytes)
{
    for (size_t at = 0; at < bytes.size; at += 16) {
        size_t size = bytes.size - at < 16 ? bytes.size - at : 16;
        printf("    %06zx ", at);
        for (size_t i = 0; i < 16; i++) {
            if (i < size) {
                printf(" %02x", bytes.data[at + i]);
            } else {
                fputs("   ", stdout);
            }
        }
        fputs("  ", stdout);
        for (size_t i = 0; i < size; i++) {
            uint8_t c = bytes.data[at + i];
            putchar(c >= 0x20 && c < 0x7f ? c : '.');
        }
        putchar('\n');
    }
}

/* The message as it was on the stream. */
static void stream_bytes(const struct frames *message, struct text *out)
{
    struct frames chunks = {0};
    frame_encode(message, &chunks);
    for (uint32_t i = 0; i < chunks.count; i++) {
        text_add(out, slice_span(chunks.items[i]));
    }
    frames_fini(&chunks);
}

static json_t *json_text(struct span text)
{
    return json_stringn_nocheck((const char *)text.data, text.size); /* trace prints UTF-8 only */
}

/* Text and note: one of them. */
static void print_json(const struct printer *printer, const struct place *place, struct span lines,
                       const char *note, const struct frames *message)
{
    static const char *const names[] = {
        [TO_SERVER] = "client>server", [FROM_SERVER] = "server>client", [EITHER] = "unknown"};
    json_t *object = json_object();
    if (!isnan(place->time)) {
        json_object_set_new(object, "time", json_real(place->time));
    }
    json_object_set_new(object, "conn", json_integer(place->connection));
    json_object_set_new(object, "dir", json_string(names[place->direction]));
    if (note != NULL) {
        json_object_set_new(object, "note", json_string(note));
    } else {
        json_object_set_new(object, "text", json_text(lines));
    }
    if (printer->with_bytes && message != NULL) {
        struct text bytes = {0}, hex = {0};
        stream_bytes(message, &bytes);
        for (size_t i = 0; i < bytes.size; i++) {
            text_printf(&hex, "%02x", (uint8_t)bytes.data[i]);
        }
        json_object_set_new(object, "hex", json_text(text_span(&hex)));
        text_fini(&hex);
        text_fini(&bytes);
    }
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void print_lines(const struct place *place, struct span lines)
{
    while (lines.size > 0) {
        const uint8_t *end = memchr(lines.data, '\n', lines.size);
        size_t size = end == NULL ? lines.size : (size_t)(end - lines.data);
        print_place(place);
        printf("%.*s\n", (int)size, (const char *)lines.data);
        size += end != NULL;
        lines = span_of(lines.data + size, lines.size - size);
    }
}

static void print_message(struct printer *printer, const struct place *place,
                          const struct frames *message)
{
    struct text lines = {0};
    trace_message(&printer->traces[place->direction], message, &lines);
    if (printer->as_json) {
        print_json(printer, place, text_span(&lines), NULL, message);
    } else {
        print_lines(place, text_span(&lines));
        if (printer->with_bytes) {
            struct text bytes = {0};
            stream_bytes(message, &bytes);
            print_dump(text_span(&bytes));
            text_fini(&bytes);
        }
    }
    text_fini(&lines);
}

/* ---- proxy ------------------------------------------------------------------------------------ */

static void seen(void *user, const struct trace_event *event)
{
    struct printer *printer = user;
    const struct place place = {.direction = event->to_server ? TO_SERVER : FROM_SERVER,
                                .connection = event->connection,
                                .time = event->time};
    if (event->message != NULL) {
        print_message(printer, &place, event->message);
    } else if (printer->as_json) {
        print_json(printer, &place, (struct span){0}, event->note, NULL);
    } else {
        print_place(&place);
        printf("(%s)\n", event->note);
    }
    fflush(stdout);
}

static void on_signal(void *user, int number)
{
    (void)number;
    struct printer *printer = user;
    io_loop_stop(printer->loop);
}

static int run_proxy(struct printer *printer, const char *from, const char *to, struct text *why)
{
    struct config *config;
    struct trace_proxy *proxy;
    int code = config_create(&config, why);
    if (code != OK) {
        return code;
    }
    log_set_level("distributed", LOG_ERROR);
    printer->loop = io_loop_create();
    const struct trace_proxy_options options = {config, from, to};
    code = trace_proxy_create(printer->loop, &options, &proxy, why);
    if (code == OK) {
        struct text address = {0};
        trace_proxy_address(proxy, &address);
        fprintf(stderr, "cask trace: from %s to %s; end it with Ctrl-C\n", text_cstr(&address), to);
        text_fini(&address);
        trace_proxy_watch(proxy, seen, printer);
        io_on_signal(printer->loop, SIGINT, on_signal, printer);
        io_on_signal(printer->loop, SIGTERM, on_signal, printer);
        io_loop_run(printer->loop);
        trace_proxy_stop(proxy);
    }
    io_loop_destroy(printer->loop);
    if (code == OK) {
        trace_proxy_destroy(proxy);
    }
    config_destroy(config);
    return code;
}

/* ---- captures --------------------------------------------------------------------------------- */

/* Messages of a run of stream bytes. */
static int print_bytes(struct printer *printer, const struct place *place, struct span bytes,
                       struct text *why)
{
    struct frame_reader reader;
    struct frames message = {0};
    int code = 0;
    frame_reader_init(&reader);
    while (bytes.size > 0 && code >= 0) {
        size_t taken = frame_reader_feed(&reader, bytes);
        bytes = span_of(bytes.data + taken, bytes.size - taken);
        while ((code = frame_reader_next(&reader, &message)) == 1) {
            print_message(printer, place, &message);
        }
    }
    if (code >= 0 && !frame_reader_idle(&reader)) {
        code = ERR_TRUNCATED;
    }
    if (code < 0) {
        text_printf(why, "%s; %s", error_meaning(code), error_advice(code));
    }
    frames_fini(&message);
    frame_reader_fini(&reader);
    return code < 0 ? code : OK;
}

static enum direction direction_of(const char *name)
{
    if (name != NULL &&
        (strncmp(name, "initiator>", 10) == 0 || strncmp(name, "client>", 7) == 0)) {
        return TO_SERVER;
    }
    bool is_back =
        name != NULL && (strstr(name, ">initiator") != NULL || strstr(name, ">client") != NULL);
    return is_back ? FROM_SERVER : EITHER;
}

/* One object of a capture: {"hex": …}, or a note. */
static int print_object(struct printer *printer, const json_t *object, struct text *why)
{
    const char *hex = json_string_value(json_object_get(object, "hex"));
    const json_t *time = json_object_get(object, "time");
    const struct place place = {
        .direction = direction_of(json_string_value(json_object_get(object, "dir"))),
        .connection = json_integer_value(json_object_get(object, "conn")),
        .time = json_is_number(time) ? json_number_value(time) : NAN,
    };
    struct text bytes = {0};
    if (hex == NULL) {
        return OK;
    }
    int code = trace_unhex(span_of_text(hex), &bytes);
    if (code == OK) {
        code = print_bytes(printer, &place, text_span(&bytes), why);
    } else {
        text_add_cstr(why, "\"hex\" is not hexadecimal");
    }
    text_fini(&bytes);
    return code;
}

/* One object, or a list "messages" of them: one that is bad is passed over, the first such is told of. */
static int print_value(struct printer *printer, const json_t *value, struct text *why)
{
    const json_t *messages = json_object_get(value, "messages");
    if (!json_is_array(messages)) {
        return print_object(printer, value, why);
    }
    int code = OK;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        struct text problem = {0};
        int each = print_object(printer, json_array_get(messages, i), &problem);
        if (each != OK && code == OK) {
            text_printf(why, "message %zu: %s", i, text_cstr(&problem));
            code = each;
        }
        text_fini(&problem);
    }
    return code;
}

/* JSON values one after the other. */
static int print_capture(struct printer *printer, struct span content, struct text *why)
{
    int code = OK;
    while (code == OK && content.size > 0) {
        json_error_t problem;
        json_t *value =
            json_loadb((const char *)content.data, content.size, JSON_DISABLE_EOF_CHECK, &problem);
        if (value == NULL) {
            text_printf(why, "not JSON: %s", problem.text);
            return ERR_MALFORMED;
        }
        code = print_value(printer, value, why);
        json_decref(value);
        size_t taken = (size_t)problem.position;
        while (taken < content.size && strchr(" \t\r\n", content.data[taken]) != NULL) {
            taken++;
        }
        content = span_of(content.data + taken, content.size - taken);
    }
    return code;
}

static int run_file(struct printer *printer, const char *path, struct text *why)
{
    struct buf *content;
    struct text problem = {0};
    int code = io_file_read(path, CAPTURE_BYTES_MAX, &content, why);
    if (code != OK) {
        return code;
    }
    struct span bytes = span_of(content->data, content->size);
    const struct place place = {.direction = EITHER, .time = NAN};
    bool is_json =
        bytes.size > 1 && bytes.data[0] == '{' && strchr("\"} \r\n", bytes.data[1]) != NULL;
    code = is_json ? print_capture(printer, bytes, &problem)
                   : print_bytes(printer, &place, bytes, &problem);
    if (code != OK) {
        text_printf(why, "%s: %s", path, text_cstr(&problem));
    }
    text_fini(&problem);
    buf_unref(content);
    return code;
}

int cmd_trace(int argc, char **argv)
{
    struct options options;
    struct printer printer;
    struct text why = {0};
    int exit_code = options_parse(COMMAND_TRACE, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    const char *from = options.text[OPTION_TRACE_LISTEN], *to = options.text[OPTION_TRACE_CONNECT];
    const char *file = options.text[OPTION_TRACE_FILE];
    bool is_proxy = from != NULL && to != NULL && file == NULL;
    bool is_file = from == NULL && to == NULL && file != NULL;
    if (options.argument_count > 0 || (!is_proxy && !is_file)) {
        exit_code =
            options_complain(COMMAND_TRACE, "--listen and --connect are needed, or --file", NULL);
    } else {
        printer_init(&printer, &options);
        int code = is_file ? run_file(&printer, file, &why) : run_proxy(&printer, from, to, &why);
        printer_fini(&printer);
        exit_code = code == OK ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (why.size > 0) {
        fprintf(stderr, "cask trace: %s\n", text_cstr(&why));
    }
    text_fini(&why);
    options_fini(&options);
    return exit_code;
}
