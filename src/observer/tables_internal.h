/* tables_internal.h: what tables.c makes for tables_apply.c. NULL: the number cannot be one. */
#ifndef CASK_OBSERVER_TABLES_INTERNAL_H
#define CASK_OBSERVER_TABLES_INTERNAL_H

#include "observer/tables.h"

void tables_clear(struct tables *tables);
void table_set_text(struct text *text, struct span value);
struct worker_row *table_worker_make(struct tables *tables, uint32_t id);
void table_workers_trim(struct tables *tables);
/* The lane of a thread of the worker. */
uint16_t table_lane(struct worker_row *worker, uint64_t thread);
struct prefix_row *table_prefix_make(struct tables *tables, uint32_t id);
struct group_row *table_group_make(struct tables *tables, uint32_t id);
void table_text_put(struct tables *tables, uint32_t id, struct span text);
struct span table_text(const struct tables *tables, uint32_t id);
void table_client_set(struct tables *tables, uint32_t id, struct span name);
struct line_row *table_line_add(struct lines *lines);
/* Make room for one more. */
void table_failures_trim(struct tables *tables);
struct second_row *table_second_make(struct tables *tables, double time);

#endif
