/* channel.c: the socket pair to the scheduler: its settings, our questions, its answers.
 *
 * Frames as everywhere in Dask: see node/observer.c, which is the other end. Questions are small and few, so they are
 * sent in one call or not at all. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "observer/history.h"
#include "observer/process.h"
#include "wire/msgpack.h"
#include "wire/outgoing.h"

#define CHANNEL_FD 3
#define SETTINGS_BYTES_MAX (1u << 20)
#define MESSAGE_BYTES_MAX (32u << 20)
#define QUESTIONS_MAX 32u
#define ANSWER_SECONDS 30.0
/* The ring, then the listening sockets. */
#define DESCRIPTORS_MAX (1 + OBSERVER_LISTENERS_MAX)

/* ---- settings ----------------------------------------------------------------------------------- */

static bool find(struct span map, const char *name, struct msgpack_reader *out_reader)
{
    struct span raw;
    if (msgpack_find(map, name, &raw) != OK) {
        return false;
    }
    *out_reader = msgpack_reader(raw);
    return true;
}

static void find_text(struct span map, const char *name, struct text *out)
{
    struct msgpack_reader reader;
    struct span text;
    if (find(map, name, &reader) && msgpack_read_str(&reader, &text) == OK) {
        text_add(out, text);
    }
}

static bool find_bool(struct span map, const char *name)
{
    struct msgpack_reader reader;
    bool value = false;
    return find(map, name, &reader) && msgpack_read_bool(&reader, &value) == OK && value;
}

static double find_number(struct span map, const char *name, double absent)
{
    struct msgpack_reader reader;
    double value;
    return find(map, name, &reader) && msgpack_read_float(&reader, &value) == OK ? value : absent;
}

/* "a/b/" → "/a/b" */
static void read_prefix(struct span map, struct text *out)
{
    struct text given = {0};
    find_text(map, "prefix", &given);
    struct span rest = text_span(&given);
    while (rest.size > 0 && rest.data[0] == '/') {
        rest = span_of(rest.data + 1, rest.size - 1);
    }
    while (rest.size > 0 && rest.data[rest.size - 1] == '/') {
        rest.size--;
    }
    if (rest.size > 0) {
        text_add_char(out, '/');
        text_add(out, rest);
    }
    text_fini(&given);
}

/* "off", a folder, or "" for where it is kept otherwise. */
static void read_history(struct span map, struct text *out)
{
    find_text(map, "history", out);
    if (out->size == 0) {
        history_folder(out);
    } else if (strcmp(text_cstr(out), "off") == 0) {
        text_clear(out);
    }
}

static void read_settings(struct span map, struct settings *out)
{
    read_prefix(map, &out->prefix);
    find_text(map, "tls-cert", &out->tls_cert);
    find_text(map, "tls-key", &out->tls_key);
    find_text(map, "tls-ca-file", &out->tls_ca);
    find_text(map, "token", &out->token);
    find_text(map, "namespace", &out->name_space);
    read_history(map, &out->history);
    find_text(map, "cluster-id", &out->cluster_id);
    out->started = find_number(map, "started", 0);
    out->history_bytes = find_number(map, "history-bytes", 0);
    out->history_seconds = find_number(map, "history-seconds", 0);
    out->api = find_bool(map, "api");
    out->pages = find_bool(map, "pages");
    out->actions = find_bool(map, "actions");
    out->linger = find_number(map, "linger", 600);
    out->memory = find_number(map, "memory", 96.0 * (1 << 20));
    out->port = (uint16_t)find_number(map, "port", 0);
    struct span findings;
    if (msgpack_find(map, "findings", &findings) == OK) {
        text_add(&out->findings, findings);
    }
    struct msgpack_reader reader;
    struct span origin;
    uint32_t count;
    if (find(map, "origins", &reader) && msgpack_read_array(&reader, &count) == OK) {
        while (count-- > 0 && msgpack_read_str(&reader, &origin) == OK) {
            vec_push(&out->origins, (struct text){0});
            text_add(&out->origins.items[out->origins.count - 1], origin);
        }
    }
}

struct descriptors {
    int items[DESCRIPTORS_MAX];
    uint32_t count;
};

/* One recvmsg; descriptors that come along are stored. The bytes, 0 at the end, −1. */
static ssize_t receive(uint8_t *space, size_t size, struct descriptors *descriptors)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = space, .iov_len = size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    ssize_t got;
    do {
        got = recvmsg(CHANNEL_FD, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    struct cmsghdr *head = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (head != NULL && head->cmsg_type == SCM_RIGHTS && descriptors->count == 0) {
        size_t bytes = head->cmsg_len - CMSG_LEN(0);
        memcpy(descriptors->items, CMSG_DATA(head), bytes);
        descriptors->count = (uint32_t)(bytes / sizeof(int));
    }
    return got;
}

int channel_receive_settings(struct observer *observer, struct text *why)
{
    struct descriptors descriptors = {0};
    struct frames message = {0};
    int got = 0;
    frame_reader_init(&observer->reader);
    observer->reader.message_bytes_max = SETTINGS_BYTES_MAX;
    while (got == 0) {
        uint8_t *space;
        size_t size;
        frame_reader_space(&observer->reader, &space, &size);
        ssize_t count = receive(space, size, &descriptors);
        if (count <= 0) {
            text_printf(why, "descriptor 3 is no channel to a scheduler: %s",
                        count < 0 ? strerror(errno) : "it is closed");
            return ERR_CLOSED;
        }
        frame_reader_advance(&observer->reader, (size_t)count);
        got = frame_reader_next(&observer->reader, &message);
    }
    if (got < 0 || descriptors.count < 2) {
        text_add_cstr(why, "the scheduler's first message is malformed");
        frames_fini(&message);
        return ERR_MALFORMED;
    }
    read_settings(frames_head(&message), &observer->settings);
    frames_fini(&message);
    observer->reader.message_bytes_max = MESSAGE_BYTES_MAX;
    observer->channel = CHANNEL_FD;
    observer->listener_count = descriptors.count - 1;
    memcpy(observer->listeners, descriptors.items + 1, observer->listener_count * sizeof(int));
    return ring_open(descriptors.items[0], &observer->ring, why);
}

/* ---- questions ---------------------------------------------------------------------------------- */

static bool send_call(struct observer *observer, uint64_t id, struct span call)
{
    struct outgoing out;
    struct frames chunks = {0};
    outgoing_init(&out);
    msgpack_write_map(&out.head, 2);
    msgpack_write_cstr(&out.head, "id");
    msgpack_write_uint(&out.head, id);
    msgpack_write_cstr(&out.head, "call");
    msgpack_write_raw(&out.head, call);
    outgoing_flush(&out, &chunks);
    outgoing_fini(&out);
    ASSERT(chunks.count == 1); /* no frames */
    struct span bytes = slice_span(chunks.items[0]);
    ssize_t sent = send(observer->channel, bytes.data, bytes.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    bool fine = sent == (ssize_t)bytes.size;
    frames_fini(&chunks);
    if (sent > 0 && !fine) { /* half a message: nothing after it would be understood */
        shutdown(observer->channel, SHUT_RDWR);
    }
    return fine;
}

bool channel_ask(struct observer *observer, struct span call, channel_answered *answered,
                 void *user)
{
    if (observer->channel < 0 || observer->questions.count >= QUESTIONS_MAX) {
        return false;
    }
    struct question question = {.id = ++observer->question_last,
                                .answered = answered,
                                .user = user,
                                .asked = observer_now()};
    if (!send_call(observer, question.id, call)) {
        return false;
    }
    vec_push(&observer->questions, question);
    return true;
}

/* The `index`th question is over. */
static void finish(struct observer *observer, uint32_t index, struct span answer)
{
    struct question question = observer->questions.items[index];
    vec_swap_remove(&observer->questions, index);
    question.answered(question.user, answer);
}

/* What a failed task was given. */
static void take_failed(struct observer *observer, struct span told)
{
    struct failed_told failed;
    if (failed_read(told, &failed) == OK) {
        if (observer->history != NULL) {
            history_take_failed(observer->history, &failed);
        }
        failed_rows_put(&observer->tables->failed, failed.key, failed.time, &failed.description);
    }
    text_fini(&failed.description);
}

static void take_message(struct observer *observer, struct span head)
{
    struct msgpack_reader reader;
    struct span answer;
    uint64_t id;
    bool ends;
    if (find(head, "close", &reader) && msgpack_read_bool(&reader, &ends) == OK) {
        observer_drain(observer);
        observer->is_ended = ends;
        return;
    }
    if (msgpack_find(head, "failed", &answer) == OK) {
        take_failed(observer, answer);
        return;
    }
    if (!find(head, "id", &reader) || msgpack_read_uint(&reader, &id) != OK ||
        msgpack_find(head, "answer", &answer) != OK) {
        return;
    }
    for (uint32_t i = 0; i < observer->questions.count; i++) {
        if (observer->questions.items[i].id == id) {
            observer_drain(observer); /* what was recorded before the answer */
            finish(observer, i, answer);
            return;
        }
    }
}

bool channel_readable(struct observer *observer)
{
    uint8_t *space;
    size_t size;
    struct frames message = {0};
    frame_reader_space(&observer->reader, &space, &size);
    ssize_t count = recv(observer->channel, space, size, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (count <= 0) {
        return false;
    }
    frame_reader_advance(&observer->reader, (size_t)count);
    int got;
    while ((got = frame_reader_next(&observer->reader, &message)) == 1) {
        take_message(observer, frames_head(&message));
    }
    frames_fini(&message);
    return got == 0;
}

void channel_closed(struct observer *observer)
{
    observer->channel = -1;
    while (observer->questions.count > 0) {
        finish(observer, observer->questions.count - 1, (struct span){0});
    }
}

void channel_expire(struct observer *observer)
{
    double now = observer_now();
    for (uint32_t i = observer->questions.count; i-- > 0;) {
        if (i < observer->questions.count &&
            now - observer->questions.items[i].asked > ANSWER_SECONDS) {
            finish(observer, i, (struct span){0});
        }
    }
}

/* ---- samples ------------------------------------------------------------------------------------ */

struct sampling {
    struct exchange *exchange;
    exchange_function *then;
};

static void sampled(void *user, struct span answer)
{
    (void)answer; /* without one: with what is known */
    struct sampling *sampling = user;
    sampling->exchange->is_waiting = false;
    sampling->then(sampling->exchange);
    mem_free(sampling);
}

void channel_sample(struct observer *observer, struct exchange *exchange, exchange_function *then)
{
    struct text call = {0};
    msgpack_write_map(&call, 2);
    msgpack_write_cstr(&call, "op");
    msgpack_write_cstr(&call, "sample");
    msgpack_write_cstr(&call, "all");
    msgpack_write_bool(&call, true);
    struct sampling *sampling = mem_zalloc(1, sizeof *sampling);
    sampling->exchange = exchange;
    sampling->then = then;
    if (channel_ask(observer, text_span(&call), sampled, sampling)) {
        exchange->is_waiting = true;
    } else {
        mem_free(sampling);
        then(exchange);
    }
    text_fini(&call);
}
