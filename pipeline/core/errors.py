"""What a user reads when the input is wrong: where, what was got, what is allowed, what to do.

Every command begins with this, however short it is: what only a message needs is imported where it is made.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

MAX_NAMES = 50  # names that a message lists at most
MAX_LINE_LENGTH = 4000  # characters of a line: what was got may be a whole file
INTERRUPTED_STATUS = 130  # the status of a process that Ctrl-C has ended, as shells count


class UserError(Exception):
    """A mistake in what the user gave, told in one line; shown without a traceback."""


def suggest(name: object, allowed: Iterable[object]) -> str:
    """Say what would have been allowed, the nearest name first.

    Returns text to put behind a message, such as ``did you mean 'mrpc'? (allowed: cola, mrpc)``.
    """
    from difflib import get_close_matches

    names = sorted(str(item) for item in allowed)
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    listing = f"allowed: {', '.join(names[:MAX_NAMES])}{more}" if names else "nothing is allowed here"
    matches = get_close_matches(str(name)[:MAX_LINE_LENGTH], names, n=1, cutoff=0.5)
    return f"did you mean {matches[0]!r}? ({listing})" if matches else listing


def format_line(text: object) -> str:
    """Return text as one printable line: what cannot be shown is written as an escape, what is too long is cut."""
    whole = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text)[: MAX_LINE_LENGTH + 1])
    return whole if len(whole) <= MAX_LINE_LENGTH else f"{whole[:MAX_LINE_LENGTH]}..."


def format_error(error: UserError, where: str = "") -> str:
    """Return what is printed of an error: ``error:`` and ``where`` before each of its lines."""
    from pipeline.core.redaction import redact

    return "\n".join(format_line(redact(f"error: {where}{each}")) for each in str(error).split("\n"))


@contextmanager
def exit_on_user_error(where: str = "") -> Iterator[None]:
    """End the process in lines where the block raises a UserError, the machine has run short or Ctrl-C ends it.

    ``where`` stands in each line, behind ``error:``.
    """
    from pipeline.core import system_errors

    try:
        yield
    except Exception as error:
        mistake = error if isinstance(error, UserError) else system_errors.convert_error(error)
        if mistake is None:
            raise
        raise SystemExit(format_error(mistake, where)) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED_STATUS) from None
