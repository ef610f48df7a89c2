/* python_extension.c: `_native`, what costs a Python executor most for a short task, in C: reading messages, RUN, the
 * board, what a task used, framing of answers. python/cask/executor/native.py finds it; without it, or where it cannot be
 * loaded, the Python beside it does the same.
 *
 * Limited API of CPython 3.10, one library for all later ones. The buffer protocol is not in that, so bodies are bytearrays of
 * their own, which Python views. Nothing here is called without the interpreter's lock but the two waits. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "exec/python_extension.h"

#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    SLOT_SIZE = 64,
    INTERFACE = 1, /* what native.py asks for: changes with any name or argument here */
};

/* ---- the board ---- */

struct slot {
    uint64_t handle;
    double start;
    uint64_t thread, flags;
};

struct board {
    PyObject object;
    uint8_t *memory;
    size_t size;
    uint32_t *free; /* slots, the next one last */
    uint32_t free_count, slot_count;
};

static PyObject *board_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"fd", "slot_count", NULL};
    int fd;
    unsigned count;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "iI", names, &fd, &count)) {
        return NULL;
    }
    struct board *board = (struct board *)PyType_GenericAlloc(type, 0);
    if (board == NULL) {
        return NULL;
    }
    size_t size = SLOT_SIZE * ((size_t)count + 1);
    off_t there = lseek(fd, 0, SEEK_END);
    if (there < 0 || (uint64_t)there < size) {
        PyErr_SetString(PyExc_ValueError, "the board is smaller than its slots");
        Py_DECREF(board);
        return NULL;
    }
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    board->free = PyMem_Malloc((size_t)count * sizeof *board->free + 1);
    if (memory == MAP_FAILED || board->free == NULL) {
        board->memory = memory == MAP_FAILED ? NULL : memory;
        board->size = size;
        Py_DECREF(board);
        return memory == MAP_FAILED ? PyErr_SetFromErrno(PyExc_OSError) : PyErr_NoMemory();
    }
    board->memory = memory;
    board->size = size;
    board->slot_count = board->free_count = count;
    for (uint32_t i = 0; i < count; i++) {
        board->free[i] = count - i;
    }
    const uint32_t head[3] = {0x6b736163, 1, count};
    memcpy(board->memory, head, sizeof head);
    return (PyObject *)board;
}

static void board_dealloc(PyObject *object)
{
    struct board *board = (struct board *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (board->memory != NULL) {
        munmap(board->memory, board->size);
    }
    PyMem_Free(board->free);
    PyObject_Free(object);
    Py_DECREF(type);
}

/* enter(handle, start, thread, flags=0): a slot for this task; 0: none is free. */
static PyObject *board_enter(PyObject *object, PyObject *arguments)
{
    struct board *board = (struct board *)object;
    unsigned long long handle, thread, flags = 0;
    struct slot slot;
    if (!PyArg_ParseTuple(arguments, "KdK|K", &handle, &slot.start, &thread, &flags)) {
        return NULL;
    }
    if (board->free_count == 0) {
        return PyLong_FromLong(0);
    }
    slot.handle = handle;
    slot.thread = thread;
    slot.flags = flags;
    uint32_t number = board->free[--board->free_count];
    memcpy(board->memory + (size_t)number * SLOT_SIZE, &slot, sizeof slot);
    return PyLong_FromUnsignedLong(number);
}

/* The slot's memory; NULL with an exception. */
static struct slot *slot_at(struct board *board, unsigned long number)
{
    if (number == 0 || number > board->slot_count) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_IndexError, "no such slot");
        }
        return NULL;
    }
    return (struct slot *)(void *)(board->memory + number * SLOT_SIZE);
}

static PyObject *board_set_flags(PyObject *object, PyObject *arguments)
{
    unsigned long number;
    unsigned long long flags;
    if (!PyArg_ParseTuple(arguments, "kK", &number, &flags)) {
        return NULL;
    }
    if (number != 0) {
        struct slot *slot = slot_at((struct board *)object, number);
        if (slot == NULL) {
            return NULL;
        }
        slot->flags = flags;
    }
    Py_RETURN_NONE;
}

static PyObject *board_leave(PyObject *object, PyObject *argument)
{
    struct board *board = (struct board *)object;
    unsigned long number = PyLong_AsUnsignedLong(argument);
    if (number != 0) {
        struct slot *slot = slot_at(board, number);
        if (slot == NULL) {
            return NULL;
        }
        if (board->free_count == board->slot_count) {
            PyErr_SetString(PyExc_ValueError, "nobody is in this slot");
            return NULL;
        }
        slot->handle = 0;
        board->free[board->free_count++] = (uint32_t)number;
    }
    Py_RETURN_NONE;
}

/* Of another process's: nobody enters any more. */
static PyObject *board_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct board *board = (struct board *)object;
    if (board->memory != NULL) {
        munmap(board->memory, board->size);
        board->memory = NULL;
        board->free_count = board->slot_count = 0;
    }
    Py_RETURN_NONE;
}

static PyMethodDef board_methods[] = {
    {"close", board_close, METH_NOARGS, "It was another process's."},
    {"enter", board_enter, METH_VARARGS, "A slot for this task; 0: none is free."},
    {"set_flags", board_set_flags, METH_VARARGS, "Of a slot; 0: of none."},
    {"leave", board_leave, METH_O, "Give a slot back; 0: none."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot board_slots[] = {
    {Py_tp_new, (void *)board_new},
    {Py_tp_dealloc, (void *)board_dealloc},
    {Py_tp_methods, board_methods},
    {0, NULL},
};

static PyType_Spec board_spec = {
    .name = "cask.executor._native.Board",
    .basicsize = sizeof(struct board),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = board_slots,
};

/* ---- answers ---- */

/* frame(op, handle, parts): a message without descriptors; parts: a list of bytes. */
static PyObject *frame(PyObject *module, PyObject *arguments)
{
    (void)module;
    unsigned op;
    unsigned long long handle;
    PyObject *parts;
    if (!PyArg_ParseTuple(arguments, "IKO", &op, &handle, &parts)) {
        return NULL;
    }
    Py_ssize_t count = PyList_Size(parts); /* -1, with an exception, if it is no list */
    size_t size = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t part = PyBytes_Size(PyList_GetItem(parts, i));
        if (part < 0) {
            return NULL;
        }
        size += (size_t)part;
    }
    if (count < 0) {
        return NULL;
    }
    if (size > PYTHON_BODY_MAX) {
        return PyErr_Format(PyExc_ValueError, "a message of %zu bytes; %d are the limit", size,
                            PYTHON_BODY_MAX);
    }
    PyObject *message = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(PYTHON_HEADER_SIZE + size));
    if (message == NULL) {
        return NULL;
    }
    char *at = PyBytes_AsString(message);
    const struct python_header header = {(uint32_t)size, (uint16_t)op, 0, handle};
    memcpy(at, &header, PYTHON_HEADER_SIZE);
    at += PYTHON_HEADER_SIZE;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *part = PyList_GetItem(parts, i);
        memcpy(at, PyBytes_AsString(part), (size_t)PyBytes_Size(part));
        at += PyBytes_Size(part);
    }
    return message;
}

/* ---- the module ---- */

static PyMethodDef functions[] = {
    {"frame", frame, METH_VARARGS, "A message without descriptors."},
    {NULL, NULL, 0, NULL},
};

static int add_board(PyObject *to)
{
    PyObject *type = PyType_FromSpec(&board_spec);
    int result = type == NULL ? -1 : PyModule_AddObjectRef(to, "Board", type);
    Py_XDECREF(type);
    return result;
}

static int fill(PyObject *to)
{
    bool is_full = add_board(to) == 0 && python_add_reader(to) == 0 && python_add_meter(to) == 0 &&
                   PyModule_AddIntConstant(to, "interface", INTERFACE) == 0;
    return is_full ? 0 : -1;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)fill},
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_methods = functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__native(void);

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module);
}
