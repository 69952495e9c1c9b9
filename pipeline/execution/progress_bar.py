"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

PLAIN_SECONDS = 10.0  # between two plain lines


class Progress:
    """Counts work done; use it as a context and call ``update``."""

    def __init__(self, total: int, unit: str, title: str) -> None:
        self.total, self.unit, self.title = total, unit, title
        self.done = 0
        self._started = self._told = time.monotonic()
        self._bar = tqdm(total=total, unit=unit, desc=title, leave=False) if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, count: int = 1, **shown: float) -> None:
        """Count ``count`` more units done and show the named values beside them."""
        self.done += count
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()}, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._told >= PLAIN_SECONDS:
            self._told = time.monotonic()
            values = "".join(f", {name} {value:.3g}" for name, value in shown.items())
            elapsed = self._told - self._started
            meter = tqdm.format_meter(self.done, self.total, elapsed, prefix=self.title, unit=self.unit, ncols=0)
            print(meter + values, flush=True)
