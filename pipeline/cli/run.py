"""Run the plan with cells side by side."""

import asyncio
import signal
import sys

from pipeline import plan
from pipeline.core.errors import UserError, exit_on_user_error
from pipeline.plan import Plan
from pipeline.runner.scheduler import reproduce
from pipeline.system import dvc_lock_repair, hardware, preload

MOST = 1024
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def _until_told(study: Plan, jobs: int) -> int:
    """Reproduce the plan, but stop well at a signal."""
    told: list[int] = []
    work = asyncio.create_task(reproduce(study, jobs))

    def stop(number: int) -> None:
        told.append(number)
        work.cancel()

    for number in STOPPING:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        dvc_lock_repair.mend()  # a DVC may have been at its list of locks, which it writes in place
        return 128 + told[0]


def main(words: list[str]) -> int:
    """Run the plan with as many jobs as the command line says and return the status for the shell."""
    if len(words) != 1 or not words[0].isdecimal() or not 1 <= int(words[0]) <= MOST:
        raise UserError(
            f"JOBS: got {' '.join(words)!r}; give a whole number from 1 to {MOST}, "
            f"such as JOBS={hardware.count_cores()}"
        )
    study = plan.load()
    preload.start_server()
    try:
        return asyncio.run(_until_told(study, int(words[0])))
    except ExceptionGroup as several:  # of a task group, in which the first is what happened
        raise several.exceptions[0] from None


if __name__ == "__main__":
    with exit_on_user_error():
        sys.exit(main(sys.argv[1:]))
