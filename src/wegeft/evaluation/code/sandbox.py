"""Running programs that a model wrote, each in a process of its own that can do no harm.

Every program gets a fresh interpreter in namespaces of its own (file system, network, processes): an empty folder in
memory, the system's libraries read-only, no network device, no environment, no privilege, and limits on time, memory,
files and processes. When it ends, or its time does, the kernel ends whatever it started. Linux alone has these means;
elsewhere, and where the kernel refuses them, nothing runs unless the person allows ``unsandboxed``.

Does not protect from: faults of the kernel; another user of the machine noticing the load; reading the system's
libraries and interpreter (there is nothing else to read); using the allowed memory once per allowed process; or a
program written to fool the scorer from within its own process. ``unsandboxed`` keeps the limits and the clean
environment alone: such a program can read and delete what its user can, use the network, and leave processes behind
that made themselves a session.
"""

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO, Literal

from wegeft.errors import UserError

Isolation = Literal["sandboxed", "unsandboxed"]
Verdict = Literal["passed", "failed", "timeout"]

INSIDE = Path(__file__).with_name("inside.py")
GRACE_SECONDS = 5.0
"""Longest time for the kernel to end the processes of a program that was stopped."""
NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child")


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
        wall_seconds: time by the clock.
        cpu_seconds: time on a processor, of each process.
        memory_bytes: address space of each process.
        file_bytes: size of each file, standard output included.
        disk_bytes: all files together.
        processes: processes and threads at one time.
        output_bytes: how much of its output is kept.
    """

    wall_seconds: float = 10.0
    cpu_seconds: int = 10
    memory_bytes: int = 1 << 30
    file_bytes: int = 1 << 20
    disk_bytes: int = 1 << 25
    processes: int = 16
    output_bytes: int = 4096


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        verdict: ``passed`` if it ran to its last line without an exception; leaving early is ``failed``.
        output: the beginning of what it printed, errors included.
        seconds: wall time.
    """

    verdict: Verdict
    output: str
    seconds: float


def run_program(source: str, limits: Limits, isolation: Isolation = "sandboxed") -> Outcome:
    """Run the Python program ``source``.

    Raises:
        UserError: ``sandboxed`` is asked for and cannot be had here.
    """
    if isolation == "sandboxed":
        require_isolation()
    return _run(source, limits, isolation)


def require_isolation() -> None:
    """Refuse to go on where programs cannot be shut in.

    Raises:
        UserError: naming what is missing and what the person may decide.
    """
    missing = why_not_isolated()
    if missing is not None:
        raise UserError(
            f"generated programs cannot be shut in here ({missing}); run them on a Linux machine that allows "
            "namespaces, or accept the risk with allow_code_execution=unsandboxed."
        )


@cache
def why_not_isolated() -> str | None:
    """Why the sandbox does not work on this machine; None if it does (tried once)."""
    if sys.platform != "linux":
        return f"{sys.platform} has no namespaces"
    if shutil.which("unshare") is None:
        return "the program unshare (util-linux) is missing"
    outcome = _run("pass", Limits(), "sandboxed")
    if outcome.verdict == "passed":
        return None
    lines = outcome.output.strip().splitlines()
    return lines[-1] if lines else "the kernel gave no reason"


def _run(source: str, limits: Limits, isolation: Isolation) -> Outcome:
    started = time.monotonic()
    word = secrets.token_hex(8)  # not known to the program, so that printing something cannot pass for reaching the end
    with (
        tempfile.TemporaryDirectory(prefix="wegeft-") as folder,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as verdict,
    ):
        orders = {
            "word": word,
            "verdict": verdict.fileno(),
            "root": folder,
            "isolated": isolation == "sandboxed",
            "interpreter": sys.base_prefix,
            **({"uid": _spare_uid()} if os.geteuid() == 0 else {}),
            **asdict(limits),
        }
        in_time = _finish(_command(isolation), _told(orders, source), output, verdict, limits.wall_seconds)
        passed = _content(verdict, len(word)) == word
        text = _content(output, limits.output_bytes)
    seconds = time.monotonic() - started
    return Outcome("timeout" if not in_time else "passed" if passed else "failed", text, seconds)


def _told(orders: dict[str, object], source: str) -> bytes:
    """``orders`` and the program as ``inside.py`` reads them: no format that it would have to import a parser for."""
    fields = b"\0".join(os.fsencode(f"{key}={value}") for key, value in orders.items())
    return fields + b"\0\0" + source.encode("utf-8", "surrogatepass")


def _command(isolation: Isolation) -> list[str]:
    interpreter = [os.path.realpath(sys.executable), "-I", "-S", "-B", str(INSIDE)]
    if isolation == "unsandboxed":
        return interpreter
    unshare = shutil.which("unshare")
    assert unshare is not None, "why_not_isolated has looked"
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return [unshare, *user, *NAMESPACES, *interpreter]


def _spare_uid() -> int:
    """A user id that nobody has, another one for each program, so that each has its own count of processes."""
    return 200_000 + secrets.randbelow(1 << 20)


def _finish(command: list[str], told: bytes, output: IO[bytes], verdict: IO[bytes], seconds: float) -> bool:
    """Start ``command`` with ``told`` on its standard input and wait; False if the time was up.

    Nothing of it is left afterwards: every process that it started holds one end of the pipe ``alive``, so that the
    other end tells when the last is gone. (The kernel ends them all at once but not instantly.)
    """
    alive, held = os.pipe()
    with os.fdopen(alive, "rb") as pipe, tempfile.TemporaryFile() as orders:
        orders.write(told)
        orders.seek(0)
        try:
            process = subprocess.Popen(
                command,
                stdin=orders,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "utf-8"},
                pass_fds=(verdict.fileno(), held),
                start_new_session=True,
            )
        finally:
            os.close(held)
        try:
            in_time = _has_ended(process, seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its session, which outlives it without namespaces
            process.wait()
        select.select([pipe], [], [], GRACE_SECONDS)  # an unsandboxed program may have left its session for good
    return in_time


def _has_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether ``process`` ends within ``seconds``; tells at once, where ``Popen.wait`` looks every 50 ms."""
    if not hasattr(os, "pidfd_open"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.returncode is not None
    descriptor = os.pidfd_open(process.pid)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _content(file: IO[bytes], size: int) -> str:
    """The first ``size`` bytes of ``file`` as text."""
    file.seek(0)
    return file.read(size).decode(errors="replace")
