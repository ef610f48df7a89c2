/* idle.c: idle is a scheduler in which no task could go on and no graph is under way; the core says since when. */
#include "node/idle.h"

#include <math.h>

#include "base/alloc.h"
#include "base/log.h"
#include "node/node.h"

#define LOGGER "distributed.scheduler"

struct idle_watch {
    struct node *node;
    struct io_timer *timer;
    double timeout; /* seconds */
};

static void look(void *user)
{
    struct idle_watch *watch = user;
    struct node *node = watch->node;
    double since = view_idle_since(node->core);
    if (node->is_closing || node->graphs_under_way > 0 || since == 0) {
        return;
    }
    since = since > node->started ? since : node->started;
    if (io_now() > since + watch->timeout) {
        log_info(LOGGER, "Scheduler closing after being idle for %.2f s", watch->timeout);
        node_close(node, "idle-timeout-exceeded");
    }
}

struct idle_watch *idle_watch_create(struct node *node)
{
    struct idle_watch *watch = mem_zalloc(1, sizeof *watch);
    watch->node = node;
    watch->timeout = config_seconds(node->config, "distributed.scheduler.idle-timeout", INFINITY);
    watch->timer = io_timer_create(node->loop, look, watch);
    if (isfinite(watch->timeout) && watch->timeout > 0) {
        io_timer_start(watch->timer, watch->timeout / 4, watch->timeout / 4);
    }
    return watch;
}

void idle_watch_destroy(struct idle_watch *watch)
{
    io_timer_destroy(watch->timer);
    mem_free(watch);
}
