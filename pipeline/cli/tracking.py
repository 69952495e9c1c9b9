"""``python -m pipeline.cli.tracking sync`` fills the store from the files; ``... ui`` shows it in a browser."""

import argparse
import sys

from pipeline import plan
from pipeline.core import redaction
from pipeline.core.arguments import CommandParser
from pipeline.core.errors import exit_on_user_error

COMPARISON = ("compare", "plan")


def main(arguments: list[str]) -> None:
    """Run one of the two commands; a user's mistake is a line."""
    parser = CommandParser(prog="python -m pipeline.cli.tracking", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sync", help="bring the store at MLFLOW_TRACKING_URI level with the files")
    commands.add_parser("ui", help="show it on this machine").add_argument("--port", type=_port)
    redaction.redact_streams()
    with exit_on_user_error():
        given = parser.parse_args(arguments)
        if given.command == "sync":
            from pipeline.tracking.mlflow.sync import sync

            print(sync([*((cell.stage, cell.name) for cell in plan.load().cells), COMPARISON]))
        else:
            from pipeline.tracking.mlflow.ui import show

            show(given.port)


def _port(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 5 and 1024 <= int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"got {text!r}; give a number from 1024 to {2**16 - 1}")
    return int(text)


if __name__ == "__main__":
    main(sys.argv[1:])
