/* planner_status.c: what people are told about the planner. */
#include "node/planner_internal.h"

static void put_number(struct text *out, const char *name, uint64_t value)
{
    msgpack_write_cstr(out, name);
    msgpack_write_uint(out, value);
}

static void put_seconds(struct text *out, const char *name, double value)
{
    msgpack_write_cstr(out, name);
    msgpack_write_float(out, value);
}

/* pid, cpu, resident, up: of the process, if one runs. */
static void put_process(const struct planner *planner, struct text *out)
{
    int pid = planner_process_id(planner->process);
    double cpu = 0;
    uint64_t resident = 0;
    put_number(out, "pid", (uint64_t)pid);
    if (!io_process_look(pid, &cpu, &resident)) {
        cpu = 0; /* it has just ended */
    }
    put_seconds(out, "cpu", cpu);
    put_number(out, "resident", resident);
    put_seconds(out, "up", io_monotonic() - planner->life.started);
}

void planner_write_status(const struct planner *planner, struct text *out)
{
    struct text python = {0}, package = {0};
    planner_find_python(planner->node->config, &python, &package);
    msgpack_write_map(out, 5 + (planner->process != NULL ? 4 : 0));
    msgpack_write_cstr(out, "python");
    msgpack_write_str(out, text_span(&python));
    put_number(out, "graphs", planner->work.graphs);
    put_number(out, "tasks", planner->work.tasks);
    put_seconds(out, "seconds", planner->work.seconds);
    put_number(out, "open", planner->pending.count + planner->ending.count);
    if (planner->process != NULL) {
        put_process(planner, out);
    }
    text_fini(&python);
    text_fini(&package);
}
