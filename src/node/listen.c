/* listen.c: where a server listens, and what peers are told of it. */
#include "node/listen.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "node/config.h"
#include "node/connection.h"
#include "wire/address.h"

#define LOGGER "distributed.core"

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

/* What one listener is told. Texts are "" if not given. */
struct wish {
    char protocol[16], interface[64], port[16];
};

enum { LISTENERS_MAX = 64 };

/* Number of values in a list separated by commas; 0 for none. */
static uint32_t list_count(const char *list)
{
    uint32_t count = list != NULL && *list != '\0';
    for (; list != NULL && *list != '\0'; list++) {
        count += *list == ',';
    }
    return count;
}

/* The value for listener `index`: a single one is for all. False: it is too long to be one. */
static bool list_item(const char *list, uint32_t index, char *out, size_t size)
{
    uint32_t count = list_count(list);
    *out = '\0';
    if (count == 0) {
        return true;
    }
    for (uint32_t i = 0; count > 1 && i < index; i++) {
        list += strcspn(list, ",") + 1;
    }
    size_t item_size = strcspn(list, ",");
    if (item_size >= size) {
        return false;
    }
    memcpy(out, list, item_size);
    out[item_size] = '\0';
    return true;
}

/* Lists of several values must be equally long. Gives the number of listeners; 0: they are not. */
static uint32_t listener_count(const struct listen_options *options)
{
    const uint32_t counts[] = {list_count(options->port), list_count(options->protocol),
                               list_count(options->interface)};
    uint32_t most = 1;
    for (int i = 0; i < 3; i++) {
        if (counts[i] > 1 && most > 1 && counts[i] != most) {
            return 0;
        }
        most = counts[i] > most ? counts[i] : most;
    }
    return most > LISTENERS_MAX ? 0 : most;
}

/* The scheme that --protocol asks for (is_forced), or the one that a bare host has. */
static int wanted_scheme(const struct server *server, const struct wish *wish,
                         enum address_scheme *out_scheme, bool *out_is_forced, struct text *why)
{
    const char *setting = config_text(server->config, "distributed.comm.default-scheme", "tcp");
    const char *name = wish->protocol;
    *out_is_forced = name[0] != '\0' || server->comm_settings->require_encryption;
    if (name[0] == '\0') {
        name = server->comm_settings->require_encryption ? "tls" : setting;
    }
    if (!address_scheme_find(span_of(name, strcspn(name, ":")), out_scheme)) {
        text_printf(why, "protocol '%s': cask speaks tcp, tls, ws, wss and unix", name);
        return ERR_CONFIG;
    }
    return OK;
}

static int take_port(const char *port, struct address *address, struct text *why)
{
    char *end;
    long number = strtol(port, &end, 10);
    if (*port == '\0') {
        return OK;
    }
    if (end == port || *end != '\0' || number < 0 || number > 65535) {
        text_printf(why, "--port %s is not a port", port);
        return ERR_CONFIG;
    }
    if (address->has_port && address->port != 0 && number != 0 && address->port != number) {
        text_printf(why, "the port is given twice, and differently: %u in --host, %ld by --port",
                    address->port, number);
        return ERR_CONFIG;
    }
    address->port = (uint16_t)number;
    address->has_port = true;
    return OK;
}

/* The address to listen on: --host may hold a whole URI; the others fill what it lacks. */
static int wanted_address(const struct server *server, const struct listen_options *options,
                          const struct wish *wish, struct address *out, struct text *why)
{
    bool has_host = options->host != NULL && options->host[0] != '\0';
    enum address_scheme scheme;
    bool is_forced;
    int code = wanted_scheme(server, wish, &scheme, &is_forced, why);
    if (code != OK) {
        return code;
    }
    if (has_host && wish->interface[0] != '\0') {
        text_add_cstr(why, "give --host or --interface, not both");
        return ERR_CONFIG;
    }
    *out = (struct address){.scheme = scheme};
    if (has_host && address_parse(span_of_text(options->host), scheme, 0, out) != OK) {
        text_printf(why, "--host %s is not an address", options->host);
        return ERR_CONFIG;
    }
    if (is_forced) {
        out->scheme = scheme;
    }
    if (wish->interface[0] != '\0') {
        static_assert(ADDRESS_HOST_MAX == IO_HOST_MAX, "one is copied into the other");
        code = io_interface_address(wish->interface, out->host, why);
    }
    return code != OK ? code : take_port(wish->port, out, why);
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
        log_warning(
            LOGGER,
            "Listening on %s:%u without TLS: anyone who can reach this port can run code on the "
            "workers. Use --host 127.0.0.1, a firewall, or TLS (--tls-ca-file, --tls-cert, "
            "--tls-key)",
            bound->host[0] == '\0' ? "all addresses" : bound->host, bound->port);
    }
}

/* Listener `index`. Without a port, the first takes Dask's own, the others any. */
static int listen_one(struct server *server, const struct listen_options *options, uint32_t index,
                      struct text *why)
{
    struct wish wish;
    struct address wanted;
    if (!list_item(options->protocol, index, wish.protocol, sizeof wish.protocol) ||
        !list_item(options->interface, index, wish.interface, sizeof wish.interface) ||
        !list_item(options->port, index, wish.port, sizeof wish.port)) {
        text_add_cstr(why, "a value in --protocol, --interface or --port is too long");
        return ERR_CONFIG;
    }
    int code = wanted_address(server, options, &wish, &wanted, why);
    if (code != OK) {
        return code;
    }
    bool is_default = !wanted.has_port && wanted.scheme != ADDRESS_UNIX && index == 0;
    struct io_address address = {.transport = transport_of(wanted.scheme),
                                 .port = is_default ? options->port_default : wanted.port};
    memcpy(address.host, wanted.host, sizeof address.host);
    if (address_is_secure(wanted.scheme) && server->comm_settings->tls == NULL) {
        text_printf(why,
                    "%s needs a certificate: set distributed.comm.tls.ca-file and "
                    "distributed.comm.tls.%s.cert (or --tls-ca-file, --tls-cert, --tls-key)",
                    address_scheme_name(wanted.scheme), options->role);
        return ERR_TLS;
    }
    if (server->comm_settings->require_encryption && !address_is_secure(wanted.scheme)) {
        text_printf(
            why,
            "distributed.comm.require-encryption is set: listen on tls:// or wss://, not %s://",
            address_scheme_name(wanted.scheme));
        return ERR_TLS;
    }
    struct io_listener *listener;
    code = io_listen(server->loop, &address, server->comm_settings->tls, &listener, why);
    if (code != OK) {
        return code;
    }
    vec_push(&server->listeners, listener);
    warn_if_open(io_listener_address(listener));
    if (server->comm_settings->connect_timeout > 0) {
        io_listener_expect(listener, server->comm_settings->connect_timeout);
    }
    io_listener_start(listener, &listen_events, server);
    return OK;
}

/* What peers are told to connect to: a wildcard becomes the address this machine shows. */
static void set_contact(struct server *server, const char *told)
{
    struct io_address contact = *io_listener_address(server->listeners.items[0]);
    if (told != NULL) {
        text_add_cstr(&server->address, told);
        return;
    }
    if (contact.host[0] == '\0' || strcmp(contact.host, "0.0.0.0") == 0 ||
        strcmp(contact.host, "::") == 0) {
        io_outward_address(NULL, contact.host);
    }
    io_address_print(&contact, &server->address);
}

int listen_all(struct server *server, const struct listen_options *options, struct text *why)
{
    uint32_t count = listener_count(options);
    int code = count > 0 ? OK : ERR_CONFIG;
    if (code != OK) {
        text_printf(why,
                    "--port, --protocol and --interface must be lists of equal length (at most %d)",
                    LISTENERS_MAX);
    }
    for (uint32_t i = 0; code == OK && i < count; i++) {
        code = listen_one(server, options, i, why);
    }
    if (code == OK) {
        set_contact(server, options->contact_address);
    }
    return code;
}

void listen_stop(struct server *server)
{
    for (uint32_t i = 0; i < server->listeners.count; i++) {
        io_listener_close(server->listeners.items[i]);
    }
    server->listeners.count = 0;
}
