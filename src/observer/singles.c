/* singles.c: see singles.h. Groups and prefixes are sampled one after the other, so a difference may be a little off
 * for a moment; what would be less than nothing is nothing. */
#include "observer/singles.h"

#include "base/alloc.h"

static void less(struct single_row *row, const struct group_row *group)
{
    for (int i = 0; i < RECORD_STATES; i++) {
        uint32_t count = group->sample.states[i];
        row->states[i] -= count < row->states[i] ? count : row->states[i];
    }
    row->runs -= group->runs < row->runs ? group->runs : row->runs;
    row->failures -= group->failures < row->failures ? group->failures : row->failures;
    row->nbytes -= group->sample.nbytes > 0 ? group->sample.nbytes : 0;
    row->seconds -= group->stats.sum;
}

void singles_list(const struct tables *tables, struct single_rows *out)
{
    uint32_t count = tables->prefixes.count;
    struct single_row *rows = mem_zalloc((size_t)count + 1, sizeof *rows);
    for (uint32_t i = 0; i < count; i++) {
        const struct prefix_row *prefix = tables->prefixes.items[i];
        if (prefix != NULL) {
            rows[i] = (struct single_row){.id = SINGLES_BIT | prefix->id,
                                          .prefix = prefix->id,
                                          .tick = prefix->tick,
                                          .runs = prefix->runs,
                                          .failures = prefix->failures,
                                          .nbytes = prefix->sample.nbytes,
                                          .seconds = prefix->stats.sum};
            memcpy(rows[i].states, prefix->sample.states, sizeof rows[i].states);
        }
    }
    for (uint32_t i = 0; i < tables->groups.count; i++) {
        const struct group_row *group = tables->groups.items[i];
        if (group->prefix >= 1 && group->prefix <= count) {
            less(&rows[group->prefix - 1], group);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        struct single_row *row = &rows[i];
        for (int k = 0; k < RECORD_STATES; k++) {
            row->size += row->states[k];
        }
        row->nbytes = row->nbytes > 0 ? row->nbytes : 0;
        row->seconds = row->seconds > 0 ? row->seconds : 0;
        if (row->size > 0 || row->runs > 0) {
            vec_push(out, *row);
        }
    }
    mem_free(rows);
}
