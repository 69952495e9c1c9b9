"""Progress of long operations: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

PLAIN_SECONDS = 10.0  # between two plain lines


class Progress:
    """Counts finished units; use it in a ``with`` block and call ``update``."""

    def __init__(self, total: int, unit: str, title: str) -> None:
        self.total, self.unit, self.title = total, unit, title
        self.done = 0
        self._started = self._printed = time.monotonic()
        self._bar = tqdm(total=total, unit=unit, desc=title, leave=False) if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, count: int = 1, **values: float) -> None:
        """Add ``count`` finished units, and show the named values next to them."""
        self.done += count
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.3g}" for name, value in values.items()}, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._printed >= PLAIN_SECONDS:
            self._printed = time.monotonic()
            suffix = "".join(f", {name} {value:.3g}" for name, value in values.items())
            elapsed = self._printed - self._started
            meter = tqdm.format_meter(self.done, self.total, elapsed, prefix=self.title, unit=self.unit, ncols=0)
            print(meter + suffix, flush=True)
