/* tls.h: what tls.c (identities) and tls_session.c (connections) share: the OpenSSL side. */
#ifndef CASK_IO_TLS_H
#define CASK_IO_TLS_H

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "io/internal.h"

struct io_tls {
    uint32_t refs;
    SSL_CTX *context;
    BIO_METHOD *method; /* the BIO between OpenSSL and a session's buffers */
};

/* The method's functions are in tls_session.c. */
BIO_METHOD *io_tls_method_create(void);
/* Add OpenSSL's oldest queued reason ("certificate verify failed") to `text`; empties the queue. */
void io_tls_add_reason(struct text *text);

#endif
