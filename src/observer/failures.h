/* failures.h: what an exception's text and traceback say: type, message, the place in the user's code. */
#ifndef CASK_OBSERVER_FAILURES_H
#define CASK_OBSERVER_FAILURES_H

#include "base/text.h"

/* From repr(exception): "ValueError('x')" → "ValueError", "x". */
void failure_read_exception(struct span repr, struct text *out_type, struct text *out_message);
/* From a traceback's text: "file.py:12 in f" of the innermost frame that is not a library's, else the innermost. From a death
 * certificate: of the thread that did it. */
void failure_read_place(struct span traceback, struct text *out_where);

#endif
