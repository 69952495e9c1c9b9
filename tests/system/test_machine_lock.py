"""Trials beside each other and measurements alone, in processes of their own that say when they hold what."""

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil
import pytest

LIMIT = 30.0  # seconds after which something that should happen did not

# Opens one block in another by commands and prints `got` inside, and `ended` or `raised` after a block. CORES are those
# that it may use, on any machine; with REPORT it prints what it waits for.
ACTOR = """
import os, signal, sys
from pipeline.system import machine_lock

if "CORES" in os.environ:
    os.sched_getaffinity = lambda process: {int(core) for core in os.environ["CORES"].split()}
signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background it is ignored

class Raised(Exception):
    pass

def say(word):
    print(word, flush=True)

def obey():
    for line in sys.stdin:
        if line == "end\\n":
            return
        if line == "raise\\n":
            raise Raised
        if line == "waited\\n":
            say(f"{machine_lock.get_waited_seconds():.1f}")
            continue
        say("asked")
        try:
            with getattr(machine_lock, line.strip())(say if "REPORT" in os.environ else None):
                say("got")
                obey()
        except Raised:
            say("raised")
        else:
            say("ended")

say("ready")
while True:
    try:
        obey()
        break
    except KeyboardInterrupt:
        say("interrupted")
"""


class Actor:
    """A process that works and measures as it is told."""

    def __init__(self, folder: str, environment: dict[str, str]) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", ACTOR], env={**inherited, "TMPDIR": folder, **environment}, bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.says() == "ready"

    def ask(self, block: str) -> None:
        """Let it enter a block; it may have to wait there."""
        self.tell(block)
        assert self.says() == "asked"

    def enter(self, block: str) -> None:
        """Let it enter a block that is open."""
        self.ask(block)
        assert self.says() == "got"

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())

    def says(self) -> str:
        """Return what it says next."""
        assert self.process.stdout is not None
        assert self._speaks(LIMIT), "it says nothing"
        return self.process.stdout.readline().decode().strip()

    def waits(self) -> bool:
        """Return whether it sleeps and has said nothing before: it is asked, so what it sleeps for is a lock."""
        process = psutil.Process(self.process.pid)
        while not self._speaks(0.01):
            if process.status() == psutil.STATUS_SLEEPING:
                return not self._speaks(0)
        return False

    def _speaks(self, seconds: float) -> bool:
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[..., Actor]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start actors that share locks with each other and with nobody else."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder, ExitStack() as actors:

        def started(**environment: str) -> Actor:
            actor = Actor(folder, environment)
            actors.callback(actor.close)
            return actor

        yield started


def test_trials_work_beside_each_other(start: Start) -> None:
    one, other = start(), start()
    one.enter("lock_shared")
    other.enter("lock_shared")


def test_measurements_come_one_after_another(start: Start) -> None:
    one, other = start(), start()
    one.enter("lock_for_measurement")
    other.ask("lock_for_measurement")
    assert other.waits()
    one.tell("end")
    assert (one.says(), other.says()) == ("ended", "got")


def test_a_measurement_waits_until_the_last_worker_has_ended(start: Start) -> None:
    one, other, measurement = start(), start(), start()
    one.enter("lock_shared")
    other.enter("lock_shared")
    measurement.ask("lock_for_measurement")
    assert measurement.waits()
    one.tell("end")
    assert one.says() == "ended"
    assert measurement.waits()
    other.tell("raise")
    assert (other.says(), measurement.says()) == ("raised", "got")


def test_who_comes_while_a_measurement_waits_works_after_it(start: Start) -> None:
    early, measurement, late = start(), start(), start()
    early.enter("lock_shared")
    measurement.ask("lock_for_measurement")
    assert measurement.waits()
    late.ask("lock_shared")
    assert late.waits()
    early.tell("end")
    assert (early.says(), measurement.says()) == ("ended", "got")
    assert late.waits()
    measurement.tell("end")
    assert (measurement.says(), late.says()) == ("ended", "got")


@pytest.mark.parametrize(("end", "ended"), [("end", "ended"), ("raise", "raised")])
def test_a_worker_that_measures_gives_its_share_back_and_gets_it_again(start: Start, end: str, ended: str) -> None:
    worker, other, third = start(), start(), start()
    worker.enter("lock_shared")
    worker.enter("lock_for_measurement")
    other.ask("lock_shared")
    assert other.waits()
    worker.tell(end)
    assert (worker.says(), other.says()) == (ended, "got")
    other.tell("end")
    assert other.says() == "ended"
    third.ask("lock_for_measurement")
    assert third.waits(), "the worker works again"
    worker.tell("end")
    assert (worker.says(), third.says()) == ("ended", "got")


def test_two_workers_that_measure_do_not_wait_for_each_other(start: Start) -> None:
    one, other = start(), start()
    one.enter("lock_shared")
    other.enter("lock_shared")
    one.ask("lock_for_measurement")
    assert one.waits()
    other.ask("lock_for_measurement")
    assert one.says() == "got"
    assert other.waits()
    one.tell("end")  # who comes first now, its share or the other's measurement, is open
    one.tell("end")
    assert other.says() == "got"
    other.tell("end")
    assert (one.says(), one.says(), other.says()) == ("ended", "ended", "ended")


@pytest.mark.parametrize("held", ["lock_shared", "lock_for_measurement"])
def test_who_is_killed_holds_nothing(start: Start, held: str) -> None:
    killed, measurement = start(), start()
    killed.enter(held)
    measurement.ask("lock_for_measurement")
    assert measurement.waits()
    killed.process.kill()
    assert measurement.says() == "got"


def test_an_interrupt_reaches_a_measurement_that_waits_and_lets_the_next_ones_in(start: Start) -> None:
    worker, measurement, late = start(), start(), start()
    worker.enter("lock_shared")
    measurement.ask("lock_for_measurement")
    assert measurement.waits()
    late.ask("lock_shared")
    assert late.waits()
    measurement.process.send_signal(signal.SIGINT)
    assert (measurement.says(), late.says()) == ("interrupted", "got")


def test_an_interrupt_reaches_a_worker_that_waits(start: Start) -> None:
    measurement, worker = start(), start()
    measurement.enter("lock_for_measurement")
    worker.ask("lock_shared")
    assert worker.waits()
    worker.process.send_signal(signal.SIGINT)
    assert worker.says() == "interrupted"
    worker.ask("lock_shared")
    assert worker.waits()
    measurement.tell("end")
    assert (measurement.says(), worker.says()) == ("ended", "got")


def test_an_interrupt_ends_a_worker_whose_measurement_waits_behind_another(start: Start) -> None:
    interrupted, worker, measurement = start(), start(), start()
    interrupted.enter("lock_shared")
    worker.enter("lock_shared")
    measurement.ask("lock_for_measurement")
    assert measurement.waits()
    interrupted.ask("lock_for_measurement")
    assert interrupted.waits()
    interrupted.process.send_signal(signal.SIGINT)
    assert interrupted.says() == "interrupted"
    worker.tell("end")
    assert (worker.says(), measurement.says()) == ("ended", "got")
    interrupted.ask("lock_shared")
    assert interrupted.waits()
    measurement.tell("end")
    assert (measurement.says(), interrupted.says()) == ("ended", "got")


def test_of_several_processes_of_a_trial_the_first_alone_holds_the_lock(start: Start) -> None:
    first, second = (start(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2") for rank in "01")
    first.enter("lock_shared")
    second.enter("lock_for_measurement")
    measurement = start()
    measurement.ask("lock_for_measurement")
    assert measurement.waits()
    first.tell("end")
    assert (first.says(), measurement.says()) == ("ended", "got")
    second.tell("end")
    assert second.says() == "ended"
    second.enter("lock_shared")


def test_work_that_takes_every_core_has_nothing_beside_it(start: Start) -> None:
    whole, other = start(), start()
    whole.enter("lock_exclusive")
    other.ask("lock_shared")
    assert other.waits()
    whole.tell("end")
    assert (whole.says(), other.says()) == ("ended", "got")


def test_what_such_work_measures_waits_for_nothing(start: Start) -> None:
    whole = start()
    whole.enter("lock_exclusive")
    whole.enter("lock_for_measurement")


@pytest.mark.parametrize("block", ["lock_shared", "lock_exclusive", "lock_for_measurement"])
def test_processes_on_different_cores_never_wait_for_each_other(start: Start, block: str) -> None:
    one, other = start(CORES="0 2"), start(CORES="1 3")
    one.enter("lock_for_measurement")
    other.enter(block)


@pytest.mark.parametrize(
    ("cores", "first", "then"),
    [("1 2", "lock_shared", "lock_for_measurement"), ("1", "lock_for_measurement", "lock_shared")],
)
def test_processes_that_share_a_core_wait_for_each_other(start: Start, cores: str, first: str, then: str) -> None:
    one, other = start(CORES="0 1"), start(CORES=cores)
    one.enter(first)
    other.ask(then)
    assert other.waits()
    one.tell("end")
    assert (one.says(), other.says()) == ("ended", "got")


def test_workers_on_overlapping_cores_that_all_measure_come_to_an_end(start: Start) -> None:
    actors = [start(CORES=cores) for cores in ("0 1", "1 2", "0 2")]
    for actor in actors:
        actor.enter("lock_shared")
    for actor in actors:
        actor.tell("lock_for_measurement")
        actor.tell("end")
        actor.tell("end")
    for actor in actors:
        assert [actor.says() for _ in range(4)] == ["asked", "got", "ended", "ended"]


def test_a_worker_that_waits_prints_for_what_and_then_for_how_long(start: Start) -> None:
    measurement, worker = start(CORES="0 1 3"), start(CORES="3", REPORT="1")
    measurement.enter("lock_for_measurement")
    worker.ask("lock_shared")
    holder = f"process {measurement.process.pid} in {os.getcwd()}"
    assert worker.says() == f"waiting for core 3: another command uses them exclusively ({holder})"
    measurement.tell("end")
    assert re.fullmatch(r"waited \d+\.\d s for core 3; no measured time contains it", worker.says())
    assert worker.says() == "got"
    worker.tell("waited")
    assert float(worker.says()) >= 0.9


def test_a_measurement_that_waits_names_every_trial_that_it_waits_for(start: Start) -> None:
    one, other, measurement = start(CORES="0"), start(CORES="0 1"), start(CORES="0 1 3", REPORT="1")
    one.enter("lock_shared")
    other.enter("lock_shared")
    measurement.ask("lock_for_measurement")
    line = measurement.says()
    assert line.startswith(
        "waiting for cores 0-1, 3: this command needs them exclusively, and others use them (process "
    )
    assert all(f"process {actor.process.pid} in {os.getcwd()}" in line for actor in (one, other))


def test_a_short_wait_is_counted_but_not_reported(start: Start) -> None:
    measurement, worker = start(), start(REPORT="1")
    measurement.enter("lock_for_measurement")
    worker.ask("lock_shared")
    assert worker.waits()
    measurement.tell("end")
    assert worker.says() == "got"


def test_a_worker_that_is_interrupted_while_it_waits_prints_no_duration(start: Start) -> None:
    measurement, worker = start(CORES="0"), start(CORES="0", REPORT="1")
    measurement.enter("lock_for_measurement")
    worker.ask("lock_shared")
    assert worker.says().startswith("waiting for core 0: ")
    worker.process.send_signal(signal.SIGINT)
    assert worker.says() == "interrupted"
