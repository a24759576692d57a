"""What a program may not do: each attack is stopped, scored wrong, and leaves nothing behind."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from wegeft.errors import UserError
from wegeft.evaluation.code import sandbox
from wegeft.evaluation.code.sandbox import Limits, Outcome, run_program, why_not_isolated

PATIENT = Limits(wall_seconds=20.0)
QUICK = Limits(wall_seconds=2.0, cpu_seconds=2)

isolated = pytest.mark.skipif(why_not_isolated() is not None, reason=f"no sandbox here: {why_not_isolated()}")


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files fall into a folder of the test, and its programs carry a name of their own, to be found by."""
    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    monkeypatch.setattr(sandbox, "INSIDE", Path(shutil.copy(sandbox.INSIDE, tmp_path / "inside.py")))


def run(source: str, limits: Limits = PATIENT) -> Outcome:
    """`source` in the sandbox; its temporary files are gone afterwards."""
    outcome = run_program(source, limits)
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    return outcome


def processes_with(word: str) -> list[str]:
    """Command lines of all processes on this machine that hold `word`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended in between
        if word in line:
            found.append(line)
    return found


@isolated
def test_a_program_that_ends_has_passed_and_its_output_is_kept() -> None:
    outcome = run("print('hello')\nassert 1 + 1 == 2")
    assert (outcome.verdict, outcome.output) == ("passed", "hello\n")


@isolated
@pytest.mark.parametrize(
    "source",
    [
        "assert 1 + 1 == 3",
        "raise ValueError",
        "def broken(:",
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "import os; os._exit(0)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import numpy",  # nothing but the standard library
        "import wegeft",
    ],
)
def test_a_program_that_does_not_reach_its_end_has_failed(source: str) -> None:
    assert run(source).verdict == "failed"


@isolated
@pytest.mark.parametrize("descriptor", [1, 2, 3, 4, 5, 6, 7])
def test_a_program_cannot_say_that_it_passed(descriptor: int) -> None:
    assert run(f"import os\nos.write({descriptor}, b'passed' * 9)\nos._exit(0)").verdict == "failed"


@isolated
def test_an_endless_loop_is_stopped() -> None:
    outcome = run("while True: pass", QUICK)
    assert outcome.verdict in {"timeout", "failed"}  # the clock or the processor's limit, whichever comes first
    assert outcome.seconds < 20


@isolated
def test_sleeping_is_stopped_by_the_clock() -> None:
    assert run("import time; time.sleep(600)", QUICK).verdict == "timeout"


@isolated
def test_a_fork_bomb_is_stopped_and_every_process_ended() -> None:
    bomb = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    assert run(bomb, QUICK).verdict == "timeout"
    assert processes_with(str(sandbox.INSIDE)) == []


@isolated
def test_the_number_of_processes_is_limited() -> None:
    source = """
import os, time
children = 0
try:
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        children += 1
except BlockingIOError:
    assert 0 < children < 20, children
else:
    raise AssertionError("no limit")
"""
    assert run(source).verdict == "passed"
    assert processes_with(str(sandbox.INSIDE)) == []


@isolated
def test_a_process_that_left_its_session_is_ended_with_the_program() -> None:
    source = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
"""
    assert run(source).verdict == "passed"
    assert processes_with(str(sandbox.INSIDE)) == []


@isolated
def test_a_memory_hog_is_stopped() -> None:
    outcome = run("hog = bytearray(1 << 33)")
    assert outcome.verdict == "failed"
    assert "MemoryError" in outcome.output


@isolated
def test_memory_taken_bit_by_bit_is_limited_too() -> None:
    limits = Limits(wall_seconds=30.0, memory_bytes=1 << 27)
    outcome = run("hog = []\nwhile True:\n    hog.append(bytearray(1 << 20))", limits)
    assert outcome.verdict == "failed"
    assert "MemoryError" in outcome.output


@isolated
def test_a_gigabyte_of_output_is_cut() -> None:
    limits = Limits(wall_seconds=20.0, output_bytes=1000)
    outcome = run("while True:\n    print('x' * 65536)", limits)
    assert outcome.verdict == "failed"
    assert outcome.output == "x" * 1000


@isolated
def test_files_outside_cannot_be_deleted_read_or_seen(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the key")
    try:
        for attack in (f"open({str(secret)!r}).read()", f"import os; os.remove({str(secret)!r})"):
            outcome = run_program(attack, Limits())
            assert outcome.verdict == "failed"
            assert "No such file" in outcome.output
        assert run_program("import os\nassert set(os.listdir('/work')) == set()", Limits()).verdict == "passed"
        assert run_program("open('/etc/passwd')", Limits()).verdict == "failed"
        assert secret.read_text() == "the key"
    finally:
        secret.unlink()


@isolated
def test_a_program_that_deletes_everything_deletes_nothing() -> None:
    before = sorted(Path("/usr/bin").iterdir())
    source = """
import os
for folder, _, names in os.walk("/"):
    for name in names:
        try:
            os.remove(os.path.join(folder, name))
        except OSError:
            pass
"""
    run(source)
    assert sorted(Path("/usr/bin").iterdir()) == before
    assert Path(sys.executable).exists()


@isolated
def test_disk_is_limited_in_all_and_per_file() -> None:
    assert "File too large" in run("open('big', 'wb').write(bytes(1 << 21))").output
    many = "for number in range(200):\n    open(f'/tmp/{number}', 'wb').write(bytes(1 << 20))"
    assert "No space left" in run(many).output


@isolated
def test_a_listening_server_on_this_machine_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outcome = run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)")
    assert outcome.verdict == "failed"
    assert "unreachable" in outcome.output


@isolated
def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "s3cret")
    source = "import os\nassert not any('s3cret' in value for value in os.environ.values())\nprint(sorted(os.environ))"
    outcome = run(source)
    assert outcome.verdict == "passed"
    assert "API_TOKEN" not in outcome.output


@isolated
def test_other_processes_cannot_be_seen_or_ended() -> None:
    source = """
import os
assert os.getpid() < 10 and os.getppid() < 10
pids = [name for name in (os.listdir("/proc") if os.path.exists("/proc") else []) if name.isdigit()]
assert len(pids) < 10, pids
try:
    os.kill(-1, 9)
except OSError:
    pass
"""
    run(source)
    assert subprocess.run(["true"], check=False).returncode == 0


@isolated
@pytest.mark.parametrize(
    "attempt",
    [
        "libc.mount(b'none', b'/usr', None, 32 | 4096, None)",  # remount for writing
        "libc.umount2(b'/usr', 2)",
        "libc.chroot(b'/usr')",
        "libc.sethostname(b'x', 1)",
        "libc.unshare(0x20000)",  # CLONE_NEWNS
    ],
)
def test_no_privilege_is_left(attempt: str) -> None:
    assert run(f"import ctypes\nlibc = ctypes.CDLL(None)\nassert {attempt} == -1").verdict == "passed"


@isolated
def test_standard_input_is_empty() -> None:
    assert run("import sys\nassert sys.stdin.read() == '' and sys.argv == ['program.py']").verdict == "passed"


def test_without_a_sandbox_nothing_runs_unless_the_person_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "why_not_isolated", lambda: "no namespaces")
    with pytest.raises(UserError, match=r"cannot be shut in here \(no namespaces\).*allow_code_execution=unsandboxed"):
        run_program("pass", Limits())
    assert run_program("print(1)", Limits(wall_seconds=20.0), "unsandboxed").verdict == "passed"


def test_unsandboxed_still_limits_time_memory_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "s3cret")
    limits = Limits(wall_seconds=20.0)
    assert run_program("import time; time.sleep(600)", QUICK, "unsandboxed").verdict == "timeout"
    assert run_program("bytearray(1 << 33)", limits, "unsandboxed").verdict == "failed"
    assert run_program("import os; assert 'API_TOKEN' not in os.environ", limits, "unsandboxed").verdict == "passed"
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


@isolated
def test_an_unprivileged_user_is_shut_in_as_well() -> None:
    """As root the sandbox needs no user namespace; without root it makes one. Both must hold."""
    if os.geteuid() != 0:
        pytest.skip("every other test here runs as an unprivileged user already")
    interpreter = Path("/usr/bin/python3")
    if not interpreter.exists():
        pytest.skip("no interpreter that another user may start")
    package = Path(sandbox.__file__).parents[2]
    copy = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        subprocess.run(["cp", "-r", str(package), str(copy)], check=True)
        subprocess.run(["chmod", "-R", "a+rX", str(copy)], check=True)
        source = (
            "from wegeft.evaluation.code.sandbox import Limits, run_program\n"
            "print(run_program('print(1)', Limits()).verdict)\n"
            "print(run_program('open(\"/etc/passwd\")', Limits()).verdict)\n"
            "print(run_program('import ctypes; assert ctypes.CDLL(None).chroot(b\"/usr\") == -1', Limits()).verdict)\n"
        )
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        found = subprocess.run(
            [*drop, str(interpreter), "-c", source],
            env={"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin"},
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.split() == ["passed", "failed", "passed"]
    finally:
        subprocess.run(["rm", "-rf", str(copy)], check=True)
