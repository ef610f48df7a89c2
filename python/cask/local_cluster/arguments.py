"""What LocalCluster's arguments, which are those of stock's Scheduler, Nanny and Worker classes, are for a process:
an option of its command line, a setting, or an error that says what to do instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from distributed.security import Security

USE_PLUGIN = "register a plugin instead: Client.register_plugin"
IN_PROCESS = "it is an object of this process; with worker_class=distributed.Nanny stock workers take it"


def _text(value: Any) -> str:
    return str(value)


def _seconds(value: Any) -> str:
    return f"{value}s" if isinstance(value, (int, float)) else str(value)


def _protocol(value: str) -> str:
    return value.removesuffix("://")


def _resources(value: Mapping[str, float]) -> str:
    return " ".join(f"{name}={amount}" for name, amount in value.items())


def _memory(value: Any) -> str:
    return "0" if value is None else str(value)


LISTS = {"blocked_handlers", "preload", "preload_argv", "preload_nanny", "preload_nanny_argv"}  # a text alone is a list of one


def _list(value: Any) -> list:
    return [value] if isinstance(value, str) else list(value)


# Argument -> option and how its value is written; None is the option's default, unless the table says otherwise.
SCHEDULER_OPTIONS: dict[str, tuple[str, Callable]] = {
    "host": ("--host", _text),
    "port": ("--port", _text),
    "interface": ("--interface", _text),
    "protocol": ("--protocol", _protocol),
    "contact_address": ("--contact-address", _text),
    "dashboard_address": ("--dashboard-address", _text),
    "http_prefix": ("--dashboard-prefix", _text),
}
WORKER_OPTIONS: dict[str, tuple[str, Callable]] = {
    "host": ("--host", _text),
    "interface": ("--interface", _text),
    "protocol": ("--protocol", _protocol),
    "nthreads": ("--nthreads", _text),
    "name": ("--name", _text),
    "memory_limit": ("--memory-limit", _memory),
    "local_directory": ("--local-directory", _text),
    "resources": ("--resources", _resources),
    "death_timeout": ("--death-timeout", _seconds),
    "lifetime": ("--lifetime", _seconds),
    "lifetime_stagger": ("--lifetime-stagger", _seconds),
    "port": ("--nanny-port", _text),
    "worker_port": ("--worker-port", _text),
    "contact_address": ("--contact-address", _text),
    "listen_address": ("--listen-address", _text),
    "executors": ("--executors", _text),
}
# Argument -> setting.
SCHEDULER_SETTINGS = {
    "allowed_failures": "distributed.scheduler.allowed-failures",
    "blocked_handlers": "distributed.scheduler.blocked-handlers",
    "dashboard": "cask.dashboard.process",
    "idle_timeout": "distributed.scheduler.idle-timeout",
    "preload": "distributed.scheduler.preload",
    "preload_argv": "distributed.scheduler.preload-argv",
    "validate": "distributed.scheduler.validate",
    "worker_ttl": "distributed.scheduler.worker-ttl",
}
WORKER_SETTINGS = {
    "lifetime_restart": "distributed.worker.lifetime.restart",
    "memory_pause_fraction": "distributed.worker.memory.pause",
    "memory_spill_fraction": "distributed.worker.memory.spill",
    "memory_target_fraction": "distributed.worker.memory.target",
    "memory_terminate_fraction": "distributed.worker.memory.terminate",
    "preload": "distributed.worker.preload",
    "preload_argv": "distributed.worker.preload-argv",
    "preload_nanny": "distributed.nanny.preload",
    "preload_nanny_argv": "distributed.nanny.preload-argv",
    "profile_cycle_interval": "distributed.worker.profile.cycle",
    "validate": "distributed.worker.validate",
}
# Taken for Dask's sake: no dashboard of a worker's, no tornado, or the way things are here in any case.
SCHEDULER_IGNORED = {"loop", "service_kwargs", "transition_counter_max"}
WORKER_IGNORED = {
    "dashboard", "dashboard_address", "http_prefix", "loop", "low_level_profiler", "quiet", "reconnect",
    "scheduler_sni", "transition_counter_max",
}  # fmt: skip
# Those that the classes of processes take themselves.
SCHEDULER_IGNORED |= {"scheduler_file"}
WORKER_IGNORED |= {"config", "env"}
# What cannot be -> why, and what can.
SCHEDULER_REFUSED = {
    "extensions": "they are Python in the scheduler's process; preload a module that changes the planner's view of it",
    "jupyter": "there is no Python in the scheduler to serve a notebook; start jupyter beside it",
    "plugins": USE_PLUGIN,
    "services": "the scheduler serves no HTTP applications of Python's",
}
WORKER_REFUSED = {
    "WorkerStateClass": IN_PROCESS,
    "data": IN_PROCESS,
    "executor": IN_PROCESS,
    "extensions": IN_PROCESS,
    "heartbeat_interval": "the scheduler tells workers how often to report, by the number of them",
    "metrics": IN_PROCESS,
    "plugins": USE_PLUGIN,
    "scheduler_file": "the cluster tells workers where the scheduler is",
    "services": "a worker serves no HTTP applications of Python's",
    "startup_information": IN_PROCESS,
}


class Rules(NamedTuple):
    what: str
    options: dict[str, tuple[str, Callable]]
    settings: dict[str, str]
    ignored: set[str]
    refused: dict[str, str]


SCHEDULER = Rules("scheduler", SCHEDULER_OPTIONS, SCHEDULER_SETTINGS, SCHEDULER_IGNORED, SCHEDULER_REFUSED)
WORKER = Rules("worker", WORKER_OPTIONS, WORKER_SETTINGS, WORKER_IGNORED, WORKER_REFUSED)


def translate(rules: Rules, arguments: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Options for the command line, and settings. What neither can say is a TypeError."""
    options: list[str] = []
    settings: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in rules.options:
            option, write = rules.options[name]
            if value is not None or write is _memory:
                options.append(f"{option}={write(value)}")
        elif name in rules.settings:
            if value is not None:
                settings[rules.settings[name]] = _list(value) if name in LISTS else value
        elif name in rules.refused:
            if value:
                raise TypeError(
                    f"{name}: not for a {rules.what} in a process of its own: {rules.refused[name]}"
                )
        elif name not in rules.ignored:
            raise TypeError(
                f"unexpected keyword argument {name!r} for a {rules.what}; docs/local_cluster.md lists those there are"
            )
    return options, settings


def security_settings(security: Security, files: Mapping[str, str]) -> dict[str, Any]:
    """Settings that make a process use what `security` holds; `files` names those of texts that it holds itself."""

    def place(field: str) -> str | None:
        value = getattr(security, field)
        return files.get(value, value)

    found = {
        "distributed.comm.require-encryption": security.require_encryption,
        "distributed.comm.tls.ca-file": place("tls_ca_file"),
        "distributed.comm.tls.ciphers": security.tls_ciphers,
    }
    for name in ("min", "max"):
        version = getattr(security, f"tls_{name}_version")
        # Names are TLSv1_2 and TLSv1_3; settings are numbers.
        number = version and float(version.name.removeprefix("TLSv").replace("_", "."))
        found[f"distributed.comm.tls.{name}-version"] = number
    for role in ("scheduler", "worker", "client"):
        for part in ("cert", "key"):
            found[f"distributed.comm.tls.{role}.{part}"] = place(f"tls_{role}_{part}")
    return found
