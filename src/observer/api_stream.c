/* api_stream.c: GET api/cask/v1/stream: the task stream at any zoom, as large as the screen and not as the work.
 *
 * Runs are added up by lane and bucket when somebody asks: a chunk whose time is outside is skipped, so the cost is
 * that of the runs inside, some nanoseconds each. What a bucket shows as `top` is found as frequent items are (Misra and
 * Gries, with two counters): a prefix with more than a third of its time is one of the two, and has at least the time
 * that is counted for it; of one or two prefixes in a bucket that is exact. */
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "observer/routes.h"

#define BUCKETS_MAX 2000u
#define LANES_MAX 1024u

enum lane_kind { LANE_THREAD, LANE_WORKER, LANE_HOST };

struct bucket {
    double compute, transfer, deserialize, disk, top_seconds, next_seconds;
    uint32_t top, next, runs, failed;
};

struct lane {
    uint32_t worker; /* of a host: its first */
    uint16_t thread;
    uint32_t threads;
    struct bucket *buckets;
};

struct picture {
    const struct tables *tables;
    double since, until, width; /* of a bucket */
    uint32_t bucket_count;
    enum lane_kind kind;
    struct span host; /* only its workers; empty: all */
    struct VEC(struct lane) lanes;
    struct map places; /* worker, thread; or the host's name → place */
    uint64_t left_out; /* runs of lanes beyond LANES_MAX */
};

static struct lane *lane_of(struct picture *picture, uint32_t worker, uint16_t thread)
{
    const struct worker_row *row = tables_worker(picture->tables, worker);
    uint32_t pair[2] = {worker, picture->kind == LANE_THREAD ? thread : 0};
    struct span name = picture->kind == LANE_HOST && row != NULL ? text_span(&row->host)
                                                                 : span_of(pair, sizeof pair);
    struct map_entry *entry = map_find(&picture->places, name);
    if (entry == NULL) {
        if (picture->lanes.count >= LANES_MAX) {
            return NULL;
        }
        struct lane lane = {.worker = worker,
                            .thread = (uint16_t)pair[1],
                            .threads =
                                picture->kind == LANE_THREAD || row == NULL ? 1 : row->nthreads,
                            .buckets = mem_zalloc(picture->bucket_count, sizeof(struct bucket))};
        map_put(&picture->places, name, NULL)->value.number = picture->lanes.count;
        vec_push(&picture->lanes, lane);
        return &picture->lanes.items[picture->lanes.count - 1];
    }
    return &picture->lanes.items[entry->value.number];
}

/* The time of a host's lane is shared by all its workers' threads. */
static void count_host_threads(struct picture *picture)
{
    for (uint32_t i = 0; i < picture->lanes.count && picture->kind == LANE_HOST; i++) {
        struct lane *lane = &picture->lanes.items[i];
        const struct worker_row *first = tables_worker(picture->tables, lane->worker);
        if (first == NULL) {
            continue;
        }
        lane->threads = 0;
        for (uint32_t w = 0; w < picture->tables->workers.count; w++) {
            const struct worker_row *row = picture->tables->workers.items[w];
            if (row != NULL && row->removed == 0 &&
                span_equal(text_span(&row->host), text_span(&first->host))) {
                lane->threads += row->nthreads;
            }
        }
        lane->threads = lane->threads == 0 ? 1 : lane->threads;
    }
}

enum part { PART_COMPUTE, PART_TRANSFER, PART_DESERIALIZE, PART_DISK };

static double *part_of(struct bucket *bucket, enum part part)
{
    switch (part) {
    case PART_TRANSFER:
        return &bucket->transfer;
    case PART_DESERIALIZE:
        return &bucket->deserialize;
    case PART_DISK:
        return &bucket->disk;
    default:
        return &bucket->compute;
    }
}

/* top_seconds is never less than next_seconds. */
static void vote(struct bucket *bucket, uint32_t prefix, double seconds)
{
    if (bucket->top == prefix) {
        bucket->top_seconds += seconds;
        return;
    }
    if (bucket->next == prefix || bucket->next_seconds == 0) {
        bucket->next = prefix;
        bucket->next_seconds += seconds;
    } else {
        double least = fmin(bucket->next_seconds, seconds);
        bucket->top_seconds -= least;
        bucket->next_seconds -= least;
        if (seconds > least) { /* the second place is free */
            bucket->next = prefix;
            bucket->next_seconds = seconds - least;
        }
    }
    if (bucket->next_seconds > bucket->top_seconds) {
        struct bucket was = *bucket;
        bucket->top = was.next;
        bucket->top_seconds = was.next_seconds;
        bucket->next = was.top;
        bucket->next_seconds = was.top_seconds;
    }
}

/* A part of a run. */
struct stretch {
    double start, stop;
    enum part part;
    uint32_t prefix;
};

/* Buckets are counted, not found anew by time: near the edge of one, a time of today divided by the width may fall on
 * either side. */
static void spread(struct picture *picture, struct lane *lane, struct stretch stretch)
{
    double start = fmax(stretch.start, picture->since), stop = fmin(stretch.stop, picture->until);
    if (start >= stop) {
        return;
    }
    uint32_t first = (uint32_t)((start - picture->since) / picture->width);
    for (uint32_t i = first; i < picture->bucket_count && start < stop; i++) {
        double end = fmin(picture->since + (i + 1) * picture->width, stop);
        struct bucket *bucket = &lane->buckets[i];
        double seconds = fmax(end - start, 0);
        *part_of(bucket, stretch.part) += seconds;
        if (stretch.part == PART_COMPUTE) {
            vote(bucket, stretch.prefix, seconds);
        }
        start = fmax(start, end);
    }
}

static bool is_asked(const struct picture *picture, uint32_t worker)
{
    const struct worker_row *row =
        picture->host.size == 0 ? NULL : tables_worker(picture->tables, worker);
    return picture->host.size == 0 ||
           (row != NULL && span_equal(text_span(&row->host), picture->host));
}

static void add_run(struct picture *picture, const struct runs_chunk *chunk, uint32_t i)
{
    double start = chunk->start[i], stop = start + (double)chunk->duration[i];
    double before = (double)chunk->deserialize[i], earlier = (double)chunk->transfer[i],
           first = (double)chunk->disk[i];
    if (stop < picture->since || start - before - earlier - first > picture->until || start <= 0 ||
        !is_asked(picture, chunk->worker[i])) {
        return;
    }
    struct lane *lane = lane_of(picture, chunk->worker[i], chunk->lane[i]);
    if (lane == NULL) {
        picture->left_out++;
        return;
    }
    spread(picture, lane, (struct stretch){start, stop, PART_COMPUTE, chunk->prefix[i]});
    spread(picture, lane, (struct stretch){start - before, start, PART_DESERIALIZE, 0});
    start -= before;
    spread(picture, lane, (struct stretch){start - earlier, start, PART_TRANSFER, 0});
    start -= earlier;
    spread(picture, lane, (struct stretch){start - first, start, PART_DISK, 0});
    double end = fmin(stop, picture->until);
    uint32_t at = (uint32_t)(fmax(end - picture->since, 0) / picture->width);
    struct bucket *bucket =
        &lane->buckets[at < picture->bucket_count ? at : picture->bucket_count - 1];
    bucket->runs++;
    bucket->failed += chunk->is_erred[i];
}

/* Inputs are fetched at most so long before a run. */
#define BEFORE_SECONDS 3600.0

static void paint(struct picture *picture)
{
    const struct runs *runs = &picture->tables->runs;
    for (uint32_t c = 0; c < runs->chunks.count; c++) {
        const struct runs_chunk *chunk = runs->chunks.items[c];
        if (chunk->last < picture->since || chunk->first - BEFORE_SECONDS > picture->until) {
            continue;
        }
        for (uint32_t i = 0; i < chunk->count; i++) {
            add_run(picture, chunk, i);
        }
    }
    count_host_threads(picture);
}

/* ---- the answer --------------------------------------------------------------------------------- */

static void put_shares(const struct picture *picture, const struct lane *lane, const char *name,
                       enum part part, struct jot *jot)
{
    double whole = picture->width * lane->threads;
    jot_name(jot, name);
    jot_open(jot, '[');
    for (uint32_t i = 0; i < picture->bucket_count; i++) {
        double share = *part_of(&lane->buckets[i], part) / whole;
        jot_real(jot, round(share * 1e4) / 1e4);
    }
    jot_close(jot, ']');
}

static void put_counts(const struct picture *picture, const struct lane *lane, const char *name,
                       size_t offset, struct jot *jot)
{
    jot_name(jot, name);
    jot_open(jot, '[');
    for (uint32_t i = 0; i < picture->bucket_count; i++) {
        uint32_t count;
        memcpy(&count, (const char *)&lane->buckets[i] + offset, sizeof count);
        jot_int(jot, count);
    }
    jot_close(jot, ']');
}

/* The least share of its computing that a bucket's `top` has. */
static void put_top_shares(const struct picture *picture, const struct lane *lane, struct jot *jot)
{
    jot_name(jot, "top_share");
    jot_open(jot, '[');
    for (uint32_t i = 0; i < picture->bucket_count; i++) {
        const struct bucket *bucket = &lane->buckets[i];
        double share = bucket->compute > 0 ? bucket->top_seconds / bucket->compute : 0;
        jot_real(jot, round(fmin(share, 1) * 1e2) / 1e2);
    }
    jot_close(jot, ']');
}

/* The names of the prefixes that are some bucket's `top`, by number. */
static void put_prefixes(const struct picture *picture, struct jot *jot)
{
    uint32_t count = picture->tables->prefixes.count;
    bool *is_there = mem_zalloc((size_t)count + 1, sizeof *is_there);
    for (uint32_t l = 0; l < picture->lanes.count; l++) {
        for (uint32_t i = 0; i < picture->bucket_count; i++) {
            uint32_t top = picture->lanes.items[l].buckets[i].top;
            is_there[top <= count ? top : 0] = true;
        }
    }
    jot_name(jot, "prefixes");
    jot_open(jot, '{');
    for (uint32_t id = 1; id <= count; id++) {
        char name[16];
        if (is_there[id]) {
            snprintf(name, sizeof name, "%u", id);
            jot_put_cstr(jot, name, tables_prefix_name(picture->tables, id));
        }
    }
    jot_close(jot, '}');
    mem_free(is_there);
}

static void put_lane(const struct picture *picture, const struct lane *lane, struct jot *jot)
{
    const struct worker_row *row = tables_worker(picture->tables, lane->worker);
    jot_open(jot, '{');
    jot_name(jot, "name");
    if (row == NULL) {
        jot_cstr(jot, "");
    } else {
        jot_text(jot, text_span(picture->kind == LANE_HOST ? &row->host : &row->name));
    }
    jot_put_int(jot, "worker", lane->worker);
    jot_put_int(jot, "lane", lane->thread);
    jot_put_int(jot, "nthreads", lane->threads);
    put_shares(picture, lane, "busy", PART_COMPUTE, jot);
    put_shares(picture, lane, "transfer", PART_TRANSFER, jot);
    put_shares(picture, lane, "deserialize", PART_DESERIALIZE, jot);
    put_shares(picture, lane, "disk", PART_DISK, jot);
    put_counts(picture, lane, "runs", offsetof(struct bucket, runs), jot);
    put_counts(picture, lane, "failed", offsetof(struct bucket, failed), jot);
    put_counts(picture, lane, "top", offsetof(struct bucket, top), jot);
    put_top_shares(picture, lane, jot);
    jot_close(jot, '}');
}

static enum lane_kind kind_of(const struct exchange *exchange)
{
    struct span kind = exchange_argument(exchange, "lanes");
    return span_equal_text(kind, "worker") ? LANE_WORKER
           : span_equal_text(kind, "host") ? LANE_HOST
                                           : LANE_THREAD;
}

void api_stream(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    double now = observer_now();
    double buckets = exchange_number(exchange, "buckets", 400);
    struct picture picture = {
        .tables = tables,
        .since = exchange_number(exchange, "since", now - 60),
        .until = exchange_number(exchange, "until", now),
        .bucket_count = (uint32_t)(buckets < 1             ? 1
                                   : buckets > BUCKETS_MAX ? BUCKETS_MAX
                                                           : buckets),
        .kind = kind_of(exchange),
        .host = exchange_argument(exchange, "host"),
    };
    if (!(picture.until > picture.since)) {
        exchange_fail(exchange, 400, "until must come after since");
        return;
    }
    picture.width = (picture.until - picture.since) / picture.bucket_count;
    paint(&picture);
    struct jot jot = api_begin(exchange);
    jot_put_real(&jot, "since", picture.since);
    jot_put_real(&jot, "until", picture.until);
    jot_put_int(&jot, "buckets", picture.bucket_count);
    jot_put_int(&jot, "left_out", (int64_t)picture.left_out);
    put_prefixes(&picture, &jot);
    jot_name(&jot, "lanes");
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < picture.lanes.count; i++) {
        put_lane(&picture, &picture.lanes.items[i], &jot);
        mem_free(picture.lanes.items[i].buckets);
    }
    jot_close(&jot, ']');
    vec_fini(&picture.lanes);
    map_fini(&picture.places);
    api_end(exchange, &jot);
}
