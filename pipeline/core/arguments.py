"""Command lines whose mistakes are told as every other."""

import argparse
from typing import NoReturn

from pipeline.core.errors import UserError, format_line


class CommandParser(argparse.ArgumentParser):
    """The standard library's parser of a command line, whose errors are one line like every other."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError in place of a usage of several lines."""
        raise UserError(f"{format_line(message)}; {self.prog} --help tells more")
