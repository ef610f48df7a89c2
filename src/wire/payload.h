/* payload.h: values that pass through unopened.
 *
 * A msgpack value may contain {"__Serialized__": N} or {"__Pickled__": N}: frame N of the message is
 * a sub-header, followed by as many frames as it says. payload_take() cuts such a value with its
 * frames out of a message as a blob, payload_put() puts it into another; neither looks inside the
 * frames. __Set__ and __Enum__ maps are plain values here. Source: protocol.md 2.3-2.8. */
#ifndef CASK_WIRE_PAYLOAD_H
#define CASK_WIRE_PAYLOAD_H

#include "base/blob.h"
#include "wire/frame.h"
#include "wire/outgoing.h"

/* Cut out `value`, which must lie in frame 0 of `message`. The blob owns what it needs: small pieces
 * of large receive buffers are copied, so that they do not pin them. One reference.
 * ERR_MALFORMED: a placeholder names frames that the message does not have, or more than it has. */
int payload_take(const struct frames *message, struct span value, struct blob **out_blob) MUST_USE;

/* `value` is exactly one placeholder, for frame *out_number of its message. */
bool payload_is_placeholder(struct span value, uint32_t *out_number, bool *out_is_pickled);

/* Append the blob's value to the message's head and its frames to its frames. */
void payload_put(struct outgoing *message, const struct blob *blob);

/* A blob of a plain msgpack value (no placeholders), copied. */
struct blob *payload_value(struct span value);
/* A blob of nil. */
struct blob *payload_nil(void);
/* Serialize(bytes) as stock makes it: family "dask", type "bytes". Copies. */
struct blob *payload_serialized_bytes(struct span bytes);
/* Serialized pickle (family "pickle"), as results and user data travel. Copies. */
struct blob *payload_serialized_pickle(struct span pickle);
/* What stands in for a value that cannot be serialised: reading it raises TypeError(text). Copies. */
struct blob *payload_serialized_error(struct span text);
/* ToPickle: a pickle without out-of-band buffers. Copies. */
struct blob *payload_pickled(struct span pickle);

/* What a blob that is exactly one placeholder holds. */
struct payload_content {
    bool is_pickled;        /* __Pickled__; else __Serialized__ */
    bool is_collection;     /* parts are the elements' parts one after the other */
    struct span serializer; /* "pickle", "dask", "msgpack", "error"; "pickle" if is_pickled */
    struct span type;       /* "bytes", "numpy.ndarray" … or empty */
    struct span header;     /* the sub-header's msgpack */
    struct frames parts; /* logical frames, decompressed and merged; of a pickle: itself, then its
                             * out-of-band buffers */
};

/* Open a blob. Borrows from the blob; fini when done. ERR_TYPE: the blob is not exactly one
 * placeholder; ERR_MALFORMED, ERR_LIMIT, ERR_UNSUPPORTED: its headers or compression. */
int payload_open(const struct blob *blob, struct payload_content *out_content) MUST_USE;
void payload_content_fini(struct payload_content *content);

/* The bytes of a value that is bin, Serialize(bytes), or Serialize/ToPickle of a pickle: the pickle of
 * an exception, in all forms that peers send it in. Owned slice. ERR_TYPE for anything else. */
int payload_bytes(const struct blob *blob, struct slice *out_bytes) MUST_USE;

/* For people: "<pickle, 123 bytes>", "<numpy.ndarray, 80.0 kiB>", or the plain value. */
void payload_print(struct text *out, const struct frames *message, struct span value,
                   size_t size_max);

#endif
