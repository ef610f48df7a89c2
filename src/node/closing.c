/* closing.c: which workers may be closed at little cost. The core chooses; here the question is read, and
 * plugins are asked. */
#include "node/closing.h"

#include "base/alloc.h"
#include "core/scheduler/balance.h"
#include "node/planner.h"
#include "wire/pickle_recognise.h"

/* The attribute that `key` groups by; false: `key` is none we can read. Empty: no grouping. */
static bool read_key(struct span key, struct text *out_name)
{
    if (key.size == 0) {
        return true;
    }
    struct pickle_arguments arguments = {0};
    bool is_native = pickle_recognise(key, &arguments) == PICKLE_ATTRGETTER;
    if (is_native) {
        text_add(out_name, text_span(&arguments.name));
    }
    pickle_arguments_fini(&arguments);
    return is_native;
}

static void write_text_or_nil(struct text *out, struct span value)
{
    if (value.size == 0) {
        msgpack_write_nil(out);
    } else {
        msgpack_write_str(out, value);
    }
}

static bool write_number(const struct worker_view *view, struct span name, struct text *out)
{
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"pid", view->pid},
        {"nthreads", view->nthreads},
        {"memory_limit", view->memory_limit},
        {"nbytes", view->nbytes},
    };
    for (uint32_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (span_equal_text(name, numbers[i].name)) {
            msgpack_write_int(out, numbers[i].value);
            return true;
        }
    }
    return false;
}

bool closing_write_attribute(struct node *node, worker_id worker, struct span name,
                             struct outgoing *out)
{
    struct worker_view view;
    if (!view_worker(node->core, worker, &view)) {
        return false;
    }
    if (span_equal_text(name, "name")) {
        msgpack_write_raw(&out->head, view.name);
        return true;
    }
    const struct {
        const char *name;
        struct span value;
    } texts[] = {
        {"address", view.address},
        {"host", view.host},
        {"nanny", view.nanny},
        {"server_id", view.server_id},
        {"local_directory", view.local_directory},
    };
    for (uint32_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (span_equal_text(name, texts[i].name)) {
            write_text_or_nil(&out->head, texts[i].value);
            return true;
        }
    }
    return write_number(&view, name, &out->head);
}

bool closing_is_attribute(struct span name)
{
    static const char *const known[] = {"name",         "address",         "host", "nanny",
                                        "server_id",    "local_directory", "pid",  "nthreads",
                                        "memory_limit", "nbytes"};
    for (uint32_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (span_equal_text(name, known[i])) {
            return true;
        }
    }
    return false;
}

bool closing_is_native(struct span raw, struct span *out_key)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    struct text name = {0};
    *out_key = (struct span){0};
    if (msgpack_is_nil(raw)) {
        return true;
    }
    bool is_native = msgpack_read_bin(&reader, out_key) == OK && read_key(*out_key, &name) &&
                     (out_key->size == 0 || closing_is_attribute(text_span(&name)));
    text_fini(&name);
    return is_native;
}

/* ---- choosing ---------------------------------------------------------------------------------- */

struct choice {
    struct node *node;
    struct arena arena;
    struct close_request request;
    struct text attribute; /* to group by; empty: each alone */
    const worker_id *workers;
    uint32_t count;
    closing_done *done;
    void *user;
};

static void finish(void *user)
{
    struct choice *choice = user;
    choice->done(choice->user, (struct worker_list){choice->workers, choice->count});
    text_fini(&choice->attribute);
    arena_fini(&choice->arena);
    mem_free(choice);
}

/* The group of each worker, by its place. */
static const struct span *group_workers(struct choice *choice)
{
    struct node *node = choice->node;
    uint32_t count = view_worker_count(node->core);
    struct span *groups = arena_array(&choice->arena, struct span, count);
    for (uint32_t i = 0; i < count; i++) {
        struct outgoing value;
        outgoing_init(&value);
        bool is_there = closing_write_attribute(node, view_worker_at(node->core, i),
                                                text_span(&choice->attribute), &value);
        ASSERT(is_there); /* closing_is_native knows the names */
        groups[i] = arena_copy(&choice->arena, text_span(&value.head));
        outgoing_fini(&value);
    }
    return groups;
}

static void choose(struct choice *choice)
{
    if (choice->attribute.size > 0) {
        choice->request.group_of = group_workers(choice);
    }
    choice->workers = balance_workers_to_close(choice->node->core, &choice->request, &choice->arena,
                                               &choice->count);
}

/* Choose among those that plugins left in the list. */
static void choose_allowed(void *user, struct span addresses)
{
    struct choice *choice = user;
    struct node *node = choice->node;
    uint32_t worker_count = view_worker_count(node->core);
    bool *is_kept = arena_array(&choice->arena, bool, worker_count);
    struct msgpack_reader reader = msgpack_reader(addresses);
    uint32_t listed = 0;
    struct map allowed = {0};
    struct span address;
    if (msgpack_read_array(&reader, &listed) == OK) {
        for (uint32_t i = 0; i < listed && msgpack_read_str(&reader, &address) == OK; i++) {
            map_put(&allowed, address, NULL);
        }
    }
    for (uint32_t i = 0; i < worker_count; i++) {
        address = view_worker_address(node->core, view_worker_at(node->core, i));
        is_kept[i] = map_find(&allowed, address) == NULL;
    }
    map_fini(&allowed);
    choice->request.is_kept = is_kept;
    choose(choice);
    finish(choice);
}

/* Plugins see all that could close before any is chosen: who may not close must not count as one of n. */
static void ask_plugins(struct choice *choice)
{
    struct node *node = choice->node;
    struct text list = {0}, head = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < view_worker_count(node->core); i++) {
        worker_id worker = view_worker_at(node->core, i);
        if (balance_may_close(node->core, worker)) {
            msgpack_write_str(&list, view_worker_address(node->core, worker));
            count++;
        }
    }
    msgpack_write_array(&head, count);
    msgpack_write_raw(&head, text_span(&list));
    planner_valid_workers(node->planner, text_span(&head), choose_allowed, choice);
    text_fini(&head);
    text_fini(&list);
}

bool closing_needs_plugins(const struct node *node)
{
    return planner_wants(node->planner, PLANNER_HOOK_VALID_WORKERS);
}

void closing_choose(struct node *node, const struct closing_question *question, closing_done *done,
                    void *user)
{
    struct choice *choice = mem_zalloc(1, sizeof *choice);
    arena_init(&choice->arena);
    choice->node = node;
    choice->done = done;
    choice->user = user;
    bool is_native = read_key(question->key, &choice->attribute);
    ASSERT(is_native);
    choice->request = CLOSE_REQUEST_DEFAULT;
    if (question->memory_ratio >= 0) {
        choice->request.memory_ratio = question->memory_ratio;
    }
    choice->request.n = question->n;
    choice->request.minimum = question->minimum;
    choice->request.target = question->target;
    if (closing_needs_plugins(node)) {
        ask_plugins(choice);
    } else {
        choose(choice);
        io_post(node->loop, finish, choice);
    }
}
