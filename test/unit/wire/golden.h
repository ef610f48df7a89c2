/* golden.h: reads test/unit/wire/golden/: real messages of stock Dask, one a line. */
#ifndef CASK_TEST_GOLDEN_H
#define CASK_TEST_GOLDEN_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "wire/trace.h"

struct golden {
    char file[256];
    unsigned line;
    char direction[64]; /* "initiator>scheduler" … */
    int connection;
    struct text bytes;
};

/* Call `visit` for each message of each file, in the order of the names. Gives their number. */
static inline unsigned golden_each(void (*visit)(void *context, const struct golden *golden),
                                   void *context)
{
    struct dirent **entries;
    unsigned count = 0;
    int entry_count = scandir(CASK_TEST_DIR "/wire/golden", &entries, NULL, alphasort);
    ASSERT(entry_count > 0);
    for (int i = 0; i < entry_count; i++) {
        struct golden golden = {0};
        size_t name_size = strlen(entries[i]->d_name);
        if (name_size > 4 && strcmp(entries[i]->d_name + name_size - 4, ".hex") == 0) {
            char path[512];
            snprintf(path, sizeof path, "%s/wire/golden/%s", CASK_TEST_DIR, entries[i]->d_name);
            snprintf(golden.file, sizeof golden.file, "%s", entries[i]->d_name);
            FILE *file = fopen(path, "r");
            ASSERT(file != NULL);
            char *line = NULL;
            size_t capacity = 0;
            while (getline(&line, &capacity, file) > 0) {
                int hex_at = 0;
                golden.line++;
                int fields =
                    sscanf(line, "%63s %d %n", golden.direction, &golden.connection, &hex_at);
                ASSERT(fields == 2);
                text_clear(&golden.bytes);
                int code = trace_unhex(span_of_text(line + hex_at), &golden.bytes);
                ASSERT(code == OK);
                visit(context, &golden);
                count++;
            }
            free(line);
            fclose(file);
            text_fini(&golden.bytes);
        }
        free(entries[i]);
    }
    free(entries);
    return count;
}

/* The ports that a message of this direction may be for. */
static inline uint32_t golden_ports(const struct golden *golden)
{
    const char *target = strchr(golden->direction, '>');
    if (strcmp(golden->direction, "scheduler>initiator") == 0) {
        return TRACE_FROM_SCHEDULER;
    }
    return strcmp(target, ">scheduler") == 0    ? TRACE_TO_SCHEDULER
           : strcmp(target, ">nanny") == 0      ? TRACE_TO_NANNY
           : strncmp(target, ">worker", 7) == 0 ? TRACE_TO_WORKER
                                                : 0;
}

/* The frames of one whole message. */
static inline void golden_frames(const struct golden *golden, struct frames *out)
{
    struct frame_reader reader;
    frame_reader_init(&reader);
    struct span rest = text_span(&golden->bytes);
    int code = 0;
    while (rest.size > 0) {
        size_t fed = frame_reader_feed(&reader, rest);
        rest = span_of(rest.data + fed, rest.size - fed);
        code = frame_reader_next(&reader, out);
        ASSERT(code >= 0);
    }
    ASSERT(code == 1);
    ASSERT(frame_reader_idle(&reader));
    frame_reader_fini(&reader);
}

#endif
