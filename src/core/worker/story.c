/* story.c: two rings: one of entries, one of the bytes they point to. An entry's bytes are its key, then its
 * stimulus, in one piece; what they overwrite is forgotten with its entry. */
#include "core/worker/story.h"

#include "core/byte_ring.h"
#include "core/worker/view.h"

#define BYTES_PER_ENTRY 128u /* room on average; longer keys make the story shorter */

struct entry {
    uint64_t begin; /* of its bytes, counted over all time */
    double time;
    const char *what; /* NULL: a move */
    uint32_t key_size, stimulus_size;
    uint8_t start, wanted, finish;
};

struct wstory {
    struct entry *entries;
    uint32_t capacity;
    uint64_t first, next; /* entries kept: first ≤ n < next, at n % capacity */
    struct byte_ring bytes;
};

struct wstory *wstory_create(uint32_t entry_count)
{
    if (entry_count == 0) {
        return NULL;
    }
    struct wstory *story = mem_zalloc(1, sizeof *story);
    story->capacity = entry_count;
    story->entries = mem_zalloc(entry_count, sizeof *story->entries);
    byte_ring_init(&story->bytes, (uint64_t)entry_count * BYTES_PER_ENTRY);
    return story;
}

void wstory_destroy(struct wstory *story)
{
    if (story != NULL) {
        mem_free(story->entries);
        byte_ring_fini(&story->bytes);
        mem_free(story);
    }
}

/* Room for `size` bytes in one piece; the entries whose bytes stood there are forgotten. */
static uint64_t take_bytes(struct wstory *story, uint64_t size)
{
    uint64_t place = byte_ring_take(&story->bytes, size);
    while (story->first < story->next &&
           !byte_ring_has(&story->bytes, story->entries[story->first % story->capacity].begin)) {
        story->first++;
    }
    return place;
}

static void add(struct worker_state *w, struct span key, struct entry entry)
{
    struct wstory *story = w->story;
    struct span stimulus = w->step->stimulus;
    uint64_t size = key.size + stimulus.size;
    if (story == NULL || byte_ring_refuses(&story->bytes, size)) { /* a key like a document */
        return;
    }
    uint64_t begin = take_bytes(story, size);
    uint8_t *at = byte_ring_at(&story->bytes, begin);
    if (story->next - story->first == story->capacity) {
        story->first++;
    }
    entry.begin = begin;
    entry.time = w->now;
    entry.key_size = (uint32_t)key.size;
    entry.stimulus_size = (uint32_t)stimulus.size;
    story->entries[story->next++ % story->capacity] = entry;
    if (key.size > 0) {
        memcpy(at, key.data, key.size);
    }
    if (stimulus.size > 0) {
        memcpy(at + key.size, stimulus.data, stimulus.size);
    }
}

void wstory_add_move(struct worker_state *w, const struct wtask *task, enum wtask_state start,
                     enum wtask_state wanted)
{
    add(w, task->key,
        (struct entry){.start = (uint8_t)start, .wanted = (uint8_t)wanted, .finish = task->state});
}

void wstory_add(struct worker_state *w, struct span key, const char *what, enum wtask_state state)
{
    add(w, key,
        (struct entry){.what = what,
                       .start = (uint8_t)state,
                       .wanted = (uint8_t)state,
                       .finish = (uint8_t)state});
}

/* ---- view ---- */

static bool contains(struct span_list list, struct span item)
{
    for (uint32_t i = 0; i < list.count; i++) {
        if (span_equal(list.items[i], item)) {
            return true;
        }
    }
    return false;
}

const struct wstory_entry *worker_story(const struct worker_state *w, struct span_list keys,
                                        struct span_list stimuli, struct arena *arena,
                                        uint32_t *out_count)
{
    const struct wstory *story = w->story;
    *out_count = 0;
    if (story == NULL) {
        return NULL;
    }
    struct wstory_entry *entries =
        arena_array(arena, struct wstory_entry, story->next - story->first);
    for (uint64_t number = story->first; number < story->next; number++) {
        const struct entry *entry = &story->entries[number % story->capacity];
        const uint8_t *at = byte_ring_at(&story->bytes, entry->begin);
        struct wstory_entry shown = {
            .key = {at, entry->key_size},
            .what = entry->what,
            .start = entry->start,
            .wanted = entry->wanted,
            .finish = entry->finish,
            .stimulus = {at + entry->key_size, entry->stimulus_size},
            .time = entry->time,
        };
        if (keys.count + stimuli.count == 0 || contains(keys, shown.key) ||
            contains(stimuli, shown.stimulus)) {
            entries[(*out_count)++] = shown;
        }
    }
    return entries;
}
