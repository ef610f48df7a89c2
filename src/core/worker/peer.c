/* peer.c: each peer has a heap of needs. A need that is over is not searched for: its task's stamp has changed,
 * and it is dropped when it comes to the top, or when half of a heap is such. Only a holder that is lost
 * while its task is in fetch is searched for, which is rare. */
#include "core/worker/peer.h"

#include "core/worker/task.h"

#define STALE_MIN 32u /* stale needs that a heap may always have */

/* ---- peers ---- */

struct span wpeer_host(struct span address)
{
    size_t begin = 0;
    for (size_t i = 0; i + 2 < address.size; i++) {
        if (memcmp(address.data + i, "://", 3) == 0) {
            begin = i + 3;
            break;
        }
    }
    size_t end = address.size;
    for (size_t i = begin; i < address.size; i++) {
        if (address.data[i] == '/') {
            end = i;
            break;
        }
    }
    for (size_t i = end; i > begin; i--) {
        uint8_t c = address.data[i - 1];
        if (c == ':') {
            end = i - 1;
            break;
        }
        if (c < '0' || c > '9') {
            break;
        }
    }
    return (struct span){address.data + begin, end - begin};
}

struct wpeer *wpeer_find(const struct worker_state *w, struct span address)
{
    struct map_entry *entry = map_find(&w->peer_by_address, address);
    return entry == NULL ? NULL : entry->value.pointer;
}

struct wpeer *wpeer_make(struct worker_state *w, struct span address)
{
    bool added;
    struct map_entry *entry = map_put(&w->peer_by_address, address, &added);
    if (!added) {
        return entry->value.pointer;
    }
    struct wpeer *peer = mem_zalloc(1, sizeof *peer);
    entry->value.pointer = peer;
    peer->address = entry->name;
    peer->remote = !span_equal(wpeer_host(peer->address), w->host);
    peer->fetchable_place = UINT32_MAX;
    if (w->peer_free.count > 0) {
        peer->id = vec_pop(&w->peer_free);
        w->peers.items[peer->id] = peer;
    } else {
        peer->id = w->peers.count;
        vec_push(&w->peers, peer);
    }
    return peer;
}

static void peer_free(struct wpeer *peer)
{
    peer->has_what.count = 0;
    links_fini(&peer->has_what);
    vec_fini(&peer->needs);
    vec_fini(&peer->in_flight_tasks);
    mem_free(peer);
}

void wpeer_doubt(struct worker_state *w, const struct wpeer *peer)
{
    vec_push(&w->peers_doubtful, peer->id);
}

void wpeers_sweep(struct worker_state *w)
{
    while (w->peers_doubtful.count > 0) {
        uint32_t id = vec_pop(&w->peers_doubtful);
        struct wpeer *peer = w->peers.items[id];
        if (peer == NULL || peer->has_what.count > 0 || peer->in_flight || peer->busy) {
            continue;
        }
        ASSERT(peer->needed_count == 0);
        ASSERT(peer->fetchable_place == UINT32_MAX);
        map_remove(&w->peer_by_address, peer->address);
        w->peers.items[id] = NULL;
        vec_push(&w->peer_free, id);
        peer_free(peer);
    }
}

void wpeers_fini(struct worker_state *w)
{
    for (uint32_t i = 0; i < w->peers.count; i++) {
        if (w->peers.items[i] != NULL) {
            peer_free(w->peers.items[i]);
        }
    }
    vec_fini(&w->peers);
    vec_fini(&w->peer_free);
    vec_fini(&w->peers_doubtful);
    vec_fini(&w->fetchable);
    map_fini(&w->peer_by_address);
}

void wpeer_update_fetchable(struct worker_state *w, struct wpeer *peer)
{
    bool belongs = peer->needed_count > 0 && !peer->in_flight && !peer->busy;
    bool is_there = peer->fetchable_place != UINT32_MAX;
    if (belongs && !is_there) {
        peer->fetchable_place = w->fetchable.count;
        vec_push(&w->fetchable, peer->id);
    } else if (!belongs && is_there) {
        uint32_t place = peer->fetchable_place;
        vec_swap_remove(&w->fetchable, place);
        if (place < w->fetchable.count) {
            wpeer_at(w, w->fetchable.items[place])->fetchable_place = place;
        }
        peer->fetchable_place = UINT32_MAX;
    }
}

struct links *whas_what_of(void *w, uint32_t peer)
{
    return &wpeer_at(w, peer)->has_what;
}

/* ---- needs ---- */

static int priority_compare(const struct worker_priority *a, int64_t a_serial,
                            const struct worker_priority *b, int64_t b_serial)
{
    if (a->user != b->user) {
        return a->user < b->user ? -1 : 1;
    }
    if (a->generation != b->generation) {
        return a->generation < b->generation ? -1 : 1;
    }
    if (a->order != b->order) {
        return a->order < b->order ? -1 : 1;
    }
    return (a_serial > b_serial) - (a_serial < b_serial);
}

bool wpriority_less(const struct worker_priority *a, int64_t a_serial,
                    const struct worker_priority *b, int64_t b_serial)
{
    return priority_compare(a, a_serial, b, b_serial) < 0;
}

static bool need_before(const struct wneed *a, const struct wneed *b)
{
    int order = priority_compare(&a->priority, a->serial, &b->priority, b->serial);
    return order != 0 ? order < 0 : a->arrival < b->arrival;
}

static void sift_down(struct wneed *needs, uint32_t count, uint32_t place)
{
    struct wneed need = needs[place];
    for (;;) {
        uint64_t child = (uint64_t)place * 2 + 1;
        if (child >= count) {
            break;
        }
        if (child + 1 < count && need_before(&needs[child + 1], &needs[child])) {
            child++;
        }
        if (!need_before(&needs[child], &need)) {
            break;
        }
        needs[place] = needs[child];
        place = (uint32_t)child;
    }
    needs[place] = need;
}

static void sift_up(struct wneed *needs, uint32_t place)
{
    struct wneed need = needs[place];
    while (place > 0 && need_before(&need, &needs[(place - 1) / 2])) {
        needs[place] = needs[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    needs[place] = need;
}

static bool is_stale(const struct worker_state *w, const struct wneed *need)
{
    return wtask_at(w, need->task)->stamp != need->stamp;
}

/* Without the stale ones, in heap order. */
static void compact(const struct worker_state *w, struct wpeer *peer)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < peer->needs.count; i++) {
        if (!is_stale(w, &peer->needs.items[i])) {
            peer->needs.items[live++] = peer->needs.items[i];
        }
    }
    peer->needs.count = live;
    for (uint32_t i = live / 2; i > 0; i--) {
        sift_down(peer->needs.items, live, i - 1);
    }
}

static void need_add(struct worker_state *w, const struct wtask *task, struct wpeer *peer)
{
    ASSERT(task->stamp != 0);
    vec_push(&peer->needs, (struct wneed){.priority = task->priority,
                                          .serial = task->priority_serial,
                                          .arrival = ++w->arrivals,
                                          .stamp = task->stamp,
                                          .task = task->id});
    sift_up(peer->needs.items, peer->needs.count - 1);
    peer->needed_count++;
    wpeer_update_fetchable(w, peer);
}

/* One need less: `peer`'s of a task whose stamp has changed, or which has been taken out. */
static void need_ended(struct worker_state *w, struct wpeer *peer)
{
    ASSERT(peer->needed_count > 0);
    peer->needed_count--;
    if (peer->needed_count == 0) {
        peer->needs.count = 0;
    } else if (peer->needs.count > 2 * peer->needed_count + STALE_MIN) {
        compact(w, peer);
    }
    wpeer_update_fetchable(w, peer);
}

/* The peer is no holder of `task` any more, which stays in fetch. */
static void need_take_out(struct worker_state *w, const struct wtask *task, struct wpeer *peer)
{
    uint32_t place = 0;
    while (peer->needs.items[place].stamp != task->stamp) {
        place++;
        ASSERT(place < peer->needs.count);
    }
    vec_swap_remove(&peer->needs, place);
    if (place < peer->needs.count) {
        sift_down(peer->needs.items, peer->needs.count, place);
        sift_up(peer->needs.items, place);
    }
    need_ended(w, peer);
}

void wneeds_add(struct worker_state *w, struct wtask *task)
{
    ASSERT((task->flags & WTASK_HAS_PRIORITY) != 0);
    task->stamp = ++w->arrivals;
    for (uint32_t i = 0; i < task->who_has.count; i++) {
        need_add(w, task, wpeer_at(w, links_items(&task->who_has)[i].other));
    }
}

void wneeds_remove(struct worker_state *w, struct wtask *task)
{
    ASSERT(task->state == WTASK_FETCH && task->stamp != 0);
    task->stamp = 0;
    for (uint32_t i = 0; i < task->who_has.count; i++) {
        need_ended(w, wpeer_at(w, links_items(&task->who_has)[i].other));
    }
}

const struct wneed *wneed_first(struct worker_state *w, struct wpeer *peer)
{
    ASSERT(peer->needed_count > 0);
    while (is_stale(w, &peer->needs.items[0])) {
        vec_swap_remove(&peer->needs, 0);
        ASSERT(peer->needs.count > 0);
        sift_down(peer->needs.items, peer->needs.count, 0);
    }
    return &peer->needs.items[0];
}

/* ---- holders ---- */

/* The peer behind link `slot` of the task's who_has is a holder no more. */
static void holder_take_out(struct worker_state *w, struct wtask *task, uint32_t slot)
{
    struct wpeer *peer = wpeer_at(w, links_items(&task->who_has)[slot].other);
    if (task->state == WTASK_FETCH && task->stamp != 0 && peer->needed_count > 0) {
        need_take_out(w, task, peer);
    }
    links_remove(&task->who_has, slot, whas_what_of, wwho_has_of, w);
}

void wholder_remove(struct worker_state *w, struct wtask *task, const struct wpeer *peer)
{
    uint32_t slot = links_find(&task->who_has, peer->id);
    if (slot != LINK_NOT_FOUND) {
        holder_take_out(w, task, slot);
    }
}

void wholders_clear(struct worker_state *w, struct wtask *task)
{
    while (task->who_has.count > 0) {
        holder_take_out(w, task, task->who_has.count - 1);
    }
}

uint32_t wpeer_lose(struct worker_state *w, struct wpeer *peer, task_id *out_fetched)
{
    uint32_t count = 0;
    peer->needs.count = 0; /* all at once: see holder_take_out */
    peer->needed_count = 0;
    wpeer_update_fetchable(w, peer);
    while (peer->has_what.count > 0) {
        const struct link *last = &links_items(&peer->has_what)[peer->has_what.count - 1];
        struct wtask *task = wtask_at(w, last->other);
        holder_take_out(w, task, last->slot & LINK_SLOT_MASK);
        if (task->state == WTASK_FETCH && task->who_has.count == 0) {
            out_fetched[count++] = task->id;
        }
    }
    wpeer_doubt(w, peer);
    return count;
}

void wholders_set(struct worker_state *w, struct wtask *task, struct span_list holders)
{
    uint64_t named = w->peer_mark + 1; /* a mark of peers that hold it now … */
    uint64_t known = w->peer_mark + 2; /* … and did before */
    w->peer_mark += 2;
    w->scratch.count = 0;
    for (uint32_t i = 0; i < holders.count; i++) {
        if (span_equal(holders.items[i], w->address)) {
            continue;
        }
        struct wpeer *peer = wpeer_make(w, holders.items[i]);
        if (peer->mark != named) {
            peer->mark = named;
            vec_push(&w->scratch, peer->id);
        }
    }
    for (uint32_t i = task->who_has.count; i > 0; i--) {
        struct wpeer *peer = wpeer_at(w, links_items(&task->who_has)[i - 1].other);
        if (peer->mark == named) {
            peer->mark = known;
        } else {
            holder_take_out(w, task, i - 1);
        }
    }
    for (uint32_t i = 0; i < w->scratch.count; i++) {
        struct wpeer *peer = wpeer_at(w, w->scratch.items[i]);
        if (peer->mark == named) {
            links_add(&task->who_has, task->id, &peer->has_what, peer->id, 0);
            if (task->state == WTASK_FETCH && task->stamp != 0) {
                need_add(w, task, peer);
            }
        }
    }
}
