"""Redaction of credentials in everything that is stored or printed: each becomes ``***``.

Credentials are recognized in URIs, by the names of their keys, and as values of environment variables. The values are
found in any encoding, since a driver's error may show a password without its URI.
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
MIN_LENGTH = 6  # of a value that is redacted anywhere in a text: a shorter one may be part of a word
KEY_NAME = (
    r"(?:[\w.-]*[_.-])?(?:password|passwd|pwd|secret|credentials?|signature|auth|(?:api|access|secret|account)_?key)"
    r"|(?:[\w.-]*[.-])?(?:(?:aws|hf|api|access|auth|session|sas)_?)*token"  # not a tokenizer's pad_token
)
MIN_TOKEN_LENGTH = 16  # of a user name, which may be a token
USERINFO = re.compile(r"(?<=://)\S*@")  # up to the last @, since a password that is not encoded may contain / and @
QUERY = re.compile(rf"(?i)([?&;](?:{KEY_NAME}|user|username|key|awsaccesskeyid|sig)(?:_id)?=)([^&;\s'\"]+)")
ASSIGNED = re.compile(  # in YAML, JSON or an override
    rf"(?i)(?<![\w.?&;-])((?:{KEY_NAME})(?:_id)?['\"]?[=:] ?)(?!(?:null|none|true|false)\b)"
    r"(?:(['\"])[^\n]*?(?=\2)|[^\s'\",;}\])&]+)"
)
KEY = re.compile(rf"(?i)(?:{KEY_NAME})(?:_id)?")
VARIABLE = re.compile(r"(?i)(?:^|_)(?:password|passwd|token|secret|credentials?|api_?key|\w*key|access_key_id)$")


def redact(text: str) -> str:
    """Return ``text`` with ``***`` in place of every credential."""
    for credential in sorted(_list_encodings(_find_credentials()), key=len, reverse=True):
        text = text.replace(credential, MASK)
    if "://" in text:
        text = USERINFO.sub(f"{MASK}@", text)
    text = QUERY.sub(rf"\g<1>{MASK}", text)
    return ASSIGNED.sub(rf"\g<1>\g<2>{MASK}", text)


def redact_values(content: Any) -> Any:
    """Return a copy of JSON or YAML content without credentials in its keys' values and texts."""
    if isinstance(content, dict):
        return {
            key: MASK if isinstance(value, str) and KEY.fullmatch(str(key)) else redact_values(value)
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [redact_values(item) for item in content]
    return redact(content) if isinstance(content, str) else content


def remove_credentials(uri: str) -> str:
    """Return a server's address without credentials and query."""
    return re.split(r"[?#]", USERINFO.sub("", uri))[0].rstrip("/")


def redact_streams() -> None:
    """Redact everything that this process writes to its standard streams from now on, also tracebacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, RedactedStream):
            setattr(sys, name, RedactedStream(stream))


class RedactedStream:
    """A stream that redacts what is written to it, and otherwise behaves as the stream that it wraps."""

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


def _find_credentials() -> Iterator[str]:
    """Yield the credentials in environment variables, by the variable's name or in a URI."""
    for name, value in os.environ.items():
        if VARIABLE.search(name):
            yield value
        if "://" in value:
            for user, _, password in (who.partition(":") for who in re.findall(r"(?s)://(.*)@", value)):
                yield password
                if len(user) >= MIN_TOKEN_LENGTH:
                    yield user
            yield from (credential for _, credential in QUERY.findall(value))


def _list_encodings(credentials: Iterable[str]) -> set[str]:
    """Return every encoding in which a text may contain each of the credentials."""
    encodings = set()
    for credential in credentials:
        for plain in {credential, unquote(credential), unquote_plus(credential)}:
            encodings |= {plain, quote(plain, safe=""), quote(plain), quote_plus(plain)}
            encodings |= {repr(plain)[1:-1], json.dumps(plain)[1:-1]}
    return {text for text in encodings if len(text) >= MIN_LENGTH}
