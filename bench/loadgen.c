/* loadgen: what a scheduler costs a task. Simulated workers that finish every task at once, and one client.
 *
 *     loadgen PORT PID GRAPH WORKERS THREADS [TASKS_A_SECOND]
 *
 * Speaks Dask's protocol over tcp to the scheduler at 127.0.0.1:PORT, stock or cask alike, whose process is
 * PID. GRAPH is a file of bench/graphs.py. Each worker is a connection; it answers all that one turn of the
 * loop brought with one message, as a stock worker's batches. Heartbeats of all workers share one connection,
 * at most 20 a second.
 * Three phases, each from its first message until the scheduler has been quiet:
 *   intake   the graph is sent; workers keep their answers back
 *   run      the answers are let go, until the client hears of the last wanted key
 *   release  the client lets go, workers confirm what they freed
 * With TASKS_A_SECOND the answers of the second phase go at that rate (of bursts each PACE_SECONDS).
 * CPU is user and system time of the process and its children, with the clock's own precision.
 * One JSON object is printed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "io/io.h"
#include "wire/handshake.h"
#include "wire/message.h"

#define QUIET_SECONDS 0.3
#define TICK_SECONDS 0.05
#define PACE_SECONDS 0.01
/* While it is quiet, a scheduler may still use this share of a CPU (heartbeats). */
#define QUIET_CPU 0.15
#define PROCESSES_MAX 64u
/* What a task says it took: short enough that nothing is worth stealing. */
#define TASK_SECONDS 0.001

enum peer_kind { WORKER, CLIENT, HEARTBEATS };
enum peer_phase { OPENING, REGISTERING, STREAMING };
enum phase { GATHERING, INTAKE, RUNNING, RELEASING, DONE };

/* What the scheduler has used so far. */
struct usage {
    double cpu, wall;
    uint64_t resident, peak; /* bytes */
};

struct peer {
    struct load *load;
    enum peer_kind kind;
    enum peer_phase phase;
    struct io_stream *stream;
    struct frame_reader reader;
    struct outgoing out;
    struct message_decoder decoder;
    uint32_t answers; /* that wait for their time, of a rate */
    char address[40];
};

struct load {
    struct io_loop *loop;
    struct io_timer *tick, *pace;
    struct io_address scheduler;
    pid_t pid;
    struct span task_count, wanted, metrics, versions, graph; /* parts of the file */
    uint32_t tasks, wanted_count, worker_count, threads;
    struct peer *peers; /* workers, then the client, then heartbeats */
    struct arena scratch;
    enum phase phase;
    struct usage marks[DONE + 1]; /* at the end of each phase */
    uint32_t ready;               /* peers in place */
    uint32_t wanted_ready;
    uint64_t computes, finished, freed, stolen, other, batches;
    double heard; /* when something came last, monotonic */
    double quiet_cpu;
    double heartbeat_next;
    double heartbeat_sent,
        heartbeat_answered; /* when the last one, and the last answered one, left */
    uint32_t heartbeat_worker;
    bool heartbeat_open;
    double rate;          /* tasks a second; 0: as fast as they come */
    double paced_since;   /* monotonic */
    uint64_t paced;       /* answers sent since then */
    uint32_t pace_worker; /* whose turn it is */
};

_Noreturn static void fail(const char *text)
{
    fprintf(stderr, "loadgen: %s\n", text);
    exit(1);
}

/* ---- the scheduler's process ---- */

/* The process and its descendants. */
static uint32_t find_processes(pid_t root, pid_t *pids)
{
    uint32_t count = 1;
    pids[0] = root;
    for (uint32_t i = 0; i < count; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/task/%d/children", pids[i], pids[i]);
        FILE *file = fopen(path, "r");
        int child;
        while (file != NULL && count < PROCESSES_MAX && fscanf(file, "%d", &child) == 1) {
            pids[count++] = child;
        }
        if (file != NULL) {
            fclose(file);
        }
    }
    return count;
}

static uint64_t status_bytes(pid_t pid, const char *field)
{
    char path[64], line[256];
    uint64_t kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0) {
            kilobytes = strtoull(line + strlen(field) + 1, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kilobytes * 1024;
}

static struct usage usage_now(pid_t root)
{
    struct usage usage = {.wall = io_monotonic()};
    pid_t pids[PROCESSES_MAX];
    uint32_t count = find_processes(root, pids);
    for (uint32_t i = 0; i < count; i++) {
        clockid_t clock;
        struct timespec used;
        if (clock_getcpuclockid(pids[i], &clock) == 0 && clock_gettime(clock, &used) == 0) {
            usage.cpu += (double)used.tv_sec + (double)used.tv_nsec / 1e9;
        }
        usage.resident += status_bytes(pids[i], "VmRSS");
        usage.peak += status_bytes(pids[i], "VmHWM");
    }
    return usage;
}

/* ---- writing ---- */

static void done_chunks(void *owner)
{
    struct frames *chunks = owner;
    frames_fini(chunks);
    mem_free(chunks);
}

static void flush(struct peer *peer)
{
    if (peer->out.item_count == 0 && peer->out.head.size == 0) {
        return;
    }
    struct frames *chunks = mem_zalloc(1, sizeof *chunks);
    outgoing_flush(&peer->out, chunks);
    struct span *parts = mem_zalloc(chunks->count, sizeof *parts);
    for (uint32_t i = 0; i < chunks->count; i++) {
        parts[i] = slice_span(chunks->items[i]);
    }
    io_stream_write(peer->stream, parts, chunks->count, chunks, done_chunks);
    mem_free(parts);
    peer->load->batches++;
}

static void send_handshake(struct peer *peer)
{
    struct handshake ours = handshake_ours(COMPRESS_NONE);
    handshake_encode(&ours, &peer->out);
    flush(peer);
}

static void register_worker(struct peer *peer)
{
    uint8_t name[16];
    uint32_t index = (uint32_t)(peer - peer->load->peers);
    int size = snprintf((char *)name + 1, sizeof name - 1, "w%u", index);
    name[0] = (uint8_t)(0xa0 | size);
    struct msg_register_worker body;
    message_defaults(MESSAGE_REGISTER_WORKER, &body);
    body.address = span_of_text(peer->address);
    body.status = SPAN("init");
    body.nthreads = peer->load->threads;
    body.name = span_of(name, (size_t)size + 1);
    body.now = io_now();
    body.resources = SPAN("\x80");
    body.memory_limit = 8ll << 30;
    body.local_directory = SPAN("/tmp");
    body.services = SPAN("\x80");
    body.pid = 1000 + index;
    body.versions = peer->load->versions;
    body.metrics = peer->load->metrics;
    body.extra.raw = SPAN("\x80");
    body.stimulus_id = SPAN("worker-connect-1795301733.811014");
    body.server_id = span_of_text(peer->address + 6);
    message_encode_request(&peer->out, MESSAGE_REGISTER_WORKER, &body, false, false);
    flush(peer);
}

static void register_client(struct peer *peer)
{
    struct msg_register_client body;
    message_defaults(MESSAGE_REGISTER_CLIENT, &body);
    body.client = SPAN("Client-load");
    body.versions = peer->load->versions;
    message_encode_request(&peer->out, MESSAGE_REGISTER_CLIENT, &body, false, false);
    flush(peer);
}

static void start_stream(struct peer *peer)
{
    peer->phase = STREAMING;
    outgoing_start_batch(&peer->out);
    if (peer->kind == WORKER) {
        struct msg_worker_status body;
        message_defaults(MESSAGE_WORKER_STATUS, &body);
        body.status = SPAN("running");
        body.stimulus_id = SPAN("worker-status-change-1795301733.8134403");
        message_encode(&peer->out, MESSAGE_WORKER_STATUS, &body);
        flush(peer);
    }
}

/* Field by field as a stock worker's task-finished. */
static void write_finished(struct peer *peer, struct span key, int64_t run_id)
{
    double now = io_now();
    struct text *head = &peer->out.head;
    msgpack_write_map(head, 11);
    msgpack_write_cstr(head, "key");
    msgpack_write_raw(head, key);
    msgpack_write_cstr(head, "run_id");
    msgpack_write_int(head, run_id);
    msgpack_write_cstr(head, "nbytes");
    msgpack_write_int(head, 28);
    msgpack_write_cstr(head, "type");
    msgpack_write_bin(head, SPAN("\x80\x05\x95\x14\0\0\0\0\0\0\0\x8c\x08"
                                 "builtins\x94\x8c\x03int\x94\x93\x94."));
    msgpack_write_cstr(head, "typename");
    msgpack_write_cstr(head, "int");
    msgpack_write_cstr(head, "metadata");
    msgpack_write_map(head, 0);
    msgpack_write_cstr(head, "thread");
    msgpack_write_int(head, 140550318491328);
    msgpack_write_cstr(head, "startstops");
    msgpack_write_array(head, 1);
    msgpack_write_map(head, 3);
    msgpack_write_cstr(head, "action");
    msgpack_write_cstr(head, "compute");
    msgpack_write_cstr(head, "start");
    msgpack_write_float(head, now - TASK_SECONDS);
    msgpack_write_cstr(head, "stop");
    msgpack_write_float(head, now);
    msgpack_write_cstr(head, "op");
    msgpack_write_cstr(head, "task-finished");
    msgpack_write_cstr(head, "stimulus_id");
    msgpack_write_cstr(head, "task-finished-1795301735.7981668");
    msgpack_write_cstr(head, "status");
    msgpack_write_cstr(head, "OK");
    outgoing_item(&peer->out);
}

static void write_freed(struct peer *peer, struct key_list keys, struct span stimulus_id)
{
    struct msg_release_worker_data body;
    message_defaults(MESSAGE_RELEASE_WORKER_DATA, &body);
    body.stimulus_id = stimulus_id;
    while (key_list_next(&keys, &body.key)) {
        message_encode(&peer->out, MESSAGE_RELEASE_WORKER_DATA, &body);
        peer->load->freed++;
    }
}

static void write_heartbeat(struct peer *peer)
{
    struct load *load = peer->load;
    struct msg_heartbeat_worker body;
    message_defaults(MESSAGE_HEARTBEAT_WORKER, &body);
    body.address = span_of_text(load->peers[load->heartbeat_worker].address);
    load->heartbeat_worker = (load->heartbeat_worker + 1) % load->worker_count;
    body.now = io_now();
    body.metrics = load->metrics;
    body.executing = SPAN("\x80");
    body.extensions.raw = SPAN("\x82\xa5spans\x80\xa7shuffle\x80");
    message_encode_request(&peer->out, MESSAGE_HEARTBEAT_WORKER, &body, true, false);
    flush(peer);
    load->heartbeat_open = true;
    load->heartbeat_sent = io_monotonic();
}

/* ---- phases ---- */

static void end_phase(struct load *load)
{
    load->marks[load->phase++] = usage_now(load->pid);
}

static void begin_intake(struct load *load)
{
    end_phase(load);
    struct peer *client = &load->peers[load->worker_count];
    io_stream_write(client->stream, &load->graph, 1, NULL, NULL);
}

static void begin_running(struct load *load)
{
    if (load->computes == 0) {
        return; /* the scheduler was only slow to read */
    }
    end_phase(load);
    if (load->rate > 0) {
        load->paced_since = io_monotonic();
        io_timer_start(load->pace, PACE_SECONDS, PACE_SECONDS);
        return;
    }
    for (uint32_t i = 0; i < load->worker_count; i++) {
        flush(&load->peers[i]);
    }
}

/* As many answers as are due, the workers in turn. */
static void on_pace(void *user)
{
    struct load *load = user;
    double due = (io_monotonic() - load->paced_since) * load->rate;
    for (uint32_t i = 0; i < load->worker_count && (double)load->paced < due; i++) {
        struct peer *peer = &load->peers[load->pace_worker];
        load->pace_worker = (load->pace_worker + 1) % load->worker_count;
        load->paced += peer->answers;
        peer->answers = 0;
        flush(peer);
    }
}

static void begin_releasing(struct load *load)
{
    end_phase(load);
    io_timer_stop(load->pace);
    for (uint32_t i = 0; i < load->worker_count; i++) {
        flush(&load->peers[i]); /* what is no answer may still wait */
    }
    struct peer *client = &load->peers[load->worker_count];
    struct msgpack_reader reader = msgpack_reader(load->wanted);
    struct msg_client_releases_keys body;
    message_defaults(MESSAGE_CLIENT_RELEASES_KEYS, &body);
    body.client = SPAN("Client-load");
    if (key_list_read(&reader, &load->scratch, &body.keys) != 0) {
        fail("the graph's wanted keys cannot be read");
    }
    message_encode(&client->out, MESSAGE_CLIENT_RELEASES_KEYS, &body);
    flush(client);
}

/* Nothing was heard for a while, little CPU was used, and since then a heartbeat was answered: a
 * scheduler that only waits for its turn on a busy machine is not quiet. */
static bool is_quiet(struct load *load)
{
    double now = io_monotonic();
    double cpu = usage_now(load->pid).cpu;
    if (now - load->heard < QUIET_SECONDS || load->quiet_cpu == 0) {
        load->quiet_cpu = now - load->heard < TICK_SECONDS ? 0
                          : load->quiet_cpu > 0            ? load->quiet_cpu
                                                           : cpu;
        return false;
    }
    if (load->heartbeat_answered < load->heard) {
        return false;
    }
    bool quiet = cpu - load->quiet_cpu < (now - load->heard) * QUIET_CPU;
    load->quiet_cpu = 0;
    load->heard = now;
    return quiet;
}

static void on_tick(void *user)
{
    struct load *load = user;
    struct peer *heartbeats = &load->peers[load->worker_count + 1];
    if (!load->heartbeat_open && heartbeats->phase == STREAMING &&
        io_monotonic() >= load->heartbeat_next) {
        load->heartbeat_next = io_monotonic() + 0.5 / load->worker_count;
        write_heartbeat(heartbeats);
    }
    if (load->phase == RUNNING || !is_quiet(load)) {
        return;
    }
    switch (load->phase) {
    case GATHERING:
        if (load->ready == load->worker_count + 2) {
            begin_intake(load);
        }
        break;
    case INTAKE:
        begin_running(load);
        break;
    case RELEASING:
        end_phase(load);
        io_loop_stop(load->loop);
        break;
    case RUNNING:
    case DONE:
        break;
    }
}

/* ---- reading ---- */

static void take_worker_message(struct peer *peer, const struct message *message)
{
    struct load *load = peer->load;
    switch (message->id) {
    case MESSAGE_COMPUTE_TASK:
        load->computes++;
        peer->answers++;
        write_finished(peer, message->body.compute_task.key, message->body.compute_task.run_id);
        break;
    case MESSAGE_FREE_KEYS:
        write_freed(peer, message->body.free_keys.keys, message->body.free_keys.stimulus_id);
        break;
    case MESSAGE_REMOVE_REPLICAS:
        write_freed(peer, message->body.remove_replicas.keys,
                    message->body.remove_replicas.stimulus_id);
        break;
    case MESSAGE_STEAL_REQUEST: {
        struct msg_steal_response body;
        message_defaults(MESSAGE_STEAL_RESPONSE, &body);
        body.key = message->body.steal_request.key;
        body.state = SPAN("memory");
        body.stimulus_id = message->body.steal_request.stimulus_id;
        message_encode(&peer->out, MESSAGE_STEAL_RESPONSE, &body);
        load->stolen++;
        break;
    }
    case MESSAGE_WORKER_CLOSE:
        fail("the scheduler dismissed a worker");
    default:
        load->other++;
    }
}

static void take_client_message(struct load *load, const struct message *message)
{
    if (message->id == MESSAGE_CLIENT_TASK_ERRED || message->id == MESSAGE_CANCELLED_KEYS) {
        fail("the graph failed");
    }
    if (message->id == MESSAGE_KEY_IN_MEMORY && ++load->wanted_ready == load->wanted_count) {
        begin_releasing(load);
    }
}

static void take_batch(struct peer *peer, struct span frame0)
{
    struct message_batch batch;
    struct message message;
    int code = message_batch_open(frame0, &batch);
    while (code == 0 && (code = message_batch_next(&batch, &peer->decoder, &message)) == 1) {
        code = 0;
        if (peer->kind == WORKER) {
            take_worker_message(peer, &message);
        } else {
            take_client_message(peer->load, &message);
        }
    }
    if (code < 0) {
        fail(text_cstr(&peer->decoder.error));
    }
    arena_reset(&peer->load->scratch);
}

static void take_registered(struct peer *peer, struct span frame0)
{
    struct span status;
    if (peer->kind == WORKER &&
        (msgpack_find(frame0, "status", &status) != 0 || !span_equal(status, SPAN("\xa2OK")))) {
        fail("the scheduler refused a worker");
    }
    start_stream(peer);
    peer->load->ready++;
}

static void take_frame0(struct peer *peer, struct span frame0)
{
    switch (peer->phase) {
    case OPENING:
        peer->phase = REGISTERING;
        if (peer->kind == WORKER) {
            register_worker(peer);
        } else if (peer->kind == CLIENT) {
            register_client(peer);
        } else {
            peer->phase = STREAMING;
            peer->load->ready++;
        }
        break;
    case REGISTERING:
        take_registered(peer, frame0);
        break;
    case STREAMING:
        if (peer->kind == HEARTBEATS) {
            peer->load->heartbeat_open = false;
            peer->load->heartbeat_answered = peer->load->heartbeat_sent;
        } else {
            take_batch(peer, frame0);
        }
        break;
    }
}

static void on_space(void *user, uint8_t **out_data, size_t *out_size)
{
    struct peer *peer = user;
    frame_reader_space(&peer->reader, out_data, out_size);
}

static void on_read(void *user, size_t size)
{
    struct peer *peer = user;
    struct load *load = peer->load;
    if (peer->kind != HEARTBEATS) {
        load->heard = io_monotonic();
    }
    frame_reader_advance(&peer->reader, size);
    struct frames frames = {0};
    int code;
    while ((code = frame_reader_next(&peer->reader, &frames)) == 1) {
        take_frame0(peer, frames_head(&frames));
        frames_clear(&frames);
    }
    frames_fini(&frames);
    if (code < 0) {
        fail("the scheduler sent no frames");
    }
    bool is_held = load->phase == INTAKE || (load->phase == RUNNING && load->rate > 0);
    if (peer->kind == WORKER && peer->phase == STREAMING && !is_held) {
        flush(peer);
    }
}

static void on_opened(void *user)
{
    send_handshake(user);
}

static void on_closed(void *user, int code, const char *text)
{
    struct peer *peer = user;
    (void)code;
    if (peer->load->phase != DONE) {
        fail(text);
    }
    peer->stream = NULL;
}

static const struct io_stream_events peer_events = {
    .opened = on_opened, .space = on_space, .read = on_read, .closed = on_closed};

/* ---- beginning and end ---- */

static void open_peer(struct load *load, uint32_t index)
{
    struct peer *peer = &load->peers[index];
    peer->load = load;
    peer->kind = index < load->worker_count    ? WORKER
                 : index == load->worker_count ? CLIENT
                                               : HEARTBEATS;
    snprintf(peer->address, sizeof peer->address, "tcp://127.0.0.1:%u", 20000 + index);
    frame_reader_init(&peer->reader);
    outgoing_init(&peer->out);
    message_decoder_init(&peer->decoder,
                         peer->kind == WORKER ? PORT_WORKER_STREAM : PORT_CLIENT_STREAM,
                         &load->scratch);
    peer->stream = io_connect(load->loop, &load->scheduler, NULL, &peer_events, peer);
}

static struct span next_part(const struct buf *file, size_t *at)
{
    uint64_t size;
    if (file->size - *at < sizeof size) {
        fail("the graph file is cut short");
    }
    memcpy(&size, file->data + *at, sizeof size);
    *at += sizeof size;
    if (file->size - *at < size) {
        fail("the graph file is cut short");
    }
    struct span part = span_of(file->data + *at, size);
    *at += size;
    return part;
}

static struct buf *open_graph(struct load *load, const char *path)
{
    struct buf *file;
    struct text why = {0};
    if (io_file_read(path, (size_t)8 << 30, &file, &why) != 0) {
        fail(text_cstr(&why));
    }
    size_t at = 0;
    load->task_count = next_part(file, &at);
    load->wanted = next_part(file, &at);
    load->metrics = next_part(file, &at);
    load->versions = next_part(file, &at);
    load->graph = next_part(file, &at);
    uint64_t tasks;
    memcpy(&tasks, load->task_count.data, sizeof tasks);
    load->tasks = (uint32_t)tasks;
    struct msgpack_reader reader = msgpack_reader(load->wanted);
    if (msgpack_read_array(&reader, &load->wanted_count) != 0) {
        fail("the graph's wanted keys cannot be read");
    }
    return file;
}

static void print_phase(const struct load *load, const char *name, enum phase phase)
{
    const struct usage *before = &load->marks[phase - 1], *after = &load->marks[phase];
    printf(", \"%s_us\": %.3f, \"%s_seconds\": %.4f", name,
           (after->cpu - before->cpu) / load->tasks * 1e6, name, after->wall - before->wall);
}

static void print_report(const struct load *load)
{
    const struct usage *marks = load->marks;
    struct timespec own;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    printf("{\"tasks\": %u, \"workers\": %u, \"computes\": %" PRIu64, load->tasks,
           load->worker_count, load->computes);
    print_phase(load, "intake", INTAKE);
    print_phase(load, "run", RUNNING);
    print_phase(load, "release", RELEASING);
    printf(", \"tasks_per_second\": %.0f, \"idle_bytes\": %" PRIu64 ", \"peak_bytes\": %" PRIu64
           ", \"bytes_a_task\": %.0f, \"batches\": %" PRIu64 ", \"freed\": %" PRIu64
           ", \"stolen\": %" PRIu64 ", \"other\": %" PRIu64 ", \"loadgen_us\": %.3f}\n",
           load->tasks / (marks[RUNNING].wall - marks[INTAKE].wall), marks[GATHERING].resident,
           marks[RELEASING].peak,
           ((double)marks[INTAKE].resident - (double)marks[GATHERING].resident) / load->tasks,
           load->batches, load->freed, load->stolen, load->other,
           ((double)own.tv_sec * 1e6 + (double)own.tv_nsec / 1e3) / load->tasks);
}

static void close_peers(struct load *load)
{
    for (uint32_t i = 0; i < load->worker_count + 2; i++) {
        struct peer *peer = &load->peers[i];
        if (peer->stream != NULL) {
            io_stream_abort(peer->stream);
        }
    }
    io_timer_destroy(load->tick);
    io_timer_destroy(load->pace);
    io_loop_destroy(load->loop);
    for (uint32_t i = 0; i < load->worker_count + 2; i++) {
        frame_reader_fini(&load->peers[i].reader);
        outgoing_fini(&load->peers[i].out);
        message_decoder_fini(&load->peers[i].decoder);
    }
}

int main(int argc, char **argv)
{
    if (argc != 6 && argc != 7) {
        fail("usage: loadgen PORT PID GRAPH WORKERS THREADS [TASKS_A_SECOND]");
    }
    struct load load = {.scheduler = {.transport = IO_TCP,
                                      .port = (uint16_t)strtoul(argv[1], NULL, 10),
                                      .host = "127.0.0.1"},
                        .pid = (pid_t)strtol(argv[2], NULL, 10),
                        .worker_count = (uint32_t)strtoul(argv[4], NULL, 10),
                        .threads = (uint32_t)strtoul(argv[5], NULL, 10),
                        .rate = argc == 7 ? strtod(argv[6], NULL) : 0};
    if (load.worker_count == 0) {
        fail("at least one worker is needed");
    }
    struct buf *file = open_graph(&load, argv[3]);
    arena_init(&load.scratch);
    io_open_files_max();
    load.loop = io_loop_create();
    load.tick = io_timer_create(load.loop, on_tick, &load);
    load.pace = io_timer_create(load.loop, on_pace, &load);
    io_timer_start(load.tick, TICK_SECONDS, TICK_SECONDS);
    load.peers = mem_zalloc((size_t)load.worker_count + 2, sizeof *load.peers);
    for (uint32_t i = 0; i < load.worker_count + 2; i++) {
        open_peer(&load, i);
    }
    io_loop_run(load.loop);
    print_report(&load);
    close_peers(&load);
    mem_free(load.peers);
    arena_fini(&load.scratch);
    buf_unref(file);
    return 0;
}
