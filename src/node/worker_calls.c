/* worker_calls.c: operations for Python: CALL goes to an executor, REPLY comes back, or the executor dies. */
#include "base/log.h"
#include "node/worker_internal.h"

#define LOGGER "distributed.worker"

struct call {
    uint64_t number;
    uint32_t seat;
    call_replied *replied;
    void *user;
};

static struct span number_name(const uint64_t *number)
{
    return span_of(number, sizeof *number);
}

void worker_call(struct worker_node *worker, const struct call_wish *wish)
{
    const struct executor_payload nothing = {.value = SPAN("\x80"), .segment = -1};
    struct executor *executor = wish->seat == SEAT_NANNY ? worker_nanny_executor(worker)
                                                         : worker->seats.items[wish->seat].executor;
    struct call *call = mem_zalloc(1, sizeof *call);
    *call = (struct call){++worker->call_last, wish->seat, wish->replied, wish->user};
    int code = executor == NULL ? ERR_CLOSED : OK;
    if (code == OK) {
        code = channel_add_call(executor_out(executor), call->number, wish->replied != NULL,
                                wish->op, wish->arguments != NULL ? wish->arguments : &nothing);
    }
    if (code != OK) {
        log_warning(LOGGER, "%.*s could not be sent to an executor: %s", (int)wish->op.size,
                    (const char *)wish->op.data, error_meaning(code));
    }
    if (wish->replied == NULL) {
        mem_free(call);
    } else if (code != OK) {
        mem_free(call);
        wish->replied(wish->user, worker, NULL);
    } else {
        map_put(&worker->calls, number_name(&call->number), NULL)->value.pointer = call;
    }
}

/* Answer it and forget it. */
static void end(struct worker_node *worker, struct call *call, const struct frames *reply)
{
    struct call ended = *call;
    map_remove(&worker->calls, number_name(&ended.number));
    mem_free(call);
    ended.replied(ended.user, worker, reply);
}

void worker_call_replied(struct worker_node *worker, uint32_t seat,
                         const struct executor_message *reply)
{
    struct map_entry *entry = map_find(&worker->calls, number_name(&reply->handle));
    struct call *call = entry == NULL ? NULL : entry->value.pointer;
    if (call == NULL || call->seat != seat) {
        return; /* nobody asked: an executor is not believed */
    }
    struct frames frames = {0};
    int code = worker_frames_of(&reply->payload, &frames);
    if (code != OK) {
        log_warning(LOGGER, "the reply of an executor could not be read: %s", error_meaning(code));
    }
    end(worker, call, code == OK ? &frames : NULL);
    frames_fini(&frames);
}

void worker_calls_died(struct worker_node *worker, uint32_t seat)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&worker->calls, &cursor)) != NULL;) {
        struct call *call = entry->value.pointer;
        if (call->seat == seat) {
            end(worker, call, NULL);
            cursor = 0; /* what it called may have changed the table */
        }
    }
}
