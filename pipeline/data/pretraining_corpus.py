"""Documents to pre-train on, from the generator or from plain text files, and pairs of segments drawn from them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.validators import is_whole
from pipeline.data import synthetic

Topics = list[list[list[str]]]
EncodedTopics = list[list[list[list[int]]]]


def read(topics: int = 0, seed: int = 0, text: str | None = None) -> Topics:
    """The corpus that a conf file describes: generated `topics`, or the plain text files at `text`.

    Raises UserError when both or neither are given, or the text cannot be used.
    """
    for key, value in (("topics", topics), ("seed", seed)):
        if not is_whole(value):
            raise UserError(f"source.corpus: {key}: got {value!r}; give a whole number from 0")
    if topics > synthetic.MOST:
        raise UserError(f"source.corpus: topics: got {topics:,}; at most {synthetic.MOST:,} are generated")
    if (topics > 0) == (text is not None):
        raise UserError(
            f"source.corpus: got topics {topics} and text {text}; give either a number of topics to generate, "
            "or the path of a .txt file or of a folder of them"
        )
    return synthetic.documents(topics, seed) if text is None else plain(text)


def name(topics: int = 0, seed: int = 0, text: str | None = None) -> str:
    """What the corpus is, in a few words."""
    return text or f"{topics} generated topics"


def plain(path: str) -> Topics:
    """A plain text file, or every `*.txt` of a folder: a sentence a line, an empty line between documents.

    `path` is relative to the project. Each document is a separate topic, so a negative is a sentence of any other
    document.

    Raises UserError when there is nothing to read, text that is not UTF-8, or fewer than two documents with two
    sentences each.
    """
    place = paths.ROOT / path
    if not place.exists():
        raise UserError(
            f"source.corpus: text: got {path!r}, but the project has no such file or folder; "
            "give the path of a .txt file or of a folder of them, relative to the project"
        )
    files = sorted(place.glob("*.txt")) if place.is_dir() else [place]
    blocks = [block for file in files for block in _text(file).split("\n\n")]
    found = [[line.strip() for line in block.splitlines() if line.strip()] for block in blocks]
    kept = [[sentences] for sentences in found if len(sentences) > 1]
    if len(kept) < 2:
        raise UserError(
            f"source.corpus: text: {path} has {len(kept)} documents of two sentences or more, at least 2 are needed; "
            "write a sentence a line in a .txt file, with an empty line between documents"
        )
    return kept


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"source.corpus: text: {file} is not UTF-8 ({error.reason} at byte {error.start}); convert the file"
        ) from None


class Segments(NamedTuple):
    """The sentences of a corpus as one run of token ids, and where each sentence, document and topic begins.

    `tokens` holds all sentences; sentence i is `tokens[starts[i]:starts[i + 1]]`. `document` and `topic` give the
    number of each for every sentence. `first` is the first sentence of each document; `home` the first document of
    each topic (`starts`, `first` and `home` with one entry more, the end).
    """

    tokens: np.ndarray
    starts: np.ndarray
    document: np.ndarray
    topic: np.ndarray
    first: np.ndarray
    home: np.ndarray

    def sentence(self, index: int) -> np.ndarray:
        """The token ids of a sentence."""
        return self.tokens[self.starts[index] : self.starts[index + 1]]


def segments(topics: EncodedTopics) -> Segments:
    """Lay out topics of which every sentence is a list of token ids."""
    documents = [document for topic in topics for document in topic]
    sentences = [np.array(ids) for document in documents for ids in document]
    sizes = [len(document) for document in documents]
    document = np.repeat(np.arange(len(documents)), sizes)
    home = _ends([len(topic) for topic in topics])
    return Segments(
        tokens=np.concatenate(sentences),
        starts=_ends([len(ids) for ids in sentences]),
        document=document,
        topic=np.repeat(np.arange(len(topics)), np.diff(home))[document],
        first=_ends(sizes),
        home=home,
    )


def _ends(sizes: list[int]) -> np.ndarray:
    """Where each of the runs of these sizes begins, and the end."""
    return np.concatenate(([0], np.cumsum(sizes)))


def draw(corpus: Segments, count: int, near: float, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Pairs of sentences: indices of the first and the second, and whether the second follows (bool), each (count,).

    Half follow. Of the others a share `near` comes from another document of the same topic, which holds nearly the
    same words, and the rest, with those whose topic has no other document, from anywhere else in the corpus.
    """
    last = np.isin(np.arange(len(corpus.document)), corpus.first[1:] - 1)
    first = random.choice(np.flatnonzero(~last), count)
    follows = random.random(count) < 0.5
    begin, end = corpus.home[corpus.topic[first]], corpus.home[corpus.topic[first] + 1]
    close = (random.random(count) < near) & (end - begin > 1)
    shift = 1 + (random.random(count) * (end - begin - 1)).astype(int)
    sibling = begin + (corpus.document[first] - begin + shift) % (end - begin)
    documents = len(corpus.first) - 1
    anywhere = (corpus.document[first] + 1 + random.integers(0, documents - 1, count)) % documents
    other = np.where(close, sibling, anywhere)
    sizes = np.diff(corpus.first)[other]
    elsewhere = corpus.first[other] + (random.random(count) * sizes).astype(int)
    return first, np.where(follows, first + 1, elsewhere), follows
