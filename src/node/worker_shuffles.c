/* worker_shuffles.c: P2P shuffles that lose an executor.
 *
 * Dask's shuffle keeps what it has received, and what it has still to send, in the process in which its plugin is:
 * an executor. Its death must not go unnoticed, or rows would be missing. With stock it is the worker's, and the
 * scheduler begins the worker's shuffles again; here the worker asks for that, by the message with which a stock
 * barrier says that its inputs come from different runs. Until the scheduler has heard of it the next executor gets
 * no task: one that looked for its part of the shuffle there would fail. */
#include "base/log.h"
#include "node/worker_internal.h"

#define LOGGER "distributed.shuffle._worker_plugin"

void worker_shuffles_told(struct worker_node *worker, uint32_t index, struct span told)
{
    struct seat *seat = &worker->seats.items[index];
    text_clear(&seat->shuffles);
    text_add(&seat->shuffles, told);
}

/* The scheduler has heard of it, or does not know the shuffle any more. */
static void begun_again(void *user, int code, const char *text, const struct frames *reply)
{
    struct seat *seat = user;
    (void)reply;
    seat->shuffles_ending--;
    if (code != OK) {
        log_warning(LOGGER, "The scheduler could not be told that shuffles lost an executor: %s",
                    text);
    }
}

static void begin_again(struct worker_node *worker, struct seat *seat, struct span id,
                        int64_t run_id)
{
    const struct msg_shuffle_barrier message = {.id = id, .run_id = run_id, .consistent = false};
    const struct rpc_options options = {.done = begun_again, .user = seat};
    struct outgoing out;
    outgoing_init(&out);
    message_encode_request(&out, MESSAGE_SHUFFLE_BARRIER, &message, true, false);
    seat->shuffles_ending++;
    rpc_call(worker->rpc, text_span(&worker->scheduler), &out, &options);
    outgoing_fini(&out);
}

void worker_shuffles_died(struct worker_node *worker, uint32_t index)
{
    struct seat *seat = &worker->seats.items[index];
    if (worker->is_closing) {
        return; /* the scheduler sees the worker go */
    }
    struct msgpack_reader reader = msgpack_reader(text_span(&seat->shuffles));
    uint32_t count = 0, parts;
    int code = seat->shuffles.size > 0 ? msgpack_read_array(&reader, &count) : OK;
    for (uint32_t i = 0; code == OK && i < count; i++) {
        struct span id;
        int64_t run_id;
        code = msgpack_read_array(&reader, &parts);
        code = code == OK && parts != 2 ? ERR_MALFORMED : code;
        code = code == OK ? msgpack_read_str(&reader, &id) : code;
        code = code == OK ? msgpack_read_int(&reader, &run_id) : code;
        if (code == OK) {
            log_warning(LOGGER, "Shuffle %.*s loses an executor and begins again", (int)id.size,
                        (const char *)id.data);
            begin_again(worker, seat, id, run_id);
        }
    }
    if (code != OK) {
        log_warning(LOGGER, "which shuffles an executor was part of cannot be read: %s",
                    error_meaning(code));
    }
    text_clear(&seat->shuffles);
}
