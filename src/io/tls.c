/* tls.c: TLS identities: certificate, key and CA as Dask's security settings name them.
 *
 * Settings follow distributed security.py, Security._get_tls_context: at least TLS 1.2, a
 * certificate is demanded of the peer in both roles, host names are not compared. Resumption is
 * off: it would save little between long connections and costs state. */
#include "io/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/alloc.h"
#include "base/error.h"

void io_tls_add_reason(struct text *text)
{
    unsigned long code = ERR_get_error();
    const char *reason = code == 0                ? NULL
                         : ERR_SYSTEM_ERROR(code) ? io_errno_text(ERR_GET_REASON(code))
                                                  : ERR_reason_error_string(code);
    if (reason != NULL) {
        text_add_cstr(text, reason);
    } else {
        text_printf(text, "error %lu of OpenSSL", code);
    }
    ERR_clear_error();
}

static bool is_pem(const char *setting)
{
    return strchr(setting, '\n') != NULL;
}

static int refuse(struct text *why, const char *what, const char *setting)
{
    text_printf(why, "TLS: the %s '%s' cannot be used: ", what,
                is_pem(setting) ? "given as text" : setting);
    io_tls_add_reason(why);
    return ERR_TLS;
}

static BIO *open_setting(const char *setting)
{
    return is_pem(setting) ? BIO_new_mem_buf(setting, -1) : BIO_new_file(setting, "r");
}

/* Trust every certificate in the file, as a CA file lists them. */
static int load_ca(SSL_CTX *context, const char *setting, struct text *why)
{
    BIO *source = open_setting(setting);
    if (source == NULL) {
        return refuse(why, "CA file", setting);
    }
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    uint32_t count = 0;
    X509 *certificate;
    while ((certificate = PEM_read_bio_X509(source, NULL, NULL, NULL)) != NULL) {
        bool added = X509_STORE_add_cert(store, certificate) == 1;
        X509_free(certificate);
        if (!added) {
            BIO_free(source);
            return refuse(why, "CA file", setting);
        }
        count++;
    }
    BIO_free(source);
    if (count == 0) {
        return refuse(why, "CA file", setting);
    }
    ERR_clear_error(); /* "no start line": the end of the file */
    return OK;
}

/* Our certificate, and behind it in the file the chain that leads to the CA. */
static int load_certificate(SSL_CTX *context, const char *setting, struct text *why)
{
    BIO *source = open_setting(setting);
    X509 *certificate = source == NULL ? NULL : PEM_read_bio_X509(source, NULL, NULL, NULL);
    bool fine = certificate != NULL && SSL_CTX_use_certificate(context, certificate) == 1;
    X509_free(certificate);
    while (fine) {
        X509 *link = PEM_read_bio_X509(source, NULL, NULL, NULL);
        if (link == NULL) {
            ERR_clear_error();
            break;
        }
        fine = SSL_CTX_add0_chain_cert(context, link) == 1;
        if (!fine) {
            X509_free(link);
        }
    }
    BIO_free(source);
    return fine ? OK : refuse(why, "certificate", setting);
}

/* Never ask at the terminal: a daemon has none. */
static int no_password(char *buffer, int size, int writing, void *user)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)user;
    return 0;
}

static int load_key(SSL_CTX *context, const char *setting, struct text *why)
{
    BIO *source = open_setting(setting);
    EVP_PKEY *key =
        source == NULL ? NULL : PEM_read_bio_PrivateKey(source, NULL, no_password, NULL);
    bool fine = key != NULL && SSL_CTX_use_PrivateKey(context, key) == 1 &&
                SSL_CTX_check_private_key(context) == 1;
    EVP_PKEY_free(key);
    BIO_free(source);
    return fine ? OK : refuse(why, "key", setting);
}

static int version_number(int version)
{
    return version == 13 ? TLS1_3_VERSION : TLS1_2_VERSION;
}

static int configure(SSL_CTX *context, const struct io_tls_options *options, struct text *why)
{
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    int highest = options->version_max == 0 ? 0 : version_number(options->version_max);
    if (SSL_CTX_set_min_proto_version(context, version_number(options->version_min)) != 1 ||
        SSL_CTX_set_max_proto_version(context, highest) != 1) {
        text_add_cstr(why, "TLS: this OpenSSL lacks the wanted TLS version");
        return ERR_TLS;
    }
    if (options->ciphers != NULL && SSL_CTX_set_cipher_list(context, options->ciphers) != 1) {
        return refuse(why, "list of ciphers", options->ciphers);
    }
    int code = load_ca(context, options->ca, why);
    if (code == OK) {
        code = load_certificate(context, options->cert, why);
    }
    if (code == OK) {
        code = load_key(context, options->key != NULL ? options->key : options->cert, why);
    }
    return code;
}

int io_tls_create(const struct io_tls_options *options, struct io_tls **out_tls, struct text *why)
{
    ASSERT(options->version_min == 0 || options->version_min == 12 || options->version_min == 13);
    ASSERT(options->version_max == 0 || options->version_max == 12 || options->version_max == 13);
    if (options->ca == NULL || options->cert == NULL) {
        text_add_cstr(why,
                      "TLS needs a CA file and a certificate: set distributed.comm.tls.ca-file "
                      "and the role's cert and key");
        return ERR_TLS;
    }
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    ASSERT(context != NULL);
    int code = configure(context, options, why);
    if (code != OK) {
        SSL_CTX_free(context);
        return code;
    }
    struct io_tls *tls = mem_zalloc(1, sizeof *tls);
    tls->refs = 1;
    tls->context = context;
    tls->method = io_tls_method_create();
    *out_tls = tls;
    return OK;
}

struct io_tls *io_tls_ref(struct io_tls *tls)
{
    ASSERT(tls->refs > 0);
    tls->refs++;
    return tls;
}

void io_tls_destroy(struct io_tls *tls)
{
    if (tls == NULL) {
        return;
    }
    ASSERT(tls->refs > 0);
    if (--tls->refs == 0) {
        SSL_CTX_free(tls->context);
        BIO_meth_free(tls->method);
        mem_free(tls);
    }
}
