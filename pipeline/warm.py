"""One warm parent that forks: the seconds of importing torch and its kin are paid once, not once a cell.

The first stage that runs starts a server and waits for it. Each stage hands the server its arguments, folder,
environment and standard streams; it forks a child in which the third-party packages lie ready, and the project's own
code as well for as long as none of its files changes: after an edit it is imported anew. Mercurial's ``chg`` and
``mypy``'s daemon do the same.

A server serves one environment: its name holds a digest of every variable that an import may read, of the interpreter
and of the installed packages; the variables that differ from command to command go to the fork with the command. It
listens on a socket that only its user can open, ends after ``IDLE_SECONDS`` without work, and takes a child down with
the client that asked for it. Its process id stands in the ``.lock`` beside its socket.
``LAB_WARM=0`` switches all of it off; where the folder of temporary files has too long a name for a socket, it is off.
"""

from __future__ import annotations

import fcntl
import functools
import gc
import hashlib
import importlib
import json
import os
import re
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

IDLE_SECONDS = 60.0
PATIENCE_SECONDS = 60.0  # for a server to come up; one that dies is not waited for
# Variables that differ from command to command and are read by no import; the fork gets those of its command.
CHANGING = re.compile(
    r"DVC_STAGE|_|SHLVL|OLDPWD|COLUMNS|LINES|LAB_WARM|LAB_SWEEP|LAB_LAUNCHER|LAB_WATCHED|LAB_RENDEZVOUS|GLOO_\w+"
    r"|NCCL_\w+|CUDA_VISIBLE_DEVICES|(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE|NAME)|MASTER_\w+"
    r"|TORCH(ELASTIC|_NCCL|_DISABLE_SHARE)\w*"
)
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST_ADDRESS = 107 - len(".4194304")  # bytes that a socket's name may have, with the server's process id behind it
PRELOAD = (
    "torchao.quantization",
    "evaluate",
    "hydra.main",
    "hydra._internal.core_plugins.basic_launcher",
    "hydra._internal.core_plugins.basic_sweeper",
    "pyarrow.parquet",
    "ruamel.yaml",
    "sqlalchemy.dialects.sqlite",
    "scipy.special",
    "mlflow.tracking",
    "mlflow.store.tracking.sqlalchemy_store",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
)
OWN = (  # with what they import
    "pipeline.evaluation.cost",
    "pipeline.evaluation.quality",
    "pipeline.overrides",
    "pipeline.stage",
    "pipeline.sweeper",
    "pipeline.tracking",
    "pipeline.training.finetuning",
)


def call(main: Callable[[], None]) -> None:
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


def prepare() -> None:
    """Start the server now, for stages that come soon, and do not wait for it."""
    address = _served()
    if address is not None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            if not _connected(link, address):
                _start(address)


def _served() -> Path | None:
    """Return the socket by which commands of this process go to a server, or None where they do not."""
    fork, _, served = os.environ.get("LAB_WARM", "").partition(" ")
    if fork in ("0", str(os.getpid())) or not hasattr(socket, "send_fds") or sys.platform == "darwin":
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
    from pipeline import paths  # not in the server, whose forks would miss an edit of them
    from pipeline.errors import ending

    with ending():
        folder = paths.of_machine()
    kept = sorted((name, value) for name, value in os.environ.items() if not CHANGING.fullmatch(name))
    packages = os.stat(sysconfig.get_path("purelib")).st_mtime_ns
    identity = json.dumps([kept, sys.executable, sys.version, packages, os.getcwd(), Path(__file__).stat().st_mtime_ns])
    return folder / hashlib.sha256(identity.encode()).hexdigest()[:16]


def _start(address: Path) -> None:
    """Start a server, unless one is on its way already; it says when it serves by its socket."""
    with address.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        server = subprocess.Popen(
            [sys.executable, "-m", "pipeline.warm", str(address)],
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
    request = {"module": spec.name, "argv": sys.argv, "environ": changing, "address": str(address)}
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
    raise SystemExit(int(status) if status else "error: the warm server died while a trial ran; run the command again")


class Server:
    """Accepts commands, forks a child for each, reports its status, and ends when idle."""

    def __init__(self, address: Path, began: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.clients: dict[int, socket.socket] = {}  # child's process id -> who asked
        # What was edited while it was imported is known in neither state, so that it counts as changed.
        self.files = {file: stamp for file, stamp in _files().items() if stamp[0] < began}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.address = address
        beside = address.with_name(f"{address.name}.{os.getpid()}")
        self.listener.bind(str(beside))
        self.listener.listen()
        beside.rename(address)
        self.made = address.stat().st_ino
        self.selector.register(self.listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until nobody has asked for ``IDLE_SECONDS``."""
        ended, told = socket.socketpair()
        for end in (ended, told):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a child has ended: wake up
        signal.set_wakeup_fd(told.detach())
        self.selector.register(ended, selectors.EVENT_READ)
        last = time.monotonic()
        while self.clients or time.monotonic() - last < IDLE_SECONDS:
            for key, _ in self.selector.select(timeout=1.0):
                if key.fileobj is self.listener:
                    self._accept()
                elif key.fileobj is ended:
                    ended.recv(4096)
                else:
                    with suppress(ProcessLookupError):
                        os.killpg(key.data, signal.SIGKILL)  # its client is gone
                    self.selector.unregister(key.fileobj)
                last = time.monotonic()
            self._reap()
        with suppress(FileNotFoundError):
            if self.address.stat().st_ino == self.made:  # another server may have taken the name since
                self.address.unlink()

    def _accept(self) -> None:
        link, _ = self.listener.accept()
        message, streams, _, _ = socket.recv_fds(link, 1 << 20, 3)
        try:
            request = json.loads(message)
        except ValueError:
            link.close()
            return
        child = os.fork()
        if child == 0:
            self.listener.close()
            if _files() != self.files:
                _forget()
            _become(request, streams)
        for stream in streams:
            os.close(stream)
        with suppress(OSError):  # the child has done it, or has ended, already
            os.setpgid(child, child)
        with suppress(OSError):  # the client has left already: the selector will say so
            link.sendall(f"{child}\n".encode())
        self.clients[child] = link
        self.selector.register(link, selectors.EVENT_READ, data=child)

    def _reap(self) -> None:
        for child, link in list(self.clients.items()):
            done, status = os.waitpid(child, os.WNOHANG)
            if not done:
                continue
            code = os.waitstatus_to_exitcode(status)
            with suppress(OSError):  # the client left first: nobody to tell
                link.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
            if link in self.selector.get_map():
                self.selector.unregister(link)
            link.close()
            del self.clients[child]


def _own() -> list[str]:
    """Return the names of the project's modules that are imported."""
    return [name for name in sys.modules if name.partition(".")[0] == "pipeline"]


def _files() -> dict[str, tuple[int, int]]:
    """Return the time and the size of the file of each module of the project that is imported."""
    stamps = {}
    for name in _own():
        with suppress(OSError):  # it is gone, which is a change as well
            file = str(sys.modules[name].__file__)
            stamps[file] = (os.stat(file).st_mtime_ns, os.stat(file).st_size)
    return stamps


def _forget() -> None:
    """Let the modules of the project be imported anew."""
    for name in _own():
        del sys.modules[name]


def _become(request: dict[str, Any], streams: list[int]) -> NoReturn:
    """Turn the forked child into the command that was asked for."""
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    # This process is the fork; the commands that it runs are not, and go to the same server, whatever imports have set.
    os.environ |= {**request["environ"], "LAB_WARM": f"{os.getpid()} {request['address']}"}
    sys.argv = request["argv"]
    code: Any = 0
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def _look_up() -> None:
    """Do here what packages do once a process: a tenth of a second each, which every fork would spend anew.

    transformers compiles the expressions by which it renames old checkpoints' weights; MLflow reads 67 migrations for
    the name of the latest, twice to open a database.
    """
    importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("bert")
    utils = importlib.import_module("mlflow.store.db.utils")
    utils._get_latest_schema_revision = functools.cache(utils._get_latest_schema_revision)  # type: ignore[attr-defined]
    utils._get_latest_schema_revision()


def main() -> None:
    """Import what every stage needs, then serve."""
    began = time.time_ns()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    address = Path(sys.argv[1])
    sys.modules.pop("torchao", None)  # the package bars it; here there is time for it
    for module in PRELOAD:
        importlib.import_module(module)
    for module in OWN:
        with suppress(Exception):  # which the fork that wants it will tell
            importlib.import_module(module)
    _look_up()
    gc.collect()
    gc.freeze()  # a collection in a fork would walk, and so copy, all that was imported here
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Server(address, began).serve()


if __name__ == "__main__":
    main()
