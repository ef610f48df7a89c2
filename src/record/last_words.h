/* last_words.h: a process that is ended by a signal says which one, where another process can still read it. */
#ifndef CASK_RECORD_LAST_WORDS_H
#define CASK_RECORD_LAST_WORDS_H

struct ring_shared;

/* From now on SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT leave their number in the ring's header, and end the process as
 * they would have. One ring a process; NULL: no more. */
void last_words_set(struct ring_shared *shared);

#endif
