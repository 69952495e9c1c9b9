"""What several processes do together in test_distributed.py: ``python -m tests.processes <work> <folder>``."""

import json
import os
import sys
import time
from pathlib import Path

from pipeline.system import distributed


def meet(folder: Path) -> None:
    """Write what this process is told by the others, and at which addresses it and its launcher listen."""
    import psutil
    import torch

    with distributed.init_process_group():
        group = distributed.get_group()
        mine = torch.arange(3.0) + 10 * group.rank
        told = {
            "group": [group.rank, group.size, group.is_rank_zero, distributed.is_rank_zero()],
            "add": group.all_reduce(mine).tolist(),
            "in place": mine.tolist(),
            "total": group.sum_number(0.1 + group.rank),
            "agree": [group.broadcast(group.rank == 0), group.broadcast(group.rank == 1)],
        }
        if group.is_rank_zero:
            time.sleep(0.3)
            (folder / "late").touch()
        group.wait_for_all()
        told["waited"] = (folder / "late").exists()
        told["listens"] = [
            sorted({each.laddr.ip for each in process.net_connections() if each.status == psutil.CONN_LISTEN})
            for process in (psutil.Process(), psutil.Process(os.getppid()))
        ]
        (folder / f"{group.rank}.json").write_text(json.dumps(told))
        group.wait_for_all()  # a process that has ended listens no more
    assert distributed.get_group() == distributed.SINGLE_PROCESS


def fail(folder: Path) -> None:
    """End the second process with status 3 once the first has begun what it never comes to the end of."""
    rank = os.environ["RANK"]
    (folder / rank).write_text(str(os.getpid()))
    if rank == "0":
        time.sleep(600)
    while not (folder / "0").exists() or not (folder / "0").read_text():
        time.sleep(0.01)
    sys.exit(3)


if __name__ == "__main__":
    {"meet": meet, "fail": fail}[sys.argv[1]](Path(sys.argv[2]))
