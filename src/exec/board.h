/* board.h: who runs what in an executor, in memory that both see. docs/executor.md, "The board". */
#ifndef CASK_EXEC_BOARD_H
#define CASK_EXEC_BOARD_H

#include "exec/death.h"

struct board {
    int fd;
    uint32_t slot_count;
    const uint8_t *memory;
};

/* ERR_IO: why. */
MUST_USE int board_create(uint32_t slot_count, struct board *out_board, struct text *why);
void board_destroy(struct board *board);
/* What runs: at most `capacity` of them. The executor writes meanwhile, and may write anything. */
uint32_t board_read(const struct board *board, struct executor_victim *out_victims,
                    uint32_t capacity);

#endif
