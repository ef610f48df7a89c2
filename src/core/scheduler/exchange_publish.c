/* exchange_publish.c: published datasets: a name for a value and the keys it stands on.
 * Must agree with: distributed publish.py, PublishExtension (the wait for the client's stream is the node's). */
#include "base/text.h"
#include "core/scheduler/action.h"
#include "core/scheduler/exchange_internal.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/wants.h"

struct dataset {
    struct span name; /* owned */
    struct blob *data;
    struct span *keys; /* owned */
    uint32_t key_count;
};

static struct dataset *find(const struct scheduler *s, struct span name)
{
    struct map_entry *entry = map_find(&s->exchange->datasets, name);
    return entry == NULL ? NULL : entry->value.pointer;
}

static void keys_free(struct span *keys, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        span_disown(&keys[i]);
    }
    mem_free(keys);
}

static void dataset_free(struct dataset *dataset)
{
    keys_free(dataset->keys, dataset->key_count);
    blob_unref(dataset->data);
    span_disown(&dataset->name);
    mem_free(dataset);
}

void datasets_fini(struct exchange *exchange)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&exchange->datasets, &cursor)) != NULL;) {
        dataset_free(entry->value.pointer);
    }
    map_fini(&exchange->datasets);
}

/* Let go of the keys of `old` that are not among `kept`. */
static void release_others(struct scheduler *s, const struct dataset *old, struct span_list kept,
                           struct step *step)
{
    struct map names = {0};
    for (uint32_t i = 0; i < kept.count; i++) {
        map_put(&names, kept.items[i], NULL);
    }
    struct span *others = arena_array(&step->arena, struct span, old->key_count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < old->key_count; i++) {
        if (map_find(&names, old->keys[i]) == NULL) {
            others[count++] = old->keys[i];
        }
    }
    map_fini(&names);
    struct client *client = client_find_name(s, exchange_client_name("published", old->name, step));
    if (client != NULL) {
        client_releases(s, client, others, count, step);
    }
}

static struct span *keys_copy(struct span_list keys)
{
    struct span *copies = keys.count == 0 ? NULL : mem_zalloc(keys.count, sizeof *copies);
    for (uint32_t i = 0; i < keys.count; i++) {
        copies[i] = span_own(keys.items[i]);
    }
    return copies;
}

static void put(struct scheduler *s, const struct event_publish_put *event, struct step *step)
{
    struct dataset *dataset = find(s, event->name);
    if (dataset != NULL && !event->override) {
        struct span name = key_as_text(event->name, &step->arena);
        struct text text = {0};
        text_printf(&text, "Dataset %.*s already exists", (int)name.size, (const char *)name.data);
        action_reply_error(step, event->request, ANSWER_KEY_ERROR, text_span(&text));
        text_fini(&text);
        return;
    }
    struct client *client =
        client_get_or_pseudo(s, exchange_client_name("published", event->name, step));
    client_desires(s, client, event->keys.items, event->keys.count, step);
    if (dataset == NULL) {
        dataset = mem_zalloc(1, sizeof *dataset);
        dataset->name = span_own(event->name);
        map_put(&s->exchange->datasets, event->name, NULL)->value.pointer = dataset;
    } else {
        release_others(s, dataset, event->keys, step);
        keys_free(dataset->keys, dataset->key_count);
        exchange_used(s->exchange, dataset->data);
    }
    dataset->data = exchange_keep(event->data);
    dataset->keys = keys_copy(event->keys);
    dataset->key_count = event->keys.count;
    action_reply_nil(step, event->request);
}

static void delete_dataset(struct scheduler *s, const struct event_publish_delete *event,
                           struct step *step)
{
    struct dataset *dataset = find(s, event->name);
    if (dataset != NULL) {
        map_remove(&s->exchange->datasets, event->name);
        release_others(s, dataset, (struct span_list){0}, step);
        struct span client_name = exchange_client_name("published", event->name, step);
        const struct client *client = client_find_name(s, client_name);
        if (client != NULL && client->wants_what.count == 0) {
            exchange_forget_client(s, client_name, step);
        }
        dataset_free(dataset);
    }
    action_reply_nil(step, event->request);
}

static void get(struct scheduler *s, const struct event_publish_get *event, struct step *step)
{
    const struct dataset *dataset = find(s, event->name);
    struct answer answer = {.kind = ANSWER_DATASET};
    if (dataset != NULL) {
        answer.blob = dataset->data;
        answer.keys = (struct span_list){dataset->keys, dataset->key_count};
    }
    action_reply(step, event->request, &answer);
}

void dataset_event(struct scheduler *s, const struct event *event, struct step *step)
{
    switch (event->kind) {
    case EVENT_PUBLISH_PUT:
        put(s, &event->of.publish_put, step);
        return;
    case EVENT_PUBLISH_GET:
        get(s, &event->of.publish_get, step);
        return;
    default:
        ASSERT(event->kind == EVENT_PUBLISH_DELETE);
        delete_dataset(s, &event->of.publish_delete, step);
    }
}

struct span_list exchange_published(const struct scheduler *s, struct arena *arena)
{
    uint32_t count_max = s->exchange->datasets.count;
    struct span *names = arena_array(arena, struct span, count_max);
    struct span *texts = arena_array(arena, struct span, count_max);
    uint32_t count = 0;
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&s->exchange->datasets, &cursor)) != NULL;) {
        struct span text = key_as_text(entry->name, arena);
        uint32_t at = count++;
        for (; at > 0 && span_compare(text, texts[at - 1]) < 0; at--) {
            texts[at] = texts[at - 1];
            names[at] = names[at - 1];
        }
        texts[at] = text;
        names[at] = entry->name;
    }
    return (struct span_list){names, count};
}
