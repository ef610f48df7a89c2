/* wants.c: see wants.h. */
#include "core/scheduler/wants.h"

#include "core/scheduler/action.h"
#include "core/scheduler/backlog.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/transition.h"

struct client *client_get_or_pseudo(struct scheduler *s, struct span name)
{
    struct client *client = client_find_name(s, name);
    return client == NULL ? client_create(s, name, true) : client;
}

bool client_wants(const struct client *client, const struct task *task)
{
    return links_find(&task->who_wants, client->id) != LINK_NOT_FOUND;
}

/* ---- reports ---- */

static void report_to(const struct task *task, client_id client, struct step *step)
{
    if (task->state == TASK_MEMORY) {
        action_add(step, ACTION_KEY_IN_MEMORY)->of.key_in_memory =
            (struct action_key_in_memory){.client = client, .key = task->key};
    } else {
        ASSERT(task->state == TASK_ERRED);
        action_add(step, ACTION_KEY_ERRED)->of.key_erred =
            (struct action_key_erred){client, task->key, task_failure(task)};
    }
}

void report_on_task(struct scheduler *s, const struct task *task, client_id client,
                    struct step *step)
{
    if (task->state != TASK_MEMORY && task->state != TASK_ERRED) {
        return;
    }
    for (uint32_t i = 0; i < task->who_wants.count; i++) {
        const struct client *other = client_at(s, links_items(&task->who_wants)[i].other);
        if (!other->is_pseudo && other->id != client) {
            report_to(task, other->id, step);
        }
    }
    const struct client *asked = client_find(s, client);
    if (asked != NULL && !asked->is_pseudo) {
        report_to(task, client, step);
    }
}

/* ---- desires, releases ---- */

void client_desires_task(struct scheduler *s, struct client *client, struct task *task,
                         struct step *step)
{
    if (!client_wants(client, task)) {
        links_add(&task->who_wants, task->id, &client->wants_what, client->id, 0);
    }
    report_on_task(s, task, client->id, step);
}

void client_desires(struct scheduler *s, struct client *client, const struct span *keys,
                    uint32_t count, struct step *step)
{
    for (uint32_t i = 0; i < count; i++) {
        struct task *task = task_find(s, keys[i]);
        if (task != NULL) {
            client_desires_task(s, client, task, step);
            if (task->state == TASK_RELEASED && (task->flags & TASK_PINNED) == 0) {
                want(s, task, TASK_WAITING); /* Dask leaves it, and the client waits for ever */
            }
        }
    }
}

void client_releases_task(struct scheduler *s, struct client *client, struct task *task)
{
    uint32_t slot = links_find(&task->who_wants, client->id);
    if (slot == LINK_NOT_FOUND) {
        return;
    }
    links_remove(&task->who_wants, slot, wants_what_of, who_wants_of, s);
    if (task->who_wants.count > 0 || (task->flags & TASK_PINNED) != 0) {
        return;
    }
    if (task->dependents.count == 0) {
        let_go(s, task, TASK_FORGOTTEN);
    } else if (task->state != TASK_ERRED && task->waiter_count == 0) {
        let_go(s, task, TASK_RELEASED);
    }
}

void client_releases(struct scheduler *s, struct client *client, const struct span *keys,
                     uint32_t count, struct step *step)
{
    for (uint32_t i = 0; i < count; i++) {
        struct task *task = task_find(s, keys[i]);
        if (task != NULL) {
            client_releases_task(s, client, task);
        }
    }
    transitions_run(s, step);
    queue_slots_maybe_opened(s, step);
}

void client_releases_all(struct scheduler *s, struct client *client, struct step *step)
{
    while (client->wants_what.count > 0) {
        uint32_t last = client->wants_what.count - 1;
        client_releases_task(s, client, task_at(s, links_items(&client->wants_what)[last].other));
    }
    transitions_run(s, step);
    queue_slots_maybe_opened(s, step);
}
