/* crash.c: unwinding a crashed thread from outside: ptrace stops it, libdw reads its stack.
 *
 * The thread waits in its signal handler, so its first frames are the handler's; those above the
 * signal frame are left out. All ptrace requests must come from one thread, so all is one call. */
#include "exec/crash.h"

#ifdef CASK_HAVE_LIBDW

#include <elfutils/libdwfl.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

enum { FRAMES_MAX = 64, STOP_MS = 1000 };

struct walk {
    Dwfl *dwfl;
    struct text *out;
    size_t start;   /* size of out before the first frame */
    uint32_t count; /* frames printed since */
};

static const char *base_name(const char *path)
{
    const char *slash = path == NULL ? NULL : strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* Where the handler returns to: what lies above is what crashed. */
static bool is_signal_frame(const char *function)
{
    return function != NULL && strcmp(function, "__restore_rt") == 0;
}

static void print_frame(struct walk *walk, Dwfl_Module *module, Dwarf_Addr pc, const char *function)
{
    const char *file = NULL;
    if (module != NULL) {
        const char *path = dwfl_module_info(module, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        file = base_name(path);
    }
    text_printf(walk->out, "#%u %s", walk->count, function == NULL ? "?" : function);
    if (function == NULL) {
        text_printf(walk->out, " 0x%llx", (unsigned long long)pc);
    }
    if (file != NULL) {
        text_printf(walk->out, " (%s)", file);
    }
    Dwfl_Line *line = module == NULL ? NULL : dwfl_module_getsrc(module, pc);
    int number = 0;
    const char *source = line == NULL ? NULL : dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL);
    if (source != NULL) {
        text_printf(walk->out, " %s:%d", source, number);
    }
    text_add_char(walk->out, '\n');
    walk->count++;
}

static int on_frame(Dwfl_Frame *frame, void *user)
{
    struct walk *walk = user;
    Dwarf_Addr pc;
    bool is_activation;
    if (!dwfl_frame_pc(frame, &pc, &is_activation)) {
        return DWARF_CB_ABORT;
    }
    Dwarf_Addr inside = is_activation ? pc : pc - 1; /* a return address is after the call */
    Dwfl_Module *module = dwfl_addrmodule(walk->dwfl, pc);
    const char *function = module == NULL ? NULL : dwfl_module_addrname(module, pc);
    if (is_signal_frame(function)) {
        walk->out->size = walk->start;
        walk->count = 0;
        return DWARF_CB_OK;
    }
    function = module == NULL ? NULL : dwfl_module_addrname(module, inside);
    print_frame(walk, module, inside, function);
    return walk->count < FRAMES_MAX ? DWARF_CB_OK : DWARF_CB_ABORT;
}

static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_linux_proc_find_elf,
    .find_debuginfo = dwfl_standard_find_debuginfo,
};

/* The thread is stopped. */
static bool unwind(int pid, uint32_t thread, struct text *out)
{
    Dwfl *dwfl = dwfl_begin(&callbacks);
    if (dwfl == NULL) {
        text_printf(out, "libdw: %s\n", dwfl_errmsg(-1));
        return false;
    }
    bool attached = dwfl_linux_proc_report(dwfl, pid) == 0 &&
                    dwfl_report_end(dwfl, NULL, NULL) == 0 &&
                    dwfl_linux_proc_attach(dwfl, pid, true) == 0;
    struct walk walk = {.dwfl = dwfl, .out = out, .start = out->size};
    if (attached) {
        (void)dwfl_getthread_frames(dwfl, (pid_t)thread, on_frame, &walk); /* ends by an error */
    }
    if (walk.count == 0) {
        text_printf(out, "no frames: %s\n", dwfl_errmsg(-1));
    }
    dwfl_end(dwfl);
    return walk.count > 0;
}

/* Wait for the stop, and for nothing else: the end of the process is for the loop to see. */
static bool wait_for_stop(pid_t id)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < STOP_MS; i++) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)id, &info, WSTOPPED | WNOHANG | __WALL) != 0) {
            return false;
        }
        if (info.si_pid == id) {
            return true;
        }
        nanosleep(&pause, NULL);
    }
    errno = ETIMEDOUT;
    return false;
}

/* Let it go on. If it does not stop to be let go it runs, or is dead; and one that is dead stays, and with it its
 * process, until we have waited for it. Only the end of the process itself, its first thread's, is for the loop to see. */
static void let_go(pid_t pid, pid_t id)
{
    siginfo_t info;
    while (ptrace(PTRACE_DETACH, id, NULL, NULL) != 0 && errno == ESRCH && id != pid) {
        if (waitid(P_PID, (id_t)id, &info, WSTOPPED | WEXITED | __WALL) != 0 && errno != EINTR) {
            return;
        }
    }
}

static bool stop(pid_t pid, pid_t id, struct text *out)
{
    if (ptrace(PTRACE_SEIZE, id, NULL, NULL) != 0) {
        text_printf(out, "not allowed to look: ptrace: %s\n", strerror(errno));
        return false;
    }
    if (ptrace(PTRACE_INTERRUPT, id, NULL, NULL) != 0 || !wait_for_stop(id)) {
        text_printf(out, "it did not stop: %s\n", strerror(errno));
        let_go(pid, id);
        return false;
    }
    return true;
}

bool crash_unwind(int pid, uint32_t thread, struct text *out)
{
    if (!stop(pid, (pid_t)thread, out)) {
        return false;
    }
    bool found = unwind(pid, thread, out);
    let_go(pid, (pid_t)thread);
    return found;
}

#else

bool crash_unwind(int pid, uint32_t thread, struct text *out)
{
    (void)pid;
    (void)thread;
    text_add_cstr(out, "cask was built without libdw\n");
    return false;
}

#endif
