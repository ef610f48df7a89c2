"""gdb shows cask's things as people call them: keys as Python writes them, states by name, lists whole.

    gdb -x tools/gdb/cask.py build/cask            (or: source tools/gdb/cask.py)

    (gdb) print *task
    $1 = task 17 ('x', 0) processing on 2, 1 dependencies [9] (0 missing), 1 dependents [20], who_has [], who_wants [3]
    (gdb) print *worker
    $2 = worker 2 tcp://10.0.0.5:40001 running, 4 threads, 7 processing, holds 120 (98304 bytes)
    (gdb) cask-task s 17          the task with this id
    (gdb) cask-tasks s processing  keys of all tasks in a state

The same of a worker's core: print *task, *peer; cask-task and cask-tasks take its struct worker_state.

print/r shows the structs as they are.
"""

import gdb

BYTES_SHOWN = 60
ITEMS_SHOWN = 20
# Macros, which gdb does not know: TASK_CHUNK_BITS, WTASK_CHUNK_BITS of the cores' internal.h; WPEER_NONE.
CHUNK_SIZE = {"scheduler": 1 << 12, "worker_state": 1 << 10}
PEER_NONE = (1 << 32) - 1


def memory(data, size):
    """Bytes at an address, or b"" where there are none"""
    if not size or not int(data):
        return b""
    try:
        return bytes(gdb.selected_inferior().read_memory(int(data), size))
    except gdb.MemoryError:
        return b""


def span_bytes(span):
    return memory(span["data"], min(int(span["size"]), 1 << 16))


class Unpacker:
    """Just enough msgpack for keys and small values"""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        piece = self.data[self.at : self.at + size]
        if len(piece) < size:
            raise ValueError("cut short")
        self.at += size
        return piece

    def number(self, size, signed=False):
        return int.from_bytes(self.take(size), "big", signed=signed)

    def value(self):
        import struct

        head = self.number(1)
        if head < 0x80:
            return head
        if head >= 0xE0:
            return head - 0x100
        if head <= 0x8F:
            return {repr(self.value()): self.value() for _ in range(head & 15)}
        if head <= 0x9F:
            return tuple(self.value() for _ in range(head & 15))
        if head <= 0xBF:
            return self.take(head & 31).decode(errors="replace")
        if head in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[head]
        if head in (0xC4, 0xC5, 0xC6):
            return self.take(self.number(1 << (head - 0xC4)))
        if head == 0xCB:
            return struct.unpack(">d", self.take(8))[0]
        if 0xCC <= head <= 0xCF:
            return self.number(1 << (head - 0xCC))
        if 0xD0 <= head <= 0xD3:
            return self.number(1 << (head - 0xD0), signed=True)
        if 0xD9 <= head <= 0xDB:
            return self.take(self.number(1 << (head - 0xD9))).decode(errors="replace")
        if head in (0xDC, 0xDD):
            return tuple(self.value() for _ in range(self.number(2 << (head - 0xDC))))
        if head in (0xDE, 0xDF):
            return {repr(self.value()): self.value() for _ in range(self.number(2 << (head - 0xDE)))}
        raise ValueError(f"type {head:#x}")


def cut(text):
    return text if len(text) <= BYTES_SHOWN else text[:BYTES_SHOWN] + "…"


def unpacked(data):
    """A msgpack value as Python shows it; None: it is none"""
    try:
        reader = Unpacker(data)
        value = reader.value()
    except (ValueError, IndexError):
        return None
    return repr(value) if reader.at == len(data) else None


def key_text(span):
    data = span_bytes(span)
    return cut(unpacked(data) or repr(data))


def plain_text(span):
    return span_bytes(span).decode(errors="replace")


def enum_name(type_name, prefix, value):
    """The name of an enum's value, in small letters, without its prefix"""
    for field in gdb.lookup_type(f"enum {type_name}").fields():
        if field.enumval == int(value):
            return field.name.removeprefix(prefix).lower().replace("_", "-")
    return str(int(value))


def link_ids(links):
    count = int(links["count"])
    first = links["at"]["one"].address if int(links["capacity"]) == 0 else links["at"]["many"]
    ids = [int(first[i]["other"]) for i in range(min(count, ITEMS_SHOWN))]
    return f"[{', '.join(map(str, ids))}{', …' if count > ITEMS_SHOWN else ''}]"


class SpanPrinter:
    """Text if it is text, a value if it is msgpack of a key, else its bytes"""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        data = span_bytes(self.value)
        size = int(self.value["size"])
        if data.isascii() and data.decode().isprintable():
            return f'"{cut(data.decode())}"' + (f" ({size})" if size > BYTES_SHOWN else "")
        return cut(unpacked(data) or repr(data)) + (f" ({size})" if size > BYTES_SHOWN else "")


class TextPrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        size = int(self.value["size"])
        return f'"{cut(memory(self.value["data"], size).decode(errors="replace"))}" ({size})'


class BlobPrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        blob = self.value
        data = memory(blob["value"]["data"], int(blob["value"]["size"]))
        frames = blob["frames"]
        sizes = [int(frames[i]["size"]) for i in range(min(int(blob["frame_count"]), ITEMS_SHOWN))]
        return f"blob {cut(unpacked(data) or repr(data))}, frames of {sizes} bytes, {int(blob['refs'])} references"


class TaskPrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        task = self.value
        state = enum_name("task_state", "TASK_", task["state"])
        worker = f" on {int(task['processing_on'])}" if int(task["processing_on"]) else ""
        return (
            f"task {int(task['id'])} {key_text(task['key'])} {state}{worker}, "
            f"{int(task['dependencies']['count'])} dependencies {link_ids(task['dependencies'])} "
            f"({int(task['missing_count'])} missing), {int(task['dependents']['count'])} dependents "
            f"{link_ids(task['dependents'])}, who_has {link_ids(task['who_has'])}, "
            f"who_wants {link_ids(task['who_wants'])}"
        )


class WorkerPrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        worker = self.value
        marks = [name for name in ("is_idle", "is_saturated") if worker[name]]
        status = enum_name("worker_status", "WORKER_", worker["status"])
        return (
            f"worker {int(worker['id'])} {plain_text(worker['address'])} {status}"
            f"{'' if worker['known'] else ' (gone)'}{' ' + ' '.join(marks) if marks else ''}, "
            f"{int(worker['nthreads'])} threads, {int(worker['processing']['count'])} processing, "
            f"holds {int(worker['has_what']['count'])} ({int(worker['nbytes'])} bytes)"
        )


class WorkerTaskPrinter:
    """A task inside a worker, as in: resumed (was executing, next fetch)"""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        task = self.value
        before = [
            f"{word} {enum_name('wtask_state', 'WTASK_', task[field])}"
            for word, field in (("was", "previous"), ("next", "next"))
            if int(task[field])
        ]
        source = int(task["coming_from"])
        return (
            f"task {int(task['id'])} {key_text(task['key'])} {enum_name('wtask_state', 'WTASK_', task['state'])}"
            f"{' (' + ', '.join(before) + ')' if before else ''}"
            f"{'' if source == PEER_NONE else f' from peer {source}'}, {int(task['nbytes'])} bytes, "
            f"dependencies {link_ids(task['dependencies'])} ({int(task['missing_count'])} missing), "
            f"dependents {link_ids(task['dependents'])}, who_has {link_ids(task['who_has'])}"
        )


class PeerPrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        peer = self.value
        marks = [name for name in ("remote", "in_flight", "busy") if peer[name]]
        return (
            f"peer {int(peer['id'])} {plain_text(peer['address'])}{' ' + ' '.join(marks) if marks else ''}, "
            f"has {link_ids(peer['has_what'])}, {int(peer['needed_count'])} needed, "
            f"{int(peer['in_flight_tasks']['count'])} in flight"
        )


PRINTERS = {
    "span": SpanPrinter,
    "text": TextPrinter,
    "blob": BlobPrinter,
    "task": TaskPrinter,
    "worker": WorkerPrinter,
    "wtask": WorkerTaskPrinter,
    "wpeer": PeerPrinter,
}


def find_printer(value):
    kind = value.type.strip_typedefs().unqualified()
    if kind.code == gdb.TYPE_CODE_STRUCT and kind.tag in PRINTERS:
        return PRINTERS[kind.tag](value)
    return None


class Core:
    """The tasks of a scheduler or a worker, named by an expression that points to it"""

    def __init__(self, expression):
        pointer = gdb.parse_and_eval(expression)
        kind = pointer.type.strip_typedefs().target().unqualified().tag
        if kind not in CHUNK_SIZE:
            raise gdb.GdbError(f"{expression} points to no struct scheduler or struct worker_state")
        self.chunk_size = CHUNK_SIZE[kind]
        is_worker = kind == "worker_state"
        self.chunks = pointer["chunks" if is_worker else "task_chunks"]
        self.end = int(pointer["task_end" if is_worker else "task_high"])
        self.states = ("wtask_state", "WTASK_") if is_worker else ("task_state", "TASK_")

    def task(self, number):
        """The slot of that id, as task_at of its internal.h finds it (which is inlined)"""
        if not 0 <= number < self.end:
            raise gdb.GdbError(f"no task had the id {number} yet")
        return self.chunks[number // self.chunk_size][number % self.chunk_size]

    def state(self, task):
        return enum_name(*self.states, task["state"])


class TaskCommand(gdb.Command):
    """cask-task CORE ID: the task with this id, of a scheduler or a worker"""

    def __init__(self):
        super().__init__("cask-task", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        core, number = gdb.string_to_argv(argument)
        print(find_printer(Core(core).task(int(number))).to_string())


class TasksCommand(gdb.Command):
    """cask-tasks CORE [STATE]: keys of all tasks of a scheduler or a worker, or of those in a state"""

    def __init__(self):
        super().__init__("cask-tasks", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        core, wanted = Core(words[0]), words[1] if len(words) > 1 else None
        for number in range(core.end):
            task = core.task(number)
            state = core.state(task)
            if int(task["key"]["size"]) and wanted in (None, state):
                print(f"{number:8} {state:11} {key_text(task['key'])}")


gdb.pretty_printers.append(find_printer)
TaskCommand()
TasksCommand()
