/* span.c: the hash of byte strings.
 *
 * A short mix of 64×64→128-bit multiplications, the idea of wyhash: 16 bytes a round, the tail read
 * as overlapping words. Reads are little-endian on every machine, so the value is the same
 * everywhere. It is fixed, so a peer can make keys collide; that costs it speed, never memory. */
#include "base/span.h"

#include <endian.h>

#define HASH_A 0xa0761d6478bd642full
#define HASH_B 0xe7037ed1a0b428dbull
#define HASH_C 0x8ebc6af09c88c6e3ull

__extension__ typedef unsigned __int128 uint128;

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    uint128 product = (uint128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t read64(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return le64toh(word);
}

static inline uint64_t read32(const uint8_t *data)
{
    uint32_t word;
    memcpy(&word, data, sizeof word);
    return le32toh(word);
}

uint64_t span_hash(struct span bytes)
{
    const uint8_t *data = bytes.data;
    size_t size = bytes.size;
    uint64_t state = HASH_A ^ mix(size ^ HASH_B, HASH_C);
    uint64_t low = 0;
    uint64_t high = 0;

    if (size > 16) {
        for (size_t left = size; left > 16; left -= 16, data += 16) {
            state = mix(read64(data) ^ HASH_B, read64(data + 8) ^ state);
        }
        const uint8_t *end = bytes.data + size;
        low = read64(end - 16);
        high = read64(end - 8);
    } else if (size >= 8) {
        low = read64(data);
        high = read64(data + size - 8);
    } else if (size >= 4) {
        low = read32(data);
        high = read32(data + size - 4);
    } else if (size > 0) {
        low = (uint64_t)data[0] << 16 | (uint64_t)data[size / 2] << 8 | data[size - 1];
    }
    return mix(HASH_B ^ size, mix(low ^ HASH_B, high ^ state));
}
