/* uuid.c: see uuid.h. Version 4, variant 10xx, as RFC 4122 says. */
#include "core/scheduler/uuid.h"

#include <string.h>

void uuid_hex(struct prng *prng, char out[UUID_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < UUID_HEX_SIZE; i += 8) {
        uint32_t bits = prng_next(prng);
        for (int j = 0; j < 8; j++) {
            out[i + j] = digits[bits & 15];
            bits >>= 4;
        }
    }
    out[12] = '4';
    out[16] = "89ab"[out[16] & 3];
}

void uuid_text(struct prng *prng, char out[UUID_TEXT_SIZE])
{
    char hex[UUID_HEX_SIZE];
    uuid_hex(prng, hex);
    const int parts[] = {8, 4, 4, 4, 12};
    const char *from = hex;
    for (int i = 0; i < 5; i++) {
        memcpy(out, from, (size_t)parts[i]);
        from += parts[i];
        out += parts[i];
        if (i < 4) {
            *out++ = '-';
        }
    }
}
