/* network.c: a heap of letters by hour. Order within a channel is kept by never letting a letter overtake
 * the one before it; between channels anything goes. */
#include "sim/network.h"

#include <stdlib.h>

const char *letter_name(enum letter_kind kind)
{
    static const char *const names[] = {
#define LETTER(ID, name) name,
#include "sim/letters.def"
    };
    return names[kind];
}

bool letter_is_work(enum letter_kind kind)
{
    switch (kind) {
    case LETTER_HEARTBEAT:
    case LETTER_BEAT:
    case LETTER_CLIENT_BEAT:
    case LETTER_TICK:
    case LETTER_WANT_REFRESH: /* asked again and again */
    case LETTER_REFRESH:
    case LETTER_WORK:
    case LETTER_TROUBLE:
        return false;
    default:
        return true;
    }
}

static bool before(const struct letter *a, const struct letter *b)
{
    return a->time < b->time || (a->time == b->time && a->order < b->order);
}

static void swap(struct letter *a, struct letter *b)
{
    struct letter kept = *a;
    *a = *b;
    *b = kept;
}

static void heap_push(struct sim *sim, struct letter letter)
{
    vec_push(&sim->letters, letter);
    sim->busy += letter_is_work(letter.kind);
    struct letter *items = sim->letters.items;
    for (uint32_t i = sim->letters.count - 1; i > 0 && before(&items[i], &items[(i - 1) / 2]);
         i = (i - 1) / 2) {
        swap(&items[i], &items[(i - 1) / 2]);
    }
}

void post(struct sim *sim, struct letter letter, double delay)
{
    ASSERT(delay >= 0);
    letter.time = sim->now + delay;
    letter.order = ++sim->letter_order;
    heap_push(sim, letter);
}

double delay_draw(struct sim *sim)
{
    double delay = sim->delay_typical * (0.5 + prng_unit(&sim->prng));
    return percent(sim, 5) ? delay * (1 + sim->delay_spread * prng_unit(&sim->prng)) : delay;
}

void post_in(struct sim *sim, struct channel *channel, struct letter letter)
{
    double time = sim->now + delay_draw(sim);
    channel->last = time > channel->last ? time : channel->last;
    letter.time = channel->last;
    letter.order = ++sim->letter_order;
    heap_push(sim, letter);
}

void put_off(struct sim *sim, struct letter letter, double until)
{
    letter.time = until;
    heap_push(sim, letter);
}

bool take(struct sim *sim, struct letter *out)
{
    if (sim->letters.count == 0) {
        return false;
    }
    struct letter *items = sim->letters.items;
    *out = items[0];
    items[0] = vec_pop(&sim->letters);
    uint32_t count = sim->letters.count;
    for (uint32_t i = 0, child; (child = 2 * i + 1) < count; i = child) {
        child += child + 1 < count && before(&items[child + 1], &items[child]);
        if (!before(&items[child], &items[i])) {
            break;
        }
        swap(&items[child], &items[i]);
    }
    sim->busy -= letter_is_work(out->kind);
    ASSERT(out->time >= sim->now);
    sim->now = out->time;
    sim->busy_at = letter_is_work(out->kind) ? sim->now : sim->busy_at;
    return true;
}

void letter_add(struct letter *letter, uint32_t word)
{
    letter->words = mem_resize(letter->words, letter->word_count + 1, sizeof *letter->words);
    letter->words[letter->word_count++] = word;
}

void letter_set_text(struct letter *letter, struct span text)
{
    size_t size = text.size < sizeof letter->text ? text.size : sizeof letter->text - 1;
    if (size > 0) {
        memcpy(letter->text, text.data, size);
    }
    letter->text[size] = '\0';
}

void letter_fini(struct letter *letter)
{
    mem_free(letter->words);
    letter->words = NULL;
}

void network_fini(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->letters.count; i++) {
        letter_fini(&sim->letters.items[i]);
    }
    vec_fini(&sim->letters);
}
