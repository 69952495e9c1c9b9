"""What a user reads when the input is wrong: where, what was got, what is allowed, what to do."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in what the user gave, told in one line; shown without a traceback."""


def near(name: object, allowed: Iterable[object]) -> str:
    """Say what would have been allowed, the nearest name first.

    Returns text to put behind a message, such as ``did you mean 'mrpc'? (allowed: cola, mrpc)``.
    """
    names = sorted(str(item) for item in allowed)
    listing = f"allowed: {', '.join(names)}" if names else "nothing is allowed here"
    matches = get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"did you mean {matches[0]!r}? ({listing})" if matches else listing


@contextmanager
def ending(where: str = "") -> Iterator[None]:
    """End the process where the block raises a UserError: ``error:`` and ``where`` before each of its lines."""
    try:
        yield
    except UserError as error:
        raise SystemExit("\n".join(f"error: {where}{line}" for line in str(error).splitlines())) from None
