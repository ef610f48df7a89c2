/* error.h: codes for the world failing: 0 is success, an error is negative. The table says what each
 * means and what to try; text about the object concerned is added where it happens. */
#ifndef CASK_BASE_ERROR_H
#define CASK_BASE_ERROR_H

enum error {
    OK = 0,
#define ERROR(id, number, meaning, try_) ERR_##id = -(number),
#include "base/error.def"
};

/* "TRUNCATED" … ; "OK" for 0. */
const char *error_name(int code);
/* One sentence: what it means. */
const char *error_meaning(int code);
/* One sentence: what to try. */
const char *error_advice(int code);

#endif
