"""What runs inside the sandbox, a program of its own: shut the doors, then run the candidate.

A fresh interpreter reads this file with ``-I -S``, so it imports the standard library alone, and of that only what is
quick to import: a thousand programs are a thousand starts. Its orders and the candidate come on standard input, see
``sandbox.py``. In turn: build a file system of its own (empty, the system's libraries read-only), give up every
privilege, set limits, run the program, and write the word that means "it ran to its end" to the descriptor it was
given.

Does not: decide what is right; a program that fails simply never gets to the word. Nor does it watch the clock; the
parent does.
"""

import ctypes
import os
import resource
import sys

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC = 32, 1024, 2048, 4096, 16384
MS_PRIVATE, MS_RELATIME = 1 << 18, 1 << 21
ST_RELATIME = 4096
PR_SET_SECUREBITS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 28, 24, 38
NO_ROOT_LOCKED = 0b11
"""Uid 0 of a user namespace gains nothing by starting a program, for good."""
LAST_CAPABILITY = 63
CAPABILITY_VERSION_3 = 0x20080522
LIBRARIES = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
WORK = "/work"
LIMITS = frozenset({"cpu_seconds", "memory_bytes", "file_bytes", "disk_bytes", "processes"})

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """A C function that returns 0 when it worked; OSError when it did not."""
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """The system call of that name."""
    words = [os.fsencode(word) if word is not None else None for word in (source, target, kind, options)]
    call("mount", words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])


def bind(path: str, root: str, read_only: bool = True) -> None:
    """Let the absolute ``path`` appear below ``root``."""
    target = root + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    mount(path, target, None, MS_BIND | MS_REC)
    if read_only:
        # A user namespace may add to the flags of a mount that it did not make, and take none away.
        given = os.statvfs(path).f_flag
        kept = given & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)
        kept |= MS_RELATIME if given & ST_RELATIME else 0
        mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def build_file_system(root: str, interpreter: str, size: int) -> None:
    """Make ``root`` all there is: libraries and interpreter to read, an empty ``/work`` in memory to write."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("sandbox", root, "tmpfs", MS_NOSUID | MS_NODEV, f"size={size},nr_inodes=4096,mode=755")
    own = () if interpreter == "/usr" or interpreter.startswith("/usr/") else (interpreter,)
    for path in (*LIBRARIES, *own):
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        elif os.path.exists(path):
            bind(path, root)
    for device in DEVICES:
        bind(device, root, read_only=False)
    os.mkdir(root + "/proc")
    try:
        mount("proc", root + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError:
        pass  # refused where the outer /proc is masked; Python gets along without
    for folder in (WORK, "/tmp"):
        os.mkdir(root + folder)
        os.chmod(root + folder, 0o777)
    os.chroot(root)
    os.chdir(WORK)


def give_up_privileges(uid: int | None) -> None:
    """Become ``uid`` (None: stay), without any capability and without a way to regain one."""
    for capability in range(LAST_CAPABILITY + 1):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails beyond the last one the kernel knows
    libc.prctl(PR_SET_SECUREBITS, NO_ROOT_LOCKED, 0, 0, 0)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def set_limits(limits: dict[str, int]) -> None:
    """Limits of the process and all it starts, hard ones."""
    values = {
        resource.RLIMIT_CPU: limits["cpu_seconds"],
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NPROC: limits["processes"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    for name, value in values.items():
        resource.setrlimit(name, (value, value))


def run(source: bytes, word: str, verdict: int) -> None:
    """The candidate, as if it were the only program in the world."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["program.py"]
    exec(compile(source.decode("utf-8", "surrogatepass"), "program.py", "exec"), {"__name__": "__main__"})
    sys.stdout.flush()
    os.write(verdict, word.encode())


def orders_and_source() -> tuple[dict[str, str], bytes]:
    """What stands on standard input: fields ``key=value``, each ended by a zero byte, an empty field, the candidate."""
    fields, _, source = sys.stdin.buffer.read().partition(b"\0\0")
    return dict(os.fsdecode(field).split("=", 1) for field in fields.split(b"\0")), source


def main() -> int:
    """Prepare, run the candidate in a child, and leave with its exit status."""
    orders, source = orders_and_source()
    limits = {key: int(value) for key, value in orders.items() if key in LIMITS}
    isolated = orders["isolated"] == "True"
    if isolated:
        build_file_system(orders["root"], orders["interpreter"], limits["disk_bytes"])
    else:
        os.chdir(orders["root"])
    child = os.fork()
    if child == 0:
        if isolated:
            give_up_privileges(int(orders["uid"]) if "uid" in orders else None)
        set_limits(limits)
        run(source, orders["word"], int(orders["verdict"]))
        return 0
    # The first process of the namespace: when it leaves, the kernel ends whatever the candidate left running.
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) % 256


if __name__ == "__main__":
    sys.exit(main())
