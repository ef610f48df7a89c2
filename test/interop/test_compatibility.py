"""docs/compatibility.md lists every operation; tests and pages that the documentation names exist."""

import asyncio
import fnmatch
import json
import re
import shlex
import subprocess

import pytest
from distributed import Scheduler
from harness import HERE, KIND, ROOT, SCHEDULER_CMD

PORTS = "SCHEDULER_RPC", "SCHEDULER_STREAM"


def listed_operations():
    """Names in the first column of the tables of operations; `semaphore_*` stands for all that match"""
    text = (ROOT / "docs" / "compatibility.md").read_text()
    sections = text.split("\n## ")
    tables = [section for section in sections if "\n| operation |" in section]
    assert len(tables) == 4
    rows = re.findall(r"^\| (`.*?) \|", "\n".join(tables), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([\w*-]+)`", row)]


@pytest.mark.skipif(KIND != "cask", reason="asks cask for its table of messages")
def test_every_operation_is_listed():
    command = [shlex.split(SCHEDULER_CMD)[0], "internals", "messages", "--json"]
    messages = json.loads(subprocess.check_output(command))
    ours = {message["op"] for message in messages if message["port"] in PORTS}
    listed = listed_operations()
    assert not [op for op in ours if not any(fnmatch.fnmatchcase(op, name) for name in listed)]
    assert not [name for name in listed if not fnmatch.filter(ours, name)]


def test_every_operation_of_stock_is_listed():
    async def operations():
        async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
            return {*scheduler.handlers, *scheduler.stream_handlers}

    listed = listed_operations()
    stock = asyncio.run(operations())
    assert not [op for op in stock if not any(fnmatch.fnmatchcase(op, name) for name in listed)]


def test_the_documentation_names_tests_that_exist():
    wrong = []
    for document in sorted((ROOT / "docs").rglob("*.md")):
        module = None
        for name, test in re.findall(r"`(test_\w+|…)(?:::(test_\w+))?`", document.read_text()):
            module = module if name == "…" else name
            path = HERE / f"{module}.py"
            if not test and list((ROOT / "test" / "unit").glob(f"*/{module}.c")):
                continue
            if not path.exists() or (test and f"def {test}(" not in path.read_text()):
                wrong.append(f"{document.name}: {module}::{test}")
    assert not wrong


def anchors(page):
    """What GitHub makes of a page's headings"""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_of_the_documentation_lead_somewhere():
    wrong = []
    folders = "bench", "changes", "docs", "examples", "src", "test"
    below = [page for folder in folders for page in (ROOT / folder).rglob("*.md")]
    for page in [*ROOT.glob("*.md"), *below]:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
                wrong.append(f"{page.relative_to(ROOT)}: {link}")
    assert not wrong
