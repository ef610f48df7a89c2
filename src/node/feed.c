/* feed.c: progress of keys, sent to a client at an interval.
 *
 * At the start a feed walks from the keys it was given to all they depend on, and notes each key with its group
 * (one for all, or one a prefix or span). Then it hears of each task that is done; what nobody tells, that a task
 * was forgotten or erred with an input, is found by looking at some of the remaining ones at each tick. The
 * request stays open until the client's connection is gone. */
#include "node/feed.h"

#include "base/alloc.h"
#include "node/connection.h"
#include "node/exception.h"
#include "node/planner.h"
#include "node/values.h"
#include "wire/pickle_recognise.h"

#define SETUP_SECONDS 0.05 /* between looks for keys that are not known yet, as stock */
#define INTERVAL_SECONDS_MIN 0.01
#define QUEUED_BYTES_MAX 100000u /* more than this unsent: the client is slow, skip a tick */
#define LOOKS_PER_TICK 20000u    /* remaining keys looked at in one tick */

enum feed_status { FEED_RUNNING, FEED_FINISHED, FEED_ERROR };

struct feed_group {
    struct text name; /* msgpack */
    uint32_t all, remaining;
};

struct feed {
    struct node *node;
    uint64_t request;
    struct io_timer *timer;
    double interval;
    struct pickle_arguments arguments;
    bool is_multi; /* counts by group */
    bool is_set_up;
    struct VEC(struct feed_group) groups;
    struct map group_numbers; /* name → number of the group */
    struct map all;           /* key → number of the group */
    struct map remaining;     /* the same, of those that are not done */
    uint32_t look;            /* cursor into `remaining` */
    enum feed_status status;
    struct text error_key;  /* FEED_ERROR: which, or empty … */
    struct blob *exception; /* … and its exception, or NULL */
};

/* ---- the end ----------------------------------------------------------------------------------- */

static void feed_destroy(struct feed *feed)
{
    for (uint32_t i = 0; i < feed->groups.count; i++) {
        text_fini(&feed->groups.items[i].name);
    }
    vec_fini(&feed->groups);
    map_fini(&feed->group_numbers);
    map_fini(&feed->all);
    map_fini(&feed->remaining);
    text_fini(&feed->error_key);
    blob_unref(feed->exception);
    pickle_arguments_fini(&feed->arguments);
    io_timer_destroy(feed->timer);
    mem_free(feed);
}

static void feed_end(struct feed *feed)
{
    struct node *node = feed->node;
    for (uint32_t i = 0; i < node->feeds.count; i++) {
        if (node->feeds.items[i] == feed) {
            vec_swap_remove(&node->feeds, i);
            break;
        }
    }
    request_reply_nil(request_find(&node->server, feed->request));
    feed_destroy(feed);
}

void feeds_fini(struct node *node)
{
    while (node->feeds.count > 0) {
        feed_end(node->feeds.items[0]);
    }
    vec_fini(&node->feeds);
}

static void stop(struct feed *feed, enum feed_status status, struct span key)
{
    feed->status = status;
    text_clear(&feed->error_key);
    text_add(&feed->error_key, key);
    const struct task *task = key.size == 0 ? NULL : view_task_find(feed->node->core, key);
    if (status == FEED_ERROR && task != NULL) {
        struct task_view view;
        view_task(feed->node->core, task, &view);
        if (view.failure != NULL) {
            struct exception_blobs blobs = exception_blobs(feed->node, view.failure);
            blob_unref(feed->exception);
            feed->exception = blob_ref(blobs.exception);
            exception_blobs_fini(&blobs);
        }
    }
}

static void stop_if_done(struct feed *feed)
{
    if (feed->remaining.count == 0) {
        stop(feed, FEED_FINISHED, (struct span){0});
    }
}

/* ---- the keys ---------------------------------------------------------------------------------- */

/* What the task is counted under: nil, its prefix, or [name, id] of its span. */
static void write_group_name(const struct feed *feed, const struct task_view *task,
                             struct text *out)
{
    if (!feed->is_multi) {
        msgpack_write_nil(out);
    } else if (!feed->arguments.by_span) {
        msgpack_write_str_lossy(out, task->prefix);
    } else {
        struct text name = {0};
        for (uint32_t i = 0; i < task->span_name.count; i++) {
            text_add_cstr(&name, i == 0 ? "" : ", ");
            text_add(&name, task->span_name.items[i]);
        }
        msgpack_write_array(out, 2);
        msgpack_write_str_lossy(out, task->has_span ? text_span(&name) : SPAN("default"));
        msgpack_write_str_lossy(out, task->span_id);
        text_fini(&name);
    }
}

static uint32_t group_of(struct feed *feed, const struct task_view *task)
{
    struct text name = {0};
    bool is_new;
    write_group_name(feed, task, &name);
    struct map_entry *entry = map_put(&feed->group_numbers, text_span(&name), &is_new);
    if (!is_new) {
        text_fini(&name);
        return (uint32_t)entry->value.number;
    }
    entry->value.number = feed->groups.count;
    vec_push(&feed->groups, (struct feed_group){.name = name});
    return feed->groups.count - 1;
}

static void follow(struct feed *feed, const struct task_view *task, bool is_done)
{
    bool is_new;
    uint32_t number = group_of(feed, task);
    map_put(&feed->all, task->key, &is_new)->value.number = number;
    feed->groups.items[number].all += is_new;
    if (!is_done) {
        map_put(&feed->remaining, task->key, &is_new)->value.number = number;
        feed->groups.items[number].remaining += is_new;
    }
}

/* It failed itself, rather than for an input. */
static bool is_culprit(const struct task_view *task)
{
    struct failure_view failure;
    if (task->failure == NULL) {
        return false;
    }
    view_failure(task->failure, &failure);
    return span_equal(failure.key, task->key);
}

/* stack of tasks to look at */
struct walk VEC(const struct task *);

/* All that the given tasks need. With `complete` what is done is followed as well, else it ends the walk: so
 * `is_done` marks what is there, and what only such tasks need. Gives the key of one that erred, or none. */
static struct span walk(struct feed *feed, struct key_list keys, bool complete)
{
    struct scheduler *core = feed->node->core;
    struct walk stack = {0};
    struct map seen = {0};
    struct span key, erred = {0};
    while (key_list_next(&keys, &key)) {
        vec_push(&stack, view_task_find(core, key));
    }
    while (stack.count > 0) {
        const struct task *task = vec_pop(&stack);
        struct task_view view;
        bool is_new;
        view_task(core, task, &view);
        map_put(&seen, view.key, &is_new);
        bool is_bad = is_culprit(&view);
        if (is_bad && (complete || map_find(&feed->all, view.key) != NULL)) {
            erred = view.key;
        }
        if (!is_new || (!complete && (view.holder_count > 0 || is_bad))) {
            continue;
        }
        follow(feed, &view, complete && !is_bad);
        for (uint32_t i = 0; i < view.dependency_count; i++) {
            vec_push(&stack, view_task_dependency(core, task, i));
        }
    }
    map_fini(&seen);
    vec_fini(&stack);
    return erred;
}

static struct key_list given_keys(struct feed *feed)
{
    struct msgpack_reader reader = msgpack_reader(text_span(&feed->arguments.keys));
    struct key_list keys;
    int code = key_list_read(&reader, &feed->node->scratch, &keys);
    ASSERT(code == OK); /* pickle_recognise wrote it */
    return keys;
}

/* As soon as the scheduler knows all the keys; false: not yet. */
static bool set_up(struct feed *feed)
{
    struct scheduler *core = feed->node->core;
    struct key_list keys = given_keys(feed), unseen = keys;
    struct span key;
    while (key_list_next(&unseen, &key)) {
        if (view_task_find(core, key) == NULL) {
            return false;
        }
    }
    struct span erred = {0}, other;
    if (feed->arguments.complete) {
        erred = walk(feed, keys, true);
    }
    for (unseen = keys; key_list_next(&unseen, &key);) {
        struct task_view view;
        view_task(core, view_task_find(core, key), &view);
        follow(feed, &view, true);
    }
    other = walk(feed, keys, false);
    feed->is_set_up = true;
    stop_if_done(feed);
    erred = erred.size > 0 ? erred : other;
    if (erred.size > 0) {
        stop(feed, FEED_ERROR, erred);
    }
    return true;
}

/* ---- what happens to them ---------------------------------------------------------------------- */

static void key_done(struct feed *feed, struct span key)
{
    struct map_entry *entry = map_find(&feed->remaining, key);
    if (entry != NULL) {
        feed->groups.items[entry->value.number].remaining--;
        map_remove(&feed->remaining, key);
        stop_if_done(feed);
    }
}

void feeds_task_done(struct node *node, const struct notice *notice)
{
    for (uint32_t i = 0; i < node->feeds.count; i++) {
        struct feed *feed = node->feeds.items[i];
        struct span key = view_task_key(notice->task);
        if (!feed->is_set_up || feed->status != FEED_RUNNING) {
            continue;
        }
        if (span_equal_text(notice->text, task_state_name(TASK_MEMORY))) {
            key_done(feed, key);
        } else if (map_find(&feed->all, key) != NULL) {
            stop(feed, FEED_ERROR, key);
        }
    }
}

void feeds_restarted(struct node *node)
{
    for (uint32_t i = 0; i < node->feeds.count; i++) {
        struct feed *feed = node->feeds.items[i];
        if (feed->is_set_up && feed->status == FEED_RUNNING) {
            stop(feed, FEED_FINISHED, (struct span){0});
        }
    }
}

/* Look at the next remaining keys for what nobody tells. */
static void look(struct feed *feed)
{
    for (uint32_t i = 0; i < LOOKS_PER_TICK && feed->status == FEED_RUNNING; i++) {
        struct map_entry *entry = map_next(&feed->remaining, &feed->look);
        if (entry == NULL) {
            feed->look = 0;
            break;
        }
        const struct task *task = view_task_find(feed->node->core, entry->name);
        if (task == NULL || view_task_state(task) == TASK_ERRED) {
            stop(feed, FEED_ERROR, entry->name);
        } else if (view_task_state(task) == TASK_MEMORY) {
            key_done(feed, entry->name); /* it came another way: scattered, or as a replica */
        }
    }
}

/* ---- telling the client ------------------------------------------------------------------------ */

static void write_counts(const struct feed *feed, bool remaining, struct text *head)
{
    if (feed->is_multi) {
        msgpack_write_map(head, feed->groups.count);
    } else if (feed->groups.count == 0) {
        msgpack_write_uint(head, 0);
    }
    for (uint32_t i = 0; i < feed->groups.count; i++) {
        const struct feed_group *group = &feed->groups.items[i];
        if (feed->is_multi) {
            msgpack_write_raw(head, text_span(&group->name));
        }
        msgpack_write_uint(head, remaining ? group->remaining : group->all);
    }
}

static void tell(struct feed *feed, struct comm *comm)
{
    static const char *const names[] = {NULL, "finished", "error"};
    struct outgoing out;
    outgoing_init(&out);
    struct text *head = &out.head;
    msgpack_write_map(head, feed->status == FEED_ERROR ? 5 : 3);
    msgpack_write_cstr(head, "all");
    write_counts(feed, false, head);
    msgpack_write_cstr(head, "remaining");
    write_counts(feed, true, head);
    msgpack_write_cstr(head, "status");
    if (feed->status == FEED_RUNNING) {
        msgpack_write_nil(head);
    } else {
        msgpack_write_cstr(head, names[feed->status]);
    }
    if (feed->status == FEED_ERROR) {
        msgpack_write_cstr(head, "exception");
        if (feed->exception == NULL) {
            msgpack_write_nil(head);
        } else {
            payload_put(&out, feed->exception);
        }
        msgpack_write_cstr(head, "key");
        msgpack_write_raw(head, text_span(&feed->error_key));
    }
    comm_send(comm, &out);
    outgoing_fini(&out);
}

static void tick(void *user)
{
    struct feed *feed = user;
    struct node *node = feed->node;
    struct connection *connection = connection_of(request_find(&node->server, feed->request));
    if (connection == NULL || node->is_closing) {
        feed_end(feed);
        return;
    }
    arena_reset(&node->scratch);
    if (!feed->is_set_up && !set_up(feed)) {
        io_timer_start(feed->timer, SETUP_SECONDS, 0);
        return;
    }
    look(feed);
    if (comm_queued(connection_comm(connection)) < QUEUED_BYTES_MAX) {
        tell(feed, connection_comm(connection));
    }
    io_timer_start(feed->timer, feed->interval, 0);
}

/* ---- the call ---------------------------------------------------------------------------------- */

/* The pair of functions that a progress bar sends, with no teardown. */
static bool is_progress(const struct msg_feed *m, struct pickle_arguments *out_arguments,
                        bool *out_is_multi)
{
    struct pickle_arguments none = {0};
    enum pickle_known setup = pickle_recognise(m->setup, out_arguments);
    enum pickle_known function = pickle_recognise(m->function, &none);
    pickle_arguments_fini(&none);
    *out_is_multi = setup == PICKLE_MULTI_PROGRESS_SETUP;
    bool is_pair =
        (setup == PICKLE_PROGRESS_SETUP && function == PICKLE_PROGRESS_FUNCTION) ||
        (setup == PICKLE_MULTI_PROGRESS_SETUP && function == PICKLE_MULTI_PROGRESS_FUNCTION);
    return is_pair && m->teardown.size == 0;
}

void rpc_feed(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_feed *m = &message->body.feed;
    struct pickle_arguments arguments = {0};
    bool is_multi;
    double interval;
    if (!values_seconds(m->interval, 1, &interval)) {
        request_raise_builtin(request, "ValueError",
                              "feed: interval is neither a number nor a duration");
        return;
    }
    if (connection_of(request) == NULL || !is_progress(m, &arguments, &is_multi)) {
        pickle_arguments_fini(&arguments);
        planner_forward(node->planner, request);
        return;
    }
    struct feed *feed = mem_zalloc(1, sizeof *feed);
    feed->node = node;
    feed->request = request->number;
    feed->interval = interval > INTERVAL_SECONDS_MIN ? interval : INTERVAL_SECONDS_MIN;
    feed->arguments = arguments;
    feed->is_multi = is_multi;
    feed->timer = io_timer_create(node->loop, tick, feed);
    vec_push(&node->feeds, feed);
    request_drop_message(request);
    io_timer_start(feed->timer, 0, 0);
}
