/* links.h: many-to-many relations as two arrays of links that know each other's place, so that a link is
 * added and removed in O(1) from either end: task–dependency, task–replica, task–client.
 *
 * A link on one side names the thing on the other side and the slot of the mirror link over there. The
 * first link is stored inline: most tasks have one replica, one client, one or two edges. The upper two
 * bits of a slot are flags for the relation's use (LINK_FLAG_A, LINK_FLAG_B). Removal moves the last
 * link into the hole; the mirror of the moved link is corrected by the caller-supplied resolver. */
#ifndef CASK_CORE_LINKS_H
#define CASK_CORE_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#define LINK_SLOT_MASK 0x3fffffffu
#define LINK_FLAG_A 0x80000000u
#define LINK_FLAG_B 0x40000000u
#define LINK_NOT_FOUND UINT32_MAX

struct link {
    uint32_t other; /* id of the thing on the other side */
    uint32_t slot;  /* where the mirror link stands there, plus flags of this side */
};

struct links {
    uint32_t count;
    uint32_t capacity; /* 0: `one` is in use (count ≤ 1) */
    union {
        struct link one;
        struct link *many;
    } at;
};

static inline struct link *links_items(const struct links *links)
{
    return links->capacity == 0 ? (struct link *)(uintptr_t)&links->at.one : links->at.many;
}

/* Gives the mirror side's links of thing `id`. */
typedef struct links *links_of(void *context, uint32_t id);

/* Link a (whose id is id_a) to b, flags in `flags_a` for a's side. Returns the slot on a's side. */
uint32_t links_add(struct links *a, uint32_t id_a, struct links *b, uint32_t id_b,
                   uint32_t flags_a);
/* Room for `count` links in all, so that adding them does not allocate again and again. */
void links_reserve(struct links *links, uint32_t count);
/* Remove a's link at `slot` and its mirror. `b_of` resolves ids in a's links, `a_of` ids in b's. */
void links_remove(struct links *a, uint32_t slot, links_of *b_of, links_of *a_of, void *context);
/* Slot of the link to `id`, or LINK_NOT_FOUND. O(count): for short lists only. */
uint32_t links_find(const struct links *links, uint32_t id);
/* Free the array; all links must be gone. */
void links_fini(struct links *links);

#endif
