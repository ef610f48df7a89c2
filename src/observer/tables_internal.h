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
/* A key as people write it; false: it is none. */
bool table_print_key(struct text *out, struct span key);
struct line_row *table_line_add(struct lines *lines);
/* ---- findings_evidence.c: what only findings look at ---- */
void evidence_run(struct tables *tables, const struct record_run *record, double seconds);
void evidence_memory(struct worker_row *worker, const struct record_worker_sample *record);
void evidence_victim(struct tables *tables, const struct record_victim *record, struct span text);
void evidence_graph(struct tables *tables, const struct record_graph_bytes *record);
void evidence_versions(struct tables *tables, const struct record_versions *record,
                       struct span text);
void evidence_unrunnable(struct tables *tables, const struct record_unrunnable *record,
                         struct span text);

/* Make room for one more. */
void table_failures_trim(struct tables *tables);
/* Failures of this prefix and type at this place, or NULL. */
struct failure_row *table_failure_find(const struct tables *tables, const struct failure_row *like);
/* It becomes the tables'. */
void table_failure_put(struct tables *tables, struct failure_row *row);
struct transfer_row *table_transfer_make(struct tables *tables, uint32_t from, uint32_t to);
struct second_row *table_second_make(struct tables *tables, double time);

#endif
