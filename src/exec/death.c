/* death.c: a death certificate in words. */
#include "exec/death.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

void executor_death_fini(struct executor_death *death)
{
    text_fini(&death->kernel);
    text_fini(&death->native_frames);
    text_fini(&death->python_frames);
    text_fini(&death->last_words);
    text_fini(&death->reason);
    vec_fini(&death->victims);
}

/* Bytes that a limit may be away from what was held where it stopped somebody: pages are charged in batches. */
#define NEARLY (4u << 20)

bool executor_death_is_oom(const struct executor_death *death)
{
    return death->end == EXECUTOR_END_OWN && death->signal_number == SIGKILL &&
           (death->oom_kills > 0 || death->kernel.size > 0);
}

/* Whose memory was out: that which its limit allowed, or that of a group above, or of the machine. */
static void add_oom(const struct executor_death *death, struct text *out)
{
    text_add_cstr(out, ": the kernel ended it because memory was out (OOM kill)");
    if (!death->has_cgroup) {
        return;
    }
    if (death->memory_held == 0) {
        text_add_cstr(out, ": its limit was ");
        text_add_bytes_size(out, (double)death->memory_max);
        return;
    }
    text_add_cstr(out, ": it held ");
    text_add_bytes_size(out, (double)death->memory_held);
    text_add_cstr(out, " of its limit of ");
    text_add_bytes_size(out, (double)death->memory_max);
    if (death->memory_held + NEARLY < death->memory_max) {
        text_add_cstr(out, ", so it was the machine, or a cgroup above, that had no more");
    }
}

static void add_signal(int number, struct text *out)
{
    const char *name = sigabbrev_np(number);
    if (name == NULL) {
        text_printf(out, "signal %d", number);
    } else {
        text_printf(out, "SIG%s (%s)", name, sigdescr_np(number));
    }
}

static bool has_address(int number)
{
    return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL;
}

/* How it ended by itself. */
static void add_own_end(const struct executor_death *death, struct text *out)
{
    if (death->signal_number == 0) {
        text_printf(out, "exited with status %d", death->status);
        return;
    }
    text_add_cstr(out, "was ended by ");
    add_signal(death->signal_number, out);
    if (death->fault_signal == death->signal_number && has_address(death->fault_signal)) {
        text_printf(out, " at address 0x%" PRIx64, death->fault_address);
    }
    if (executor_death_is_oom(death)) {
        add_oom(death, out);
    } else if (death->signal_number == SIGKILL) {
        text_add_cstr(out, ", sent from outside");
    }
}

void executor_death_summary(const struct executor_death *death, struct text *out)
{
    text_printf(out, "the executor (process %d) ", death->pid);
    if (death->end == EXECUTOR_END_OWN) {
        add_own_end(death, out);
    } else {
        text_printf(out, "was ended by its worker: %s",
                    death->reason.size == 0 ? "it is closing" : text_cstr(&death->reason));
    }
}

static void add_memory(const struct executor_death *death, struct text *out)
{
    text_add_cstr(out, "memory: highest ");
    text_add_bytes_size(out, (double)death->rss_peak);
    if (death->memory_max > 0 && death->memory_held > 0) {
        text_add_cstr(out, death->has_cgroup ? "; its cgroup held at most "
                                             : "; the cgroup of its worker held ");
        text_add_bytes_size(out, (double)death->memory_held);
        text_add_cstr(out, " of ");
        text_add_bytes_size(out, (double)death->memory_max);
    }
    if (death->oom_kills > 0) {
        text_printf(out, "; processes of the cgroup killed for memory meanwhile: %" PRIu64,
                    death->oom_kills);
    }
    text_add_char(out, '\n');
}

/* The lines, each indented; empty ones are left out. */
static void add_lines(const char *at, const char *end, struct text *out)
{
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((stop == NULL ? end : stop) - at);
        if (size > 0) {
            text_add_cstr(out, "  ");
            text_add(out, span_of(at, size));
            text_add_char(out, '\n');
        }
        at += size + 1;
    }
}

/* A heading and the lines under it. */
static void add_section(const char *heading, const struct text *content, struct text *out)
{
    if (content->size > 0) {
        text_printf(out, "%s:\n", heading);
        add_lines(content->data, content->data + content->size, out);
    }
}

/* The thread that got the signal first: faulthandler prints it somewhere among the others. */
static void add_python_frames(const struct text *frames, struct text *out)
{
    static const char current[] = "Current thread ";
    const char *start = text_cstr(frames);
    const char *end = start + frames->size;
    const char *from = memmem(start, frames->size, current, sizeof current - 1);
    if (from == NULL) {
        add_section("Python frames", frames, out);
        return;
    }
    const char *to = memmem(from, (size_t)(end - from), "\n\n", 2);
    to = to == NULL ? end : to;
    text_add_cstr(out, "Python frames:\n");
    add_lines(from, to, out);
    add_lines(start, from, out);
    add_lines(to, end, out);
}

void executor_death_print(const struct executor_death *death, executor_task_name *name, void *user,
                          struct text *out)
{
    executor_death_summary(death, out);
    text_add_char(out, '\n');
    text_printf(out, "it ran for %.1f s, used %.1f s of CPU (%.1f s in the kernel)\n",
                death->uptime, death->cpu_user + death->cpu_system, death->cpu_system);
    add_memory(death, out);
    for (uint32_t i = 0; i < death->victims.count; i++) {
        const struct executor_victim *victim = &death->victims.items[i];
        text_add_cstr(out, victim->is_export ? "the value of task " : "task ");
        name(user, victim->handle, out);
        text_printf(out, " %s in thread %u since ",
                    victim->is_export ? "was being serialised" : "ran", victim->thread);
        text_add_utc(out, victim->start);
        text_add_cstr(out, victim->is_culprit ? ", and got the signal\n" : "\n");
    }
    add_section("kernel", &death->kernel, out);
    add_section("native frames", &death->native_frames, out);
    add_python_frames(&death->python_frames, out);
    add_section("last output", &death->last_words, out);
}
