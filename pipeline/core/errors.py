"""What a user reads when the input is wrong: where, what was got, what is allowed, what to do.

Every command begins with this, however short it is: what only a message needs is imported where it is made.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

LISTED = 50  # names that a message lists at most
LONGEST = 4000  # characters of a line: what was got may be a whole file
INTERRUPTED = 130  # the status of a process that Ctrl-C has ended, as shells count


class UserError(Exception):
    """A mistake in what the user gave, told in one line; shown without a traceback."""


def near(name: object, allowed: Iterable[object]) -> str:
    """Say what would have been allowed, the nearest name first.

    Returns text to put behind a message, such as ``did you mean 'mrpc'? (allowed: cola, mrpc)``.
    """
    from difflib import get_close_matches

    names = sorted(str(item) for item in allowed)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    listing = f"allowed: {', '.join(names[:LISTED])}{more}" if names else "nothing is allowed here"
    matches = get_close_matches(str(name)[:LONGEST], names, n=1, cutoff=0.5)
    return f"did you mean {matches[0]!r}? ({listing})" if matches else listing


def line(text: object) -> str:
    """Return text as one printable line: what cannot be shown is written as an escape, what is too long is cut."""
    whole = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text)[: LONGEST + 1])
    return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}..."


def told(error: UserError, where: str = "") -> str:
    """Return what is printed of an error: ``error:`` and ``where`` before each of its lines."""
    from pipeline.core.redaction import masked

    return "\n".join(line(masked(f"error: {where}{each}")) for each in str(error).split("\n"))


@contextmanager
def ending(where: str = "") -> Iterator[None]:
    """End the process in lines where the block raises a UserError, the machine has run short or Ctrl-C ends it.

    ``where`` stands in each line, behind ``error:``.
    """
    from pipeline.core import system_errors

    try:
        yield
    except Exception as error:
        mistake = error if isinstance(error, UserError) else system_errors.told(error)
        if mistake is None:
            raise
        raise SystemExit(told(mistake, where)) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
