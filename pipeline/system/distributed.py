"""Several processes that train one model together, each on its share of every batch.

They are started by torchrun, or by ``launch``, which is torchrun's own launcher on one machine. There they meet in a
file and talk over the loopback interface, so that no port is open to others; torchrun's own way is for several nodes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline.core.errors import UserError
from pipeline.system import parent_process

if TYPE_CHECKING:
    from torch import Tensor

TIMEOUT = timedelta(days=7)  # the first process may wait for a measurement; a dead one is the launcher's to find
RENDEZVOUS = "LAB_RENDEZVOUS"  # the variable that names the file in which the processes meet


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that work together: how many they are, and which of them this one is, counted from 0."""

    rank: int = 0
    size: int = 1

    @property
    def is_rank_zero(self) -> bool:
        """Return whether this process is the one that keeps the records."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum of every process's ``tensor`` in its place."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.all_reduce(tensor)
        return tensor

    def sum_number(self, number: float) -> float:
        """Return the sum of every process's ``number``."""
        if self.size == 1:
            return number
        import torch

        from pipeline.system import hardware

        return float(self.all_reduce(torch.tensor([number], dtype=torch.float64, device=hardware.get_device())).item())

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return every process's ``tensor``, in their order and on the CPU; all are of one shape."""
        if self.size == 1:
            return [tensor]
        import torch

        from pipeline.system import hardware

        sent = tensor.to(hardware.get_device())
        found = [torch.empty_like(sent) for _ in range(self.size)]
        torch.distributed.all_gather(found, sent)
        return [each.cpu() for each in found]

    def broadcast(self, answer: bool) -> bool:
        """Return the first process's ``answer``, so that all go on, or all stop."""
        if self.size == 1:
            return answer
        import torch

        from pipeline.system import hardware

        told = torch.tensor([int(answer)], device=hardware.get_device())
        torch.distributed.broadcast(told, 0)
        return bool(told.item())

    def wait_for_all(self) -> None:
        """Wait until every process has come here."""
        self.broadcast(True)


SINGLE_PROCESS = ProcessGroup()


def get_group() -> ProcessGroup:
    """Return the processes that train together with this one, once they have met."""
    if not is_distributed():
        return SINGLE_PROCESS
    import torch.distributed

    if not torch.distributed.is_initialized():
        return SINGLE_PROCESS
    return ProcessGroup(torch.distributed.get_rank(), torch.distributed.get_world_size())


def is_distributed() -> bool:
    """Say whether this process was started as one of several, by ``launch`` or by torchrun."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_rank_zero() -> bool:
    """Say whether this process is alone or the first of several, before they have met."""
    return not is_distributed() or os.environ["RANK"] == "0"


def is_local_rank_zero() -> bool:
    """Say whether this process is alone, or the first of several on this machine."""
    return not is_distributed() or os.environ.get("LOCAL_RANK", "0") == "0"


@contextmanager
def init_process_group() -> Iterator[None]:
    """Meet the processes that were started with this one, if any, and part from them at the end of the block.

    NCCL where there are GPUs, of which each process takes its own; else gloo.
    """
    if not is_distributed():
        yield
        return
    import torch.distributed

    rank, size, place = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), os.environ.get(RENDEZVOUS)
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    where = f"file://{place}" if place else "env://"
    torch.distributed.init_process_group(
        "nccl" if gpu else "gloo", init_method=where, timeout=TIMEOUT, rank=rank, world_size=size
    )
    yield
    torch.distributed.destroy_process_group()  # not where the block fails: the others may be stuck in an exchange


def end_with_launcher() -> None:
    """Let the kernel end this process when the one that launched it ends, however that does (Linux alone)."""
    if RENDEZVOUS in os.environ:
        parent_process.end_with_parent()
        if sys.platform == "linux" and os.getppid() == 1:  # it has ended already
            raise SystemExit(1)


def launch(processes: int, module: str, arguments: Sequence[str]) -> None:
    """Run ``python -m module arguments`` in so many processes that train together, and wait for all of them.

    Raises UserError where one of them fails; the others are ended then.
    """
    import logging
    import tempfile

    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes say themselves what fails
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        os.environ |= {
            RENDEZVOUS: f"{folder}/processes",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else the launcher opens a port on every interface
            "GLOO_SOCKET_IFNAME": _loopback(),
            "NCCL_SOCKET_IFNAME": _loopback(),
        }
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id="lab", max_restarts=0, local_addr="127.0.0.1",
            rdzv_backend="c10d", rdzv_endpoint=f"{folder}/launcher", rdzv_configs={"store_type": "file"},
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )  # fmt: skip
        try:
            elastic_launch(config, sys.executable)("-m", module, *arguments)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            raise UserError(f"process {rank + 1} of {processes} {_ended(failure.exitcode)}") from None
        finally:
            os.environ.clear()
            os.environ.update(before)


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}; what it said stands above"
    memory = "; where memory is short, give a smaller batch" if status == -signal.SIGKILL else ""
    return f"was killed by signal {-status}{memory}"


def _loopback() -> str:
    import socket

    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
