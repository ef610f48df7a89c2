/* top_place.h: where the dashboard is of which the command line speaks. */
#ifndef CASK_CLI_TOP_PLACE_H
#define CASK_CLI_TOP_PLACE_H

#include "cli/ask.h"
#include "cli/top_link.h"

/* `where`: a scheduler, which is asked, or the URL of its dashboard. `ca`: a file of certificates, NULL: the settings'.
 * out_address: what to call it. An error code and why. */
int top_place_find(const struct ask_options *where, const char *ca, struct top_place *out_place,
                   struct text *out_address, struct text *why) MUST_USE;

#endif
