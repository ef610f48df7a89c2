/* computations.c: see computations.h. The last ones are kept, as many as the configuration says. A computation
 * that goes on for long lets go of groups that are forgotten, keeping their counts.
 * Must agree with: scheduler.py Computation, _create_taskstate_from_graph. */
#include "core/scheduler/computations.h"

#include "core/scheduler/groups.h"
#include "core/scheduler/internal.h"
#include "core/scheduler/uuid.h"

#define PACK_FROM 256u /* groups from which on forgotten ones are looked for */

struct computation {
    char id[UUID_TEXT_SIZE];
    double start;
    struct VEC(struct blob *) code;
    struct VEC(struct group *) groups; /* counted */
    struct id_map has_group;           /* group id → 1 */
    uint32_t pack_at;                  /* count of groups at which to pack next */
    uint64_t gone_count;               /* tasks of groups let go; all forgotten */
    double gone_stop;
};

struct computations {
    struct VEC(struct computation *) all; /* oldest first */
};

struct computations *computations_create(const struct scheduler_config *config)
{
    (void)config;
    return mem_zalloc(1, sizeof(struct computations));
}

static void computation_free(struct computation *computation)
{
    for (uint32_t i = 0; i < computation->code.count; i++) {
        blob_unref(computation->code.items[i]);
    }
    for (uint32_t i = 0; i < computation->groups.count; i++) {
        group_unref(computation->groups.items[i]);
    }
    vec_fini(&computation->code);
    vec_fini(&computation->groups);
    id_map_fini(&computation->has_group);
    mem_free(computation);
}

void computations_destroy(struct computations *computations)
{
    for (uint32_t i = 0; i < computations->all.count; i++) {
        computation_free(computations->all.items[i]);
    }
    vec_fini(&computations->all);
    mem_free(computations);
}

/* Groups all of whose tasks are forgotten become numbers. */
static void pack(struct computation *computation)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < computation->groups.count; i++) {
        struct group *group = computation->groups.items[i];
        if (group->listed) {
            computation->groups.items[kept++] = group;
            continue;
        }
        computation->gone_count += group->size;
        computation->gone_stop =
            group->stop > computation->gone_stop ? group->stop : computation->gone_stop;
        id_map_remove(&computation->has_group, group->id);
        group_unref(group);
    }
    computation->groups.count = kept;
    computation->pack_at = kept + PACK_FROM > 2 * kept ? kept + PACK_FROM : 2 * kept;
}

static void group_add(struct computation *computation, struct group *group)
{
    uint32_t *known = id_map_put(&computation->has_group, group->id);
    if (*known != 0) {
        return;
    }
    *known = 1;
    vec_push(&computation->groups, group_ref(group));
    if (computation->groups.count >= computation->pack_at) {
        pack(computation);
    }
}

/* Each piece of code once. */
static void code_add(struct computation *computation, struct blob *code)
{
    for (uint32_t i = 0; i < computation->code.count; i++) {
        if (span_equal(slice_span(computation->code.items[i]->value), slice_span(code->value))) {
            return;
        }
    }
    vec_push(&computation->code, blob_ref(code));
}

static struct computation *begin(struct scheduler *s)
{
    struct computations *computations = s->computations;
    struct computation *computation = mem_zalloc(1, sizeof *computation);
    uuid_text(&s->prng, computation->id);
    computation->start = s->now;
    computation->pack_at = PACK_FROM;
    vec_push(&computations->all, computation);
    if (computations->all.count > s->config.computations_max && computations->all.count > 1) {
        computation_free(computations->all.items[0]);
        computations->all.count--;
        memmove(computations->all.items, computations->all.items + 1,
                computations->all.count * sizeof *computations->all.items);
    }
    return computation;
}

void computations_graph(struct scheduler *s, const struct graph_info *graph, const task_id *made,
                        uint32_t count)
{
    uint32_t known = s->computations->all.count;
    bool goes_on = known > 0 && !groups_all_done(s);
    struct computation *computation = goes_on ? s->computations->all.items[known - 1] : begin(s);
    if (graph->code != NULL) {
        code_add(computation, graph->code);
    }
    for (uint32_t i = 0; i < count; i++) {
        group_add(computation, task_at(s, made[i])->group);
    }
}

uint32_t computations_count(const struct scheduler *s)
{
    return s->computations->all.count;
}

bool computations_at(const struct scheduler *s, uint32_t index, struct computation_view *out)
{
    if (index >= s->computations->all.count) {
        return false;
    }
    const struct computation *computation = s->computations->all.items[index];
    *out = (struct computation_view){
        .id = span_of(computation->id, sizeof computation->id),
        .start = computation->start,
        .stop = computation->groups.count == 0 && computation->gone_count == 0
                    ? -1
                    : computation->gone_stop,
        .code = computation->code.items,
        .code_count = computation->code.count,
        .groups = computation->groups.items,
        .group_count = computation->groups.count,
    };
    out->state_counts[TASK_FORGOTTEN] = computation->gone_count;
    for (uint32_t i = 0; i < computation->groups.count; i++) {
        const struct group *group = computation->groups.items[i];
        out->stop = group->stop > out->stop ? group->stop : out->stop;
        for (int state = 0; state < TASK_STATE_COUNT; state++) {
            out->state_counts[state] += group->state_counts[state];
        }
    }
    return true;
}
