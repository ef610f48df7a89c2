/* policies.c: the list distributed.scheduler.active-memory-manager.policies. */
#include "node/policies.h"

#include "base/error.h"
#include "wire/msgpack.h"

/* One of policies: {class: …}. True: it is the one that the core has. */
static bool is_reduce_replicas(struct span policy)
{
    struct span raw, class;
    if (msgpack_find(policy, "class", &raw) != OK) {
        return false;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    return msgpack_read_str(&reader, &class) == OK &&
           span_equal_text(class, "distributed.active_memory_manager.ReduceReplicas");
}

/* Without a list ReduceReplicas is on; an empty one leaves only what retiring needs. The others are the
 * planner's. */
static void count_policies(const struct config *config, uint32_t *out_own, uint32_t *out_foreign)
{
    struct text list = {0};
    config_write(config, "distributed.scheduler.active-memory-manager.policies", &list);
    struct msgpack_reader reader = msgpack_reader(text_span(&list));
    uint32_t count = 0;
    *out_own = msgpack_read_array(&reader, &count) != OK;
    *out_foreign = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct span policy;
        bool is_own = msgpack_read_value(&reader, &policy) == OK && is_reduce_replicas(policy);
        *(is_own ? out_own : out_foreign) += 1;
    }
    text_fini(&list);
}

bool policies_have_reduce_replicas(const struct config *config)
{
    uint32_t own, foreign;
    count_policies(config, &own, &foreign);
    return own > 0;
}

bool policies_have_foreign(const struct config *config)
{
    uint32_t own, foreign;
    count_policies(config, &own, &foreign);
    return foreign > 0;
}
