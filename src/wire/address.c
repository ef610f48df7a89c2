/* address.c: scheme://host:port, where an IPv6 host stands in brackets and unix:// has a path. */
#include "wire/address.h"

static const char *const scheme_names[] = {
    [ADDRESS_TCP] = "tcp", [ADDRESS_TLS] = "tls",   [ADDRESS_WS] = "ws",
    [ADDRESS_WSS] = "wss", [ADDRESS_UNIX] = "unix",
};

enum { SCHEME_COUNT = ADDRESS_UNIX + 1, PORT_MAX = 65535, UNIX_PATH_MAX = 107 };

const char *address_scheme_name(enum address_scheme scheme)
{
    return scheme_names[scheme];
}

bool address_scheme_find(struct span name, enum address_scheme *out_scheme)
{
    for (int scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        if (span_equal_text(name, scheme_names[scheme])) {
            *out_scheme = (enum address_scheme)scheme;
            return true;
        }
    }
    return false;
}

bool address_is_secure(enum address_scheme scheme)
{
    return scheme == ADDRESS_TLS || scheme == ADDRESS_WSS;
}

/* Cut "scheme://" off `text`. false: there is none. */
static bool scheme_cut(struct span *text, struct span *out_scheme)
{
    const uint8_t *mark = text->size < 3 ? NULL : memmem(text->data, text->size, "://", 3);
    if (mark == NULL) {
        return false;
    }
    size_t size = (size_t)(mark - text->data);
    *out_scheme = span_of(text->data, size);
    *text = span_of(mark + 3, text->size - size - 3);
    return true;
}

/* Split "host:port", "[v6]:port", "host" or ":port". *out_port is empty if there is none. */
static bool host_split(struct span text, struct span *out_host, struct span *out_port)
{
    *out_port = (struct span){0};
    if (text.size > 0 && text.data[0] == '[') {
        const uint8_t *close = memchr(text.data, ']', text.size);
        if (close == NULL) {
            return false;
        }
        size_t host_size = (size_t)(close - text.data) - 1;
        struct span rest = span_of(close + 1, text.size - host_size - 2);
        *out_host = span_of(text.data + 1, host_size);
        if (rest.size > 0) {
            *out_port = span_of(rest.data + 1, rest.size - 1);
            return rest.data[0] == ':';
        }
        return true;
    }
    const uint8_t *colon = text.size == 0 ? NULL : memchr(text.data, ':', text.size);
    if (colon == NULL) {
        *out_host = text;
        return true;
    }
    size_t size = (size_t)(colon - text.data);
    *out_host = span_of(text.data, size);
    *out_port = span_of(colon + 1, text.size - size - 1);
    return memchr(out_port->data, ':', out_port->size) == NULL; /* bare IPv6 is ambiguous */
}

static bool port_parse(struct span text, uint16_t *out_port)
{
    uint32_t port = 0;
    if (text.size == 0 || text.size > 5) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        port = port * 10 + (uint32_t)(text.data[i] - '0');
    }
    *out_port = (uint16_t)port;
    return port <= PORT_MAX;
}

/* A host name, number or path holds no blanks, quotes or controls. */
static bool host_is_clean(struct span host)
{
    for (size_t i = 0; i < host.size; i++) {
        uint8_t c = host.data[i];
        if (c <= ' ' || c == '"' || c == '\'' || c == 0x7f || c == '[' || c == ']') {
            return false;
        }
    }
    return true;
}

int address_parse(struct span text, enum address_scheme default_scheme, uint16_t default_port,
                  struct address *out_address)
{
    struct address address = {
        .scheme = default_scheme, .has_port = default_port != 0, .port = default_port};
    struct span scheme;
    struct span host = {0};
    struct span port = {0};
    if (scheme_cut(&text, &scheme) && !address_scheme_find(scheme, &address.scheme)) {
        return ERR_ADDRESS;
    }
    if (address.scheme == ADDRESS_UNIX) {
        host = text;
        address.has_port = false;
        address.port = 0;
        if (host.size == 0 || host.size > UNIX_PATH_MAX) {
            return ERR_ADDRESS;
        }
    } else {
        const uint8_t *slash = text.size == 0 ? NULL : memchr(text.data, '/', text.size);
        if (slash != NULL) {
            bool is_ws = address.scheme == ADDRESS_WS || address.scheme == ADDRESS_WSS;
            if (!is_ws) {
                return ERR_ADDRESS;
            }
            text.size = (size_t)(slash - text.data);
        }
        if (!host_split(text, &host, &port)) {
            return ERR_ADDRESS;
        }
    }
    if (host.size >= ADDRESS_HOST_MAX || !host_is_clean(host)) {
        return ERR_ADDRESS;
    }
    if (port.data != NULL) {
        address.has_port = true;
        if (!port_parse(port, &address.port)) {
            return ERR_ADDRESS;
        }
    }
    if (host.size > 0) {
        memcpy(address.host, host.data, host.size);
    }
    *out_address = address;
    return OK;
}

void address_print(struct text *out, const struct address *address)
{
    bool is_v6 = address->scheme != ADDRESS_UNIX && strchr(address->host, ':') != NULL;
    text_printf(out, "%s://%s%s%s", scheme_names[address->scheme], is_v6 ? "[" : "", address->host,
                is_v6 ? "]" : "");
    if (address->has_port) {
        text_printf(out, ":%u", address->port);
    }
}

struct span address_host(struct span text)
{
    struct span scheme;
    struct span host;
    struct span port;
    if (scheme_cut(&text, &scheme) && span_equal(scheme, SPAN("unix"))) {
        return text;
    }
    return host_split(text, &host, &port) ? host : (struct span){0};
}
