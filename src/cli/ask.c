/* ask.c: one loop, one pool of connections, one call at a time. */
#include "cli/ask.h"

#include "base/alloc.h"
#include "base/log.h"
#include "node/config.h"
#include "node/config_tree.h"
#include "node/rpc.h"
#include "wire/address.h"

#define ADDRESS_DEFAULT "tcp://127.0.0.1:8786"
#define FILE_BYTES_MAX ((size_t)16 * 1024 * 1024)

struct asker {
    struct io_loop *loop;
    struct config *config;
    struct comm_settings settings;
    struct rpc_pool *pool;
    struct text address;
    double timeout; /* seconds */
    /* of the call under way */
    struct frames answer;
    struct text *why;
    int code;
};

/* A scheduler file is JSON, which YAML reads. */
static int read_scheduler_file(const char *path, struct text *out_address, struct text *why)
{
    struct buf *content;
    int code = io_file_read(path, FILE_BYTES_MAX, &content, why);
    if (code != OK) {
        return code;
    }
    struct config_node *tree;
    code = config_yaml_parse(span_of(content->data, content->size), &tree, why);
    buf_unref(content);
    if (code != OK) {
        return code;
    }
    const struct config_node *address = config_node_find(tree, SPAN("address"));
    if (address != NULL && address->kind == CONFIG_SCALAR) {
        text_add_cstr(out_address, address->text);
    } else {
        text_printf(why, "%s has no address: it is not a file that a scheduler wrote", path);
        code = ERR_CONFIG;
    }
    config_node_destroy(tree);
    return code;
}

int ask_find_address(const struct config *config, const struct ask_options *options,
                     struct text *out_address, struct text *why)
{
    struct text given = {0};
    int code = OK;
    if (options->address != NULL) {
        text_add_cstr(&given, options->address);
    } else if (options->scheduler_file != NULL) {
        code = read_scheduler_file(options->scheduler_file, &given, why);
    } else {
        text_add_cstr(&given, config_text(config, "scheduler-address", ADDRESS_DEFAULT));
    }
    struct address address;
    if (code == OK && address_parse(text_span(&given), ADDRESS_TCP, 8786, &address) != OK) {
        text_printf(why, "'%s' is not an address such as " ADDRESS_DEFAULT, text_cstr(&given));
        code = ERR_ADDRESS;
    } else if (code == OK) {
        if (address.host[0] == '\0') {
            strcpy(address.host, "127.0.0.1"); /* ":8786" */
        }
        address_print(out_address, &address);
    }
    text_fini(&given);
    return code;
}

static int create_tls(struct asker *asker, struct text *why)
{
    const struct config *config = asker->config;
    const struct io_tls_options options = {
        .ca = config_text(config, "distributed.comm.tls.ca-file", NULL),
        .cert = config_text(config, "distributed.comm.tls.client.cert", NULL),
        .key = config_text(config, "distributed.comm.tls.client.key", NULL),
        .ciphers = config_text(config, "distributed.comm.tls.ciphers", NULL),
    };
    if (options.ca == NULL || options.cert == NULL) {
        return OK; /* an address that needs it is refused with a reason */
    }
    return io_tls_create(&options, &asker->settings.tls, why);
}

static int read_timeout(struct asker *asker, const char *timeout, struct text *why)
{
    asker->timeout = 10;
    if (timeout != NULL &&
        (!text_parse_seconds(span_of_text(timeout), &asker->timeout) || asker->timeout <= 0)) {
        text_printf(why, "--timeout %s is not a duration such as 10s", timeout);
        return ERR_CONFIG;
    }
    return OK;
}

int asker_create(const struct ask_options *options, struct asker **out_asker, struct text *why)
{
    struct asker *asker = mem_zalloc(1, sizeof *asker);
    log_set_level("distributed", LOG_ERROR);
    asker->loop = io_loop_create();
    int code = config_create(&asker->config, why);
    if (code == OK) {
        code = read_timeout(asker, options->timeout, why);
    }
    if (code == OK) {
        code = ask_find_address(asker->config, options, &asker->address, why);
    }
    if (code == OK) {
        code = create_tls(asker, why);
    }
    asker->settings.loop = asker->loop;
    asker->settings.connect_timeout = asker->timeout;
    asker->settings.compression = COMPRESS_NONE;
    asker->pool = rpc_pool_create(&asker->settings, 4);
    if (code != OK) {
        asker_destroy(asker);
        return code;
    }
    *out_asker = asker;
    return OK;
}

void asker_destroy(struct asker *asker)
{
    rpc_pool_destroy(asker->pool);
    io_loop_destroy(asker->loop);
    io_tls_destroy(asker->settings.tls);
    if (asker->config != NULL) {
        config_destroy(asker->config);
    }
    frames_fini(&asker->answer);
    text_fini(&asker->address);
    mem_free(asker);
}

const char *asker_address(const struct asker *asker)
{
    return text_cstr(&asker->address);
}

static void answered(void *user, int code, const char *text, const struct frames *reply)
{
    struct asker *asker = user;
    asker->code = code;
    if (code != OK) {
        const char *address = text_cstr(&asker->address);
        if (strstr(text, address) == NULL) { /* what comms say begins with it */
            text_printf(asker->why, "%s: ", address);
        }
        text_add_cstr(asker->why, *text == '\0' ? error_meaning(code) : text);
    }
    for (uint32_t i = 0; code == OK && i < reply->count; i++) {
        frames_add(&asker->answer, slice_ref(reply->items[i]));
    }
    io_loop_stop(asker->loop);
}

/* A map with a failed status is an exception at the other end. */
static int check_answer(struct asker *asker, struct span answer, struct text *why)
{
    struct span raw, status = {0}, text = {0};
    if (msgpack_check(answer) != OK) {
        text_printf(why, "%s: the answer is malformed", text_cstr(&asker->address));
        return ERR_MALFORMED;
    }
    if (msgpack_find(answer, "status", &raw) == OK) {
        struct msgpack_reader reader = msgpack_reader(raw);
        if (msgpack_read_str(&reader, &status) != OK) {
            status = (struct span){0};
        }
    }
    if (!span_equal_text(status, "uncaught-error") && !span_equal_text(status, "error")) {
        return OK;
    }
    if (msgpack_find(answer, "exception_text", &raw) == OK) {
        struct msgpack_reader reader = msgpack_reader(raw);
        if (msgpack_read_str(&reader, &text) != OK) {
            text = SPAN("an exception");
        }
    }
    text_printf(why, "%s: ", text_cstr(&asker->address));
    text_add(why, text);
    return ERR_IO;
}

int asker_call(struct asker *asker, enum message_id id, const void *body, struct span *out_answer,
               struct text *why)
{
    struct outgoing request;
    const struct rpc_options options = {.timeout = asker->timeout, .done = answered, .user = asker};
    outgoing_init(&request);
    message_encode(&request, id, body);
    frames_clear(&asker->answer);
    asker->why = why;
    rpc_call(asker->pool, text_span(&asker->address), &request, &options);
    io_loop_run(asker->loop);
    outgoing_fini(&request);
    *out_answer = frames_head(&asker->answer);
    return asker->code != OK ? asker->code : check_answer(asker, *out_answer, why);
}
