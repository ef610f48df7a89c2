/* top_model.c: see top_model.h. A table is in the order of its rows' numbers; beyond ROWS_MAX the oldest go. */
#include "cli/top_model.h"

#include <jansson.h>

#include "base/error.h"

#define ROWS_MAX 20000u
#define LANES_MAX 4096u
#define BUCKETS_MAX 2000u

/* ---- rows --------------------------------------------------------------------------------------- */

static void row_destroy(struct top_row *row)
{
    for (int i = 0; i < TOP_TEXTS; i++) {
        text_fini(&row->texts[i]);
    }
    mem_free(row);
}

static void table_clear(struct top_table *table)
{
    for (uint32_t i = 0; i < table->rows.count; i++) {
        row_destroy(table->rows.items[i]);
    }
    vec_fini(&table->rows);
}

/* Of texts a frame has all or none. */
static void row_read(struct top_row *row, const struct top_frame *frame, uint32_t at)
{
    int texts = 0;
    for (uint32_t column = 0; column < TOP_COLUMNS; column++) {
        if (!top_frame_has(frame, column)) {
            continue;
        }
        if (!top_frame_is_text(frame, column)) {
            row->numbers[column] = top_frame_number(frame, column, at);
        } else if (texts < TOP_TEXTS) {
            text_clear(&row->texts[texts]);
            text_add(&row->texts[texts++], top_frame_text(frame, column, at));
        }
    }
}

/* Row numbers rise in the order of coming, so the place is found by halving. */
static uint32_t place_of(const struct top_table *table, double id)
{
    uint32_t low = 0, high = table->rows.count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (table->rows.items[middle]->numbers[0] < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void table_remove(struct top_table *table, uint32_t place)
{
    row_destroy(table->rows.items[place]);
    memmove(table->rows.items + place, table->rows.items + place + 1,
            (table->rows.count - place - 1) * sizeof table->rows.items[0]);
    table->rows.count--;
}

static struct top_row *table_insert(struct top_table *table, double id)
{
    if (table->rows.count >= ROWS_MAX) {
        table_remove(table, 0);
    }
    uint32_t place = place_of(table, id);
    struct top_row *row = mem_zalloc(1, sizeof *row);
    vec_push(&table->rows, row);
    memmove(table->rows.items + place + 1, table->rows.items + place,
            (table->rows.count - place - 1) * sizeof table->rows.items[0]);
    table->rows.items[place] = row;
    return row;
}

static void table_read(struct top_table *table, const struct top_frame *frame)
{
    if (frame->mode == TOP_REPLACE) {
        table_clear(table);
    }
    bool leaves = frame->channel == TOP_CHANNEL_WORKERS;
    for (uint32_t i = 0; i < frame->rows; i++) {
        double id = top_frame_number(frame, 0, i);
        bool is_gone = leaves && top_frame_number(frame, WORKER_REMOVED, i) > 0;
        uint32_t place = place_of(table, id);
        bool is_here = place < table->rows.count && table->rows.items[place]->numbers[0] == id;
        if (is_gone && is_here) {
            table_remove(table, place);
        } else if (!is_gone) {
            row_read(is_here ? table->rows.items[place] : table_insert(table, id), frame, i);
        }
    }
}

bool top_group_is_left(const struct top_row *row)
{
    return row->numbers[GROUP_SIZE] > row->numbers[GROUP_FORGOTTEN];
}

/* ---- frames ------------------------------------------------------------------------------------- */

static void add_rate(struct top_model *model, float rate)
{
    if (model->rate_count == TOP_RATES) {
        memmove(model->rates, model->rates + 1, (TOP_RATES - 1) * sizeof model->rates[0]);
        model->rate_count--;
    }
    model->rates[model->rate_count++] = rate;
}

int top_model_frame(struct top_model *model, struct span bytes)
{
    struct top_frame frame;
    int code = top_frame_read(bytes, &frame);
    if (code != OK) {
        return code;
    }
    model->time = frame.time > model->time ? frame.time : model->time;
    switch (frame.channel) {
    case TOP_CHANNEL_SUMMARY:
        if (frame.rows > 0) {
            row_read(&model->summary, &frame, 0);
            add_rate(model, (float)model->summary.numbers[SUMMARY_RUN_RATE]);
            model->has_summary = true;
            model->summaries++;
        }
        break;
    case TOP_CHANNEL_WORKERS:
        table_read(&model->workers, &frame);
        break;
    case TOP_CHANNEL_GROUPS:
        table_read(&model->groups, &frame);
        break;
    case TOP_CHANNEL_FAILURES:
        table_read(&model->failures, &frame);
        break;
    default:
        break; /* a channel that was not asked for */
    }
    return OK;
}

void top_model_connected(struct top_model *model, bool is_connected, const char *trouble)
{
    model->is_connected = is_connected;
    text_clear(&model->trouble);
    text_add_cstr(&model->trouble, trouble);
}

/* ---- the stream --------------------------------------------------------------------------------- */

static void stream_clear(struct top_stream *stream)
{
    for (uint32_t i = 0; i < stream->lanes.count; i++) {
        struct top_lane *lane = &stream->lanes.items[i];
        text_fini(&lane->name);
        mem_free(lane->busy);
        mem_free(lane->other);
        mem_free(lane->has_failed);
    }
    vec_fini(&stream->lanes);
}

static void read_lane(const json_t *from, struct top_lane *lane)
{
    const json_t *busy = json_object_get(from, "busy");
    size_t count = json_array_size(busy);
    const char *name = json_string_value(json_object_get(from, "name"));
    lane->bucket_count = count > BUCKETS_MAX ? BUCKETS_MAX : (uint32_t)count;
    text_add_cstr(&lane->name, name == NULL ? "" : name);
    lane->busy = mem_zalloc(lane->bucket_count + 1, sizeof *lane->busy);
    lane->other = mem_zalloc(lane->bucket_count + 1, sizeof *lane->other);
    lane->has_failed = mem_zalloc(lane->bucket_count + 1, sizeof *lane->has_failed);
    static const char *const others[] = {"transfer", "deserialize", "disk"};
    for (uint32_t i = 0; i < lane->bucket_count; i++) {
        lane->busy[i] = (float)json_number_value(json_array_get(busy, i));
        for (int j = 0; j < 3; j++) {
            const json_t *shares = json_object_get(from, others[j]);
            lane->other[i] += (float)json_number_value(json_array_get(shares, i));
        }
        const json_t *failed = json_array_get(json_object_get(from, "failed"), i);
        lane->has_failed[i] = json_integer_value(failed) > 0;
    }
}

int top_model_stream(struct top_model *model, struct span json)
{
    json_t *given = json_loadb((const char *)json.data, json.size, 0, NULL);
    const json_t *lanes = json_object_get(given, "lanes");
    if (!json_is_array(lanes)) {
        json_decref(given);
        return ERR_MALFORMED;
    }
    stream_clear(&model->stream);
    model->stream.since = json_number_value(json_object_get(given, "since"));
    model->stream.until = json_number_value(json_object_get(given, "until"));
    for (size_t i = 0; i < json_array_size(lanes) && i < LANES_MAX; i++) {
        struct top_lane lane = {0};
        read_lane(json_array_get(lanes, i), &lane);
        vec_push(&model->stream.lanes, lane);
    }
    json_decref(given);
    return OK;
}

void top_model_fini(struct top_model *model)
{
    for (int i = 0; i < TOP_TEXTS; i++) {
        text_fini(&model->summary.texts[i]);
    }
    table_clear(&model->workers);
    table_clear(&model->groups);
    table_clear(&model->failures);
    stream_clear(&model->stream);
    text_fini(&model->address);
    text_fini(&model->trouble);
    text_fini(&model->detail);
    text_fini(&model->notice);
}
