/* core_driver_sent.c: the actions of a step as the messages that its peers would get, and where each task is.
 *
 * A message is a list: op, key (or what it is about), and what else the comparison looks at. "*" stands for
 * all workers, "**" for all clients. */
#include <stdio.h>
#include <string.h>

#include "support/core_driver.h"

json_t *driver_show_text(struct span text)
{
    return text.size == 0 ? json_string("") : json_stringn((const char *)text.data, text.size);
}

json_t *driver_show_key(struct span key)
{
    if (key.data[0] < 0x90 || key.data[0] > 0x9f) {
        return json_stringn((const char *)key.data + 1, key.size - 1);
    }
    char text[256];
    size_t size = 0;
    for (size_t at = 1; at < key.size && size < sizeof text;) {
        size_t part = key.data[at] & 0x1fu;
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%.*s", at == 1 ? "" : "/",
                                 (int)part, (const char *)key.data + at + 1);
        at += 1 + part;
    }
    return json_string(text);
}

json_int_t driver_span_number(const struct scheduler *s, struct span id)
{
    struct span_view view;
    for (uint32_t i = 0; id.size > 0 && spans_at(s, i, &view); i++) {
        if (span_equal(view.id, id)) {
            return (json_int_t)i;
        }
    }
    return -1;
}

static void note(struct driver *driver, struct span peer, json_t *message)
{
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)peer.size, (const char *)peer.data);
    json_t *list = json_object_get(driver->sent, name);
    if (list == NULL) {
        list = json_array();
        json_object_set_new(driver->sent, name, list);
    }
    json_array_append_new(list, message);
}

static void note_worker(struct driver *driver, worker_id worker, json_t *message)
{
    note(driver, worker == WORKER_NONE ? SPAN("*") : view_worker_address(driver->s, worker),
         message);
}

static void note_worker_keys(struct driver *driver, const struct action_free_keys *action,
                             const char *op)
{
    for (uint32_t i = 0; i < action->keys.count; i++) {
        note_worker(driver, action->worker,
                    json_pack("[s,o]", op, driver_show_key(action->keys.items[i])));
    }
}

static void note_client(struct driver *driver, client_id client, const char *op, struct span key)
{
    struct client_view view = {.name = SPAN("**")};
    if (client != CLIENT_NONE) {
        view_client(driver->s, client, &view);
    }
    note(driver, view.name, json_pack("[s,o]", op, driver_show_key(key)));
}

/* Of an input: its size and who holds it, by address. */
static json_t *show_input(const struct scheduler *s, const struct input *input)
{
    json_t *holders = json_array();
    for (uint32_t i = 0; i < input->holder_count; i++) {
        json_array_append_new(holders, driver_show_text(view_worker_address(s, input->holders[i])));
    }
    return json_pack("[o,I,o]", driver_show_key(input->key), (json_int_t)input->nbytes, holders);
}

static void note_inputs(struct driver *driver, const struct action_acquire_replicas *action,
                        const char *op)
{
    for (uint32_t i = 0; i < action->inputs.count; i++) {
        json_t *input = show_input(driver->s, &action->inputs.items[i]);
        note_worker(driver, action->worker,
                    json_pack("[s,O,o]", op, json_array_get(input, 0), input));
    }
}

static void note_compute(struct driver *driver, const struct action_compute *compute)
{
    struct task_view view;
    view_task(driver->s, compute->task, &view);
    json_t *inputs = json_array();
    for (uint32_t i = 0; i < compute->inputs.count; i++) {
        json_array_append_new(inputs, show_input(driver->s, &compute->inputs.items[i]));
    }
    json_t *resources = json_object();
    for (uint32_t i = 0; i < view.resources.count; i++) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)view.resources.items[i].name.size,
                 (const char *)view.resources.items[i].name.data);
        json_object_set_new(resources, name, json_real(view.resources.items[i].amount));
    }
    json_t *priority = json_pack("[f,f,I]", view.priority_user, view.priority_generation,
                                 (json_int_t)view.priority_order);
    note_worker(driver, compute->worker,
                json_pack("[s,o,o,o,o,b,I]", "compute-task", driver_show_key(view.key), priority,
                          inputs, resources, view.actor,
                          driver_span_number(driver->s, view.span_id)));
}

static void note_steal(struct driver *driver, const struct action_steal_request *request)
{
    json_t *key = driver_show_key(request->key);
    json_object_set_new(driver->steals, json_string_value(key),
                        driver_show_text(request->stimulus));
    note_worker(driver, request->worker, json_pack("[s,o]", "steal-request", key));
}

static void note_to_worker(struct driver *driver, const struct action *action)
{
    const struct scheduler *s = driver->s;
    switch (action->kind) {
    case ACTION_COMPUTE:
        note_compute(driver, &action->of.compute);
        break;
    case ACTION_FREE_KEYS:
        note_worker_keys(driver, &action->of.free_keys, "free-keys");
        break;
    case ACTION_REMOVE_REPLICAS:
        note_worker_keys(driver, &action->of.free_keys, "remove-replicas");
        break;
    case ACTION_ACQUIRE_REPLICAS:
        note_inputs(driver, &action->of.acquire_replicas, "acquire-replicas");
        break;
    case ACTION_REFRESH_WHO_HAS:
        note_inputs(driver, &action->of.acquire_replicas, "refresh-who-has");
        break;
    case ACTION_STEAL_REQUEST:
        note_steal(driver, &action->of.steal_request);
        break;
    case ACTION_CHANGE_STATUS:
        note_worker(driver, action->of.change_status.worker,
                    json_pack("[s,o]", "worker-status-change",
                              driver_show_text(action->of.change_status.status)));
        break;
    case ACTION_CLOSE_WORKER:
        note_worker(driver, action->of.close_worker.worker, json_pack("[s,n]", "close"));
        break;
    case ACTION_FORGET_WORKER:
        note_worker(
            driver, action->of.forget_worker.worker,
            json_pack("[s,o]", "remove-worker",
                      driver_show_text(view_worker_address(s, action->of.forget_worker.gone))));
        break;
    default:
        note(driver, SPAN("?"), json_pack("[s,I]", "action", (json_int_t)action->kind));
        break;
    }
}

static void note_retired(struct driver *driver, const struct action_retired *retired)
{
    json_array_append_new(
        driver->retired,
        json_pack("[o,b]", driver_show_text(view_worker_address(driver->s, retired->worker)),
                  retired->retired));
}

static void note_action(struct driver *driver, const struct action *action)
{
    switch (action->kind) {
    case ACTION_KEY_IN_MEMORY:
        note_client(driver, action->of.key_in_memory.client, "key-in-memory",
                    action->of.key_in_memory.key);
        break;
    case ACTION_KEY_ERRED:
        note_client(driver, action->of.key_erred.client, "task-erred", action->of.key_erred.key);
        break;
    case ACTION_LOST_DATA:
        note_client(driver, action->of.lost_data.client, "lost-data", action->of.lost_data.key);
        break;
    case ACTION_KEY_RETRIED:
        note_client(driver, action->of.key_retried.client, "task-retried",
                    action->of.key_retried.key);
        break;
    case ACTION_KEYS_CANCELLED:
        for (uint32_t i = 0; i < action->of.keys_cancelled.keys.count; i++) {
            note_client(driver, action->of.keys_cancelled.client, "cancelled-keys",
                        action->of.keys_cancelled.keys.items[i]);
        }
        break;
    case ACTION_RETIRED:
        note_retired(driver, &action->of.retired);
        break;
    case ACTION_NOTICE:
    case ACTION_LOG:
        break;
    default:
        note_to_worker(driver, action);
        break;
    }
}

/* key → state, and "@" and a worker while it is processed. */
static json_t *show_places(struct driver *driver)
{
    const struct scheduler *s = driver->s;
    json_t *places = json_object();
    uint32_t count;
    const struct task *const *tasks = view_tasks(s, &driver->arena, &count);
    for (uint32_t i = 0; i < count; i++) {
        const struct task *task = tasks[i];
        char key[32];
        char place[128];
        snprintf(key, sizeof key, "%.*s", (int)task->key.size - 1,
                 (const char *)task->key.data + 1);
        struct span worker = task->processing_on == WORKER_NONE
                                 ? (struct span){0}
                                 : view_worker_address(s, task->processing_on);
        snprintf(place, sizeof place, "%s%s%.*s", task_state_name(task->state),
                 worker.size > 0 ? "@" : "", (int)worker.size,
                 worker.size > 0 ? (const char *)worker.data : "");
        json_object_set_new(places, key, json_string(place));
    }
    return places;
}

json_t *driver_answer(struct driver *driver)
{
    driver->sent = json_object();
    driver->retired = json_array();
    for (uint32_t i = 0; i < driver->step.action_count; i++) {
        note_action(driver, &driver->step.actions[i]);
    }
    return json_pack("{s:o,s:o,s:o}", "sent", driver->sent, "retired", driver->retired, "places",
                     show_places(driver));
}
