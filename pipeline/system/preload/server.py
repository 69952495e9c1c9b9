"""The warm parent: imports what every stage needs, then forks a child for each command that it is handed.

``python -m pipeline.system.preload.server <socket>`` is started by who wants it first
(``pipeline/system/preload/__init__.py``).
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from pipeline.core import paths
from pipeline.system import parent_process, preload

IDLE_SECONDS = 60.0
SPARE_SECONDS = 0.5  # after a command: it has begun its work then, most of which takes one core
READY = b"."
AWAITED_SECONDS = 0.1  # in which a client that waits for the server finds that it is there
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
    "pipeline.evaluation.cost.model_cost",
    "pipeline.evaluation.quality",
    "pipeline.execution.overrides",
    "pipeline.execution.sweeper",
    "pipeline.tracking.mlflow",
    "pipeline.training.finetune_classifier",
    "pipeline.execution.trial",
)
STILL_TRUE = (  # of what is cached: it goes by a file's text, or by the installation, as a server does
    ("pipeline.system.hardware", "versions"),
    ("pipeline.plan.load_plan", "_parsed"),
    ("pipeline.core.instantiate", "_functions"),
)


class Server:
    """Accepts commands, forks a child for each, reports its status, and ends when idle."""

    def __init__(self, address: Path, began: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.clients: dict[int, socket.socket] = {}  # child's process id -> who asked
        self.began = began
        self.files = self._imported()
        self.spare: tuple[int, socket.socket] | None = None  # a child that waits for a command, and the line to it
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
        self.ended, told = socket.socketpair()
        for end in (self.ended, told):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a child has ended: wake up
        signal.set_wakeup_fd(told.detach())
        self.selector.register(self.ended, selectors.EVENT_READ)
        self._turn(AWAITED_SECONDS)  # who waits for it already does not wait for the rehearsal
        _rehearse()
        gc.collect()
        gc.freeze()
        self.files = self._imported()
        last = time.monotonic()
        while self.clients or time.monotonic() - last < IDLE_SECONDS:
            if self._turn(SPARE_SECONDS):
                last = time.monotonic()
            elif self.spare is None:
                self._lay_by()
        with suppress(FileNotFoundError):
            if self.address.stat().st_ino == self.made:  # another server may have taken the name since
                self.address.unlink()

    def _imported(self) -> dict[str, tuple[int, int]]:
        """Return the files of the project's own modules; what was edited since they were imported is in no state."""
        return {file: stamp for file, stamp in _files().items() if stamp[0] < self.began}

    def _turn(self, seconds: float) -> bool:
        """Wait so long for something to happen, see to it, and say whether anything did."""
        happened = self.selector.select(timeout=seconds)
        for key, _ in happened:
            if key.fileobj is self.listener:
                self._accept()
            elif key.fileobj is self.ended:
                self.ended.recv(4096)
            else:
                if not _goodbye(key.fileobj):
                    with suppress(ProcessLookupError):
                        os.killpg(key.data, signal.SIGKILL)
                self.selector.unregister(key.fileobj)
        self._reap()
        return bool(happened)

    def _accept(self) -> None:
        link, _ = self.listener.accept()
        message, streams, _, _ = socket.recv_fds(link, 1 << 20, 3)
        try:
            request = json.loads(message)
        except ValueError:
            link.close()
            return
        child = self._waiting(message, [link.fileno(), *streams]) or os.fork()
        if child == 0:
            self._begin()
            self._work(request, streams, link)
        for stream in streams:
            os.close(stream)
        with suppress(OSError):  # the child has done it, or has ended, already
            os.setpgid(child, child)
        self.clients[child] = link
        self.selector.register(link, selectors.EVENT_READ, data=child)

    def _lay_by(self) -> None:
        """Fork a child that composes once and waits for a command: what it touched is in memory of its own by then."""
        line, other = socket.socketpair()
        child = os.fork()
        if child:
            other.close()
            self.spare = child, line
            return
        line.close()
        self._begin()
        with importlib.import_module("pipeline.system.machine_lock").working():  # beside no measurement
            _compose()
        other.send(READY)
        message, received, _, _ = socket.recv_fds(other, 1 << 20, 4)
        link, *streams = received
        self._work(json.loads(message), streams, socket.socket(fileno=link))

    def _waiting(self, message: bytes, files: list[int]) -> int:
        """Hand a command to the child that waits for one; return its process id, 0 where none is ready."""
        if self.spare is None or not select.select([self.spare[1]], [], [], 0)[0]:
            return 0
        (child, line), self.spare = self.spare, None
        with line:
            try:
                line.recv(len(READY))
                socket.send_fds(line, [message], files)
            except OSError:  # somebody has killed it
                os.waitpid(child, 0)
                return 0
        return child

    def _begin(self) -> None:
        """Make a process of its own of a child."""
        parent_process.end_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.listener.close()
        os.setpgid(0, 0)

    def _work(self, request: dict[str, Any], streams: list[int], link: socket.socket) -> NoReturn:
        """Be the command that was asked for."""
        with suppress(OSError):  # the client has left already: the server will hear of it
            link.sendall(f"{os.getpid()}\n".encode())
        if _files() != self.files:
            _forget()
        _become(request, streams, link)

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


def _goodbye(link: Any) -> bool:
    """Say whether a client whose link can be read has its answer, or is gone."""
    with suppress(OSError):
        return bool(link.recv(1) == preload.GOODBYE)
    return False


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


def _become(request: dict[str, Any], streams: list[int], link: socket.socket) -> NoReturn:
    """Turn the forked child into the command that was asked for."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    if request["cores"]:
        os.sched_setaffinity(0, request["cores"])
    os.environ |= {**request["environ"], "LAB_WARM": f"{os.getpid()} {link.fileno()} {request['address']}"}
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


def _rehearse() -> None:
    """Do here what packages do at first use: tenths of a second, which every fork would spend anew.

    transformers compiles the expressions by which it renames old checkpoints' weights, Hydra fills caches.
    """
    importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("bert")
    with suppress(Exception):  # which the fork that wants it will tell
        importlib.import_module("pipeline.system.hardware").versions()
        plan = importlib.import_module("pipeline.plan")
        for file in (paths.PARAMS, *sorted(paths.CONF.rglob("*.yaml"))):
            plan.read(file)
    _compose()


def _compose() -> None:
    """Compose a cell, and forget what could be another thing by the next command."""
    with suppress(Exception):  # which the command that wants it will tell
        importlib.import_module("pipeline.execution.sweeper").rehearse()
    for name in _own():
        for value in vars(sys.modules[name]).values():
            if hasattr(value, "cache_clear") and (value.__module__, value.__name__) not in STILL_TRUE:
                value.cache_clear()


def ready() -> None:
    """Import what every stage needs."""
    sys.modules.pop("torchao", None)  # the package bars it; here there is time for it
    for module in PRELOAD:
        importlib.import_module(module)
    for module in OWN:
        with suppress(Exception):  # which the fork that wants it will tell
            importlib.import_module(module)


def main() -> None:
    """Import what every stage needs, then serve."""
    began = time.time_ns()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # until all is imported: collections of what imports make, and keep, take a quarter of their time
    address = Path(sys.argv[1])
    ready()
    gc.freeze()  # a collection in a fork would walk, and so copy, all that was imported here
    gc.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Server(address, began).serve()


if __name__ == "__main__":
    main()
