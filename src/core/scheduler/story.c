/* story.c: two rings: one of moves, one of the bytes they point to. A move's bytes are
 *
 *   key | stimulus | (state, u32 key size, key)*
 *
 * and stand in the byte ring without a break; what they overwrite is forgotten with its move. */
#include "core/scheduler/story.h"

#include "core/byte_ring.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/view.h"

#define BYTES_PER_MOVE 192u /* room on average; longer keys make the story shorter */

struct move_record {
    uint64_t begin; /* of its bytes, counted over all time */
    double time;
    uint32_t key_size, stimulus_size;
    uint32_t wish_count, wish_total;
    uint8_t start, finish;
};

struct story {
    struct move_record *moves;
    uint32_t capacity;
    uint64_t first, next; /* moves kept: first ≤ n < next, at n % capacity */
    struct byte_ring bytes;
};

struct story *story_create(uint32_t move_count)
{
    if (move_count == 0) {
        return NULL;
    }
    struct story *story = mem_zalloc(1, sizeof *story);
    story->capacity = move_count;
    story->moves = mem_zalloc(move_count, sizeof *story->moves);
    byte_ring_init(&story->bytes, (uint64_t)move_count * BYTES_PER_MOVE);
    return story;
}

void story_destroy(struct story *story)
{
    if (story != NULL) {
        mem_free(story->moves);
        byte_ring_fini(&story->bytes);
        mem_free(story);
    }
}

/* Room for `size` bytes in one piece; the moves whose bytes stood there are forgotten. */
static uint64_t take_bytes(struct story *story, uint64_t size)
{
    uint64_t place = byte_ring_take(&story->bytes, size);
    while (story->first < story->next &&
           !byte_ring_has(&story->bytes, story->moves[story->first % story->capacity].begin)) {
        story->first++;
    }
    return place;
}

static uint8_t *put(uint8_t *at, struct span bytes)
{
    if (bytes.size > 0) {
        memcpy(at, bytes.data, bytes.size);
    }
    return at + bytes.size;
}

static uint32_t wish_count(const struct scheduler *s)
{
    return s->recommended_total < STORY_WISHES_MAX ? s->recommended_total : STORY_WISHES_MAX;
}

void story_add(struct scheduler *s, const struct task *task, enum task_state start,
               enum task_state finish)
{
    struct story *story = s->story;
    if (story == NULL) {
        return;
    }
    struct span stimulus = s->step->stimulus;
    uint32_t wishes = wish_count(s);
    uint64_t size = task->key.size + stimulus.size;
    for (uint32_t i = 0; i < wishes; i++) {
        size += 1 + sizeof(uint32_t) + task_at(s, s->recommended[i].task)->key.size;
    }
    if (byte_ring_refuses(&story->bytes, size)) {
        return; /* a key like a document */
    }
    uint64_t begin = take_bytes(story, size);
    uint8_t *at = byte_ring_at(&story->bytes, begin);
    if (story->next - story->first == story->capacity) {
        story->first++;
    }
    story->moves[story->next++ % story->capacity] = (struct move_record){
        .begin = begin,
        .time = s->now,
        .key_size = (uint32_t)task->key.size,
        .stimulus_size = (uint32_t)stimulus.size,
        .wish_count = wishes,
        .wish_total = s->recommended_total,
        .start = (uint8_t)start,
        .finish = (uint8_t)finish,
    };
    at = put(put(at, task->key), stimulus);
    for (uint32_t i = 0; i < wishes; i++) {
        struct span key = task_at(s, s->recommended[i].task)->key;
        uint32_t key_size = (uint32_t)key.size;
        *at++ = s->recommended[i].to;
        at = put(at, span_of(&key_size, sizeof key_size));
        at = put(at, key);
    }
}

/* ---- view ---- */

static struct story_move read_move(const struct story *story, uint64_t number, struct arena *arena)
{
    const struct move_record *record = &story->moves[number % story->capacity];
    const uint8_t *at = byte_ring_at(&story->bytes, record->begin);
    struct story_move move = {
        .key = {at, record->key_size},
        .start = record->start,
        .finish = record->finish,
        .stimulus = {at + record->key_size, record->stimulus_size},
        .time = record->time,
        .recommendation_count = record->wish_count,
        .recommendation_total = record->wish_total,
    };
    at += record->key_size + record->stimulus_size;
    struct story_wish *wishes = arena_array(arena, struct story_wish, record->wish_count);
    for (uint32_t i = 0; i < record->wish_count; i++) {
        uint32_t size;
        wishes[i].to = *at++;
        memcpy(&size, at, sizeof size);
        wishes[i].key = (struct span){at + sizeof size, size};
        at += sizeof size + size;
    }
    move.recommendations = wishes;
    return move;
}

static bool touches(const struct story_move *move, struct span_list keys, struct span_list stimuli)
{
    for (uint32_t i = 0; i < stimuli.count; i++) {
        if (span_equal(stimuli.items[i], move->stimulus)) {
            return true;
        }
    }
    for (uint32_t i = 0; i < keys.count; i++) {
        bool found = span_equal(keys.items[i], move->key);
        for (uint32_t j = 0; j < move->recommendation_count && !found; j++) {
            found = span_equal(keys.items[i], move->recommendations[j].key);
        }
        if (found) {
            return true;
        }
    }
    return keys.count + stimuli.count == 0;
}

const struct story_move *view_story(const struct scheduler *s, struct span_list keys,
                                    struct span_list stimuli, struct arena *arena,
                                    uint32_t *out_count)
{
    const struct story *story = s->story;
    *out_count = 0;
    if (story == NULL) {
        return NULL;
    }
    struct story_move *moves = arena_array(arena, struct story_move, story->next - story->first);
    for (uint64_t number = story->first; number < story->next; number++) {
        struct story_move move = read_move(story, number, arena);
        if (touches(&move, keys, stimuli)) {
            moves[(*out_count)++] = move;
        }
    }
    return moves;
}
