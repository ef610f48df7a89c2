/* python_reader.c: `_native.Reader`, messages of the worker, and each RUN taken apart as far as Python need not do it.
 *
 * One thread at a time uses it (python/cask/executor/reading.py). Bodies are copies that belong to who gets them. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "exec/python_extension.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exec/python_run.h"

enum {
    RUN = 5, /* executor_ops.def */
    READ_SIZE = 256 * 1024,
    FDS_AT_ONCE = 16,
    FDS_MAX = 256, /* received and not yet given out; a worker sends two with a message at most */
    KEY_DEPTH_MAX = 16,
};

struct reader {
    PyObject object;
    int fd;
    uint8_t *buffer;
    size_t capacity, start, end; /* start … end: received and not yet given out */
    int fds[FDS_MAX];            /* of messages that are not there yet */
    unsigned fd_count;
};

/* What another reader has received. The descriptors are ours only if all is well. */
static int reader_begin(struct reader *reader, PyObject *received, PyObject *fds)
{
    char *bytes;
    Py_ssize_t size, count = PyList_Size(fds);
    if (count < 0 || PyBytes_AsStringAndSize(received, &bytes, &size) < 0) {
        return -1;
    }
    if (count > FDS_MAX || size > PYTHON_BODY_MAX) {
        PyErr_SetString(PyExc_ValueError, "too much was received");
        return -1;
    }
    reader->capacity = (size_t)size + 2 * READ_SIZE;
    reader->buffer = PyMem_Malloc(reader->capacity);
    if (reader->buffer == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(reader->buffer, bytes, (size_t)size);
    reader->end = (size_t)size;
    for (Py_ssize_t i = 0; i < count; i++) {
        reader->fds[i] = (int)PyLong_AsLong(PyList_GetItem(fds, i));
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    reader->fd_count = (unsigned)count;
    return 0;
}

/* Reader(fd, received, fds) */
static PyObject *reader_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"fd", "received", "fds", NULL};
    int fd;
    PyObject *received, *fds;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "iOO", names, &fd, &received, &fds)) {
        return NULL;
    }
    struct reader *reader = (struct reader *)PyType_GenericAlloc(type, 0);
    if (reader != NULL) {
        reader->fd = fd;
        if (reader_begin(reader, received, fds) < 0) {
            Py_CLEAR(reader);
        }
    }
    return (PyObject *)reader;
}

static void reader_dealloc(PyObject *object)
{
    struct reader *reader = (struct reader *)object;
    PyTypeObject *type = Py_TYPE(object);
    for (unsigned i = 0; i < reader->fd_count; i++) {
        close(reader->fds[i]);
    }
    PyMem_Free(reader->buffer);
    PyObject_Free(object);
    Py_DECREF(type);
}

/* Whether a header is there. -1: with an exception, as it says what cannot be. */
static int read_header(const struct reader *reader, struct python_header *out)
{
    if (reader->end - reader->start < PYTHON_HEADER_SIZE) {
        return 0;
    }
    memcpy(out, reader->buffer + reader->start, PYTHON_HEADER_SIZE);
    if (out->size > PYTHON_BODY_MAX) {
        PyErr_Format(PyExc_ValueError, "a message of %u bytes; %d are the limit", out->size,
                     PYTHON_BODY_MAX);
        return -1;
    }
    return 1;
}

/* Room for READ_SIZE bytes, or for all of the message that has begun. */
static int make_room(struct reader *reader)
{
    struct python_header header;
    int is_there = read_header(reader, &header);
    if (is_there < 0) {
        return -1;
    }
    size_t held = reader->end - reader->start;
    size_t need = is_there ? PYTHON_HEADER_SIZE + header.size : 0;
    need = need < held + READ_SIZE ? held + READ_SIZE : need;
    if (held == 0 && reader->capacity > 2 * READ_SIZE) {
        need = 2 * READ_SIZE; /* give back what a large message needed */
    } else if (reader->capacity - reader->start >= need) {
        return 0;
    }
    memmove(reader->buffer, reader->buffer + reader->start, held);
    reader->start = 0;
    reader->end = held;
    if (need > reader->capacity || (held == 0 && reader->capacity > 2 * READ_SIZE)) {
        uint8_t *buffer = PyMem_Realloc(reader->buffer, need);
        if (buffer == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        reader->buffer = buffer;
        reader->capacity = need;
    }
    return 0;
}

/* Takes all descriptors of `message`, for our own or to close them. -1: with an exception. */
static int keep_fds(struct reader *reader, struct msghdr *message)
{
    bool fits = (message->msg_flags & MSG_CTRUNC) == 0;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control != NULL;
         control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
            if (reader->fd_count < FDS_MAX) {
                reader->fds[reader->fd_count++] = fd;
            } else {
                close(fd);
                fits = false;
            }
        }
    }
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "too many descriptors at once");
        return -1;
    }
    return 0;
}

/* 1: something came; 0: nothing is there (only with MSG_DONTWAIT); 2: the other side has ended; -1: an exception. Without
 * MSG_DONTWAIT the interpreter's lock is given up meanwhile: who calls holds the role of the reader. */
static int receive(struct reader *reader, int flags)
{
    if (make_room(reader) < 0) {
        return -1;
    }
    union {
        char bytes[CMSG_SPACE(FDS_AT_ONCE * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec space = {reader->buffer + reader->end, reader->capacity - reader->end};
    for (;;) {
        struct msghdr message = {.msg_iov = &space,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof control.bytes};
        ssize_t got;
        int error;
        if ((flags & MSG_DONTWAIT) != 0) {
            got = recvmsg(reader->fd, &message, MSG_CMSG_CLOEXEC | flags);
            error = errno;
        } else {
            Py_BEGIN_ALLOW_THREADS got = recvmsg(reader->fd, &message, MSG_CMSG_CLOEXEC | flags);
            error = errno;
            Py_END_ALLOW_THREADS
        }
        if (got >= 0) {
            reader->end += (size_t)got;
            return keep_fds(reader, &message) < 0 ? -1 : got > 0 ? 1 : 2;
        }
        if (error == EAGAIN) {
            return 0;
        }
        if (error != EINTR) {
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
}

static PyObject *reader_receive(PyObject *object, PyObject *unused)
{
    (void)unused;
    int result = receive((struct reader *)object, 0);
    return result < 0 ? NULL : PyBool_FromLong(result == 1);
}

static PyObject *reader_try_receive(PyObject *object, PyObject *unused)
{
    (void)unused;
    int result = receive((struct reader *)object, MSG_DONTWAIT);
    return result < 0 ? NULL : PyLong_FromLong(result);
}

/* wait(wake): until something can be read; False: the eventfd `wake` was written to, and is 0 again. */
static PyObject *reader_wait(PyObject *object, PyObject *argument)
{
    struct reader *reader = (struct reader *)object;
    int wake = (int)PyLong_AsLong(argument);
    if (PyErr_Occurred()) {
        return NULL;
    }
    struct pollfd fds[2] = {{wake, POLLIN, 0}, {reader->fd, POLLIN, 0}};
    for (;;) {
        int result, error;
        Py_BEGIN_ALLOW_THREADS result = poll(fds, 2, -1);
        error = errno;
        Py_END_ALLOW_THREADS if (result >= 0)
        {
            break;
        }
        if (error != EINTR) {
            errno = error;
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        if (PyErr_CheckSignals() < 0) {
            return NULL;
        }
    }
    eventfd_t count;
    if (fds[0].revents != 0 && eventfd_read(wake, &count) < 0 && errno != EAGAIN) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyBool_FromLong(fds[0].revents == 0);
}

/* ---- messages ---- */

/* What stands at *at of a key; NULL without an exception: only Python knows how to read it. */
static PyObject *key_object(struct python_bytes key, size_t *at, unsigned depth)
{
    struct python_key_part part;
    if (!python_key_next(key, at, &part)) {
        return NULL;
    }
    if (part.kind == PYTHON_KEY_STRING) {
        return PyUnicode_DecodeUTF8((const char *)part.string.data, (Py_ssize_t)part.string.size,
                                    "surrogateescape");
    }
    if (part.kind == PYTHON_KEY_NUMBER) {
        return PyLong_FromLongLong(part.number);
    }
    if (depth == 0) {
        return NULL;
    }
    PyObject *tuple = PyTuple_New((Py_ssize_t)part.count);
    for (uint32_t i = 0; tuple != NULL && i < part.count; i++) {
        PyObject *item = key_object(key, at, depth - 1);
        if (item == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SetItem(tuple, (Py_ssize_t)i, item);
        }
    }
    return tuple;
}

static PyObject *bytes_object(struct python_bytes bytes)
{
    return PyBytes_FromStringAndSize((const char *)bytes.data, (Py_ssize_t)bytes.size);
}

/* A view of a copy that may be written to. */
static PyObject *view_object(struct python_bytes body)
{
    PyObject *copy = PyByteArray_FromStringAndSize((const char *)body.data, (Py_ssize_t)body.size);
    PyObject *view = copy == NULL ? NULL : PyMemoryView_FromObject(copy);
    Py_XDECREF(copy);
    return view;
}

static PyObject *inputs_object(const struct python_run *run)
{
    PyObject *inputs = PyTuple_New((Py_ssize_t)run->input_count);
    for (uint32_t i = 0; inputs != NULL && i < run->input_count; i++) {
        uint64_t handle;
        memcpy(&handle, run->inputs + 8 * (size_t)i, sizeof handle);
        PyObject *item = PyLong_FromUnsignedLongLong(handle);
        if (item == NULL) {
            Py_CLEAR(inputs);
        } else {
            PyTuple_SetItem(inputs, (Py_ssize_t)i, item);
        }
    }
    return inputs;
}

/* (flags, inputs, key or its msgpack, annotations, where the payload begins, pickle or None, body or None): see
 * channel.take_run. */
static PyObject *run_object(struct python_bytes body)
{
    struct python_run run;
    if (!python_run_read(body, &run)) {
        PyErr_SetString(PyExc_ValueError, "a RUN that is cut short");
        return NULL;
    }
    size_t at = 0;
    PyObject *key = key_object(run.key, &at, KEY_DEPTH_MAX);
    if (key == NULL || at != run.key.size) {
        PyErr_Clear();
        Py_XDECREF(key);
        key = bytes_object(run.key);
    }
    bool is_plain = run.spec.data != NULL;
    PyObject *inputs = key == NULL ? NULL : inputs_object(&run);
    PyObject *annotations = inputs == NULL ? NULL : bytes_object(run.annotations);
    PyObject *content = annotations == NULL ? NULL
                        : is_plain          ? bytes_object(run.spec)
                                            : view_object(body);
    if (content == NULL) {
        Py_XDECREF(key);
        Py_XDECREF(inputs);
        Py_XDECREF(annotations);
        return NULL;
    }
    return is_plain ? Py_BuildValue("(INNNnNO)", run.flags, inputs, key, annotations,
                                    (Py_ssize_t)run.payload_at, content, Py_None)
                    : Py_BuildValue("(INNNnON)", run.flags, inputs, key, annotations,
                                    (Py_ssize_t)run.payload_at, Py_None, content);
}

/* The first `count` descriptors that wait, as a list. They are the caller's from then on. */
static PyObject *take_fds(struct reader *reader, unsigned count)
{
    if (count > reader->fd_count) {
        PyErr_Format(PyExc_ValueError, "%u descriptors are missing", count - reader->fd_count);
        return NULL;
    }
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (unsigned i = 0; list != NULL && i < count; i++) {
        PyObject *item = PyLong_FromLong(reader->fds[i]);
        if (item == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SetItem(list, (Py_ssize_t)i, item);
        }
    }
    if (list != NULL) {
        reader->fd_count -= count;
        memmove(reader->fds, reader->fds + count, reader->fd_count * sizeof *reader->fds);
    }
    return list;
}

/* messages(): [(op, handle, body, fds)] of all that are there; the body of a RUN is a tuple. */
static PyObject *reader_messages(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct reader *reader = (struct reader *)object;
    PyObject *list = PyList_New(0);
    struct python_header header;
    int is_there = 0;
    while (list != NULL && (is_there = read_header(reader, &header)) > 0 &&
           reader->end - reader->start - PYTHON_HEADER_SIZE >= header.size) {
        struct python_bytes body = {reader->buffer + reader->start + PYTHON_HEADER_SIZE,
                                    header.size};
        PyObject *content = header.op == RUN ? run_object(body) : view_object(body);
        PyObject *fds = content == NULL ? NULL : take_fds(reader, header.fds);
        if (fds == NULL) {
            Py_XDECREF(content);
            Py_CLEAR(list);
            break;
        }
        reader->start += PYTHON_HEADER_SIZE + header.size;
        PyObject *message = Py_BuildValue("(iKNN)", (int)header.op,
                                          (unsigned long long)header.handle, content, fds);
        if (message == NULL || PyList_Append(list, message) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(message);
    }
    if (is_there < 0) {
        Py_CLEAR(list);
    }
    return list;
}

static PyMethodDef reader_methods[] = {
    {"receive", reader_receive, METH_NOARGS, "Wait for more; False: the other side has ended."},
    {"try_receive", reader_try_receive, METH_NOARGS, "0: nothing is there; 1: more; 2: the end."},
    {"wait", reader_wait, METH_O, "Until there is something; False: the eventfd was written to."},
    {"messages", reader_messages, METH_NOARGS, "[(op, handle, body, fds)] of what is there."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_new, (void *)reader_new},
    {Py_tp_dealloc, (void *)reader_dealloc},
    {Py_tp_methods, reader_methods},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "cask.executor._native.Reader",
    .basicsize = sizeof(struct reader),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = reader_slots,
};

int python_add_reader(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&reader_spec);
    int result = type == NULL ? -1 : PyModule_AddObjectRef(module, "Reader", type);
    Py_XDECREF(type);
    return result;
}
