/* assert.c: the report of a bug. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_failed(const char *condition, const char *file, int line,
                             const char *function)
{
    fprintf(stderr, "cask: bug: %s:%d: %s: ASSERT(%s) failed. Please report this line.\n", file,
            line, function, condition);
    fflush(stderr);
    abort();
}
