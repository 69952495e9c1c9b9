"""Documents to pre-train on: plain text as it stands, and pairs of segments drawn by the rule."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import pretraining_corpus

TOPICS = [[[[1], [2], [3]], [[4], [5]]], [[[6], [7]], [[8], [9], [10]]], [[[11], [12]]]]
DOCUMENT = [0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4]
TOPIC = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2]


def drawn(near: float, count: int = 4000) -> tuple[np.ndarray, ...]:
    return pretraining_corpus.draw(pretraining_corpus.segments(TOPICS), count, near, np.random.default_rng(0))


def test_sentences_documents_and_topics_are_laid_out_in_order():
    laid = pretraining_corpus.segments(TOPICS)
    assert [laid.sentence(i).tolist() for i in range(12)] == [[i + 1] for i in range(12)]
    assert laid.document.tolist() == DOCUMENT
    assert laid.topic.tolist() == TOPIC


def test_half_of_the_second_segments_follow_and_none_of_the_others_is_of_the_same_document():
    first, second, follows = drawn(near=0.5)
    documents = np.array(DOCUMENT)
    assert (second[follows] == first[follows] + 1).all()
    assert (documents[second[follows]] == documents[first[follows]]).all()
    assert (documents[second[~follows]] != documents[first[~follows]]).all()
    assert abs(follows.mean() - 0.5) < 4 * np.sqrt(0.25 / len(follows))


def test_near_negatives_are_of_the_same_topic_where_it_has_another_document():
    first, second, follows = drawn(near=1.0)
    topics = np.array(TOPIC)
    has_sibling = topics[first] < 2
    same = topics[first] == topics[second]
    assert same[~follows & has_sibling].all()
    assert not same[~follows & ~has_sibling].any()


def test_plain_text_is_a_sentence_a_line_with_empty_lines_between_documents(tmp_path: Path):
    (tmp_path / "one.txt").write_text("A cat sat.\nIt slept.\n\nAlone.\n\nRain fell.\nIt rained on.\n")
    (tmp_path / "two.txt").write_text("Snow fell.\nIt was cold.\n")
    assert pretraining_corpus.read(text=str(tmp_path)) == [
        [["A cat sat.", "It slept."]],
        [["Rain fell.", "It rained on."]],
        [["Snow fell.", "It was cold."]],
    ]
    assert pretraining_corpus.read(text=str(tmp_path / "one.txt")) == pretraining_corpus.read(text=str(tmp_path))[:2]


def test_text_with_too_few_documents_is_refused(tmp_path: Path):
    file = tmp_path / "one.txt"
    file.write_text("Only one.\nDocument here.\n")
    with pytest.raises(UserError) as caught:
        pretraining_corpus.read(text=str(file))
    assert str(caught.value) == (
        f"source.corpus: text: {file} has 1 documents of two sentences or more, at least 2 are needed; "
        "write a sentence a line in a .txt file, with an empty line between documents"
    )


def test_text_is_named_relative_to_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "one.txt").write_text("A cat sat.\nIt slept.\n\nRain fell.\nIt rained on.\n")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert len(pretraining_corpus.read(text="one.txt")) == 2
    with pytest.raises(UserError) as caught:
        pretraining_corpus.read(text="two.txt")
    assert str(caught.value) == (
        "source.corpus: text: got 'two.txt', but the project has no such file or folder; "
        "give the path of a .txt file or of a folder of them, relative to the project"
    )


def test_text_that_is_not_utf_8_is_told_with_its_place(tmp_path: Path):
    file = tmp_path / "one.txt"
    file.write_bytes("Ein Käse.\n".encode("latin-1"))
    with pytest.raises(UserError) as caught:
        pretraining_corpus.read(text=str(file))
    assert str(caught.value) == (
        f"source.corpus: text: {file} is not UTF-8 (invalid continuation byte at byte 5); convert the file"
    )


@pytest.mark.parametrize("topics", ["many", -1, 1.5])
def test_a_number_of_topics_is_a_whole_one(topics: object):
    with pytest.raises(UserError) as caught:
        pretraining_corpus.read(topics=topics)
    assert str(caught.value) == f"source.corpus: topics: got {topics!r}; give a whole number from 0"


def test_a_corpus_is_either_generated_or_read():
    with pytest.raises(UserError) as caught:
        pretraining_corpus.read(topics=3, text="somewhere")
    assert str(caught.value) == (
        "source.corpus: got topics 3 and text somewhere; give either a number of topics to generate, "
        "or the path of a .txt file or of a folder of them"
    )


def test_topics_without_end_are_refused_before_the_first() -> None:
    with pytest.raises(UserError) as error:
        pretraining_corpus.read(topics=10**9)
    assert str(error.value) == "source.corpus: topics: got 1,000,000,000; at most 1,000,000 are generated"
