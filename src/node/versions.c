/* versions.c: versions of packages, and the warning when they differ: stock's table, word for word. */
#include "node/versions.h"

/* Packages whose version on the scheduler counts. */
static const char *const scheduler_relevant[] = {"dask",  "distributed", "cloudpickle", "tornado",
                                                 "toolz", "lz4",         "python"};

/* Versions of one peer: its "packages" map, or data NULL: it did not say. */
static struct span packages_of(struct span versions)
{
    struct span packages;
    struct msgpack_reader reader;
    uint32_t count;
    if (msgpack_is_nil(versions) || msgpack_find(versions, "packages", &packages) != OK) {
        return (struct span){0};
    }
    reader = msgpack_reader(packages);
    return msgpack_read_map(&reader, &count) == OK ? packages : (struct span){0};
}

/* A version as Python's str() shows it. */
static struct span version_in(struct arena *arena, struct span packages, const char *package)
{
    struct span raw, text;
    if (packages.data == NULL) {
        return SPAN("UNKNOWN");
    }
    if (msgpack_find(packages, package, &raw) != OK) {
        return SPAN("MISSING");
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    return msgpack_read_str(&reader, &text) == OK ? arena_copy(arena, text) : SPAN("None");
}

/* ---- the peers' packages ------------------------------------------------------------------------- */

struct maps VEC(struct span);

struct comparison {
    struct node *node;
    struct arena arena;
    struct span newcomer, scheduler;
    struct maps workers; /* the different ones among theirs */
};

/* Most workers say the same, byte for byte. */
static void collect_workers(struct comparison *comparison)
{
    struct node *node = comparison->node;
    struct span last = {0};
    for (uint32_t i = 0; i < view_worker_count(node->core); i++) {
        struct worker_view view;
        bool is_known = view_worker(node->core, view_worker_at(node->core, i), &view),
             is_new = true;
        ASSERT(is_known);
        struct span versions =
            view.versions == NULL ? SPAN("\xc0") : slice_span(view.versions->value);
        if (last.data != NULL && span_equal(versions, last)) {
            continue;
        }
        last = versions;
        struct span packages = packages_of(versions);
        for (uint32_t j = 0; is_new && j < comparison->workers.count; j++) {
            is_new = !span_equal(comparison->workers.items[j], packages);
        }
        if (is_new) {
            vec_push(&comparison->workers, packages);
        }
    }
}

/* Names of all packages anyone speaks of, sorted. */
static void collect_names(struct comparison *comparison, struct maps *names)
{
    struct map seen = {0};
    for (uint32_t i = 0; i < comparison->workers.count + 2; i++) {
        struct span packages = i == 0   ? comparison->newcomer
                               : i == 1 ? comparison->scheduler
                                        : comparison->workers.items[i - 2];
        struct msgpack_reader reader = msgpack_reader(packages);
        uint32_t count = 0;
        struct span name;
        if (packages.data == NULL || msgpack_read_map(&reader, &count) != OK) {
            continue;
        }
        for (uint32_t j = 0; j < count; j++) {
            bool is_new = false;
            if (msgpack_read_str(&reader, &name) != OK || msgpack_skip(&reader) != OK) {
                break;
            }
            if (memchr(name.data, '\0', name.size) == NULL) {
                map_put(&seen, name, &is_new);
            }
            if (is_new) {
                uint32_t at = names->count;
                vec_push(names, arena_copy(&comparison->arena, name));
                for (; at > 0 && span_compare(names->items[at - 1], name) > 0; at--) {
                    struct span moved = names->items[at - 1];
                    names->items[at - 1] = names->items[at];
                    names->items[at] = moved;
                }
            }
        }
    }
    map_fini(&seen);
}

/* ---- the table ----------------------------------------------------------------------------------- */

enum { COLUMN_COUNT = 4 };

struct row {
    struct span cells[COLUMN_COUNT];
};
struct rows VEC(struct row);

/* The workers' versions in one cell: "None" without workers, the version, or a set of them. */
static struct span workers_cell(struct comparison *comparison, const struct maps *versions)
{
    if (versions->count == 0) {
        return SPAN("None");
    }
    if (versions->count == 1) {
        return versions->items[0];
    }
    struct text cell = {0};
    for (uint32_t i = 0; i < versions->count; i++) {
        text_add_cstr(&cell, i == 0 ? "{" : ", ");
        key_repr_text(&cell, versions->items[i]);
    }
    text_add_char(&cell, '}');
    struct span kept = arena_copy(&comparison->arena, text_span(&cell));
    text_fini(&cell);
    return kept;
}

static bool is_relevant(const char *package)
{
    for (uint32_t i = 0; i < sizeof scheduler_relevant / sizeof scheduler_relevant[0]; i++) {
        if (strcmp(package, scheduler_relevant[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void compare_package(struct comparison *comparison, struct span name, struct rows *rows)
{
    struct text text = {0};
    text_add(&text, name);
    const char *package = text_cstr(&text);
    struct span newcomer = version_in(&comparison->arena, comparison->newcomer, package);
    struct span scheduler = version_in(&comparison->arena, comparison->scheduler, package);
    struct maps versions = {0};
    bool differs = is_relevant(package) && !span_equal(newcomer, scheduler);
    for (uint32_t i = 0; i < comparison->workers.count; i++) {
        struct span version = version_in(&comparison->arena, comparison->workers.items[i], package);
        bool is_new = true;
        for (uint32_t j = 0; is_new && j < versions.count; j++) {
            is_new = !span_equal(versions.items[j], version);
        }
        if (is_new) {
            vec_push(&versions, version);
        }
        differs = differs || !span_equal(version, newcomer);
    }
    if (differs) {
        vec_push(rows,
                 (struct row){{name, newcomer, scheduler, workers_cell(comparison, &versions)}});
    }
    vec_fini(&versions);
    text_fini(&text);
}

static void write_row(struct text *out, const struct row *row, const size_t widths[COLUMN_COUNT])
{
    text_add_char(out, '|');
    for (int i = 0; i < COLUMN_COUNT; i++) {
        text_printf(out, " %-*.*s |", (int)widths[i], (int)row->cells[i].size,
                    (const char *)row->cells[i].data);
    }
    text_add_char(out, '\n');
}

static void write_bar(struct text *out, const size_t widths[COLUMN_COUNT])
{
    for (int i = 0; i < COLUMN_COUNT; i++) {
        text_add_char(out, '+');
        for (size_t j = 0; j < widths[i] + 2; j++) {
            text_add_char(out, '-');
        }
    }
    text_add_char(out, '+');
}

static void write_table(struct text *out, const struct row *header, const struct rows *rows)
{
    size_t widths[COLUMN_COUNT];
    for (int i = 0; i < COLUMN_COUNT; i++) {
        widths[i] = header->cells[i].size;
        for (uint32_t j = 0; j < rows->count; j++) {
            size_t size = rows->items[j].cells[i].size;
            widths[i] = size > widths[i] ? size : widths[i];
        }
    }
    write_bar(out, widths);
    text_add_char(out, '\n');
    write_row(out, header, widths);
    write_bar(out, widths);
    text_add_char(out, '\n');
    for (uint32_t j = 0; j < rows->count; j++) {
        write_row(out, &rows->items[j], widths);
    }
    write_bar(out, widths);
}

/* ---- newcomers ----------------------------------------------------------------------------------- */

/* The first peer sets the standard; so does the first after all have left. */
static void set_standard(struct node *node, struct span versions)
{
    struct totals_view totals;
    view_totals(node->core, &totals);
    bool is_first = totals.worker_count == 0 && totals.client_count == 0;
    if ((node->versions == NULL || is_first) && packages_of(versions).data != NULL) {
        blob_unref(node->versions);
        node->versions = payload_value(versions);
    }
}

static void compare(struct node *node, struct span versions, struct span name, struct text *warning)
{
    set_standard(node, versions);
    if (node->versions == NULL) {
        return; /* nobody has said anything yet */
    }
    struct comparison comparison = {
        .node = node,
        .newcomer = packages_of(versions),
        .scheduler = packages_of(slice_span(node->versions->value)),
    };
    struct maps names = {0};
    struct rows rows = {0};
    arena_init(&comparison.arena);
    collect_workers(&comparison);
    collect_names(&comparison, &names);
    for (uint32_t i = 0; i < names.count; i++) {
        compare_package(&comparison, names.items[i], &rows);
    }
    if (rows.count > 0) {
        struct row header = {{SPAN("Package"), name, SPAN("Scheduler"), SPAN("Workers")}};
        text_add_cstr(warning, "Mismatched versions found\n\n");
        write_table(warning, &header, &rows);
    }
    vec_fini(&rows);
    vec_fini(&names);
    vec_fini(&comparison.workers);
    arena_fini(&comparison.arena);
}

void versions_compare_client(struct node *node, struct span versions, struct text *warning)
{
    compare(node, versions, SPAN("Client"), warning);
}

void versions_compare_worker(struct node *node, struct span versions, struct span address,
                             struct text *warning)
{
    compare(node, versions, address, warning);
}

/* ---- ours ---------------------------------------------------------------------------------------- */

/* The standard's pairs under `name`, or none. */
static struct span part_of(struct node *node, const char *name)
{
    struct span part;
    if (node->versions == NULL ||
        msgpack_find(slice_span(node->versions->value), name, &part) != OK) {
        return SPAN("\x80");
    }
    return part;
}

void versions_write(struct node *node, struct span more, struct text *out)
{
    struct span packages = part_of(node, "packages"), name, known;
    struct msgpack_reader reader = msgpack_reader(packages), names = msgpack_reader(more);
    struct text extra = {0}, text = {0};
    uint32_t count = 0, asked = 0, extra_count = 0;
    if (!msgpack_is_nil(more) && msgpack_read_array(&names, &asked) == OK) {
        for (uint32_t i = 0; i < asked && msgpack_read_str(&names, &name) == OK; i++) {
            text_clear(&text);
            text_add(&text, name);
            if (msgpack_find(packages, text_cstr(&text), &known) != OK) {
                msgpack_write_str(&extra, name);
                msgpack_write_nil(&extra);
                extra_count++;
            }
        }
    }
    msgpack_write_map(out, 2);
    msgpack_write_cstr(out, "host");
    msgpack_write_raw(out, part_of(node, "host"));
    msgpack_write_cstr(out, "packages");
    if (msgpack_read_map(&reader, &count) != OK) {
        count = 0;
    }
    msgpack_write_map(out, count + extra_count);
    if (count > 0) {
        msgpack_write_raw(out, span_of(reader.at, (size_t)(reader.end - reader.at)));
    }
    if (extra_count > 0) {
        msgpack_write_raw(out, text_span(&extra));
    }
    text_fini(&extra);
    text_fini(&text);
}
