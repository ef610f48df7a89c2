"""Exceptions as bytes: as stock's error_message, but none loses its type."""

from __future__ import annotations

import traceback
import types

import cloudpickle
import dask
import tblib.pickling_support
from dask.utils import typename
from distributed.core import collect_causes
from distributed.protocol import pickle
from distributed.utils import truncate_exception

from cask.executor.channel import pack_bytes

# What an exception drags along may be anything; a message holds 64 MiB.
_PICKLE_MAX = 16 * 1024 * 1024
_TEXT_MAX = 1024 * 1024  # characters
# Files whose frames say nothing to a user, at the top of a traceback. Source: distributed
# utils.get_traceback; the first is ours.
_MACHINERY = (
    "cask/executor/",
    "distributed/worker",
    "distributed/scheduler",
    "tornado/gen.py",
    "concurrent/futures",
    "dask/_task_spec",
)


def _stand_in(error: BaseException) -> bytes | None:
    """The pickle of an exception with the class name, module, text and nearest built-in base of
    `error`, for one that cannot be pickled itself. It travels by value: the reader needs nothing of
    ours."""
    kind = type(error)
    name = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    for base in kind.__mro__:
        if base.__module__ != "builtins" or not issubclass(base, Exception):
            continue
        try:  # some cannot be made of a text: UnicodeDecodeError
            stand_in = types.new_class(kind.__name__, (base,), exec_body=lambda b: b.update(name))
            content = cloudpickle.dumps(stand_in(str(error)), protocol=pickle.HIGHEST_PROTOCOL)
            pickle.loads(content)
        except Exception:
            continue
        return content
    return None


def _pickle_or_none(value) -> bytes | None:
    """The pickle of `value`, if it can be read again and fits in a message."""
    try:
        content = pickle.dumps(value)
        if len(content) > _PICKLE_MAX:
            return None
        pickle.loads(content)
    except Exception:
        return None
    return content


def _users_part(trace: types.TracebackType | None) -> types.TracebackType | None:
    """`trace` from the first frame that is not ours or Dask's machinery."""
    while trace is not None and any(
        part in trace.tb_frame.f_code.co_filename for part in _MACHINERY
    ):
        trace = trace.tb_next
    return trace


def pack_error(error: BaseException) -> bytes:
    """`error` of a body. Source: distributed core.error_message."""
    limit = dask.config.get("distributed.admin.max-error-length")
    tblib.pickling_support.install(error, *collect_causes(error))
    trace = _users_part(error.__traceback__)
    trace_text = "".join(traceback.format_tb(trace))
    short = truncate_exception(error.with_traceback(trace), limit)
    exception = _pickle_or_none(short) or _stand_in(short) or pickle.dumps(Exception(repr(short)))
    packed_trace = _pickle_or_none(trace) or pickle.dumps(trace_text)
    if len(packed_trace) > limit:
        packed_trace = b""
    texts = [repr(short), trace_text, typename(type(error))]
    return b"".join(
        pack_bytes(content)
        for content in (exception, packed_trace, *(t[:_TEXT_MAX].encode(errors="replace") for t in texts))
    )
