/* story.c: two rings: one of entries, one of the bytes they point to. An entry's bytes are its key, then its
 * stimulus, in one piece; what they overwrite is forgotten with its entry. */
#include "core/worker/story.h"

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
    uint8_t *bytes;
    uint64_t byte_capacity;
    uint64_t byte_next; /* counted over all time; at byte_next % byte_capacity */
};

struct wstory *wstory_create(uint32_t entry_count)
{
    if (entry_count == 0) {
        return NULL;
    }
    struct wstory *story = mem_zalloc(1, sizeof *story);
    story->capacity = entry_count;
    story->entries = mem_zalloc(entry_count, sizeof *story->entries);
    story->byte_capacity = (uint64_t)entry_count * BYTES_PER_ENTRY;
    story->bytes = mem_alloc(story->byte_capacity);
    return story;
}

void wstory_destroy(struct wstory *story)
{
    if (story != NULL) {
        mem_free(story->entries);
        mem_free(story->bytes);
        mem_free(story);
    }
}

/* Room for `size` bytes in one piece; the entries whose bytes stood there are forgotten. */
static uint8_t *take_bytes(struct wstory *story, uint64_t size)
{
    uint64_t at = story->byte_next % story->byte_capacity;
    if (at + size > story->byte_capacity) {
        story->byte_next += story->byte_capacity - at; /* the piece at the end stays unused */
        at = 0;
    }
    while (story->first < story->next &&
           story->entries[story->first % story->capacity].begin + story->byte_capacity <
               story->byte_next + size) {
        story->first++;
    }
    return story->bytes + at;
}

static void add(struct worker_state *w, struct span key, struct entry entry)
{
    struct wstory *story = w->story;
    struct span stimulus = w->step->stimulus;
    uint64_t size = key.size + stimulus.size;
    if (story == NULL || size > story->byte_capacity / 4) { /* a key like a document */
        return;
    }
    uint8_t *at = take_bytes(story, size);
    if (story->next - story->first == story->capacity) {
        story->first++;
    }
    entry.begin = story->byte_next;
    entry.time = w->now;
    entry.key_size = (uint32_t)key.size;
    entry.stimulus_size = (uint32_t)stimulus.size;
    story->entries[story->next++ % story->capacity] = entry;
    story->byte_next += size;
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
        const uint8_t *at = story->bytes + entry->begin % story->byte_capacity;
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
