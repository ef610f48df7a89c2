"""A network namespace of its own for a command, with TCP to the rest of the host through sockets in a folder.

    python namespace.py FOLDER OUT,OUT,… IN -- COMMAND …

Inside, 127.0.0.1:OUT are ports of the host, and the host reaches IN inside as its own 127.0.0.1:IN, as long as the block
with `passage()` lasts. No interface is made and no address: sockets in the file system know no namespaces. Those without a
file, by which workers find who is on their host, do.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def enter():
    """OSError: not allowed here"""
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWNET | (CLONE_NEWUSER if uid else 0)) != 0:
        raise OSError(ctypes.get_errno(), "unshare: " + os.strerror(ctypes.get_errno()))
    if uid:
        for name, words in ("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1"):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(words)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def why_not():
    """What is against a namespace here; "": nothing"""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


def pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in source, target:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def relay(listener, connect):
    """Each connection to `listener` goes on to what connect() gives; ends with the listener"""

    def accept():
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                try:
                    far = connect()
                except OSError:
                    near.close()
                    continue
                for ends in (near, far), (far, near):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener


def by_port(port):
    return lambda: socket.create_connection(("127.0.0.1", port))


def by_file(path):
    def connect():
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        return connection

    return connect


def at_port(port):
    return socket.create_server(("127.0.0.1", port))


def at_file(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


@contextlib.contextmanager
def passage(folder, ports_out, port_in):
    """What stands before a command that is to run in a namespace of its own"""
    listeners = [relay(at_file(f"{folder}/{port}"), by_port(port)) for port in ports_out]
    listeners.append(relay(at_port(port_in), by_file(f"{folder}/{port_in}")))
    out = ",".join(map(str, ports_out))
    yield shlex.join([sys.executable, __file__, str(folder), out, str(port_in), "--"])
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # accept() returns
        listener.close()


def main(folder, ports_out, port_in, _, *command):
    enter()
    parent = os.getpid()
    if os.fork() > 0:
        os.execvp(command[0], command)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:
        for port in map(int, ports_out.split(",")):
            relay(at_port(port), by_file(f"{folder}/{port}"))
        relay(at_file(f"{folder}/{port_in}"), by_port(int(port_in)))
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 1 else enter()
