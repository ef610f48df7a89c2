/* message_field.h: one field of the table, for the files that derive codecs from it. */
#ifndef CASK_WIRE_MESSAGE_FIELD_H
#define CASK_WIRE_MESSAGE_FIELD_H

#include "wire/message.h"

/* Set the field's member of `body` to its default. */
void message_field_default(const struct message_field *field, void *body);

/* The member holds what the field's absence means. */
static inline bool message_field_is_default(const struct message_field *field, const void *body)
{
    const void *member = (const char *)body + field->offset;
    switch ((enum field_type)field->type) {
    case FIELD_KEY:
    case FIELD_STR:
    case FIELD_BIN:
    case FIELD_VALUE:
        return ((const struct span *)member)->data == NULL;
    case FIELD_KEYS:
        return !((const struct key_list *)member)->given;
    case FIELD_PAYLOAD:
        return ((const struct payload *)member)->raw.data == NULL &&
               ((const struct payload *)member)->blob == NULL;
    case FIELD_INT:
        return *(const int64_t *)member == field->default_value;
    case FIELD_FLOAT:
        return *(const double *)member == (double)field->default_value;
    case FIELD_BOOL:
        return *(const bool *)member == (field->default_value != 0);
    case FIELD_OP:
        break;
    }
    return true;
}

#endif
