"""What the process is that forks DVC: all that `dvc repro` imports, and an end with the process that asked for it.

Imported by the fork server of the standard library alone (``pipeline/runner/dvc_process.py``).
"""

import signal
from contextlib import suppress

import dvc.cli.parser  # noqa: F401
from dvc.repo import Repo

from pipeline.core import paths
from pipeline.system import parent_process

parent_process.end_with_parent()
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)  # which a terminal or a shell sends to all: the forks have to end well first
with suppress(Exception), Repo(str(paths.ROOT)) as repo:  # a fork will tell
    repo.index.stages  # noqa: B018 - much is imported where it is first used
