"""The preload server: it imports what every stage needs and forks a child for each command.

``python -m pipeline.system.preload_server <socket>`` is started by a client (``preload.py``).
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.system import parent_process, preload

IDLE_SECONDS = 60.0
LIBRARIES = (
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
PROJECT = (  # with what they import
    "pipeline.evaluation.cost.model_cost",
    "pipeline.evaluation.quality",
    "pipeline.execution.overrides",
    "pipeline.execution.trial",
    "pipeline.tracking.mlflow",
    "pipeline.training.finetune_classifier",
)

Request = dict[str, Any]


class Server:
    """Accepts commands, forks a child for each, reports its exit status, and ends when idle."""

    def __init__(self, address: Path, started_ns: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.clients: dict[int, socket.socket] = {}  # by the child's process id
        # A file that was edited since the start counts as edited: it may have been imported before that.
        self.files = {file: stamp for file, stamp in _stat_modules().items() if stamp[0] < started_ns}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.address = address
        temporary = address.with_name(f"{address.name}.{os.getpid()}")
        self.listener.bind(str(temporary))
        self.listener.listen()
        temporary.rename(address)
        self.inode = address.stat().st_ino
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.wakeup, signaled = socket.socketpair()  # readable when a child has ended
        for end in (self.wakeup, signaled):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(signaled.detach())
        self.selector.register(self.wakeup, selectors.EVENT_READ)

    def serve(self) -> Request | None:
        """Serve until no command arrived for ``IDLE_SECONDS``; return the command in each child, None in the server.

        The child returns, so that the server's frames are not on its stack.
        """
        last = time.monotonic()
        while self.clients or time.monotonic() - last < IDLE_SECONDS:
            for key, _ in self.selector.select(timeout=IDLE_SECONDS / 10):
                last = time.monotonic()
                if key.fileobj is self.listener:
                    if request := self._accept():
                        return request
                elif key.fileobj is self.wakeup:
                    self.wakeup.recv(4096)
                else:
                    self._close_client(key.fileobj, key.data)
            self._report_statuses()
        with suppress(FileNotFoundError):
            if self.address.stat().st_ino == self.inode:  # not the socket of another server
                self.address.unlink()
        return None

    def _accept(self) -> Request | None:
        """Fork a child for a command. Returns the command in the child."""
        link, _ = self.listener.accept()
        message, streams, _, _ = socket.recv_fds(link, 1 << 20, 3)
        try:
            request: Request = json.loads(message)
        except ValueError:
            link.close()
            return None
        child = os.fork()
        if child == 0:
            self._become_child(request, streams, link)
            return request
        for stream in streams:
            os.close(stream)
        with suppress(OSError):  # the child has done it already, or has ended
            os.setpgid(child, child)
        self.clients[child] = link
        self.selector.register(link, selectors.EVENT_READ, data=child)
        return None

    def _become_child(self, request: Request, streams: list[int], link: socket.socket) -> None:
        """Take over streams, cores, environment and arguments of the client; drop modules of the project if edited."""
        parent_process.end_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.listener.close()
        os.setpgid(0, 0)
        with suppress(OSError):  # the client has ended, which the server will notice
            link.sendall(f"{os.getpid()}\n".encode())
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        if request["cores"]:
            os.sched_setaffinity(0, request["cores"])
        os.environ |= {**request["environ"], "LAB_WARM": f"{os.getpid()} {link.detach()} {request['address']}"}
        sys.argv = request["argv"]
        if _stat_modules() != self.files:
            for name in _list_own_modules():
                del sys.modules[name]

    def _close_client(self, link: Any, child: int) -> None:
        """Stop listening to a client; kill its child if the client was killed."""
        message = b""
        with suppress(OSError):
            message = link.recv(1)
        if message != preload.DONE:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        self.selector.unregister(link)

    def _report_statuses(self) -> None:
        """Send the exit status of each child that has ended to its client."""
        for child, link in list(self.clients.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if not ended:
                continue
            code = os.waitstatus_to_exitcode(status)
            with suppress(OSError):  # the client has ended
                link.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
            if link in self.selector.get_map():
                self.selector.unregister(link)
            link.close()
            del self.clients[child]


def _list_own_modules() -> list[str]:
    """Return the names of the project's modules that are imported."""
    return [name for name in sys.modules if name.partition(".")[0] == "pipeline"]


def _stat_modules() -> dict[str, tuple[int, int]]:
    """Return modification time and size of the file of each imported module of the project."""
    stamps = {}
    for name in _list_own_modules():
        with suppress(OSError):  # a deleted file is a change as well
            file = str(sys.modules[name].__file__)
            stamps[file] = (os.stat(file).st_mtime_ns, os.stat(file).st_size)
    return stamps


@contextmanager
def exit_like_python() -> Iterator[None]:
    """End the child as the interpreter ends a script, but without its slow shutdown."""
    code: Any = 0
    try:
        yield
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


def preload_modules() -> None:
    """Import what every stage needs, and let Hydra find its plugins."""
    sys.modules.pop("torchao", None)  # pipeline/__init__.py blocks it, since its import is slow
    for module in LIBRARIES:
        importlib.import_module(module)
    with suppress(Exception):  # the child that needs it raises the error again
        importlib.import_module("hydra.core.plugins").Plugins.instance()
    for module in PROJECT:
        with suppress(Exception):
            importlib.import_module(module)


def main() -> Request | None:
    """Import what every stage needs, then serve; return the command in each child."""
    started_ns = time.time_ns()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # collections would take a quarter of the time of the imports, which keep what they create
    preload_modules()
    gc.freeze()  # a collection in a child would walk all imported objects, and so copy their pages
    gc.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return Server(Path(sys.argv[1]), started_ns).serve()


if __name__ == "__main__":
    if command := main():
        with exit_like_python():
            runpy.run_module(command["module"], run_name="__main__", alter_sys=True)
