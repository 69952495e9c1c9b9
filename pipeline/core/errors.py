"""Error messages for users: where the mistake is, what was given, what is allowed, what to do.

Every command imports this module, so imports that only a message needs are inside the functions.
"""

from collections.abc import Iterable

MAX_NAMES = 50  # in one message
MAX_LINE_LENGTH = 4000  # characters: the value that a message repeats may be a whole file


class UserError(Exception):
    """A mistake in the user's input; printed as one line, without a traceback."""


def suggest(name: object, allowed: Iterable[object]) -> str:
    """Return the allowed names for an error message, with the closest match first.

    The result follows a message, such as ``did you mean 'mrpc'? (allowed: cola, mrpc)``.
    """
    from difflib import get_close_matches

    names = sorted(str(item) for item in allowed)
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    listing = f"allowed: {', '.join(names[:MAX_NAMES])}{more}" if names else "nothing is allowed here"
    matches = get_close_matches(str(name)[:MAX_LINE_LENGTH], names, n=1, cutoff=0.5)
    return f"did you mean {matches[0]!r}? ({listing})" if matches else listing


def format_line(text: object) -> str:
    """Return text as one printable line: other characters are escaped, and a long line is truncated."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text)[: MAX_LINE_LENGTH + 1])
    return line if len(line) <= MAX_LINE_LENGTH else f"{line[:MAX_LINE_LENGTH]}..."


def format_error(error: UserError, where: str = "") -> str:
    """Return an error as it is printed: each line starts with ``error:`` and ``where``, without credentials."""
    from pipeline.core.redaction import redact

    return "\n".join(format_line(redact(f"error: {where}{line}")) for line in str(error).split("\n"))
