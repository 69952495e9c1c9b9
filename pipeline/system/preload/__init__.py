"""One warm parent that forks: the seconds of importing torch and its kin are paid once, not once a cell.

The check of the plan starts a server (``pipeline/system/preload/server.py``), or the first stage that finds none.
Each stage
hands the server its arguments, folder, environment and standard streams; it forks a child in which the third-party
packages lie ready, and the project's own code as well for as long as none of its files changes: after an edit it is
imported anew. While a command works the server forks a child ahead for the next one.
Mercurial's ``chg`` and ``mypy``'s daemon do the same.

A server serves one environment: its name holds a digest of every variable that an import may read, of the interpreter
and of the installed packages; the variables that differ from command to command go to the fork with the command. It
listens on a socket that only its user can open, ends after a minute without work, and takes a child down with the
client that asked for it, unless the child has let it go (``leave``). Its process id stands in the ``.lock`` beside its
socket. ``LAB_WARM=0`` switches all of it off.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import select
import signal
import socket
import sys
import sysconfig
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pipeline.core import paths

PATIENCE_SECONDS = 60.0  # for a server to come up; one that dies is not waited for
# Variables that differ from command to command and are read by no import; the fork gets those of its command.
CHANGING = re.compile(
    r"DVC_STAGE|DVC_ROOT|_|SHLVL|PWD|OLDPWD|COLUMNS|LINES|LAB_WARM|LAB_SWEEP|LAB_LAUNCHER|LAB_RUN|LAB_RENDEZVOUS|GLOO_\w+"
    r"|NCCL_\w+|CUDA_VISIBLE_DEVICES|(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE|NAME)|MASTER_\w+"
    r"|TORCH(ELASTIC|_NCCL|_DISABLE_SHARE)\w*"
)
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST_ADDRESS = 107 - len(".4194304")  # bytes that a socket's name may have, with the server's process id behind it
NAME = 16  # characters of a server's
SERVER = "pipeline.system.preload.server"
GOODBYE = b"."  # of a client that has its answer: one that goes without it was killed


def run_preloaded(main: Callable[[], None]) -> None:
    """Run ``main`` here, or this very command in a fork of the warm server where there is one.

    Does not return when the server took the command: the process exits with the child's status.
    """
    address = _served()
    if address is None:
        return main()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        try:
            served = _connected(link, address)
            if not served:
                _start(address)
                served = _connected(link, address, PATIENCE_SECONDS)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        if served:
            _hand_over(link, address)
    return main()


def start_server() -> None:
    """Start the server now, for stages that come soon, and do not wait for it."""
    address = _served()
    if address is not None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            if not _connected(link, address):
                _start(address)


def is_fork() -> bool:
    """Say whether this process is a fork of a server's."""
    return _forked()[0] == str(os.getpid())


def release_client() -> bool:
    """In a fork: let the command that asked for it end well now, and go on without it; return False elsewhere."""
    _, link, _ = _forked()
    if not is_fork():
        return False
    with suppress(OSError):  # nobody is there any more
        os.write(int(link), b"0\n")
    return True


def _forked() -> tuple[str, str, str]:
    """Return what a fork is told: its process, its link to the client, and the socket of its server.

    The commands that a fork runs find the same, and go to the same server, whatever imports have set.
    """
    process, _, rest = os.environ.get("LAB_WARM", "").partition(" ")
    link, _, address = rest.partition(" ")
    return process, link, address


def _served() -> Path | None:
    """Return the socket by which commands of this process go to a server, or None where they do not."""
    process, _, served = _forked()
    if process == "0" or is_fork() or not hasattr(socket, "send_fds") or sys.platform == "darwin":
        return None
    address = Path(served) if served else _address()
    return None if len(os.fsencode(address)) > LONGEST_ADDRESS else address


def _connected(link: socket.socket, address: Path, seconds: float = 0.0) -> bool:
    """Connect to the server, which may have so many seconds to come up; say whether that went well."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            link.connect(str(address))
        except OSError:
            if time.monotonic() >= deadline or (seconds and not _alive(address)):
                return False
            time.sleep(0.02)
        else:
            return True


def _alive(address: Path) -> bool:
    """Say whether a server holds its lock."""
    with address.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _address() -> Path:
    """Return the socket of the server for this environment, in a folder that only this user can enter."""
    from pipeline.core.exits import exit_on_user_error

    with exit_on_user_error():
        folder = paths.get_machine_dir(LONGEST_ADDRESS - len(os.sep) - NAME)
    kept = sorted((name, value) for name, value in os.environ.items() if not CHANGING.fullmatch(name))
    packages = os.stat(sysconfig.get_path("purelib")).st_mtime_ns
    own = [file.stat().st_mtime_ns for file in sorted(Path(__file__).parent.glob("*.py"))]
    identity = json.dumps([kept, sys.executable, sys.version, packages, os.getcwd(), own])
    return folder / hashlib.sha256(identity.encode()).hexdigest()[:NAME]


def _start(address: Path) -> None:
    """Start a server, unless one is on its way already; it says when it serves by its socket."""
    import subprocess

    with address.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        server = subprocess.Popen(
            [sys.executable, "-m", SERVER, str(address)],
            env={name: value for name, value in os.environ.items() if not CHANGING.fullmatch(name)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[lock.fileno()],  # the server holds the lock for as long as it lives, however it ends
        )
        lock.truncate(0)
        lock.write(f"{server.pid}\n")


def _hand_over(link: socket.socket, address: Path) -> None:
    """Send this command to the server and exit as the child does; return only if the server is gone."""
    spec = sys.modules["__main__"].__spec__
    if spec is None:  # run as a file rather than with -m: nothing that a fork could import by name
        return
    changing = {name: value for name, value in os.environ.items() if CHANGING.fullmatch(name)}
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []  # not always the server's
    request = {"module": spec.name, "argv": sys.argv, "environ": changing, "cores": cores, "address": str(address)}
    child = 0
    early: list[int] = []  # signals that come before the child is known, which has begun by then

    def forward(received: int, _: object) -> None:
        if not child:
            early.append(received)
            return
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(child, received)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        socket.send_fds(link, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        answers = link.makefile("r", encoding="utf-8")
        child = int(answers.readline())
    except (OSError, ValueError):
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for missed in early:
            signal.raise_signal(missed)
        return
    for missed in early:
        forward(missed, None)
    while not select.select([link], [], [], 0.2)[0]:
        pass  # a signal that comes just before a call blocks is seen only when the call returns: so block for a moment
    status = answers.readline()
    with suppress(OSError):  # it has ended
        link.sendall(GOODBYE)
    if not status:
        raise SystemExit("error: the warm server died while a trial ran; run the command again")
    os._exit(int(status))  # this process has nothing of its own to end, which would take Python 10 ms
