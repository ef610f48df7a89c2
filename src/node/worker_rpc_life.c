/* worker_rpc_life.c: calls that end a worker or let it begin anew, and what its nanny answers.
 * Source: distributed worker.py close; nanny.py kill, restart, instantiate, terminate, close_gracefully. */
#include "base/log.h"
#include "node/worker_internal.h"

#define LOGGER "distributed.nanny"
#define RESTART_SECONDS_MAX 1e6 /* a timeout over this is none */

/* Both servers: the connection closes. */
void worker_rpc_close(struct worker_node *worker, struct request *request,
                      const struct message *message)
{
    (void)worker;
    (void)message;
    request->closes = true;
    request_reply_ok(request);
}

static void end(struct worker_node *worker, struct span reason, const char *otherwise,
                bool with_nanny)
{
    struct text text = {0};
    text_add(&text, reason.size > 0 ? reason : span_of_text(otherwise));
    worker_end(worker, text_cstr(&text), with_nanny);
    text_fini(&text);
}

void worker_rpc_terminate(struct worker_node *worker, struct request *request,
                          const struct message *message)
{
    const struct msg_worker_terminate *m = &message->body.worker_terminate;
    request_reply_ok(request);
    end(worker, m->reason, "worker-close", m->nanny);
}

/* Answered once it is dead; it comes back by itself. */
void nanny_rpc_kill(struct worker_node *worker, struct request *request,
                    const struct message *message)
{
    end(worker, message->body.nanny_kill.reason, "nanny-kill", false);
    request_reply_nil(request);
}

/* A restart that somebody waits for. */
struct restart {
    struct worker_node *worker;
    uint64_t request;
    struct io_timer *timer;
};

static void restart_free(struct restart *restart)
{
    io_timer_destroy(restart->timer);
    mem_free(restart);
}

/* It goes on, but who asked for it has waited long enough. */
static void restart_is_late(void *user)
{
    struct restart *restart = user;
    struct worker_node *worker = restart->worker;
    struct request *request = request_find(&worker->nanny, restart->request);
    for (uint32_t i = 0; i < worker->restarts.count; i++) {
        if (worker->restarts.items[i] == restart) {
            vec_swap_remove(&worker->restarts, i);
            break;
        }
    }
    log_error(LOGGER,
              "The restart takes longer than was asked for; returning before it is finished");
    if (request != NULL) {
        request_reply_str(request, SPAN("timed out"));
    }
    restart_free(restart);
}

/* Answered once it has registered again. */
void nanny_rpc_restart(struct worker_node *worker, struct request *request,
                       const struct message *message)
{
    const struct msg_nanny_restart *m = &message->body.nanny_restart;
    if (worker->is_closing) {
        request_raise_builtin(request, "RuntimeError", "the worker closes");
        return;
    }
    struct restart *restart = mem_zalloc(1, sizeof *restart);
    restart->worker = worker;
    restart->request = request->number;
    restart->timer = io_timer_create(worker->loop, restart_is_late, restart);
    if (m->timeout >= 0 && m->timeout < RESTART_SECONDS_MAX) {
        io_timer_start(restart->timer, m->timeout, 0);
    }
    vec_push(&worker->restarts, restart);
    end(worker, m->reason, "nanny-restart", false);
}

void worker_answer_restarts(struct worker_node *worker, bool is_fine)
{
    while (worker->restarts.count > 0) {
        struct restart *restart = vec_pop(&worker->restarts);
        struct request *request = request_find(&worker->nanny, restart->request);
        if (request != NULL && is_fine) {
            request_reply_ok(request);
        } else if (request != NULL) {
            request_raise_builtin(request, "RuntimeError", "the worker closes");
        }
        restart_free(restart);
    }
}

void nanny_rpc_instantiate(struct worker_node *worker, struct request *request,
                           const struct message *message)
{
    (void)message;
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_map(&out.head, 4);
    msgpack_write_cstr(&out.head, "__Enum__");
    msgpack_write_bool(&out.head, true);
    msgpack_write_cstr(&out.head, "name");
    msgpack_write_cstr(&out.head, worker->is_closing ? "closing" : "running");
    msgpack_write_cstr(&out.head, "__module__");
    msgpack_write_cstr(&out.head, "distributed.core");
    msgpack_write_cstr(&out.head, "__name__");
    msgpack_write_cstr(&out.head, "Status");
    request_reply(request, &out);
    outgoing_fini(&out);
}

void nanny_rpc_terminate(struct worker_node *worker, struct request *request,
                         const struct message *message)
{
    request_reply_ok(request);
    end(worker, message->body.nanny_terminate.reason, "nanny-close", true);
}

/* A stock nanny does not restart its worker from then on, and closes with it: here both are one. */
void nanny_rpc_close_gracefully(struct worker_node *worker, struct request *request,
                                const struct message *message)
{
    struct text reason = {0};
    struct span told = message->body.nanny_close_gracefully.reason;
    text_add(&reason, told.size > 0 ? told : SPAN("nanny-close-gracefully"));
    log_info(LOGGER, "Closing Nanny gracefully at '%s'. Reason: %s",
             text_cstr(&worker->nanny.address), text_cstr(&reason));
    request_reply_nil(request);
    worker_close_gracefully(worker, text_cstr(&reason), false);
    text_fini(&reason);
}
