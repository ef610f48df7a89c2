/* assembly.c: see assembly.h. What came while the thread worked is its next piece of work; the parts it has
 * done with are given back by the loop. */
#include "node/assembly.h"

#include "base/alloc.h"
#include "base/vec.h"
#include "node/planner_graph.h"

struct parts VEC(struct frames);

struct assembly {
    struct io_loop *loop;
    struct planner_graph_reader reader; /* the thread's while it runs */
    struct parts waiting, taken;        /* `taken`: the thread's */
    struct frames last;                 /* loaned as well; empty until it has come */
    bool is_running, has_last, is_abandoned;
    bool reads_last; /* the thread's task this time */
    int code;
    assembly_done *done;
    void *user;
};

static void parts_fini(struct parts *parts)
{
    for (uint32_t i = 0; i < parts->count; i++) {
        frames_fini(&parts->items[i]);
    }
    vec_fini(parts);
}

static void assembly_free(struct assembly *assembly)
{
    planner_graph_fini(&assembly->reader);
    parts_fini(&assembly->waiting);
    parts_fini(&assembly->taken);
    frames_fini(&assembly->last);
    mem_free(assembly);
}

static void work(void *user)
{
    struct assembly *assembly = user;
    for (uint32_t i = 0; i < assembly->taken.count && assembly->code == OK; i++) {
        assembly->code = planner_graph_add(&assembly->reader, &assembly->taken.items[i]);
    }
    if (assembly->reads_last && assembly->code == OK) {
        assembly->code = planner_graph_finish(&assembly->reader, &assembly->last);
    }
}

static void worked(void *user);

static void run(struct assembly *assembly)
{
    assembly->taken = assembly->waiting;
    memset(&assembly->waiting, 0, sizeof assembly->waiting);
    assembly->reads_last = assembly->has_last;
    assembly->is_running = true;
    io_work(assembly->loop, work, worked, assembly);
}

static void worked(void *user)
{
    struct assembly *assembly = user;
    assembly->is_running = false;
    parts_fini(&assembly->taken);
    if (assembly->is_abandoned) {
        assembly_free(assembly);
    } else if (assembly->reads_last) {
        assembly->done(assembly->user, assembly->code, &assembly->reader.graph, &assembly->last);
        assembly_free(assembly);
    } else if (assembly->waiting.count > 0 || assembly->has_last) {
        run(assembly);
    }
}

static struct frames loan(const struct frames *message)
{
    struct frames lent = {0};
    for (uint32_t i = 0; i < message->count; i++) {
        frames_add(&lent, slice_loan(slice_ref(message->items[i])));
    }
    return lent;
}

struct assembly *assembly_create(struct io_loop *loop)
{
    struct assembly *assembly = mem_zalloc(1, sizeof *assembly);
    assembly->loop = loop;
    planner_graph_init(&assembly->reader);
    return assembly;
}

void assembly_add(struct assembly *assembly, const struct frames *part)
{
    ASSERT(!assembly->has_last);
    vec_push(&assembly->waiting, loan(part));
    if (!assembly->is_running) {
        run(assembly);
    }
}

void assembly_end(struct assembly *assembly, const struct frames *last, assembly_done *done,
                  void *user)
{
    ASSERT(!assembly->has_last);
    assembly->last = loan(last);
    assembly->has_last = true;
    assembly->done = done;
    assembly->user = user;
    if (!assembly->is_running) {
        run(assembly);
    }
}

void assembly_abandon(struct assembly *assembly)
{
    if (assembly != NULL && assembly->is_running) {
        assembly->is_abandoned = true;
    } else if (assembly != NULL) {
        assembly_free(assembly);
    }
}
