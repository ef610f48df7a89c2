/* python_extension.h: what the files of the extension of Python executors share; see python_extension.c. */
#ifndef CASK_EXEC_PYTHON_EXTENSION_H
#define CASK_EXEC_PYTHON_EXTENSION_H

#include <assert.h>
#include <stdint.h>

enum { PYTHON_BODY_MAX = 64 * 1024 * 1024, PYTHON_HEADER_SIZE = 16 };

struct python_header {
    uint32_t size;
    uint16_t op, fds;
    uint64_t handle;
};

static_assert(sizeof(struct python_header) == PYTHON_HEADER_SIZE, "the layout of docs/executor.md");

struct _object; /* PyObject; who includes this has Python.h */

/* Put a type into the module. -1: with an exception. */
int python_add_reader(struct _object *module);
int python_add_meter(struct _object *module);

#endif
