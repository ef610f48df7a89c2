"""Functions that tasks of several tests call; importable on workers and in the planner."""

import threading
import time


def inc(x):
    return x + 1


def dec(x):
    return x - 1


def add(x, y):
    return x + y


def double(x):
    return 2 * x


def div(x, y):
    return x / y


def slowinc(x, delay=0.05):
    time.sleep(delay)
    return x + 1


def slowadd(x, y, delay=0.05):
    time.sleep(delay)
    return x + y


def thread_name():
    return threading.current_thread().name


def my_address(*_):
    from distributed import get_worker

    return get_worker().address


def my_name(*_):
    from distributed import get_worker

    return get_worker().name


class Plain:
    """Instances are loaded without any code of the class"""

    def __init__(self, number):
        self.number = number

    def __dask_tokenize__(self):
        return ("Plain", self.number)


class Numbered:
    """Loads, but for one number"""

    def __dask_tokenize__(self):
        return ("Numbered", self.number)

    def __init__(self, number):
        self.number = number

    def __setstate__(self, state):
        if state["number"] == 13:
            raise ValueError("an unlucky number")
        self.__dict__.update(state)


def number_of(numbered, *_):
    return numbered.number


def die(*_):
    """What a segmentation fault in user code looks like from outside"""
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
