/* report_runs.c: runs in a report: columns of small numbers, which pack well.
 *
 * Of many, those that failed and those that took longest are kept; utilisation tells of the others. A key that is its
 * group's name and indices is written as what follows the name; other keys do not pack (they are hashes), so only
 * those of runs that one looks for are written. */

#include "base/alloc.h"
#include "observer/pack.h"
#include "observer/report.h"
#include "observer/singles.h"
#include "wire/key.h"

#define RUNS_MAX 200000u
#define RUNS_KEPT 20000u
#define KEYS_MAX 2000u
#define PACK_LEVEL 6

/* ---- which ones --------------------------------------------------------------------------------- */

static bool is_within(const struct run *run, struct report_span span)
{
    double stop = run->start + (double)run->duration;
    return run->start > 0 && stop >= span.since && run->start <= span.until;
}

typedef void run_visit(void *user, const struct run *run);

static void visit(const struct runs *runs, struct report_span span, run_visit *function, void *user)
{
    for (uint64_t n = runs_first(runs); n < runs->next; n++) {
        const struct runs_chunk *chunk = runs_chunk_of(runs, n);
        struct run run;
        if (n % RUNS_CHUNK == 0 && chunk->count == RUNS_CHUNK &&
            (chunk->last < span.since || chunk->first > span.until)) {
            n += RUNS_CHUNK - 1;
        } else if (runs_at(runs, n, &run) && is_within(&run, span)) {
            function(user, &run);
        }
    }
}

static void count_run(void *user, const struct run *run)
{
    (void)run;
    ++*(uint64_t *)user;
}

uint64_t report_count_runs(const struct runs *runs, struct report_span span)
{
    uint64_t count = 0;
    visit(runs, span, count_run, &count);
    return count;
}

bool report_keeps_all(uint64_t count)
{
    return count <= RUNS_MAX;
}

/* The longest ones: those above `bits`, and so many of those that are just as long. Durations are not negative, so their
 * bits are ordered as they are. */
struct cut {
    uint32_t bits;
    uint64_t ties;
};

struct histogram {
    uint32_t shift,
        prefix; /* counts 16 bits from `shift` on, of those whose bits above are `prefix` */
    uint32_t counts[1 << 16];
};

static uint32_t bits_of(const struct run *run)
{
    uint32_t bits;
    memcpy(&bits, &run->duration, sizeof bits);
    return bits;
}

static void count_bits(void *user, const struct run *run)
{
    struct histogram *histogram = user;
    uint32_t bits = bits_of(run);
    if (histogram->shift == 16 || bits >> 16 == histogram->prefix) {
        histogram->counts[bits >> histogram->shift & 0xffff]++;
    }
}

/* The place that has more than `left`, counted from above; `left` becomes what is left for it. */
static uint32_t place_of(const struct histogram *histogram, uint64_t *left)
{
    uint32_t place = (1 << 16) - 1;
    while (place > 0 && histogram->counts[place] <= *left) {
        *left -= histogram->counts[place--];
    }
    return place;
}

static struct cut longest(const struct runs *runs, struct report_span span, uint64_t most)
{
    if (report_count_runs(runs, span) <= most) {
        return (struct cut){0, UINT64_MAX};
    }
    struct histogram *histogram = mem_zalloc(1, sizeof *histogram);
    histogram->shift = 16;
    visit(runs, span, count_bits, histogram);
    uint32_t high = place_of(histogram, &most);
    memset(histogram, 0, sizeof *histogram);
    histogram->prefix = high;
    visit(runs, span, count_bits, histogram);
    uint32_t low = place_of(histogram, &most);
    mem_free(histogram);
    return (struct cut){high << 16 | low, most};
}

static bool is_longest(struct cut *cut, const struct run *run)
{
    uint32_t bits = bits_of(run);
    return bits > cut->bits || (bits == cut->bits && cut->ties > 0 && cut->ties-- > 0);
}

/* ---- columns ------------------------------------------------------------------------------------ */

struct columns_of {
    const struct tables *tables;
    struct cut kept, keyed; /* those that are kept; those that have their key */
    uint32_t erred;
    struct VEC(struct run) runs; /* keys are in their chunks */
};

static void keep(void *user, const struct run *run)
{
    struct columns_of *columns = user;
    bool is_wanted =
        is_longest(&columns->kept, run) || (run->is_erred && columns->erred++ < RUNS_KEPT);
    if (is_wanted) {
        vec_push(&columns->runs, *run);
    }
}

static int64_t micro(double seconds)
{
    return (int64_t)(seconds * 1e6 + 0.5);
}

/* Each as the difference to the one before. */
static void put_starts(const struct columns_of *columns, double since, struct jot *jot)
{
    int64_t before = micro(since);
    jot_name(jot, "start");
    jot_open(jot, '[');
    for (uint32_t i = 0; i < columns->runs.count; i++) {
        int64_t start = micro(columns->runs.items[i].start);
        jot_int(jot, start - before);
        before = start;
    }
    jot_close(jot, ']');
}

static void put_numbers(const struct columns_of *columns, struct jot *jot)
{
    static const char *const names[] = {"duration", "transfer", "deserialize", "disk", "worker",
                                        "lane",     "group",    "prefix",      "erred"};
    for (int c = 0; c < (int)(sizeof names / sizeof names[0]); c++) {
        jot_name(jot, names[c]);
        jot_open(jot, '[');
        for (uint32_t i = 0; i < columns->runs.count; i++) {
            const struct run *run = &columns->runs.items[i];
            const int64_t values[] = {micro((double)run->duration),
                                      micro((double)run->transfer),
                                      micro((double)run->deserialize),
                                      micro((double)run->disk),
                                      run->worker,
                                      run->lane,
                                      singles_group(run->group, run->prefix),
                                      run->prefix,
                                      run->is_erred};
            jot_int(jot, values[c]);
        }
        jot_close(jot, ']');
    }
}

/* ", 3, 4)" of "('x-1f…', 3, 4)" where the group is called 'x-1f…'; the key itself, if it is one of those that have
 * it; else "". */
static void put_keys(struct columns_of *columns, struct jot *jot)
{
    struct text key = {0}, begin = {0};
    jot_name(jot, "key");
    jot_open(jot, '[');
    for (uint32_t i = 0; i < columns->runs.count; i++) {
        const struct run *run = &columns->runs.items[i];
        const struct group_row *group = tables_group(columns->tables, run->group);
        text_clear(&key);
        text_clear(&begin);
        key_print(&key, run->key);
        if (group != NULL) {
            text_printf(&begin, "('%s'", text_cstr(&group->name));
        }
        bool is_index = begin.size > 0 && key.size > begin.size &&
                        memcmp(key.data, begin.data, begin.size) == 0;
        bool is_wanted = run->is_erred || is_longest(&columns->keyed, run);
        jot_text(jot, is_index    ? span_of(key.data + begin.size, key.size - begin.size)
                      : is_wanted ? text_span(&key)
                                  : (struct span){0});
    }
    jot_close(jot, ']');
    text_fini(&key);
    text_fini(&begin);
}

void report_put_runs(const struct tables *tables, struct report_span span, struct jot *jot)
{
    uint64_t count = report_count_runs(&tables->runs, span);
    struct columns_of columns = {
        .tables = tables,
        .kept = longest(&tables->runs, span, report_keeps_all(count) ? RUNS_MAX : RUNS_KEPT),
        .keyed = longest(&tables->runs, span, KEYS_MAX),
    };
    visit(&tables->runs, span, keep, &columns);
    double since = columns.runs.count == 0 ? 0 : columns.runs.items[0].start;
    jot_open(jot, '{');
    jot_put_int(jot, "total", (int64_t)count);
    jot_put_int(jot, "since", micro(since));
    put_starts(&columns, since, jot);
    put_numbers(&columns, jot);
    put_keys(&columns, jot);
    jot_close(jot, '}');
    vec_fini(&columns.runs);
}

/* ---- packing ------------------------------------------------------------------------------------ */

static void add_base64(struct span data, struct text *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < data.size; i += 3) {
        size_t left = data.size - i;
        uint32_t bits = (uint32_t)data.data[i] << 16 |
                        (left > 1 ? (uint32_t)data.data[i + 1] << 8 : 0) |
                        (left > 2 ? (uint32_t)data.data[i + 2] : 0);
        const char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63],
                              left > 1 ? digits[bits >> 6 & 63] : '=',
                              left > 2 ? digits[bits & 63] : '='};
        text_add(out, span_of(four, sizeof four));
    }
}

bool report_pack(struct span data, struct text *out)
{
    struct text packed = {0};
    bool fine = pack_gzip(data, PACK_LEVEL, &packed);
    add_base64(text_span(&packed), out);
    text_fini(&packed);
    return fine;
}
