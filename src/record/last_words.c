/* last_words.c: the handlers. A handler is given nothing but a number, so this is one of the two files with a variable of
 * their own. */
#include "record/last_words.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#include "record/ring.h"

static _Atomic(struct ring_shared *) last_ring;

static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

/* SA_RESETHAND: the signal is raised anew on return, by the same instruction or here, and ends us. */
static void on_fatal(int number)
{
    struct ring_shared *shared = atomic_load(&last_ring);
    if (shared != NULL) {
        ring_last_words(shared, number);
    }
    raise(number);
}

void last_words_set(struct ring_shared *shared)
{
    struct sigaction action = {.sa_handler = shared != NULL ? on_fatal : SIG_DFL,
                               .sa_flags = (int)SA_RESETHAND};
    atomic_store(&last_ring, shared);
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++) {
        struct sigaction present;
        /* A sanitizer's or debugger's handler stays. */
        if (sigaction(fatal[i], NULL, &present) == 0 &&
            (present.sa_handler == SIG_DFL || present.sa_handler == on_fatal)) {
            (void)sigaction(fatal[i], &action, NULL); /* cannot fail for these */
        }
    }
}
