/* address.h: tcp://host:port and friends, taken apart and put together. Never resolves a name.
 * Source: protocol.md 1.1, distributed/comm/addressing.py. */
#ifndef CASK_WIRE_ADDRESS_H
#define CASK_WIRE_ADDRESS_H

#include "base/assert.h"
#include "base/error.h"
#include "base/span.h"
#include "base/text.h"

enum address_scheme { ADDRESS_TCP, ADDRESS_TLS, ADDRESS_WS, ADDRESS_WSS, ADDRESS_UNIX };

#define ADDRESS_HOST_MAX 256

struct address {
    enum address_scheme scheme;
    bool has_port;
    uint16_t port;               /* 0: any */
    char host[ADDRESS_HOST_MAX]; /* without brackets; for unix the path; "" listens everywhere */
};

/* "tcp" …, without "://". */
const char *address_scheme_name(enum address_scheme scheme);
bool address_scheme_find(struct span name, enum address_scheme *out_scheme);
/* Encrypted: tls, wss. */
bool address_is_secure(enum address_scheme scheme);

/* Take `text` apart. Without "scheme://" it is a `default_scheme` one; without ":port" the port is
 * default_port (0: none). ERR_ADDRESS: not an address. */
int address_parse(struct span text, enum address_scheme default_scheme, uint16_t default_port,
                  struct address *out_address) MUST_USE;
/* "tcp://[::1]:8786": as peers compare it. */
void address_print(struct text *out, const struct address *address);
/* The host part of `text` without brackets, an empty span if there is none. */
struct span address_host(struct span text);

#endif
