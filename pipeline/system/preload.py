"""Client of the preload server, which pays the import of torch and other libraries once for many commands.

The plan check starts the server, or the first stage that finds none. A stage sends it the arguments, the environment
and the standard streams. The server forks a child in which all libraries are imported already. Modules of the project
are imported already as well, unless one of their files changed. Mercurial's ``chg`` works in the same way.

A server serves one environment: the name of its socket is a digest of the interpreter, the installed packages and every
variable that an import may read. Only its user can open the socket. The server ends after a minute without work and
kills a child whose client was killed, unless the child released it (``release_client``). Its process id is in the
``.lock`` file next to the socket. ``LAB_WARM=0`` disables the server.
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
from contextlib import suppress
from pathlib import Path

from pipeline.core import paths

START_SECONDS = 60.0  # a server that dies at its start is noticed earlier
# Variables that differ between commands and that no import reads; the child gets those of its command.
COMMAND_VARIABLES = re.compile(
    r"DVC_STAGE|DVC_ROOT|_|SHLVL|PWD|OLDPWD|COLUMNS|LINES|LAB_WARM|LAB_SWEEP|LAB_LAUNCHER|LAB_RUN|LAB_RENDEZVOUS|GLOO_\w+"
    r"|NCCL_\w+|CUDA_VISIBLE_DEVICES|(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE|NAME)|MASTER_\w+"
    r"|TORCH(ELASTIC|_NCCL|_DISABLE_SHARE)\w*"
)
FORWARDED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MAX_ADDRESS_LENGTH = 107 - len(".4194304")  # bytes of a socket's name, less the process id that the server appends
NAME_LENGTH = 16
SERVER = "pipeline.system.preload_server"
DONE = b"."  # sent by a client that has its status; a client that closes the socket without it was killed


def run_in_server() -> None:
    """Run this command in a child of the preload server and exit with its status.

    Returns where the command has to run in this process: there is no server, or this is its child.
    """
    address = _get_address()
    if address is None:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        try:
            is_connected = _connect(link, address)
            if not is_connected:
                _start(address)
                is_connected = _connect(link, address, START_SECONDS)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        if is_connected:
            _send_command(link, address)


def start_server() -> None:
    """Start the server for stages that follow, without waiting for it."""
    address = _get_address()
    if address is not None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            if not _connect(link, address):
                _start(address)


def is_fork() -> bool:
    """Return whether this process is a child of a server."""
    return _read_variable()[0] == str(os.getpid())


def release_client() -> bool:
    """In a child of the server: let the client exit with status 0, and continue without it.

    Returns False in any other process.
    """
    _, link, _ = _read_variable()
    if not is_fork():
        return False
    with suppress(OSError):  # the client has ended
        os.write(int(link), b"0\n")
    return True


def _read_variable() -> tuple[str, str, str]:
    """Return what ``LAB_WARM`` holds in a child: process id, file descriptor of the client, address of the server.

    Commands that a child runs inherit the variable, so they use the same server.
    """
    process, _, rest = os.environ.get("LAB_WARM", "").partition(" ")
    link, _, address = rest.partition(" ")
    return process, link, address


def _get_address() -> Path | None:
    """Return the socket of the server for this process; None where the process uses none."""
    process, _, inherited = _read_variable()
    if process == "0" or is_fork() or not hasattr(socket, "send_fds") or sys.platform == "darwin":
        return None
    address = Path(inherited) if inherited else _compute_address()
    return None if len(os.fsencode(address)) > MAX_ADDRESS_LENGTH else address


def _connect(link: socket.socket, address: Path, seconds: float = 0.0) -> bool:
    """Connect to a server that may need ``seconds`` to start; return whether that succeeded."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            link.connect(str(address))
        except OSError:
            if time.monotonic() >= deadline or (seconds and not _is_alive(address)):
                return False
            time.sleep(0.02)
        else:
            return True


def _is_alive(address: Path) -> bool:
    """Return whether a server holds its lock."""
    with address.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _compute_address() -> Path:
    """Return the socket of the server for this environment, in a folder that only this user can enter."""
    from pipeline.core.exits import exit_on_user_error

    with exit_on_user_error():
        folder = paths.get_machine_dir(MAX_ADDRESS_LENGTH - len(os.sep) - NAME_LENGTH)
    variables = sorted((name, value) for name, value in os.environ.items() if not COMMAND_VARIABLES.fullmatch(name))
    packages = os.stat(sysconfig.get_path("purelib")).st_mtime_ns
    # The files that a running server does not import again after an edit.
    own = [*sorted(Path(__file__).parent.glob("preload*.py")), *sorted((paths.ROOT / "hydra_plugins").glob("*.py"))]
    stamps = [file.stat().st_mtime_ns for file in own]
    identity = json.dumps([variables, sys.executable, sys.version, packages, os.getcwd(), stamps])
    return folder / hashlib.sha256(identity.encode()).hexdigest()[:NAME_LENGTH]


def _start(address: Path) -> None:
    """Start a server unless another process is starting one."""
    import subprocess

    with address.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        server = subprocess.Popen(
            [sys.executable, "-m", SERVER, str(address)],
            env={name: value for name, value in os.environ.items() if not COMMAND_VARIABLES.fullmatch(name)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[lock.fileno()],  # the kernel releases the lock however the server ends
        )
        lock.truncate(0)
        lock.write(f"{server.pid}\n")


def _send_command(link: socket.socket, address: Path) -> None:
    """Send this command to the server and exit with the child's status; return if the server is gone."""
    spec = sys.modules["__main__"].__spec__
    if spec is None:  # run as a file, not with -m: the child could not import it by name
        return
    variables = {name: value for name, value in os.environ.items() if COMMAND_VARIABLES.fullmatch(name)}
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []  # may differ from the server's
    request = {"module": spec.name, "argv": sys.argv, "environ": variables, "cores": cores, "address": str(address)}
    child = 0
    early: list[int] = []  # signals received before the child's process id

    def forward(received: int, _: object) -> None:
        if not child:
            early.append(received)
            return
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(child, received)

    handlers = {number: signal.signal(number, forward) for number in FORWARDED_SIGNALS}
    try:
        socket.send_fds(link, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        answers = link.makefile("r", encoding="utf-8")
        child = int(answers.readline())
    except (OSError, ValueError):
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for received in early:
            signal.raise_signal(received)
        return
    for received in early:
        forward(received, None)
    while not select.select([link], [], [], 0.2)[0]:
        pass  # a signal that arrives just before a blocking call is handled only after it, so each call is short
    status = answers.readline()
    with suppress(OSError):  # the server has ended
        link.sendall(DONE)
    if not status:
        raise SystemExit("error: the preload server died while a trial ran; run the command again")
    os._exit(int(status))  # without Python's shutdown, which takes 10 ms
