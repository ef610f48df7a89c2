/* sim.h: a whole cluster in one process and on one seed: the real scheduler core among simulated workers,
 * clients, network and time.
 *
 * Everything that will happen is a letter with an hour (network.h); the run takes the earliest one, again
 * and again, and hands it to whom it is for. Nothing reads a clock or a random source but `prng`, so a seed
 * names a run exactly. First there is trouble (faults.c) and work (workload.c) for `steps` letters; then
 * calm: everybody recovers, all work must come to an end, and checkers.c looks at what is left. */
#ifndef CASK_TEST_SIM_SIM_H
#define CASK_TEST_SIM_SIM_H

#include "base/map.h"
#include "base/prng.h"
#include "base/text.h"
#include "base/vec.h"
#include "core/scheduler/balance.h"
#include "core/scheduler/scheduler.h"
#include "core/scheduler/view.h"
#include "core/worker/states.h"

#define WORKERS_MAX 12u
#define CLIENTS_MAX 4u
#define PEERS_MAX (CLIENTS_MAX + WORKERS_MAX) /* clients: people's first, then one a worker */
#define ADDRESSES_A_SLOT 4096u                /* a worker's address: slot and life */
#define LINES_KEPT 60u
#define EPOCH 1e9 /* what the scheduler's clock says when a run begins */

/* What may happen in a run; a seed draws a subset, --features names one. */
enum feature {
    FEATURE_CRASH = 1 << 0,    /* workers die, and come back */
    FEATURE_DROP = 1 << 1,     /* connections end under living workers */
    FEATURE_PAUSE = 1 << 2,    /* pause, unpause */
    FEATURE_RETIRE = 1 << 3,   /* retire_workers */
    FEATURE_HANG = 1 << 4,     /* workers that stop answering for a while */
    FEATURE_FLAKY = 1 << 5,    /* transfers between workers fail or are refused */
    FEATURE_ERRORS = 1 << 6,   /* tasks fail, reschedule, secede, kill their worker */
    FEATURE_CANCEL = 1 << 7,   /* cancel and retry */
    FEATURE_CLIENTS = 1 << 8,  /* clients vanish and come back */
    FEATURE_RESTRICT = 1 << 9, /* restrictions, resources, priorities, retries */
    FEATURE_ACTORS = 1 << 10,
    FEATURE_SCATTER = 1 << 11, /* scatter, replicate, rebalance */
    FEATURE_STEAL = 1 << 12,
    FEATURE_AMM = 1 << 13,
    FEATURE_RESTART = 1 << 14,    /* Client.restart */
    FEATURE_COORDINATE = 1 << 15, /* locks, events, queues, variables, datasets */
    FEATURE_RUDE =
        1 << 16, /* letters lost when a connection ends; odd, late and doubled messages */
    FEATURE_SHUFFLE = 1 << 17, /* P2P shuffles */
    FEATURE_NESTED = 1 << 18,  /* tasks that submit others and wait for them */
    FEATURE_RECONNECT =
        1 << 19,              /* peers that are back before their old connection is seen to end */
    FEATURE_SLICES = 1 << 20, /* graphs planned elsewhere, graphs taken in slices */
    FEATURE_BAD_GRAPHS = 1 << 21, /* graphs that cannot be read */
    FEATURE_COLLIDE = 1 << 22,    /* one key, two definitions */
    FEATURE_MOVE = 1 << 23,       /* restrictions and resources that change */
    FEATURE_LEASES = 1 << 24,     /* leases that run out; semaphores and queues that are closed */
    FEATURE_SETUP = 1 << 25,      /* worker plugins: slow to set up, or failing */
    FEATURE_BROADCAST = 1 << 26,  /* scatter to many, then to all */
    FEATURE_WIDE = 1 << 27,       /* more root tasks than there is room for */
    FEATURE_WATCH = 1 << 28,      /* people who look at everything now and then */
    FEATURE_SPANS = 1 << 29,      /* graphs and metrics with spans */
    FEATURE_TIGHT = 1 << 30,      /* little memory; little patience with missing workers */
    FEATURE_ALL = INT32_MAX,
};

struct options {
    uint64_t seed;
    uint32_t workers, clients, steps; /* at most so many */
    uint32_t features;                /* at most these */
    bool verbose;
};

struct numbers VEC(uint32_t); /* a set or list of small numbers */

enum key_kind { KEY_PLAIN, KEY_TRANSFER, KEY_BARRIER, KEY_OUTPUT }; /* the latter three: P2P */

/* A key of the run: what a task of that name does, whoever asks for it. */
struct sim_key {
    struct span bytes;           /* canonical msgpack; in sim->forever */
    struct numbers inputs;       /* key numbers, all smaller than its own */
    struct numbers other_inputs; /* of its second definition, once it has one */
    bool is_redefined;
    struct numbers children; /* what it submits and waits for */
    enum key_kind kind;
    struct numbers shuffles; /* it is part of: numbers in sim->shuffles */
    uint32_t part;           /* OUTPUT: its partition */
    bool
        has_failed_graph; /* a graph that wanted it could not be read: clients were told it erred */
    bool is_data;         /* scattered; else a task */
    bool is_actor;
    bool is_deadly; /* kills the worker it runs on, three times out of four */
    double seconds; /* it takes */
    int64_t nbytes;
    uint32_t failure_percent, reschedule_percent, secede_percent;
    uint32_t retries;
    double priority;
    uint32_t only_on; /* worker slot, or WORKERS_MAX: anywhere */
    bool is_loose;
    bool needs_gpu; /* resource */
    uint32_t runs;  /* so far, all workers together */
};

/* What a client sends as update-graph. */
struct graph_ask {
    struct numbers wanted, tasks; /* tasks: key number, perhaps with OTHER_DEFINITION */
    bool cull, is_annotated, is_bad;
    bool is_senseless; /* a task needs itself, or may only run where no worker can be */
    bool has_order;    /* it says what comes before what */
    bool has_spans;
    uint32_t marks;                         /* by chance: which spans, which texts */
    double user_priority, planning_seconds; /* 0: read at once */
    uint32_t submitter;                     /* 1 + key of the task that submits it; 0: none */
    uint32_t slice;
};
#define OTHER_DEFINITION 0x80000000u

struct sim_graph;

/* ---- the network ---- */

enum letter_kind {
#define LETTER(ID, name) LETTER_##ID,
#include "sim/letters.def"
};

struct letter {
    double time;
    uint64_t order; /* among letters of one hour: first sent, first delivered */
    enum letter_kind kind;
    uint32_t to, from; /* slots */
    uint32_t life; /* of the connection, transfer or run it belongs to; stale ones are dropped */
    uint32_t
        name; /* client → scheduler: of the client: new with each process, not with each connection */
    uint32_t key;
    bool ahead; /* compute-task: inputs without holders are computed there */
    int64_t number;
    double real;
    uint32_t *words; /* owned; NULL none */
    uint32_t word_count;
    char text[48]; /* status, stimulus */
};

/* One direction of a connection. */
struct channel {
    double last; /* hour of the last letter in it: order is kept */
};

/* ---- workers ---- */

struct machine;

/* A run of a shuffle, as a worker knows it. */
struct p2p_run {
    uint32_t shuffle;
    int64_t run_id;
    bool has_failed, transferred;
    struct numbers received; /* keys of the transfers whose shards are here */
};

/* What a worker's last run of a task came to. */
struct result {
    int64_t value;       /* P2P: the id of the shuffle's run */
    const char *trouble; /* why it failed; NULL: for reasons of its own */
    bool was_made;       /* by a run here: it did not come from elsewhere */
};

/* A run that waits for tasks it submitted. */
struct nest {
    uint32_t key, run;
};

struct sim_worker {
    uint32_t slot, life; /* life counts starts of the process */
    uint32_t address;    /* as peers know it: slot and, unless its port is fixed, life */
    uint32_t connection; /* number of its connection to the scheduler */
    struct numbers ids;  /* by connection: worker_id there; WORKER_NONE: not (or no longer) open */
    uint32_t lost;       /* connections up to this one lost what was on its way */
    bool alive;
    bool registered; /* the scheduler answered */
    bool has_nanny, keeps_address, starts_in_init;
    bool is_retiring; /* told to close gracefully: memory neither pauses nor unpauses it */
    double hung_until;
    uint32_t nthreads, gpus;
    int64_t memory_limit;
    double speed; /* run times are divided by it */
    struct channel up, down;
    struct machine *machine; /* NULL: no process */
    struct VEC(struct nest) nests;
    struct VEC(struct p2p_run) runs;
    struct VEC(struct result) results; /* by key */
};

/* Who a worker_id is. */
struct incarnation {
    uint32_t slot, life, connection, address;
    struct numbers asked; /* keys the scheduler told it to compute and has not heard of since */
};

/* ---- clients ---- */

enum future_state {
    FUTURE_NONE,
    FUTURE_PENDING,
    FUTURE_FINISHED,
    FUTURE_ERRED,
    FUTURE_CANCELLED,
};

struct sim_client {
    uint32_t slot, life; /* life counts connections */
    uint32_t name;       /* counts clients */
    bool connected;      /* it lives, and has a stream */
    struct numbers ids;  /* by life: client_id; CLIENT_NONE: not (or no longer) open */
    struct channel up, down;
    struct VEC(uint8_t) futures;      /* enum future_state by key */
    struct numbers by_name;           /* desired without a graph: the scheduler may not know them */
    struct numbers held;              /* lives whose stream is not read for now */
    struct VEC(struct letter) unread; /* what has come in them */
};

enum p2p_call { P2P_GET, P2P_GET_OR_CREATE, P2P_BARRIER, P2P_RESTRICT };

/* An RPC that waits for its one answer. */
struct pending_request {
    uint32_t client, life;     /* who asked; PEERS_MAX: a worker, or nobody */
    uint32_t worker, key, run; /* P2P: for a task's run there … */
    enum p2p_call call;
    int64_t run_id; /* … about the shuffle's run */
    bool answered;
    bool gone; /* the asker went: no answer may come any more */
    double deadline;
    enum event_kind kind;
    uint32_t object;
    bool is_held; /* a granted lease, not yet given back */
    double refreshed_at;
    uint32_t value;    /* QUEUE_PUT: 1 + number of the value; 0: a future */
    struct blob *blob; /* of the value; owned */
};

/* A plain value on its way through a queue. */
struct queue_value {
    uint32_t object, generation; /* the queue, and how often it had been closed */
    bool is_in, is_taken;
};

/* Who has which partition in a run of a shuffle. */
struct p2p_spread {
    int64_t run_id;
    struct numbers addresses; /* by partition */
};

struct sim_shuffle {
    struct span id;
    uint32_t barrier, part_count;
    bool is_array;                     /* of arrays: else of dataframes */
    struct numbers transfers, outputs; /* keys */
    bool has_erred;     /* one of its tasks failed: then the scheduler does not run it again */
    int64_t active_run; /* as the core has said; 0: none */
    struct VEC(struct p2p_spread) spreads;
};

/* A scatter: a share for each of some workers. */
struct sim_scatter {
    uint32_t client, life;
    struct numbers keys, holders; /* worker ids */
    uint32_t waiting;             /* workers that have not answered */
    bool has_failed, is_broadcast;
};

/* A barrier whose participants are being told. */
struct p2p_barrier {
    uint64_t request;
    uint32_t shuffle;
    int64_t run_id;
    struct numbers waiting; /* worker ids */
    bool is_over;
};

struct sim {
    struct options options;
    uint32_t features;
    struct prng prng;
    double now;
    uint64_t delivered, steps;
    struct scheduler_config config;
    struct scheduler *s;
    struct step step;
    enum event_kind event_kind; /* of the step */
    struct arena scratch;       /* of the event being made */
    struct arena forever;
    struct blob *run_specs[2], *exception; /* of the first and the second definition */
    struct blob *texts[2];                 /* for code and metadata of graphs */

    struct VEC(struct sim_key) keys;
    struct map key_numbers;
    struct VEC(struct letter) letters; /* a heap */
    uint64_t letter_order;
    double tick_at; /* hour of the tick on its way */
    double delay_typical, delay_spread;

    uint32_t worker_count, client_count;
    struct sim_worker workers[WORKERS_MAX];
    struct sim_client clients[PEERS_MAX];
    struct VEC(struct sim_shuffle) shuffles;
    struct VEC(struct p2p_barrier) barriers;
    struct VEC(struct sim_scatter) scatters;
    struct VEC(struct graph_ask) asks;
    struct VEC(struct letter) graphs_waiting;    /* for what the core has not done yet */
    struct sim_graph *building;                  /* lent to the core, which takes it in slices */
    bool is_more_due;                            /* the next slice is on its way */
    struct VEC(struct incarnation) incarnations; /* by worker_id */
    struct VEC(struct pending_request) requests; /* by number − 1 */
    struct VEC(struct queue_value) values;       /* by number */
    uint32_t queue_makers[2];                    /* users of each queue */
    uint32_t queue_generation[2];                /* how often it was closed */
    bool is_overbooked[2];                       /* semaphores */
    int64_t run_id_last;
    uint32_t busy;  /* letters under way that are work */
    double busy_at; /* when the last of them came */
    bool calm;      /* no more faults and no more work */

    uint64_t hash; /* of the transcript so far */
    struct text line;
    char kept[LINES_KEPT][240];
    uint64_t line_count;
};

/* ---- what happened (print.c) ---- */

void say(struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3);
void say_event(struct sim *sim, const struct event *event);
void say_actions(struct sim *sim);
/* The moves of a key that the scheduler remembers. */
void say_story(struct sim *sim, uint32_t key);
/* A checker found something: the last lines, the seed, and the end of the process. */
_Noreturn void fail(struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3);
/* The last lines to stderr. */
void print_last_lines(const struct sim *sim);

/* ---- chance ---- */

static inline uint32_t below(struct sim *sim, uint32_t bound)
{
    return prng_below(&sim->prng, bound);
}
static inline bool percent(struct sim *sim, uint32_t chance)
{
    return below(sim, 100) < chance;
}
static inline bool has(const struct sim *sim, enum feature feature)
{
    return (sim->features & (uint32_t)feature) != 0;
}

/* ---- small sets (sets.c) ---- */

bool set_has(const struct numbers *set, uint32_t number);
bool set_add(struct numbers *set, uint32_t number); /* false: it was there */
bool set_remove(struct numbers *set, uint32_t number);

#endif
