/* limits.h: every bound in one place, each with its reason. What a peer sends is held against these
 * before anything is allocated for it. */
#ifndef CASK_BASE_LIMITS_H
#define CASK_BASE_LIMITS_H

/* Frames of one message: a wide graph has one or more a task (stock sends thousands). */
#define LIMIT_FRAMES_MAX (4u * 1024 * 1024)
/* One frame: stock shards payload at 64 MiB, but graphs are sent unsharded. */
#define LIMIT_FRAME_BYTES_MAX (16ull * 1024 * 1024 * 1024)
/* One message: half of a large node's memory; stock bounds by memory as well. */
#define LIMIT_MESSAGE_BYTES_MAX (64ull * 1024 * 1024 * 1024)
/* Nesting of msgpack values; msgpack-python's own bound is about 512. */
#define LIMIT_MSGPACK_DEPTH_MAX 512
/* Nesting of a pickle's object tree as the C reader follows it. */
#define LIMIT_PICKLE_DEPTH_MAX 10000
/* Opcodes of one pickle (a 10M-task map is about this many). */
#define LIMIT_PICKLE_OPS_MAX (1u << 30)
/* A key's canonical bytes; people put tuples of long strings in them, not documents. */
#define LIMIT_KEY_BYTES_MAX (1u << 20)
/* Bytes waiting for one slow peer before its producers are held back. */
#define LIMIT_SEND_QUEUE_HIGH (64u * 1024 * 1024)
/* Bytes waiting for one peer that never reads, after which the connection is closed. */
#define LIMIT_SEND_QUEUE_MAX (2ull * 1024 * 1024 * 1024)
/* Connections that have not finished the handshake (or TLS) this long are closed. */
#define LIMIT_HANDSHAKE_SECONDS 30
/* Larger frames are sent as they are: compressing them would hold up the loop for more than some milliseconds. */
#define LIMIT_COMPRESS_BYTES_MAX (8u * 1024 * 1024)
/* Ratio of decompressed to compressed bytes; more is a bomb. */
#define LIMIT_COMPRESSION_RATIO_MAX 65536

#endif
