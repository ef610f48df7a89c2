"""Scheduler plugins, which live here: which hooks they have, and calling them.

The scheduler sends what happened only for hooks that some plugin overrides; it is told each time
that set changes.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import warnings
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin, _get_plugin_name

logger = logging.getLogger("distributed.scheduler")

HOOKS = (
    "update_graph",
    "restart",
    "transition",
    "add_worker",
    "remove_worker",
    "add_client",
    "remove_client",
    "valid_workers_downscaling",
    "log_event",
    "before_close",
    "close",
)


def _overrides(plugin, hook: str) -> bool:
    """True if calling `hook` of `plugin` does more than SchedulerPlugin's own."""
    method = getattr(plugin, hook, None)
    if method is None:
        return False
    return getattr(method, "__func__", method) is not getattr(SchedulerPlugin, hook)


class Plugins(dict):
    """Name -> plugin, in the order of registration; stock's Scheduler.plugins."""

    def hooks(self) -> list[str]:
        """The hooks that need calling at all."""
        return [
            hook for hook in HOOKS if any(_overrides(plugin, hook) for plugin in self.values())
        ]

    def add(self, plugin, idempotent: bool = False, name: str | None = None) -> None:
        """As Scheduler.add_plugin."""
        if name is None:
            name = _get_plugin_name(plugin)
        if name in self:
            if idempotent:
                return
            warnings.warn(
                f"Scheduler already contains a plugin with name {name}; overwriting.",
                category=UserWarning,
                stacklevel=3,
            )
        self[name] = plugin

    def remove(self, name: str) -> None:
        """As Scheduler.remove_plugin."""
        if name not in self:
            raise ValueError(f"Could not find plugin {name!r} among the current scheduler plugins")
        del self[name]

    async def call(self, hook: str, *args, **kwargs) -> None:
        """Call `hook` of each plugin; a plugin that fails is logged, and the next one called."""
        pending = []
        for plugin in list(self.values()):
            if not _overrides(plugin, hook):
                continue
            try:
                result = getattr(plugin, hook)(*args, **kwargs)
            except Exception:
                logger.info("Plugin failed with exception", exc_info=True)
                continue
            if inspect.isawaitable(result):
                pending.append(result)
        for result in await asyncio.gather(*pending, return_exceptions=True):
            if isinstance(result, BaseException):
                logger.error("Plugin call to %s failed", hook, exc_info=result)

    async def happened(self, scheduler, name: str, fields: dict[str, Any]) -> None:
        """Give one event of the scheduler to the plugins, with the arguments stock uses."""
        fields = dict(fields)
        if name == "transition":
            extra = fields.pop("kwargs", None) or {}
            args = (fields.pop("key"), fields.pop("start"), fields.pop("finish"))
            await self.call(name, *args, stimulus_id=fields["stimulus_id"], **extra)
        elif name in ("before_close", "close"):
            await self.call(name)
        elif name == "log_event":
            await self.call(name, fields["topic"], fields["msg"])
        else:
            await self.call(name, scheduler, **fields)
