/* listen.c: where the scheduler listens, and what it tells the world of it. */
#include "node/listen.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "node/identity.h"
#include "wire/address.h"

#define LOGGER "distributed.scheduler"
#define PORT_DEFAULT 8786

static void accepted(void *user, struct io_stream *stream)
{
    connection_accept(user, stream);
}

static void refused(void *user, int code, const char *text)
{
    (void)user;
    (void)code;
    log_warning("distributed.comm", "Connection refused: %s", text);
}

static const struct io_listen_events listen_events = {.accepted = accepted, .refused = refused};

/* The address to listen on: --host may hold a whole URI; --protocol and --port fill what it lacks. */
static int wanted_address(const struct node_options *options, const char *port, struct address *out,
                          struct text *why)
{
    enum address_scheme scheme = ADDRESS_TCP;
    const char *protocol = options->protocol;
    struct text text = {0};
    if (protocol != NULL && protocol[0] != '\0') {
        struct span name = span_of(protocol, strcspn(protocol, ":"));
        if (!address_scheme_find(name, &scheme)) {
            text_printf(why, "--protocol %s: cask speaks tcp, tls, ws, wss and unix", protocol);
            return ERR_CONFIG;
        }
    }
    if (options->host != NULL) {
        text_add_cstr(&text, options->host);
    }
    if (options->interface != NULL) {
        char host[IO_HOST_MAX];
        int code = io_interface_address(options->interface, host, why);
        if (code != OK) {
            text_fini(&text);
            return code;
        }
        text_clear(&text);
        text_add_cstr(&text, host);
    }
    int code = text.size == 0 ? OK : address_parse(text_span(&text), scheme, 0, out);
    if (text.size == 0) {
        *out = (struct address){.scheme = scheme};
    }
    if (code != OK) {
        text_printf(why, "--host %s is not an address", text_cstr(&text));
    } else if (port != NULL) {
        char *end;
        long number = strtol(port, &end, 10);
        if (end == port || *end != '\0' || number < 0 || number > 65535) {
            text_printf(why, "--port %s is not a port", port);
            code = ERR_CONFIG;
        }
        out->port = (uint16_t)number;
        out->has_port = true;
    }
    text_fini(&text);
    return code;
}

static enum io_transport transport_of(enum address_scheme scheme)
{
    static const enum io_transport transports[] = {
        [ADDRESS_TCP] = IO_TCP, [ADDRESS_TLS] = IO_TLS,   [ADDRESS_WS] = IO_WS,
        [ADDRESS_WSS] = IO_WSS, [ADDRESS_UNIX] = IO_UNIX,
    };
    return transports[scheme];
}

/* Anyone who can reach the port can run code on the workers: say so when the network can. */
static void warn_if_open(const struct io_address *bound)
{
    bool is_secure = bound->transport == IO_TLS || bound->transport == IO_WSS;
    bool is_local = bound->transport == IO_UNIX || strncmp(bound->host, "127.", 4) == 0 ||
                    strcmp(bound->host, "::1") == 0;
    if (!is_secure && !is_local) {
        log_warning(LOGGER,
                    "Listening on %s:%u without TLS: anyone who can reach this port can run code on the "
                    "workers. Use --host 127.0.0.1, a firewall, or TLS (--tls-ca-file, --tls-cert, --tls-key)",
                    bound->host[0] == '\0' ? "all addresses" : bound->host, bound->port);
    }
}

static int listen_one(struct node *node, const struct node_options *options, const char *port,
                      struct text *why)
{
    struct address wanted;
    int code = wanted_address(options, port, &wanted, why);
    if (code != OK) {
        return code;
    }
    bool is_default = !wanted.has_port && wanted.scheme != ADDRESS_UNIX;
    struct io_address address = {.transport = transport_of(wanted.scheme),
                                 .port = is_default ? PORT_DEFAULT : wanted.port};
    memcpy(address.host, wanted.host, sizeof address.host);
    if (address_is_secure(wanted.scheme) && node->tls == NULL) {
        text_printf(why, "%s needs a certificate: set distributed.comm.tls.ca-file and "
                         "distributed.comm.tls.scheduler.cert (or --tls-ca-file, --tls-cert, --tls-key)",
                    address_scheme_name(wanted.scheme));
        return ERR_TLS;
    }
    if (node->comm_settings.require_encryption && !address_is_secure(wanted.scheme)) {
        text_add_cstr(why, "distributed.comm.require-encryption is set: listen on tls:// or wss://");
        return ERR_TLS;
    }
    struct io_listener *listener;
    code = io_listen(node->loop, &address, node->tls, &listener, why);
    if (code != OK) {
        return code;
    }
    vec_push(&node->listeners, listener);
    warn_if_open(io_listener_address(listener));
    io_listener_start(listener, &listen_events, node);
    return OK;
}

/* What peers are told to connect to: a wildcard becomes the address this machine shows. */
static void set_contact(struct node *node, const struct node_options *options)
{
    struct io_address contact = *io_listener_address(node->listeners.items[0]);
    const char *configured = config_text(node->config, "distributed.scheduler.contact-address", NULL);
    const char *told = options->contact_address != NULL ? options->contact_address : configured;
    if (told != NULL) {
        text_add_cstr(&node->address, told);
        return;
    }
    if (contact.host[0] == '\0' || strcmp(contact.host, "0.0.0.0") == 0 || strcmp(contact.host, "::") == 0) {
        io_outward_address(NULL, contact.host);
    }
    io_address_print(&contact, &node->address);
}

static int write_scheduler_file(struct node *node, const char *path, struct text *why)
{
    struct text json = {0};
    identity_write_json(node, &json);
    int code = io_file_write(path, text_span(&json), false, why);
    text_fini(&json);
    if (code == OK) {
        text_add_cstr(&node->scheduler_file, path);
    }
    return code;
}

int listen_all(struct node *node, const struct node_options *options, struct text *why)
{
    int code = OK;
    if (options->ports == NULL || options->ports[0] == NULL) {
        code = listen_one(node, options, NULL, why);
    }
    for (uint32_t i = 0; code == OK && options->ports != NULL && options->ports[i] != NULL; i++) {
        code = listen_one(node, options, options->ports[i], why);
    }
    if (code != OK) {
        return code;
    }
    set_contact(node, options);
    log_info(LOGGER, "  Scheduler at: %25s", text_cstr(&node->address));
    if (options->scheduler_file != NULL && options->scheduler_file[0] != '\0') {
        return write_scheduler_file(node, options->scheduler_file, why);
    }
    return OK;
}

void listen_stop(struct node *node)
{
    for (uint32_t i = 0; i < node->listeners.count; i++) {
        io_listener_close(node->listeners.items[i]);
    }
    node->listeners.count = 0;
    if (node->scheduler_file.size > 0) {
        struct text why = {0};
        if (io_file_remove(text_cstr(&node->scheduler_file), &why) != OK) {
            log_warning(LOGGER, "%s", text_cstr(&why));
        }
        text_fini(&why);
        text_clear(&node->scheduler_file);
    }
}
