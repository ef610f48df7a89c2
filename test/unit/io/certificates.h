/* certificates.h: a certificate authority and what it signs, made in memory for a test. */
#ifndef CASK_TEST_UNIT_IO_CERTIFICATES_H
#define CASK_TEST_UNIT_IO_CERTIFICATES_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "unit/io/support.h"

struct identity {
    EVP_PKEY *key;
    X509 *certificate;
    char *key_pem;
    char *certificate_pem;
};

static inline char *identity_pem(BIO *bio)
{
    char *bytes;
    long size = BIO_get_mem_data(bio, &bytes);
    char *pem = mem_alloc((size_t)size + 1);
    memcpy(pem, bytes, (size_t)size);
    pem[size] = '\0';
    BIO_free(bio);
    return pem;
}

/* A certificate for `name`, signed by `issuer` (NULL: by itself, an authority), valid for `days`
 * (negative: expired). */
static inline void identity_create(struct identity *identity, const char *name,
                                   const struct identity *issuer, int days)
{
    identity->key = EVP_EC_gen("P-256");
    assert_non_null(identity->key);
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), (long)(rand() % 1000000 + 1));
    X509_gmtime_adj(X509_getm_notBefore(certificate), -86400L * 10);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400L * days);
    X509_set_pubkey(certificate, identity->key);
    X509_NAME *subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    const struct identity *signer = issuer != NULL ? issuer : identity;
    identity->certificate = certificate;
    X509_set_issuer_name(certificate, X509_get_subject_name(signer->certificate));
    if (issuer == NULL) {
        X509_EXTENSION *extension =
            X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
        X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
    }
    assert_true(X509_sign(certificate, signer->key, EVP_sha256()) > 0);

    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, identity->key, NULL, NULL, 0, NULL, NULL);
    identity->key_pem = identity_pem(bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    identity->certificate_pem = identity_pem(bio);
}

static inline void identity_fini(struct identity *identity)
{
    EVP_PKEY_free(identity->key);
    X509_free(identity->certificate);
    mem_free(identity->key_pem);
    mem_free(identity->certificate_pem);
}

static inline struct io_tls *identity_tls(const struct identity *identity,
                                          const struct identity *authority, int version_min,
                                          int version_max)
{
    struct io_tls_options options = {
        .ca = authority->certificate_pem,
        .cert = identity->certificate_pem,
        .key = identity->key_pem,
        .version_min = version_min,
        .version_max = version_max,
    };
    struct io_tls *tls = NULL;
    struct text why = {0};
    if (io_tls_create(&options, &tls, &why) != OK) {
        fail_msg("%s", text_cstr(&why));
    }
    text_fini(&why);
    return tls;
}

#endif
