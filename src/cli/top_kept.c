/* top_kept.c: see top_kept.h. A process of its own, as the observer is one: its loop is not the link's. */
#include "cli/top_kept.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "io/io.h"
#include "observer/history.h"
#include "observer/history_view.h"
#include "observer/observer.h"

/* The folder is the user's own, a port of this machine is everybody's: the address is the key. */
static int make_prefix(struct text *out)
{
    uint8_t secret[16];
    if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret) {
        return ERR_IO;
    }
    text_add_char(out, '/');
    for (size_t i = 0; i < sizeof secret; i++) {
        text_printf(out, "%02x", secret[i]);
    }
    return OK;
}

/* It ends with its parent, whatever ends that. */
static _Noreturn void serve(const char *path, int listener, const char *prefix, pid_t parent)
{
    struct text why = {0};
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
        _exit(EXIT_FAILURE);
    }
    int code = observer_show(path, listener, prefix, &why);
    if (code != OK) {
        fprintf(stderr, "cask: %s\n", text_cstr(&why));
    }
    _exit(code == OK ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* Whether it can be read, while we can still say why not. */
static int look(const char *path, struct text *why)
{
    struct history_view *view;
    int code = history_view_open(path, &view, why);
    if (code == OK) {
        history_view_close(view);
    }
    return code;
}

/* A title is short: of "…/20261122T180047-Scheduler-….db" the time. */
static void put_name(const char *path, struct text *out)
{
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    text_printf(out, "run %.*s", (int)strcspn(name, "-."), name);
}

int top_kept_open(const char *what, struct top_place *out_place, struct text *out_name,
                  pid_t *out_child, struct text *why)
{
    struct text folder = {0}, path = {0};
    struct io_address address = {.transport = IO_TCP, .port = 0};
    int listener = -1;
    pid_t parent = getpid();
    strcpy(address.host, "127.0.0.1");
    history_folder(&folder);
    int code = history_find(text_cstr(&folder), what, &path, why);
    code = code == OK ? look(text_cstr(&path), why) : code;
    code = code == OK ? make_prefix(&out_place->prefix) : code;
    code = code == OK ? io_listen_socket(&address, &listener, why) : code;
    if (code == OK) {
        *out_child = fork();
        if (*out_child == 0) {
            serve(text_cstr(&path), listener, text_cstr(&out_place->prefix), parent);
        }
        close(listener);
        text_add_cstr(&out_place->host, address.host);
        out_place->port = address.port;
        put_name(text_cstr(&path), out_name);
    }
    if (code == OK && *out_child < 0) {
        text_printf(why, "no process for it: %m");
        *out_child = 0;
        code = ERR_IO;
    }
    text_fini(&folder);
    text_fini(&path);
    return code;
}

void top_kept_close(pid_t child)
{
    if (child > 0) {
        kill(child, SIGTERM);
        waitpid(child, NULL, 0);
    }
}
