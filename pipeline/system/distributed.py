"""Data-parallel training: several processes train one model, each on its share of every batch.

They are started by torchrun, or on one machine by ``launch``, which uses torchrun's launcher. Processes of ``launch``
meet in a file and communicate over the loopback interface, so no port is open to other machines.
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

TIMEOUT = timedelta(days=7)  # rank zero may wait for a measurement; the launcher notices dead processes
RENDEZVOUS = "LAB_RENDEZVOUS"  # the environment variable with the file in which the processes meet


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together: rank of this one and their number."""

    rank: int = 0
    size: int = 1

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes the records."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Replace ``tensor`` by its sum over all processes, and return it."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.all_reduce(tensor)
        return tensor

    def sum_number(self, number: float) -> float:
        """Return the sum of ``number`` over all processes."""
        if self.size == 1:
            return number
        import torch

        from pipeline.system import hardware

        return float(self.all_reduce(torch.tensor([number], dtype=torch.float64, device=hardware.get_device())).item())

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the ``tensor`` of every process by rank, on the CPU; all have the same shape."""
        if self.size == 1:
            return [tensor]
        import torch

        from pipeline.system import hardware

        local = tensor.to(hardware.get_device())
        gathered = [torch.empty_like(local) for _ in range(self.size)]
        torch.distributed.all_gather(gathered, local)
        return [each.cpu() for each in gathered]

    def broadcast(self, value: bool) -> bool:
        """Return the ``value`` of rank zero, so that all processes take the same branch."""
        if self.size == 1:
            return value
        import torch

        from pipeline.system import hardware

        tensor = torch.tensor([int(value)], device=hardware.get_device())
        torch.distributed.broadcast(tensor, 0)
        return bool(tensor.item())

    def wait_for_all(self) -> None:
        """Wait until every process has called this."""
        self.broadcast(True)


SINGLE_PROCESS = ProcessGroup()


def get_group() -> ProcessGroup:
    """Return the process group of this process; a group of one before ``init_process_group``."""
    if not is_distributed():
        return SINGLE_PROCESS
    import torch.distributed

    if not torch.distributed.is_initialized():
        return SINGLE_PROCESS
    return ProcessGroup(torch.distributed.get_rank(), torch.distributed.get_world_size())


def is_distributed() -> bool:
    """Return whether ``launch`` or torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_rank_zero() -> bool:
    """Return whether this process has rank zero or is the only one; needs no process group."""
    return not is_distributed() or os.environ["RANK"] == "0"


def is_local_rank_zero() -> bool:
    """Return whether this process is the first one on this machine."""
    return not is_distributed() or os.environ.get("LOCAL_RANK", "0") == "0"


@contextmanager
def init_process_group() -> Iterator[None]:
    """Join the processes that were started with this one, if any, for the duration of the block.

    The backend is NCCL where there are GPUs, one per process; else gloo.
    """
    if not is_distributed():
        yield
        return
    import torch.distributed

    rank, size, file = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), os.environ.get(RENDEZVOUS)
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    init_method = f"file://{file}" if file else "env://"
    torch.distributed.init_process_group(
        "nccl" if gpu else "gloo", init_method=init_method, timeout=TIMEOUT, rank=rank, world_size=size
    )
    yield
    torch.distributed.destroy_process_group()  # not after an error: other processes may be inside a collective


def end_with_launcher() -> None:
    """Let the kernel kill a process of ``launch`` when its launcher ends in any way (Linux only)."""
    if RENDEZVOUS in os.environ:
        parent_process.end_with_parent()
        if sys.platform == "linux" and os.getppid() == 1:  # the launcher has ended already
            raise SystemExit(1)


def launch(processes: int, module: str, arguments: Sequence[str]) -> None:
    """Run ``python -m module arguments`` in ``processes`` processes that train together, and wait for them.

    Raises UserError where one of them fails; the others are killed then.
    """
    import logging
    import tempfile

    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # each process prints its own error
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        os.environ |= {
            RENDEZVOUS: f"{folder}/processes",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else the launcher opens a port on every interface
            "GLOO_SOCKET_IFNAME": _find_loopback(),
            "NCCL_SOCKET_IFNAME": _find_loopback(),
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
            raise UserError(f"process {rank + 1} of {processes} {_format_status(failure.exitcode)}") from None
        finally:
            os.environ.clear()
            os.environ.update(environment)


def _format_status(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}; see its output above"
    hint = "; if memory is short, use a smaller batch" if status == -signal.SIGKILL else ""
    return f"was killed by signal {-status}{hint}"


def _find_loopback() -> str:
    import socket

    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
