/* native_stack.c: a library for executors: the native frames of one of their threads, for profiles.
 *
 * A signal makes the thread copy its registers and the top of its stack: nothing else may be done there,
 * as it may hold any lock, the dynamic loader's and the unwinder's too. libdw unwinds the copy afterwards.
 * Python's frames are left out: an unwinding ends where the interpreter's module begins, so what it gives
 * lies below the Python frame that the thread is in.
 *
 * The profiler's thread is the only caller. Stands alone: no other file of cask, no Python API;
 * cask.executor.stack loads it by ctypes. */
#include <dlfcn.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <link.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    SNAPSHOT_SIZE = 64 * 1024,
    ANSWER_NS =
        5 * 1000 * 1000, /* a thread that blocks signals, or is in the kernel, gives no sample */
    TAKEN = -1,
};

#ifdef __aarch64__
enum { REGISTERS = 32 }; /* x0 to x30, sp: DWARF's numbers */
#else
enum {
    REGISTERS = 17
}; /* rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15, the return address: DWARF's numbers */
#endif

/* A signal handler has nothing but globals. */
static struct {
    atomic_int wanted; /* the Linux id of the thread that is asked, 0: none is, TAKEN: it copies */
    sem_t done;
    Dwarf_Word registers[REGISTERS];
    Dwarf_Addr pc, low; /* low: the address of `stack` in the thread */
    size_t size;
    uint8_t stack[SNAPSHOT_SIZE];
} sample;

/* Of the profiler's thread alone. */
static Dwfl *dwfl;
static unsigned long long modules_seen; /* how many the loader had loaded, ever, when dwfl looked */

static int sample_signal(void)
{
    return SIGRTMIN + 9;
}

/* ---- in the thread ---- */

static void copy_registers(const ucontext_t *context)
{
#ifdef __aarch64__
    const mcontext_t *machine = &context->uc_mcontext;
    for (int i = 0; i < 31; i++) {
        sample.registers[i] = machine->regs[i];
    }
    sample.registers[31] = machine->sp;
    sample.pc = machine->pc;
    sample.low = machine->sp;
#else
    static const int order[REGISTERS] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                                         REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                         REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
    const greg_t *machine = context->uc_mcontext.gregs;
    for (int i = 0; i < REGISTERS; i++) {
        sample.registers[i] = (Dwarf_Word)machine[order[i]];
    }
    sample.pc = (Dwarf_Addr)machine[REG_RIP];
    sample.low = (Dwarf_Addr)machine[REG_RSP];
#endif
}

/* The kernel copies, and stops without harm where the stack ends. */
static void copy_stack(void)
{
    struct iovec to = {sample.stack, SNAPSHOT_SIZE};
    struct iovec from = {(void *)(uintptr_t)sample.low, SNAPSHOT_SIZE};
    ssize_t size = syscall(SYS_process_vm_readv, (long)getpid(), &to, 1L, &from, 1L, 0L);
    sample.size = size > 0 ? (size_t)size : 0;
}

static void on_sample(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    int before = errno;
    int expected = (int)syscall(SYS_gettid);
    if (atomic_compare_exchange_strong(&sample.wanted, &expected, TAKEN)) {
        copy_registers(context);
        copy_stack();
        (void)sem_post(&sample.done);
    }
    errno = before;
}

/* ---- in the profiler ---- */

__attribute__((visibility("default"))) int cask_stack_install(void);
__attribute__((visibility("default"))) int cask_stack_capture(int thread);
__attribute__((visibility("default"))) int cask_stack_unwind(uint64_t interpreter, uint64_t *pcs,
                                                             int most);
__attribute__((visibility("default"))) uint64_t cask_stack_describe(uint64_t pc, char *text,
                                                                    size_t size);

/* Names come from the libraries themselves: libdw's own search might ask a server. */
static int find_no_debuginfo(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr base,
                             const char *file, const char *link, GElf_Word checksum, char **found)
{
    (void)module, (void)user, (void)name, (void)base, (void)file, (void)link, (void)checksum,
        (void)found;
    return -1;
}

static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_linux_proc_find_elf,
    .find_debuginfo = find_no_debuginfo,
};

/* Give this process the signal's handler. 0, or an errno: EBUSY if somebody has that signal. */
int cask_stack_install(void)
{
    struct sigaction before, action = {.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    if (sigaction(sample_signal(), NULL, &before) != 0) {
        return errno;
    }
    if ((before.sa_flags & SA_SIGINFO) != 0 || before.sa_handler != SIG_DFL) {
        return EBUSY;
    }
    dwfl = dwfl_begin(&callbacks);
    if (dwfl == NULL || sem_init(&sample.done, 0, 0) != 0) {
        return ENOMEM;
    }
    action.sa_sigaction = on_sample;
    sigemptyset(&action.sa_mask);
    return sigaction(sample_signal(), &action, NULL) == 0 ? 0 : errno;
}

/* Wait for the copy. False: none will come. */
static bool wait_for_copy(int thread)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ANSWER_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    int result;
    do {
        result = sem_clockwait(&sample.done, CLOCK_MONOTONIC, &until);
    } while (result != 0 && errno == EINTR);
    if (result == 0 || atomic_compare_exchange_strong(&sample.wanted, &thread, 0)) {
        return result == 0;
    }
    while (sem_wait(&sample.done) != 0) { /* it came at the last moment, and is copying */
    }
    return true;
}

/* Copy the stack of `thread`, a Linux id, as it is now. 0: there is no copy. The caller holds the interpreter's
 * lock, which keeps Python's part of that stack as it is. */
int cask_stack_capture(int thread)
{
    atomic_store(&sample.wanted, thread);
    bool is_sent = syscall(SYS_tgkill, (long)getpid(), (long)thread, (long)sample_signal()) == 0;
    bool is_copied = is_sent && wait_for_copy(thread);
    atomic_store(&sample.wanted, 0);
    return is_copied;
}

static int count_loads(struct dl_phdr_info *info, size_t size, void *to)
{
    (void)size;
    *(unsigned long long *)to = info->dlpi_adds;
    return 1; /* the first module knows it */
}

/* What the process has loaded by now, if that has changed. */
static bool look_at_modules(void)
{
    unsigned long long loads = 0;
    (void)dl_iterate_phdr(count_loads, &loads);
    if (loads != modules_seen) {
        dwfl_report_begin(dwfl);
        if (dwfl_linux_proc_report(dwfl, getpid()) != 0 || dwfl_report_end(dwfl, NULL, NULL) != 0) {
            return false;
        }
        modules_seen = loads;
    }
    return true;
}

/* There is one thread, whose number does not matter. */
static pid_t next_thread(Dwfl *of, void *user, void **thread_user)
{
    (void)of;
    bool is_first = *thread_user == NULL;
    *thread_user = user;
    return is_first ? getpid() : 0;
}

static bool read_memory(Dwfl *of, Dwarf_Addr address, Dwarf_Word *result, void *user)
{
    (void)of;
    (void)user;
    if (address < sample.low || sample.size < sizeof *result ||
        address - sample.low > sample.size - sizeof *result) {
        return false;
    }
    memcpy(result, sample.stack + (address - sample.low), sizeof *result);
    return true;
}

static bool set_registers(Dwfl_Thread *thread, void *user)
{
    (void)user;
    dwfl_thread_state_register_pc(thread, sample.pc);
    return dwfl_thread_state_registers(thread, 0, REGISTERS, sample.registers);
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
    .next_thread = next_thread,
    .memory_read = read_memory,
    .set_initial_registers = set_registers,
};

struct walk {
    Dwfl_Module *interpreter;
    uint64_t *pcs;
    int count, most;
};

static int on_frame(Dwfl_Frame *frame, void *user)
{
    struct walk *walk = user;
    Dwarf_Addr pc;
    bool is_activation;
    if (!dwfl_frame_pc(frame, &pc, &is_activation) || walk->count == walk->most) {
        return DWARF_CB_ABORT;
    }
    pc -= is_activation ? 0 : 1; /* a return address is after the call */
    if (dwfl_addrmodule(dwfl, pc) == walk->interpreter) {
        return DWARF_CB_ABORT;
    }
    walk->pcs[walk->count++] = pc;
    return DWARF_CB_OK;
}

/* The addresses of the copied stack's frames up to the first one in the module that `interpreter`, any address, is in;
 * innermost first, at most `most`. How many. Needs no lock. */
int cask_stack_unwind(uint64_t interpreter, uint64_t *pcs, int most)
{
    if (!look_at_modules()) {
        return 0;
    }
    if (dwfl_pid(dwfl) < 0 &&
        !dwfl_attach_state(dwfl, NULL, getpid(), &thread_callbacks, &sample)) {
        return 0;
    }
    struct walk walk = {dwfl_addrmodule(dwfl, interpreter), pcs, 0, most};
    (void)dwfl_getthread_frames(dwfl, getpid(), on_frame, &walk); /* ends by an error */
    return walk.count;
}

/* C++'s names as people write them, if anybody in this process has loaded its library. Else NULL; free it. */
static char *demangled(const char *name)
{
    void *library =
        strncmp(name, "_Z", 2) == 0 ? dlopen("libstdc++.so.6", RTLD_NOLOAD | RTLD_LAZY) : NULL;
    void *found = library == NULL ? NULL : dlsym(library, "__cxa_demangle");
    char *(*demangle)(const char *, char *, size_t *, int *);
    memcpy(&demangle, &found, sizeof demangle);
    return found == NULL ? NULL : demangle(name, NULL, NULL, NULL);
}

/* "function (library)" of an address that cask_stack_unwind gave. Gives where the function begins, or `pc`. */
uint64_t cask_stack_describe(uint64_t pc, char *text, size_t size)
{
    Dwfl_Module *module = dwfl_addrmodule(dwfl, pc);
    if (module == NULL) {
        (void)snprintf(text, size, "%#llx", (unsigned long long)pc);
        return pc;
    }
    const char *path = dwfl_module_info(module, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    const char *slash = path == NULL ? NULL : strrchr(path, '/');
    const char *file = path == NULL ? "?" : slash == NULL ? path : slash + 1;
    GElf_Off offset = 0;
    GElf_Sym symbol;
    const char *name = dwfl_module_addrinfo(module, pc, &offset, &symbol, NULL, NULL, NULL);
    if (name == NULL) {
        Dwarf_Addr start = 0;
        (void)dwfl_module_info(module, NULL, &start, NULL, NULL, NULL, NULL, NULL);
        (void)snprintf(text, size, "%s+%#llx", file, (unsigned long long)(pc - start));
        return pc;
    }
    char *readable = demangled(name);
    (void)snprintf(text, size, "%s (%s)", readable == NULL ? name : readable, file);
    free(readable);
    return pc - offset;
}
