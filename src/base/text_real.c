/* text_real.c: floating-point numbers as Python prints them. */
#include <math.h>
#include <stdlib.h>

#include "base/text.h"

/* The fewest significant digits that read back as the same number: 1 to 17. */
static int digits_needed(struct text *scratch, double real)
{
    int precision = 1;
    for (; precision < 17; precision++) {
        text_clear(scratch);
        text_printf(scratch, "%.*e", precision - 1, real);
        if (strtod(text_cstr(scratch), NULL) == real) {
            break;
        }
    }
    return precision;
}

void text_add_real(struct text *text, double real)
{
    if (isnan(real) || isinf(real)) {
        text_add_cstr(text, isnan(real) ? "nan" : real < 0 ? "-inf" : "inf");
        return;
    }
    struct text digits = {0};
    int precision = digits_needed(&digits, real);
    text_clear(&digits);
    double size = fabs(real);
    if (size != 0 && (size < 1e-4 || size >= 1e16)) {
        text_printf(&digits, "%.*e", precision - 1, real);
    } else {
        /* %g turns to an exponent when it may not print all digits before the point. */
        int whole = size < 1 ? 1 : (int)floor(log10(size)) + 1;
        text_printf(&digits, "%.*g", precision < whole ? whole : precision, real);
    }
    if (strpbrk(text_cstr(&digits), ".e") == NULL) {
        text_add_char(&digits, '.');
        text_add_char(&digits, '0');
    }
    text_add(text, text_span(&digits));
    text_fini(&digits);
}
