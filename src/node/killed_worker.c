/* killed_worker.c: see killed_worker.h.
 *
 * Where workers were lost the exception is stock's, to the word, and says below that (in a note) how each ended. Of
 * crashes that no worker died of stock has no words, so its text is ours, with the certificates in it. */
#include "node/killed_worker.h"

#include "wire/key.h"

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
