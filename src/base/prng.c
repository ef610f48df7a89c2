/* prng.c: PCG-XSH-RR 64/32 with a fixed stream. */
#include "base/prng.h"

#include "base/assert.h"

#define PCG_MULTIPLIER 6364136223846793005ull
#define PCG_INCREMENT 1442695040888963407ull

void prng_init(struct prng *prng, uint64_t seed)
{
    prng->state = seed + PCG_INCREMENT;
    prng_next(prng);
}

uint32_t prng_next(struct prng *prng)
{
    uint64_t state = prng->state;
    prng->state = state * PCG_MULTIPLIER + PCG_INCREMENT;
    uint32_t mixed = (uint32_t)(((state >> 18) ^ state) >> 27);
    uint32_t turn = (uint32_t)(state >> 59);
    return (mixed >> turn) | (mixed << (-turn & 31));
}

/* Lemire 2019: a multiplication instead of a division; the rejected low products are those that
 * would make some results likelier than others. */
uint32_t prng_below(struct prng *prng, uint32_t bound)
{
    ASSERT(bound >= 1);
    uint64_t product = (uint64_t)prng_next(prng) * bound;
    if ((uint32_t)product < bound) {
        uint32_t threshold = -bound % bound;
        while ((uint32_t)product < threshold) {
            product = (uint64_t)prng_next(prng) * bound;
        }
    }
    return (uint32_t)(product >> 32);
}

double prng_unit(struct prng *prng)
{
    uint64_t high = prng_next(prng);
    uint64_t bits = (high << 21) ^ (prng_next(prng) >> 11); /* 53 bits: a double's precision */
    return (double)bits * 0x1p-53;
}
