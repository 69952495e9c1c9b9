"""How a process ends: one line for a user's mistake or a lack of resources, a fixed status after Ctrl-C."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core.errors import UserError, format_error

INTERRUPTED_STATUS = 130  # the exit status that shells use for SIGINT


@contextmanager
def exit_on_user_error(where: str = "") -> Iterator[None]:
    """Exit with one line if the block raises UserError or runs out of a resource, and silently after Ctrl-C.

    ``where`` follows ``error:`` in each line. Other exceptions propagate.
    """
    from pipeline.core import system_errors  # only a failure needs it, and every command starts here

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
