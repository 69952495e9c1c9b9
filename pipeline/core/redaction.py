"""Credentials are for the one who asks, not for what is kept or shown: each is replaced by ``***``.

They are found where URIs hold them, under names that say what they are, and as the values of the environment's
variables that hold one, however written: a driver's error may show a password without the URI around it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"
SHORTEST = 6  # letters of a credential that is masked wherever it stands: a shorter one is part of plain words
SPOKEN = (
    r"(?:[\w.-]*[_.-])?(?:password|passwd|pwd|secret|credentials?|signature|auth|(?:api|access|secret|account)_?key)"
    r"|(?:[\w.-]*[.-])?(?:(?:aws|hf|api|access|auth|session|sas)_?)*token"  # a tokenizer has others, such as pad_token
)
LONG = 16  # letters of a user's name that may be a token in its place
USERINFO = re.compile(r"(?<=://)\S*@")  # up to the last @: a password that was not encoded may hold / and @
QUERY = re.compile(rf"(?i)([?&;](?:{SPOKEN}|user|username|key|awsaccesskeyid|sig)(?:_id)?=)([^&;\s'\"]+)")
ASSIGNED = re.compile(  # in YAML, in JSON, in an override
    rf"(?i)(?<![\w.?&;-])((?:{SPOKEN})(?:_id)?['\"]?[=:] ?)(?!(?:null|none|true|false)\b)"
    r"(?:(['\"])[^\n]*?(?=\2)|[^\s'\",;}\])&]+)"
)
NAME = re.compile(rf"(?i)(?:{SPOKEN})(?:_id)?")
NAMED = re.compile(r"(?i)(?:^|_)(?:password|passwd|token|secret|credentials?|api_?key|\w*key|access_key_id)$")


def redact(text: str) -> str:
    """Return ``text`` with every credential in it replaced by ``***``."""
    for known in sorted(_written(_known()), key=len, reverse=True):
        text = text.replace(known, MASK)
    if "://" in text:
        text = USERINFO.sub(f"{MASK}@", text)
    text = QUERY.sub(rf"\g<1>{MASK}", text)
    return ASSIGNED.sub(rf"\g<1>\g<2>{MASK}", text)


def redact_values(content: Any) -> Any:
    """Return a copy of what JSON or YAML holds without the credentials in it, by their names and in texts."""
    if isinstance(content, dict):
        return {
            key: MASK if isinstance(value, str) and NAME.fullmatch(str(key)) else redact_values(value)
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [redact_values(item) for item in content]
    return redact(content) if isinstance(content, str) else content


def remove_credentials(uri: str) -> str:
    """Return a server's address without what only its user should know: no credentials and no query."""
    return re.split(r"[?#]", USERINFO.sub("", uri))[0].rstrip("/")


def redact_streams() -> None:
    """Mask what this process writes to its standard streams from here on, tracebacks and others' words as well."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, RedactedStream):
            setattr(sys, name, RedactedStream(stream))


class RedactedStream:
    """A stream that masks whatever is written to it, and is in all else the stream that it covers."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text`` without its credentials; return its length."""
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of ``lines`` without its credentials."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _known() -> Iterator[str]:
    """Yield the credentials that the environment holds, by their name or in a URI."""
    for name, value in os.environ.items():
        if NAMED.search(name):
            yield value
        if "://" in value:
            for user, _, password in (who.partition(":") for who in re.findall(r"(?s)://(.*)@", value)):
                yield password
                if len(user) >= LONG:
                    yield user
            yield from (found for _, found in QUERY.findall(value))


def _written(credentials: Iterable[str]) -> set[str]:
    """Return the forms in which text may show each of them."""
    found = set()
    for known in credentials:
        for plain in {known, unquote(known), unquote_plus(known)}:
            found |= {plain, quote(plain, safe=""), quote(plain), quote_plus(plain)}
            found |= {repr(plain)[1:-1], json.dumps(plain)[1:-1]}
    return {form for form in found if len(form) >= SHORTEST}
