/* links.c: see links.h. A list starts inline and moves to an array with its second link. */
#include "core/links.h"

#include "base/alloc.h"
#include "base/assert.h"

static_assert(sizeof(struct links) == 16, "four of these are in every task");

/* Room for one more link; returns its slot. */
static uint32_t grow_by_one(struct links *links)
{
    ASSERT(links->count < LINK_SLOT_MASK);
    if (links->capacity == 0 && links->count == 1) {
        struct link first = links->at.one;
        links->at.many = mem_resize(NULL, 2, sizeof *links->at.many);
        links->at.many[0] = first;
        links->capacity = 2;
    } else if (links->capacity != 0 && links->count == links->capacity) {
        links->capacity *= 2;
        links->at.many = mem_resize(links->at.many, links->capacity, sizeof *links->at.many);
    }
    return links->count++;
}

void links_reserve(struct links *links, uint32_t count)
{
    ASSERT(count <= LINK_SLOT_MASK);
    if (count <= 1 || count <= links->capacity) {
        return;
    }
    if (links->capacity == 0) {
        struct link first = links->at.one;
        links->at.many = mem_resize(NULL, count, sizeof *links->at.many);
        links->at.many[0] = first;
    } else {
        links->at.many = mem_resize(links->at.many, count, sizeof *links->at.many);
    }
    links->capacity = count;
}

uint32_t links_add(struct links *a, uint32_t id_a, struct links *b, uint32_t id_b, uint32_t flags_a)
{
    ASSERT(a != b);
    ASSERT((flags_a & LINK_SLOT_MASK) == 0);
    uint32_t slot_a = grow_by_one(a);
    uint32_t slot_b = grow_by_one(b);
    links_items(a)[slot_a] = (struct link){.other = id_b, .slot = slot_b | flags_a};
    links_items(b)[slot_b] = (struct link){.other = id_a, .slot = slot_a};
    return slot_a;
}

/* Take the link at `slot` out; the last one fills its place and its mirror learns so. */
static void take_out(struct links *links, uint32_t slot, links_of *mirror_of, void *context)
{
    ASSERT(slot < links->count);
    struct link *items = links_items(links);
    uint32_t last = links->count - 1;
    if (slot != last) {
        items[slot] = items[last];
        struct links *mirror = mirror_of(context, items[slot].other);
        struct link *back = &links_items(mirror)[items[slot].slot & LINK_SLOT_MASK];
        back->slot = (back->slot & ~LINK_SLOT_MASK) | slot;
    }
    links->count = last;
}

void links_remove(struct links *a, uint32_t slot, links_of *b_of, links_of *a_of, void *context)
{
    ASSERT(slot < a->count);
    struct link gone = links_items(a)[slot];
    struct links *b = b_of(context, gone.other);
    ASSERT((links_items(b)[gone.slot & LINK_SLOT_MASK].slot & LINK_SLOT_MASK) == slot);
    take_out(b, gone.slot & LINK_SLOT_MASK, a_of, context);
    take_out(a, slot, b_of, context);
}

uint32_t links_find(const struct links *links, uint32_t id)
{
    const struct link *items = links_items(links);
    for (uint32_t i = 0; i < links->count; i++) {
        if (items[i].other == id) {
            return i;
        }
    }
    return LINK_NOT_FOUND;
}

void links_fini(struct links *links)
{
    ASSERT(links->count == 0);
    if (links->capacity != 0) {
        mem_free(links->at.many);
    }
    *links = (struct links){0};
}
