/* step.c: a worker's beginning and end, and the way of an event to the function that answers it. */
#include "core/worker/action.h"
#include "core/worker/fetch.h"
#include "core/worker/peer.h"
#include "core/worker/ready.h"
#include "core/worker/step_events.h"
#include "core/worker/story.h"
#include "core/worker/task.h"
#include "core/worker/transition.h"

void worker_config_init(struct worker_config *config)
{
    *config = (struct worker_config){
        .nthreads = 1,
        .ahead_seconds = 0.002,
        .incoming_limit = WORKER_NO_LIMIT,
        .message_limit = 50000000,
        .incoming_count_limit = 50,
        .throttle_floor = 10000000,
        .default_data_size = 1024,
        .story_length = 1000,
        .draws_lots = true,
    };
}

struct worker_state *worker_create(const struct worker_config *config)
{
    ASSERT(config->address.size > 0);
    struct worker_state *w = mem_zalloc(1, sizeof *w);
    w->config = *config;
    w->address =
        (struct span){mem_copy(config->address.data, config->address.size), config->address.size};
    w->config.address = w->address;
    w->host = wpeer_host(w->address);
    w->running = true;
    prng_init(&w->prng, config->seed);
    wtasks_init(w);
    wready_init(w);
    w->config.resources = (struct resource_list){0};
    w->story = wstory_create(config->story_length);
    return w;
}

void worker_destroy(struct worker_state *w)
{
    if (w == NULL) {
        return;
    }
    wstory_destroy(w->story);
    wpeers_fini(w);
    wtasks_fini(w);
    wready_fini(w);
    wfetch_fini(w);
    vec_fini(&w->wants);
    vec_fini(&w->offers);
    mem_free((void *)(uintptr_t)w->address.data);
    mem_free(w);
}

void worker_want_transitions(struct worker_state *w, bool wanted)
{
    w->config.transitions = wanted;
}

/* ---- events ---- */

typedef void event_function(struct worker_state *w, const struct worker_event *event);

static event_function *const answers[WORKER_EVENT_KIND_COUNT] = {
#define EVENT(ID, name, FIELDS) [WORKER_EVENT_##ID] = worker_on_##name,
#include "core/worker/events.def"
};

void woffer_add(struct worker_state *w, task_id task, struct span key, const struct wmove *move)
{
    vec_push(&w->offers, (struct wofferd){.task = task, .key = key, .move = move});
}

/* KEEP has been said by the move that took a value; the others are refused. */
static void settle_offers(struct worker_state *w)
{
    for (uint32_t i = 0; i < w->offers.count; i++) {
        const struct wofferd *offer = &w->offers.items[i];
        if (offer->move == NULL || !offer->move->kept) {
            waction_task(w, WORKER_ACTION_REFUSE, offer->task, offer->key);
        }
    }
    w->offers.count = 0;
}

static void begin(struct worker_state *w, const struct worker_event *event,
                  struct worker_step *step)
{
    wtasks_sweep(w);
    wpeers_sweep(w);
    arena_reset(&step->arena);
    step->action_count = 0;
    w->now = event->time > w->now ? event->time : w->now;
    step->time = w->now;
    step->stimulus = event->stimulus;
    w->step = step;
}

void worker_step(struct worker_state *w, const struct worker_event *event, struct worker_step *step)
{
    ASSERT((unsigned)event->kind < WORKER_EVENT_KIND_COUNT);
    ASSERT(w->wants.count == 0 && w->offers.count == 0);
    begin(w, event, step);
    answers[event->kind](w, event);
    wtransitions_run(w);
    wfetch_ensure_communicating(w);
    settle_offers(w);
    if (w->config.check) {
        worker_check(w);
    }
    w->step = NULL;
}
