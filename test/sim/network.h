/* network.h: letters on their way: when they come, in which order, and what gets lost. */
#ifndef CASK_TEST_SIM_NETWORK_H
#define CASK_TEST_SIM_NETWORK_H

#include "sim/sim.h"

/* To be delivered after `delay` seconds; takes the letter's words. */
void post(struct sim *sim, struct letter letter, double delay);
/* The same after a random time, and not before what was sent into this channel earlier. */
void post_in(struct sim *sim, struct channel *channel, struct letter letter);
/* The next letter, whose words are the caller's now; false: nothing will ever happen again. */
bool take(struct sim *sim, struct letter *out);
/* Back again, unopened, for a later hour; keeps its place among others. */
void put_off(struct sim *sim, struct letter letter, double until);
/* A random time a letter needs. */
double delay_draw(struct sim *sim);
/* Append a word. */
void letter_add(struct letter *letter, uint32_t word);
void letter_set_text(struct letter *letter, struct span text);
void letter_fini(struct letter *letter);
/* Whether it is work in progress: not a timer, a heartbeat or the plan of the run. */
bool letter_is_work(enum letter_kind kind);
const char *letter_name(enum letter_kind kind);
void network_fini(struct sim *sim);

#endif
