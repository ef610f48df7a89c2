/* prng.h: the seeded generator; the only randomness a core may use. PCG-XSH-RR 64/32 (O'Neill 2014). */
#ifndef CASK_BASE_PRNG_H
#define CASK_BASE_PRNG_H

#include <stdint.h>

struct prng {
    uint64_t state;
};

void prng_init(struct prng *prng, uint64_t seed);
uint32_t prng_next(struct prng *prng);
/* Uniform in [0, bound); bound ≥ 1. */
uint32_t prng_below(struct prng *prng, uint32_t bound);
/* Uniform in [0, 1). */
double prng_unit(struct prng *prng);

#endif
