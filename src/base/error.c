/* error.c: texts of the codes, by table. */
#include "base/error.h"

const char *error_name(int code)
{
    switch (code) {
    case OK:
        return "OK";
#define ERROR(id, number, meaning, try_)                                                           \
    case ERR_##id:                                                                                 \
        return #id;
#include "base/error.def"
    default:
        return "UNKNOWN";
    }
}

const char *error_meaning(int code)
{
    switch (code) {
    case OK:
        return "success";
#define ERROR(id, number, meaning, try_)                                                           \
    case ERR_##id:                                                                                 \
        return meaning;
#include "base/error.def"
    default:
        return "the code is not in the table";
    }
}

const char *error_advice(int code)
{
    switch (code) {
    case OK:
        return "nothing is to be done";
#define ERROR(id, number, meaning, try_)                                                           \
    case ERR_##id:                                                                                 \
        return try_;
#include "base/error.def"
    default:
        return "report the number";
    }
}
