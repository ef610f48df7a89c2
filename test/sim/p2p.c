/* p2p.c: P2P shuffles on a worker. Shards travel at once; what takes time, and goes wrong, is everything that
 * the scheduler has a part in: who has which partition in which run, barriers, runs that end early.
 * Must agree with: distributed shuffle/_worker_plugin.py _ShuffleRunManager; shuffle/_core.py ShuffleRun. */
#include "sim/p2p.h"

#include "sim/machine.h"
#include "sim/network.h"
#include "sim/worker.h"

#define TRY_AGAIN_SECONDS 0.2
#define NO_SHUFFLE UINT32_MAX

/* ---- runs ---- */

/* _active_runs.get(shuffle) */
static struct p2p_run *active_run(struct sim_worker *worker, uint32_t shuffle)
{
    for (uint32_t i = 0; i < worker->runs.count; i++) {
        struct p2p_run *run = &worker->runs.items[i];
        if (run->shuffle == shuffle && !run->has_failed) {
            return run;
        }
    }
    return NULL;
}

/* The greatest run of the shuffle that is known to have failed; 0: none. */
static int64_t stale_run(const struct sim_worker *worker, uint32_t shuffle)
{
    int64_t stale = 0;
    for (uint32_t i = 0; i < worker->runs.count; i++) {
        const struct p2p_run *run = &worker->runs.items[i];
        bool is_later = run->shuffle == shuffle && run->has_failed && run->run_id > stale;
        stale = is_later ? run->run_id : stale;
    }
    return stale;
}

void p2p_fail(struct sim *sim, struct sim_worker *worker, uint32_t shuffle, int64_t run_id)
{
    (void)sim;
    for (uint32_t i = 0; i < worker->runs.count; i++) {
        if (worker->runs.items[i].shuffle == shuffle && worker->runs.items[i].run_id == run_id) {
            worker->runs.items[i].has_failed = true;
            return;
        }
    }
    vec_push(&worker->runs,
             (struct p2p_run){.shuffle = shuffle, .run_id = run_id, .has_failed = true});
}

/* _refresh: the scheduler told of a run. NULL: it is stale. */
static struct p2p_run *meet_run(struct sim *sim, struct sim_worker *worker, uint32_t shuffle,
                                int64_t run_id)
{
    struct p2p_run *run = active_run(worker, shuffle);
    if (run != NULL && run->run_id >= run_id) {
        return run;
    }
    if (run != NULL) {
        p2p_fail(sim, worker, shuffle, run->run_id);
    }
    if (stale_run(worker, shuffle) >= run_id) {
        return NULL;
    }
    vec_push(&worker->runs, (struct p2p_run){.shuffle = shuffle, .run_id = run_id});
    return &worker->runs.items[worker->runs.count - 1];
}

/* get_with_run_id on a peer that is given something: what it does not know it asks the scheduler for, here
 * without delay. NULL: it refuses. */
static struct p2p_run *peer_run(struct sim *sim, struct sim_worker *peer, uint32_t shuffle,
                                int64_t run_id)
{
    struct p2p_run *run = active_run(peer, shuffle);
    if ((run == NULL || run->run_id < run_id) &&
        sim->shuffles.items[shuffle].active_run == run_id) {
        run = meet_run(sim, peer, shuffle, run_id);
    }
    return run == NULL || run->run_id != run_id ? NULL : run;
}

void p2p_fini(struct sim_worker *worker)
{
    for (uint32_t i = 0; i < worker->runs.count; i++) {
        vec_fini(&worker->runs.items[i].received);
    }
    vec_fini(&worker->runs);
}

bool p2p_inputs_done(struct sim *sim, struct sim_worker *worker, uint32_t shuffle, int64_t run_id)
{
    struct p2p_run *run = peer_run(sim, worker, shuffle, run_id);
    if (run != NULL) {
        run->transferred = true;
    }
    return run != NULL;
}

/* ---- the end of a task's run ---- */

/* A task that runs, and the shuffle of which the scheduler has just told (NO_SHUFFLE: of none). */
struct job {
    struct sim *sim;
    struct sim_worker *worker;
    const struct letter *letter;
    uint32_t fresh;
};

static void end_run(const struct job *job, enum outcome outcome, int64_t value, const char *trouble)
{
    const struct letter *letter = job->letter;
    struct letter done = {.key = letter->key, .from = letter->from, .number = outcome};
    struct result *result = worker_result(job->worker, letter->key);
    result->value = outcome == OUTCOME_FINISHED ? value : result->value;
    result->trouble = trouble;
    machine_run_done(job->sim, job->worker, &done);
}

static void raise(const struct job *job, const char *trouble)
{
    end_run(job, OUTCOME_ERRED, 0, trouble);
}

/* ---- RPCs ---- */

/* Ask the scheduler; `word` is what the call is about. */
static void ask(const struct job *job, enum p2p_call call, int64_t run_id, uint32_t shuffle,
                uint32_t word)
{
    const struct sim_worker *worker = job->worker;
    const struct letter *letter = job->letter;
    struct letter question = {.kind = LETTER_P2P_ASK,
                              .from = worker->slot,
                              .life = worker->life,
                              .key = letter->key,
                              .to = letter->from,
                              .number = call,
                              .real = (double)run_id};
    letter_add(&question, shuffle);
    letter_add(&question, word);
    letter_add(&question, worker->address);
    post(job->sim, question, delay_draw(job->sim));
}

/* get_with_run_id: the run, or NULL: then the task has ended, or waits for an answer. */
static struct p2p_run *run_with_id(const struct job *job, uint32_t shuffle, int64_t run_id)
{
    struct p2p_run *run = active_run(job->worker, shuffle);
    if ((run == NULL || run->run_id < run_id) && job->fresh != shuffle) {
        ask(job, P2P_GET, 0, shuffle, 0);
        return NULL;
    }
    if (run == NULL || run->run_id != run_id) {
        raise(job, run != NULL && run->run_id > run_id ? "P2P: stale run" : "P2P: invalid run");
        return NULL;
    }
    return run;
}

/* ---- the three kinds of tasks ---- */

/* Give the task's shards to all that have a partition. A peer that is not there is tried again: before
 * distributed gives up, the scheduler has noticed, and fails the run. */
static void transfer(const struct job *job)
{
    struct sim *sim = job->sim;
    struct sim_worker *worker = job->worker;
    const struct letter *letter = job->letter;
    uint32_t shuffle = sim->keys.items[letter->key].shuffles.items[0];
    struct p2p_run *run = active_run(worker, shuffle);
    if (run == NULL && job->fresh != shuffle) {
        ask(job, P2P_GET_OR_CREATE, 0, shuffle, 0);
        return;
    }
    if (run == NULL || run->transferred) {
        raise(job, run == NULL ? "P2P: the run failed" : "P2P: too late");
        return;
    }
    int64_t run_id = run->run_id; /* meeting it on other workers does not move this one's runs */
    const struct numbers *spread = p2p_spread(sim, shuffle, run_id);
    bool waits = false;
    for (uint32_t i = 0; i < spread->count; i++) {
        struct sim_worker *peer = worker_at_address(sim, spread->items[i]);
        bool is_there = peer != NULL && peer->registered;
        struct p2p_run *there = is_there ? peer_run(sim, peer, shuffle, run_id) : NULL;
        waits = waits || !is_there;
        if (is_there && there == NULL) {
            raise(job, "P2P: a peer refuses shards");
            return;
        }
        if (is_there) {
            set_add(&there->received, letter->key);
        }
    }
    if (waits) {
        struct letter again = *letter;
        again.kind = LETTER_P2P_AGAIN;
        again.to = worker->slot;
        again.life = worker->life;
        again.words = NULL;
        again.word_count = 0;
        post(sim, again, TRY_AGAIN_SECONDS);
    } else {
        end_run(job, OUTCOME_FINISHED, run_id, NULL);
    }
}

static void barrier(const struct job *job)
{
    struct sim *sim = job->sim;
    struct sim_worker *worker = job->worker;
    const struct letter *letter = job->letter;
    const struct sim_key *key = &sim->keys.items[letter->key];
    int64_t least = INT64_MAX, greatest = 0;
    if (machine_state(sim, worker, letter->key) == WTASK_CANCELLED) {
        raise(job, "P2P: stale run"); /* its inputs are of a run that is over */
        return;
    }
    for (uint32_t i = 0; i < key->inputs.count; i++) {
        int64_t value = worker_result(worker, key->inputs.items[i])->value;
        least = value < least ? value : least;
        greatest = value > greatest ? value : greatest;
    }
    uint32_t shuffle = key->shuffles.items[0];
    const struct p2p_run *run = run_with_id(job, shuffle, greatest);
    if (run != NULL) {
        ask(job, P2P_BARRIER, run->run_id, shuffle, least == greatest);
    }
}

/* The partition is here, and all of it. */
static void check_complete(struct sim *sim, const struct sim_worker *worker, uint32_t key,
                           const struct p2p_run *run)
{
    const struct numbers *transfers = &sim->shuffles.items[run->shuffle].transfers;
    for (uint32_t i = 0; i < transfers->count; i++) {
        if (!set_has(&run->received, transfers->items[i])) {
            fail(sim, "worker %u makes key %u without the shards of key %u (run %lld)",
                 worker->slot, key, transfers->items[i], (long long)run->run_id);
        }
    }
}

static void unpack(const struct job *job)
{
    struct sim *sim = job->sim;
    struct sim_worker *worker = job->worker;
    const struct letter *letter = job->letter;
    const struct sim_key *key = &sim->keys.items[letter->key];
    for (uint32_t i = 0; i < key->shuffles.count; i++) {
        uint32_t shuffle = key->shuffles.items[i];
        int64_t run_id = worker_result(worker, sim->shuffles.items[shuffle].barrier)->value;
        /* A copy of an earlier barrier's result, which was on its way while the shuffle was run again: neither
         * the worker nor the scheduler can tell it from the new one, and the task fails, as with stock. */
        sim->shuffles.items[shuffle].has_erred = sim->shuffles.items[shuffle].has_erred ||
                                                 run_id < sim->shuffles.items[shuffle].active_run;
        const struct p2p_run *run = run_with_id(job, shuffle, run_id);
        if (run == NULL) {
            return;
        }
        uint32_t assigned = p2p_spread(sim, shuffle, run_id)->items[key->part];
        if (assigned != worker->address) {
            ask(job, P2P_RESTRICT, run_id, shuffle, assigned);
            return;
        }
        if (!run->transferred) {
            raise(job, "P2P: unpacked before the barrier");
            return;
        }
        check_complete(sim, worker, letter->key, run);
    }
    end_run(job, OUTCOME_FINISHED, 0, NULL);
}

static void proceed(const struct job *job)
{
    switch (job->sim->keys.items[job->letter->key].kind) {
    case KEY_TRANSFER:
        transfer(job);
        break;
    case KEY_BARRIER:
        barrier(job);
        break;
    default:
        unpack(job);
        break;
    }
}

void p2p_proceed(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    proceed(&(struct job){sim, worker, letter, NO_SHUFFLE});
}

/* Words of a run: its shuffle. */
static void told_of_run(struct job *job)
{
    const struct letter *letter = job->letter;
    if (meet_run(job->sim, job->worker, letter->words[0], (int64_t)letter->real) == NULL) {
        raise(job, "P2P: received a stale run");
    } else {
        job->fresh = letter->words[0];
        proceed(job);
    }
}

void p2p_answered(struct sim *sim, struct sim_worker *worker, const struct letter *letter)
{
    struct job job = {sim, worker, letter, NO_SHUFFLE};
    if (letter->text[0] != '\0') {
        raise(&job, "P2P: the scheduler refused");
        return;
    }
    switch ((enum p2p_call)letter->number) {
    case P2P_GET:
    case P2P_GET_OR_CREATE:
        told_of_run(&job);
        break;
    case P2P_BARRIER:
        end_run(&job, OUTCOME_FINISHED, (int64_t)letter->real, NULL);
        break;
    default: /* RESTRICT: it is to run elsewhere */
        end_run(&job, OUTCOME_RESCHEDULED, 0, NULL);
        break;
    }
}
