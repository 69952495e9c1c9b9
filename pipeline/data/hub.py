"""Calls to the Hugging Face Hub with a timeout and one-line errors."""

import os
from collections.abc import Callable
from typing import Literal, TypeVar

from pipeline.core.errors import UserError

PATIENCE_SECONDS = 10  # for the first question; the client's own retries would take 23 s to find no network


class Away(UserError):
    """The Hub gave nothing: no network, no such repository, no such revision."""


Answer = TypeVar("Answer")


def ask(what: str, question: Callable[[], Answer]) -> Answer:
    """Return the answer to ``question``, a call of a Hub client about ``what``.

    Raises Away with one line for every failure, since each version of the clients has different exceptions.
    """
    try:
        return question()
    except UserError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or "no reason given"
        raise Away(f"{what}: nothing came from the Hub ({type(error).__name__}: {reason})") from error


def offline() -> bool:
    """Return whether the user keeps the Hub's clients to their caches (HF_HUB_OFFLINE)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def names(repo: str, revision: str, kind: Literal["model", "dataset"]) -> list[str]:
    """Return the names of the files of ``repo`` at ``revision``; one question, no retries.

    Raises Away.
    """
    from huggingface_hub import HfApi

    def question() -> list[str]:
        api = HfApi()
        about = api.dataset_info if kind == "dataset" else api.model_info
        return [file.rfilename for file in about(repo, revision=revision, timeout=PATIENCE_SECONDS).siblings or []]

    return ask(f"{repo} at {revision[:12]}", question)
