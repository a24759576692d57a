"""A process that has imported and cached everything, and forks runs on demand: dozens of them in seconds.

Run as a script. Each line on standard input is a command in JSON, each line on standard output its answer:
``{"argv": [...], "folder": "...", "environment": {...}, "dies_at": n or null, "file_bytes": n or null}`` starts
``run.py`` with these arguments in a process of its own and answers ``{"pid": n}``; ``{"wait": pid}`` waits for it and
answers ``{"code": n}``, negative for a signal. A run that ``dies_at`` n kills itself, as hard as ``kill -9``, just
before the n-th file or folder that it opens for writing, renames, makes or removes; one that does not live so long ends
as usual. ``file_bytes`` is the size from which on its files find the disk full.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from wegeft.cli import main

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


def die_at(number: int) -> None:
    """Kill this process before its ``number``-th change to files in the current folder."""
    count, folder = 0, str(Path.cwd())

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in CHANGES) and os.path.abspath(str(arguments[0])).startswith(folder):  # noqa: PTH100
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def run(command: dict[str, Any]) -> None:
    """What a forked process does; never returns."""
    code: Any = 1
    try:
        os.chdir(command["folder"])
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.environ.update(command["environment"])
        sys.argv = ["run.py", *command["argv"]]
        if command["file_bytes"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (command["file_bytes"], command["file_bytes"]))
        if command["dies_at"]:
            die_at(command["dies_at"])
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def warm_up() -> None:
    """Import and cache what a run needs, by evaluating the untrained model; a backward pass would forbid to fork."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), Path(os.devnull).open("w") as nowhere:
        sys.argv = ["run.py", "method=none", "evaluation.limit=1", "task.sources.mini.test_rows=1"]
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            main()


def serve() -> None:
    """Answer commands until standard input ends."""
    torch.set_num_threads(1)
    warm_up()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if "wait" in command:
            _, status = os.waitpid(command["wait"], 0)
            print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            run(command)
        print(json.dumps({"pid": pid}), flush=True)


if __name__ == "__main__":
    serve()
