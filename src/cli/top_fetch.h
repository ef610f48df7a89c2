/* top_fetch.h: one answer of a dashboard. */
#ifndef CASK_CLI_TOP_FETCH_H
#define CASK_CLI_TOP_FETCH_H

#include "cli/top_link.h"

/* GET a path of api/cask/v1. An error code and why: it is not there, or answers otherwise than 200. */
int top_fetch(const struct top_place *place, const char *path, struct text *out_body,
              struct text *why) MUST_USE;

#endif
