/* pages.h: the pages of web/, for browsers. */
#ifndef CASK_OBSERVER_PAGES_H
#define CASK_OBSERVER_PAGES_H

#include "observer/exchange.h"

/* Answer with a page, or with a file that pages are made of. False: the path is neither, or the program was built
 * without pages; nothing has been answered then. */
bool pages_answer(struct exchange *exchange) MUST_USE;

#endif
