/* top_session.h: one run of `cask top`: the picture kept true until somebody quits, or printed once. */
#ifndef CASK_CLI_TOP_SESSION_H
#define CASK_CLI_TOP_SESSION_H

#include "cli/top_link.h"

struct top_options {
    const struct top_place *place;
    const char *address; /* what the title says */
    double timeout;      /* seconds to wait for the first numbers, with once */
    bool is_coloured, is_ascii, is_json;
};

/* On the terminal, until quit. The exit code. */
int top_session_watch(const struct top_options *options);
/* Print the overview (or, as JSON, everything) and end. The exit code. */
int top_session_once(const struct top_options *options);

#endif
