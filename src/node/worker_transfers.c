/* worker_transfers.c: see worker_transfers.h. An entry is kept as what a dump shows of it: it is written once and
 * hardly ever read. Rings of fixed length, whose bytes are bounded too, as one transfer may be of thousands of keys. */
#include "node/worker_transfers.h"

#include "base/alloc.h"
#include "wire/key.h"
#include "wire/msgpack.h"

#define TRANSFERS_MAX 1000u
#define TRANSFERS_BYTES_MAX (1u << 20)
#define SECONDS_MIN 0.001 /* as stock: a bandwidth is a number */

struct transfer_ring {
    struct text entries[TRANSFERS_MAX];
    uint32_t first, count;
    size_t bytes;
};

struct worker_transfers {
    struct transfer_ring rings[TRANSFER_WAY_COUNT];
};

struct worker_transfers *worker_transfers_create(void)
{
    return mem_zalloc(1, sizeof(struct worker_transfers));
}

void worker_transfers_destroy(struct worker_transfers *transfers)
{
    for (uint32_t way = 0; transfers != NULL && way < TRANSFER_WAY_COUNT; way++) {
        for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
            text_fini(&transfers->rings[way].entries[i]);
        }
    }
    mem_free(transfers);
}

void transfer_add_size(struct text *sizes, struct span key, int64_t bytes)
{
    struct text shown = {0};
    key_print(&shown, key);
    msgpack_write_str_lossy(sizes, text_span(&shown));
    msgpack_write_int(sizes, bytes);
    text_fini(&shown);
}

static void put_seconds(struct text *out, const char *name, double seconds)
{
    msgpack_write_cstr(out, name);
    msgpack_write_float(out, seconds);
}

static void put_transfer(const struct transfer *transfer, enum transfer_way way, struct text *out)
{
    double seconds = transfer->stop - transfer->start;
    seconds = seconds > SECONDS_MIN ? seconds : SECONDS_MIN;
    msgpack_write_map(out, way == TRANSFER_OUTGOING ? 9 : 8);
    put_seconds(out, "start", transfer->start);
    put_seconds(out, "stop", transfer->stop);
    put_seconds(out, "middle", (transfer->start + transfer->stop) / 2);
    put_seconds(out, "duration", seconds);
    put_seconds(out, "bandwidth", (double)transfer->bytes / seconds);
    msgpack_write_cstr(out, "who");
    msgpack_write_str_lossy(out, transfer->peer);
    msgpack_write_cstr(out, "keys");
    msgpack_write_map(out, transfer->key_count);
    msgpack_write_raw(out, transfer->sizes);
    msgpack_write_cstr(out, "total");
    msgpack_write_int(out, transfer->bytes);
    if (way == TRANSFER_OUTGOING) {
        msgpack_write_cstr(out, "compressed");
        msgpack_write_int(out, transfer->sent);
    }
}

static void drop_oldest(struct transfer_ring *ring)
{
    struct text *oldest = &ring->entries[ring->first];
    ring->bytes -= oldest->size;
    text_fini(oldest);
    ring->first = (ring->first + 1) % TRANSFERS_MAX;
    ring->count--;
}

void worker_transfers_add(struct worker_transfers *transfers, enum transfer_way way,
                          const struct transfer *transfer)
{
    struct transfer_ring *ring = &transfers->rings[way];
    if (ring->count == TRANSFERS_MAX) {
        drop_oldest(ring);
    }
    struct text *entry = &ring->entries[(ring->first + ring->count++) % TRANSFERS_MAX];
    put_transfer(transfer, way, entry);
    ring->bytes += entry->size;
    while (ring->bytes > TRANSFERS_BYTES_MAX) { /* one alone that is larger goes as well */
        drop_oldest(ring);
    }
}

void worker_transfers_write(const struct worker_transfers *transfers, enum transfer_way way,
                            struct text *out)
{
    const struct transfer_ring *ring = &transfers->rings[way];
    msgpack_write_array(out, ring->count);
    for (uint32_t i = 0; i < ring->count; i++) {
        const struct text *entry = &ring->entries[(ring->first + i) % TRANSFERS_MAX];
        msgpack_write_raw(out, text_span(entry));
    }
}
