/* python_meter.c: `_native.Meter`, what a stretch of a thread costs: "run" of docs/executor.md. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "exec/python_extension.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define BLOCK 512u
#define SECONDS_TO_GROW 0.001 /* by an amount that matters */

struct meter {
    PyObject object;
    long
        inherited; /* KiB that ru_maxrss claims and this process never had: exec inherits the parent's peak */
    long seen; /* KiB, while that hides our own peak: the highest that was read */
    long page; /* KiB */
    int status, statm;
};

/* What `begin` gives, as bytes. */
struct begun {
    struct rusage usage;
    long peak; /* KiB */
};

/* "run" of docs/executor.md, up to its metrics. */
struct run {
    double prepared, start, stop;
    uint64_t thread;
    double cpu_user, cpu_system;
    uint64_t rss_peak, rss_growth, faults_minor, faults_major, read_bytes, written_bytes;
};

static_assert(sizeof(struct run) == 12 * 8, "no padding on the wire");

/* KiB of "VmHWM" in /proc/self/status. */
static long own_peak(const struct meter *meter)
{
    char text[4096];
    ssize_t size = pread(meter->status, text, sizeof text - 1, 0);
    text[size > 0 ? size : 0] = '\0';
    const char *line = strstr(text, "VmHWM:");
    return line == NULL ? 0 : strtol(line + strlen("VmHWM:"), NULL, 10);
}

static PyObject *meter_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "", names)) {
        return NULL;
    }
    struct meter *meter = (struct meter *)PyType_GenericAlloc(type, 0);
    if (meter == NULL) {
        return NULL;
    }
    struct rusage usage;
    meter->page = sysconf(_SC_PAGESIZE) / 1024;
    meter->status = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    meter->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (meter->status < 0 || meter->statm < 0 || getrusage(RUSAGE_SELF, &usage) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(meter);
        return NULL;
    }
    meter->seen = own_peak(meter);
    meter->inherited = usage.ru_maxrss > meter->seen ? usage.ru_maxrss : 0;
    return (PyObject *)meter;
}

static void meter_dealloc(PyObject *object)
{
    struct meter *meter = (struct meter *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (meter->status >= 0) {
        close(meter->status);
    }
    if (meter->statm >= 0) {
        close(meter->statm);
    }
    PyObject_Free(object);
    Py_DECREF(type);
}

/* KiB; `seconds`: for how long it may have risen. */
static long peak_of(struct meter *meter, const struct rusage *usage, double seconds)
{
    if (usage->ru_maxrss > meter->inherited) {
        return usage->ru_maxrss;
    }
    long now = 0;
    if (seconds >= SECONDS_TO_GROW) {
        now = own_peak(meter); /* exact, and slow to ask for */
    } else {
        char text[128];
        ssize_t size = pread(meter->statm, text, sizeof text - 1, 0);
        text[size > 0 ? size : 0] = '\0';
        const char *resident = strchr(text, ' ');
        now = resident == NULL ? 0 : strtol(resident, NULL, 10) * meter->page;
    }
    meter->seen = now > meter->seen ? now : meter->seen;
    return meter->seen;
}

static int measure(struct meter *meter, double seconds, struct begun *out)
{
    memset(out, 0, sizeof *out);
    if (getrusage(RUSAGE_THREAD, &out->usage) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    out->peak = peak_of(meter, &out->usage, seconds);
    return 0;
}

/* The begun that `object` holds; NULL with an exception. */
static const struct begun *begun_of(PyObject *object)
{
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(object, &bytes, &size) < 0) {
        return NULL;
    }
    if ((size_t)size != sizeof(struct begun)) {
        PyErr_SetString(PyExc_ValueError, "not what begin() gave");
        return NULL;
    }
    return (const struct begun *)(const void *)bytes;
}

/* begin(before=None): what this thread has used; with `before`, its peak is kept. */
static PyObject *meter_begin(PyObject *object, PyObject *arguments)
{
    PyObject *before = Py_None;
    struct begun begun;
    if (!PyArg_ParseTuple(arguments, "|O", &before) ||
        measure((struct meter *)object, 0, &begun) < 0) {
        return NULL;
    }
    if (before != Py_None) {
        const struct begun *earlier = begun_of(before);
        if (earlier == NULL) {
            return NULL;
        }
        begun.peak = earlier->peak;
    }
    return PyBytes_FromStringAndSize((const char *)&begun, sizeof begun);
}

static double seconds_between(struct timeval from, struct timeval to)
{
    return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_usec - from.tv_usec) / 1e6;
}

/* end(begun, thread, prepared, start, stop): a "run" up to its metrics. */
static PyObject *meter_end(PyObject *object, PyObject *arguments)
{
    PyObject *content;
    unsigned long long thread;
    struct run run = {0};
    struct begun now;
    if (!PyArg_ParseTuple(arguments, "OKddd", &content, &thread, &run.prepared, &run.start,
                          &run.stop)) {
        return NULL;
    }
    const struct begun *begun = begun_of(content);
    if (begun == NULL || measure((struct meter *)object, run.stop - run.start, &now) < 0) {
        return NULL;
    }
    const struct rusage *before = &begun->usage, *after = &now.usage;
    run.thread = thread;
    run.cpu_user = seconds_between(before->ru_utime, after->ru_utime);
    run.cpu_system = seconds_between(before->ru_stime, after->ru_stime);
    run.rss_peak = (uint64_t)now.peak * 1024;
    run.rss_growth = now.peak > begun->peak ? (uint64_t)(now.peak - begun->peak) * 1024 : 0;
    run.faults_minor = (uint64_t)(after->ru_minflt - before->ru_minflt);
    run.faults_major = (uint64_t)(after->ru_majflt - before->ru_majflt);
    run.read_bytes = (uint64_t)(after->ru_inblock - before->ru_inblock) * BLOCK;
    run.written_bytes = (uint64_t)(after->ru_oublock - before->ru_oublock) * BLOCK;
    return PyBytes_FromStringAndSize((const char *)&run, sizeof run);
}

static PyMethodDef meter_methods[] = {
    {"begin", meter_begin, METH_VARARGS, "What this thread has used."},
    {"end", meter_end, METH_VARARGS, "What it used since begin(), as told to the worker."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot meter_slots[] = {
    {Py_tp_new, (void *)meter_new},
    {Py_tp_dealloc, (void *)meter_dealloc},
    {Py_tp_methods, meter_methods},
    {0, NULL},
};

static PyType_Spec meter_spec = {
    .name = "cask.executor._native.Meter",
    .basicsize = sizeof(struct meter),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = meter_slots,
};

int python_add_meter(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&meter_spec);
    int result = type == NULL ? -1 : PyModule_AddObjectRef(module, "Meter", type);
    Py_XDECREF(type);
    return result;
}
