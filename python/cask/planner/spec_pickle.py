"""Pickle tasks, each on its own, as stock's scheduler sends them to workers.

As distributed.protocol.pickle.dumps: plain pickle first, cloudpickle if that fails or names
``__main__``. What takes long there is a function that only cloudpickle can carry (a lambda, or
anything from a notebook): 40 µs and more for each task that calls it. So such a function is pickled
once a graph, and a task's pickle holds ``pickle.loads(<those bytes>)`` in its place: what a worker
gets is equal, and costs it the same. That is only so if nothing mutable is shared between the
function and the rest of its task; functions of which that is not sure are pickled with each task.

Out-of-band buffers that tasks share (one array passed to many calls) are kept once.
"""

from __future__ import annotations

import copyreg
import dis
import inspect
import io
import pickle
import sys
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType, ModuleType

import cloudpickle
from dask._task_spec import Task

from cask.planner.plain import flat_view, import_distributed

# A carried function longer than this travels as a buffer of its own, one for all its tasks.
SHARED_FUNCTION_BYTES = 4096
# Buffers shorter than this are not looked for among those there are already.
SHARED_BUFFER_BYTES = 1024

_IMMUTABLE = {type(None), bool, int, float, complex, str, bytes}
_SEES_GLOBALS = {"globals", "locals", "vars", "eval", "exec", "__import__"}


def install() -> None:
    """Pickle tasks with the same result in a fifth of the time: a fused task holds dozens of tasks,
    and Task.__getstate__ gathers nine attributes of each in a Python loop."""
    state_of = attrgetter(*Task.get_all_slots())
    new, arguments = copyreg.__newobj__, (Task,)

    def reduce(task):
        return new, arguments, state_of(task)

    copyreg.pickle(Task, reduce)


def _is_importable(obj) -> bool:
    """True if `obj` is what its module and qualified name lead to, outside __main__."""
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return False
    found = module
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


def _codes(code):
    """A function's code and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _codes(constant)


class CarriedFunctions:
    """The functions of one graph that cloudpickle must carry by value: each pickled once."""

    def __init__(self):
        self._alone: dict[int, bool] = {}  # id(function) -> nothing mutable can be shared with it
        self._pickles: dict[int, bytes] = {}
        self._kept: list = []  # so that no id is used twice

    def _is_alone_value(self, value) -> bool:
        if type(value) in _IMMUTABLE:
            return True
        if type(value) in (tuple, frozenset):
            return all(self._is_alone_value(item) for item in value)
        if isinstance(value, ModuleType):
            return sys.modules.get(value.__name__) is value
        if isinstance(value, BuiltinFunctionType):  # methods of objects, too: [].append
            return value.__self__ is None or isinstance(value.__self__, ModuleType)
        if isinstance(value, FunctionType):
            return _is_importable(value) or self.is_alone(value)
        return isinstance(value, type) and _is_importable(value)

    def _look_alone(self, function: FunctionType) -> bool:
        values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        values += function.__dict__.values()
        for cell in function.__closure__ or ():
            try:
                values.append(cell.cell_contents)
            except ValueError:  # not filled yet
                return False
        for code in _codes(function.__code__):
            if _SEES_GLOBALS.intersection(code.co_names) or self._rebinds(function, code):
                return False
            variables = function.__globals__
            values += [variables[name] for name in code.co_names if name in variables]
        return all(self._is_alone_value(value) for value in values)

    @staticmethod
    def _rebinds(function: FunctionType, code) -> bool:
        """True if `code`, a part of `function`, assigns to a variable outside the function."""
        outside = function.__code__.co_freevars
        for step in dis.get_instructions(code):
            if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                return True
            if step.opname in ("STORE_DEREF", "DELETE_DEREF") and step.argval in outside:
                return True
        return False

    def is_alone(self, function: FunctionType) -> bool:
        """True if `function` reaches nothing that a change could be seen through."""
        known = self._alone.get(id(function))
        if known is None:
            self._kept.append(function)
            self._alone[id(function)] = True  # while looking: a function may call itself
            known = self._alone[id(function)] = self._look_alone(function)
        return known

    def pickle_of(self, function: FunctionType) -> bytes:
        content = self._pickles.get(id(function))
        if content is None:
            content = self._pickles[id(function)] = cloudpickle.dumps(function)
        return content


class _CarryingPickler(cloudpickle.Pickler):
    """Cloudpickle, but functions that stand alone come as the bytes they were pickled to before."""

    def __init__(self, file, carried: CarriedFunctions, **options):
        super().__init__(file, **options)
        self._carried = carried

    def reducer_override(self, obj):
        if type(obj) is FunctionType and not _is_importable(obj) and self._carried.is_alone(obj):
            content = self._carried.pickle_of(obj)
            if len(content) >= SHARED_FUNCTION_BYTES:
                content = pickle.PickleBuffer(content)
            return pickle.loads, (content,)
        return super().reducer_override(obj)


def _place_of(view: memoryview) -> tuple | None:
    """Where the bytes lie: equal for the same bytes, as long as they are kept. None: no knowing."""
    # Only NumPy tells an address; where it is not loaded, buffers are functions' pickles.
    frombuffer = getattr(sys.modules.get("numpy"), "frombuffer", None)
    if frombuffer is not None:
        return frombuffer(view, "u1").__array_interface__["data"][0], view.nbytes
    whole = view.obj
    return (bytes, id(whole)) if type(whole) is bytes and len(whole) == view.nbytes else None


class BufferTable:
    """The distinct out-of-band buffers of one graph, numbered as they appear."""

    def __init__(self):
        self.fresh: list[memoryview] = []  # not sent yet; the last ones of `count`
        self.count = 0
        self._numbers: dict[tuple, int] = {}
        self._kept: list[memoryview] = []  # so that no address is used twice

    def number_of(self, buffer: pickle.PickleBuffer) -> int:
        view = flat_view(buffer)
        place = _place_of(view) if view.nbytes >= SHARED_BUFFER_BYTES else None
        if place is not None:
            known = self._numbers.get(place)
            if known is not None:
                return known
            self._numbers[place] = self.count
            self._kept.append(view)
        self.fresh.append(view)
        self.count += 1
        return self.count - 1

    def take_fresh(self) -> list[memoryview]:
        fresh, self.fresh = self.fresh, []
        return fresh


def _stock_dumps(task, buffers: list[pickle.PickleBuffer]) -> bytes:
    import_distributed()
    from distributed.protocol import pickle as distributed_pickle

    return distributed_pickle.dumps(task, buffer_callback=buffers.append)


class TaskPickler:
    """Pickles the tasks of one graph."""

    def __init__(self):
        self._carried = CarriedFunctions()
        self._by_value = bool(cloudpickle.list_registry_pickle_by_value())

    def dumps(self, task, buffers: list[pickle.PickleBuffer]) -> bytes:
        """Pickle `task`; its out-of-band buffers are appended to the empty list `buffers`."""
        if self._by_value:
            return _stock_dumps(task, buffers)
        try:
            content = pickle.dumps(task, 5, buffer_callback=buffers.append)
            if b"__main__" not in content:
                return content
        except Exception:  # whatever it was, cloudpickle or stock's own way may know better
            pass
        buffers.clear()
        try:
            file = io.BytesIO()
            _CarryingPickler(file, self._carried, protocol=5, buffer_callback=buffers.append).dump(
                task
            )
            return file.getvalue()
        except Exception:
            buffers.clear()
            return _stock_dumps(task, buffers)
