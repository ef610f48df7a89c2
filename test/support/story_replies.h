/* story_replies.h: what the last step answered to RPCs, as lines: "<request>: <answer>". */
#ifndef CASK_TEST_SUPPORT_STORY_REPLIES_H
#define CASK_TEST_SUPPORT_STORY_REPLIES_H

#include "support/story.h"

STAGE_FUNCTION void replies_add_span(struct text *out, struct span bytes)
{
    if (bytes.size > 0) {
        text_add(out, bytes);
    }
}

/* A string key without its msgpack head. */
STAGE_FUNCTION void replies_add_key(struct text *out, struct span key)
{
    size_t head = key.size > 0 && key.data[0] == 0xd9 ? 2 : 1;
    replies_add_span(out, (struct span){key.data + head, key.size - head});
}

/* "data" | "key (state)" | "key (state, oops)"; a token is shown as "+token". */
STAGE_FUNCTION void replies_add_record(struct text *out, const struct record *record)
{
    if (record->key.size == 0) {
        text_add(out, slice_span(record->data->value));
        return;
    }
    replies_add_key(out, record->key);
    text_add_cstr(out, " (");
    replies_add_span(out, record->state);
    text_add_cstr(out, record->failure == NULL ? ")" : ", failed)");
    text_add_cstr(out, record->token.size == 0 ? "" : " +token");
}

STAGE_FUNCTION void replies_add_records(struct text *out, const struct answer *answer)
{
    for (uint32_t i = 0; i < answer->record_count; i++) {
        text_add_cstr(out, i == 0 ? "" : ", ");
        replies_add_record(out, &answer->records[i]);
    }
}

STAGE_FUNCTION void replies_add_dataset(struct text *out, const struct answer *answer)
{
    if (answer->blob == NULL && answer->keys.count == 0) {
        text_add_cstr(out, "no dataset");
        return;
    }
    text_add(out, slice_span(answer->blob->value));
    for (uint32_t i = 0; i < answer->keys.count; i++) {
        text_add_char(out, ' ');
        replies_add_key(out, answer->keys.items[i]);
    }
}

/* "run 1: a b a, span" */
STAGE_FUNCTION void replies_add_shuffle(struct stage *stage, struct text *out,
                                        const struct shuffle_answer *answer)
{
    text_printf(out, "run %lld:", (long long)answer->run_id);
    for (uint32_t i = 0; i < answer->parts.count; i++) {
        struct worker_view view;
        assert_true(view_worker(stage->s, answer->workers[i], &view));
        text_add_char(out, ' ');
        replies_add_key(out, view.name);
    }
}

STAGE_FUNCTION void replies_add_answer(struct stage *stage, struct text *out,
                                       const struct answer *answer)
{
    static const char *const errors[] = {
        [ANSWER_TIMEOUT_ERROR] = "TimeoutError",    [ANSWER_KEY_ERROR] = "KeyError",
        [ANSWER_VALUE_ERROR] = "ValueError",        [ANSWER_RUNTIME_ERROR] = "RuntimeError",
        [ANSWER_P2P_ERROR] = "P2PConsistencyError",
    };
    switch (answer->kind) {
    case ANSWER_NIL:
        text_add_cstr(out, "nil");
        break;
    case ANSWER_BOOL:
        text_add_cstr(out, answer->number != 0 ? "true" : "false");
        break;
    case ANSWER_INT:
        text_printf(out, "%lld", (long long)answer->number);
        break;
    case ANSWER_RECORDS:
        text_add_char(out, '[');
        replies_add_records(out, answer);
        text_add_char(out, ']');
        break;
    case ANSWER_RECORD:
        replies_add_records(out, answer);
        break;
    case ANSWER_DATASET:
        replies_add_dataset(out, answer);
        break;
    case ANSWER_SHUFFLE:
        replies_add_shuffle(stage, out, answer->shuffle);
        break;
    case ANSWER_OK:
        text_add_cstr(out, "OK");
        break;
    default:
        text_printf(out, "%s(", errors[answer->kind]);
        replies_add_span(out, answer->text);
        text_add_char(out, ')');
    }
}

/* The answers of the last step, in the stage's arena. */
STAGE_FUNCTION const char *replies_of(struct stage *stage)
{
    struct text out = {0};
    for (uint32_t i = 0; i < stage->step.action_count; i++) {
        const struct action *action = &stage->step.actions[i];
        if (action->kind == ACTION_REPLY) {
            text_printf(&out, "%llu: ", (unsigned long long)action->of.reply.request);
            replies_add_answer(stage, &out, action->of.reply.answer);
            text_add_char(&out, '\n');
        } else if (action->kind == ACTION_RETIRED) {
            struct worker_view view;
            text_printf(&out, "%llu: ", (unsigned long long)action->of.retired.request);
            if (view_worker(stage->s, action->of.retired.worker, &view)) {
                replies_add_key(&out, view.name);
            }
            text_add_cstr(&out, action->of.retired.retired ? " retired\n" : " kept\n");
        }
    }
    struct span copy =
        arena_copy(&stage->arena, (struct span){(const uint8_t *)text_cstr(&out), out.size + 1});
    text_fini(&out);
    return (const char *)copy.data;
}

#define expect_replies(stage, expected) assert_string_equal(replies_of(stage), (expected))

/* An event at the same time as the last one: waiting must not look like time passing. */
STAGE_FUNCTION void stage_step_now(struct stage *stage, struct event *event)
{
    stage->time -= 1;
    stage_step(stage, event);
}

/* A tick when it is due; false: none is. */
STAGE_FUNCTION bool stage_tick_due(struct stage *stage)
{
    double due = scheduler_next_tick(stage->s);
    if (isinf(due)) {
        return false;
    }
    struct event event = {.kind = EVENT_TICK};
    stage->time = (due > stage->time ? due : stage->time) - 1;
    stage_step(stage, &event);
    return true;
}

#endif
