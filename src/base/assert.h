/* assert.h: checks that are always on. A failed one is a bug in cask, never a peer's doing.
 *
 * The report names the place and the condition, then the process aborts. No peer input may trip
 * one: wire/ and node/ refuse bad input first. */
#ifndef CASK_BASE_ASSERT_H
#define CASK_BASE_ASSERT_H

#include <assert.h>

/* Report `condition` at file:line in `function` to stderr and abort. */
_Noreturn void assert_failed(const char *condition, const char *file, int line,
                             const char *function);

#define ASSERT(condition)                                                                          \
    (__builtin_expect(!!(condition), 1) ? (void)0                                                  \
                                        : assert_failed(#condition, __FILE__, __LINE__, __func__))

#define UNREACHABLE() assert_failed("unreachable", __FILE__, __LINE__, __func__)

#define MUST_USE __attribute__((warn_unused_result))

#define PRINTF_LIKE(format_index, first_argument)                                                  \
    __attribute__((format(printf, format_index, first_argument)))

#endif
