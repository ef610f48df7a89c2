/* board.c: reading the board. */
#include "exec/board.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"

enum { SLOT_SIZE = 64, HEAD_SIZE = 64, FLAG_ASYNCHRONOUS = 2, FLAG_EXPORT = 4 };

static size_t board_size(uint32_t slot_count)
{
    return HEAD_SIZE + (size_t)slot_count * SLOT_SIZE;
}

int board_create(uint32_t slot_count, struct board *out_board, struct text *why)
{
    size_t size = board_size(slot_count);
    int fd = memfd_create("cask-board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *memory = MAP_FAILED;
    /* Sealed, or an executor that shrinks it would end us by SIGBUS. */
    if (fd >= 0 && ftruncate(fd, (off_t)size) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
        memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    }
    if (memory == MAP_FAILED) {
        text_printf(why, "no shared memory for a board: %s", strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return ERR_IO;
    }
    *out_board = (struct board){.fd = fd, .slot_count = slot_count, .memory = memory};
    return OK;
}

void board_destroy(struct board *board)
{
    if (board->memory != NULL) {
        const uint8_t *memory = board->memory;
        void *writable;
        memcpy(&writable, &memory, sizeof writable); /* munmap's type says less than it does */
        munmap(writable, board_size(board->slot_count));
        close(board->fd);
    }
    *board = (struct board){.fd = -1};
}

uint32_t board_read(const struct board *board, struct executor_victim *out_victims,
                    uint32_t capacity)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < board->slot_count && count < capacity; i++) {
        const uint8_t *slot = board->memory + HEAD_SIZE + (size_t)i * SLOT_SIZE;
        struct {
            uint64_t handle;
            double start;
            uint64_t thread;
            uint64_t flags;
        } held;
        memcpy(&held, slot, sizeof held);
        if (held.handle != 0) {
            bool is_time = held.start > 0 && held.start < 1e12;
            out_victims[count++] = (struct executor_victim){
                .handle = held.handle,
                .start = is_time ? held.start : 0,
                .thread = (uint32_t)held.thread,
                .is_asynchronous = (held.flags & FLAG_ASYNCHRONOUS) != 0,
                .is_export = (held.flags & FLAG_EXPORT) != 0,
            };
        }
    }
    return count;
}
