/* killed_worker.c: see killed_worker.h.
 *
 * Where workers were lost the exception is stock's, to the word, and says below that (in a note) how each ended. Of
 * crashes that no worker died of stock has no words, so its text is ours, with the certificates in it. They are long, and
 * a terminal shows the end: so the last line says it in short. */
#include "node/killed_worker.h"

#include "wire/key.h"

/* What an attempt's first line says after its time: the end of a process, or of a worker. Numbers of processes are left out,
 * so that equal ends read the same. */
static void add_end(struct span line, struct text *out)
{
    static const char time[] = " UTC: ", lost[] = ") was lost on ", number[] = " (process ";
    const char *text = (const char *)line.data, *end = text + line.size;
    if (memmem(text, line.size, lost, sizeof lost - 1) != NULL) {
        text_add_cstr(out, "the worker was lost");
    }
    const char *how = memmem(text, line.size, time, sizeof time - 1);
    if (how == NULL) {
        return;
    }
    how += sizeof time - 1;
    text_add_cstr(out, out->size > 0 ? ": " : "");
    const char *from = memmem(how, (size_t)(end - how), number, sizeof number - 1);
    const char *to = from == NULL ? NULL : memchr(from, ')', (size_t)(end - from));
    if (to != NULL) {
        text_add(out, span_of(how, (size_t)(from - how)));
        how = to + 1;
    }
    text_add(out, span_of(how, (size_t)(end - how)));
}

/* The next attempt's first line, from `at` on, which moves behind it; the others of an attempt are indented. */
static bool next_attempt(struct span attempts, size_t *at, struct span *out_line)
{
    while (*at < attempts.size) {
        const uint8_t *begin = attempts.data + *at;
        const uint8_t *end = memchr(begin, '\n', attempts.size - *at);
        size_t size = end == NULL ? attempts.size - *at : (size_t)(end - begin);
        *at += size + 1;
        if (size > 0 && *begin != ' ') {
            *out_line = span_of(begin, size);
            return true;
        }
    }
    return false;
}

void killed_worker_summary(struct span attempts, uint32_t attempt_count, struct text *out)
{
    struct text last = {0}, end = {0};
    struct span line;
    bool is_same = true;
    for (size_t at = 0; next_attempt(attempts, &at, &line);) {
        text_clear(&end);
        add_end(line, &end);
        is_same = is_same && (last.size == 0 || span_equal(text_span(&last), text_span(&end)));
        text_clear(&last);
        text_add(&last, text_span(&end));
    }
    if (attempt_count > 1) {
        text_printf(out, is_same ? "%u times " : "%u attempts failed, the last: ", attempt_count);
    }
    text_add(out, last.size > 0 ? text_span(&last) : SPAN("the process that ran it died"));
    text_fini(&last);
    text_fini(&end);
}

static void add_attempts(struct text *said, const struct killed_worker *killed)
{
    switch (killed->attempt_count) {
    case 1:
        text_add_cstr(said, " once, and the process that ran it died");
        break;
    case 2:
        text_add_cstr(said, " twice, and both times the process that ran it died");
        break;
    default:
        text_printf(said, " %u times, and each time the process that ran it died",
                    killed->attempt_count);
    }
    text_printf(said, " (allowed-failures: %u).\n", killed->allowed_failures);
}

void killed_worker_write(const struct killed_worker *killed, struct text *pickle,
                         struct text *shown)
{
    struct text attempts = {0}, said = {0};
    msgpack_add_utf8(&attempts, killed->attempts);
    struct pickle_killed_worker error = {
        .key = killed->key, .worker = killed->worker, .allowed_failures = killed->allowed_failures};
    if (killed->has_crashes) {
        text_add_cstr(&said, "Attempted to run task ");
        key_repr(&said, killed->key);
        add_attempts(&said, killed);
        text_add(&said, text_span(&attempts));
        text_add_cstr(&said, "\nIn short: ");
        killed_worker_summary(text_span(&attempts), killed->attempt_count, &said);
        error.text = text_span(&said);
    } else {
        error.note = text_span(&attempts);
    }
    pickle_make_killed_worker(pickle, &error);
    text_add_cstr(shown, "KilledWorker(");
    if (killed->has_crashes) {
        key_repr_text(shown, text_span(&said));
    } else {
        key_repr(shown, killed->key);
    }
    text_add_char(shown, ')');
    text_fini(&attempts);
    text_fini(&said);
}
