"""A conf file of a task is read whole, and what is wrong with it is told in one line."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.errors import UserError
from pipeline.tasks import task_config

CONF = Path(__file__).resolve().parents[2] / "conf" / "task"

# Rows of train by label and of the reported split: Wang et al. 2019 (GLUE), table 1, and the cards of the corpora.
PUBLISHED = {
    "mrpc": (3668, 2),
    "rte": (2490, 2),
    "cola": (8551, 2),
    "sst2": (67349, 2),
    "stsb": (5749, 1),
    "qnli": (104743, 2),
    "qqp": (363846, 2),
    "mnli": (392702, 3),
    "wnli": (635, 2),
}


def conf(**changes: Any) -> dict[str, Any]:
    """The conf of a made-up task, with some keys changed; a key set to the word `absent` is left out."""
    stated = {
        "name": "made-up",
        "source": {},
        "columns": {"text_a": "one", "text_b": "two", "label": "same"},
        "labels": ["no", "yes"],
        "metrics": ["accuracy", "f1"],
        "score": "f1",
        "report": "validation",
        "train_counts": [10, 20],
        "selection": {"fraction": 0.1, "seed": 0},
        "subset_seed": 0,
        "max_length": 128,
    } | changes
    return {key: value for key, value in stated.items() if value != "absent"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_task_of_glue_states_the_published_rows_of_train(name: str) -> None:
    task = task_config.load_task(yaml.safe_load((CONF / f"{name}.yaml").read_text()))
    assert (sum(task.train_counts), len(task.train_counts)) == PUBLISHED[name]
    assert task.name == name


def test_stsb_is_a_regression_and_cola_has_one_text() -> None:
    stsb, cola = (
        task_config.load_task(yaml.safe_load((CONF / f"{name}.yaml").read_text())) for name in ("stsb", "cola")
    )
    assert (stsb.regression, stsb.range, stsb.texts) == (True, (0, 5), ("text_a", "text_b"))
    assert (cola.regression, cola.labels, cola.texts) == (False, ("unacceptable", "acceptable"), ("text_a",))


MISTAKES = [
    ({"score": "absent"}, "score: missing; give text"),
    ({"columns": {"text_a": "one", "text_c": "x", "label": "same"}},
     "columns.text_c: unknown key; did you mean 'text_b'? (allowed: label, text_a, text_b)"),
    ({"columns": {"text_a": "one"}}, "columns.label: missing; give text"),
    ({"labels": None}, "labels: give either the labels of a classification or the range of a regression"),
    ({"range": [0, 5]}, "labels: give either the labels of a classification or the range of a regression"),
    ({"labels": ["yes", "yes"]}, "labels: got yes, yes; name at least two, each once, in the order of their numbers"),
    ({"labels": [False, "yes"]}, "labels[0]: got false, which is no text; put it in quotes: \"false\" (or as the data "
     "write it: yes, no, on, off)"),
    ({"labels": ["void", None]}, 'labels[1]: got null, which is no text; put it in quotes: "null"'),
    ({"labels": [1, 1.5]}, 'labels[1]: got 1.5, which is no text; put it in quotes: "1.5"'),
    ({"labels": ["", "a"]}, "labels[0]: got an empty text; a class name holds at least one character"),
    ({"labels": [1, "01"]}, "labels: '1' and '01' are the same number; rename one of them, in the data too"),
    ({"class_weights": "balanced"}, "class_weights: unknown key; allowed: columns, labels, max_length, metrics, name, "
     "range, report, score, selection, source, subset_seed, train_counts"),
    ({"max_lenght": 3}, "max_lenght: unknown key; did you mean 'max_length'? (allowed: columns, labels, max_length, "
     "metrics, name, range, report, score, selection, source, subset_seed, train_counts)"),
    ({"epochs": 3}, "epochs: unknown key; did you mean 'report'? (allowed: columns, labels, max_length, "
     "metrics, name, range, report, score, selection, source, subset_seed, train_counts)"),
    ({"metrics": ["acuracy"], "score": "acuracy"},
     "metrics: got 'acuracy'; did you mean 'accuracy'? (allowed: accuracy, f1, matthews_correlation)"),
    ({"metrics": ["pearson"], "score": "pearson"},
     "metrics: got 'pearson'; allowed: accuracy, f1, matthews_correlation"),
    ({"labels": ["a", "b", "c"], "train_counts": [1, 2, 3]},
     "metrics: f1 is that of the second of two labels, but there are 3"),
    ({"score": "fi"}, "score: got 'fi'; did you mean 'f1'? (allowed: accuracy, f1)"),
    ({"train_counts": [3]}, "train_counts: got 1 counts; give 2, one a label"),
    ({"selection": {"fraction": 1, "seed": 0}}, "selection.fraction: got 1; give a number above 0 and below 1"),
    ({"selection": {"fraction": "a tenth", "seed": 0}},
     "selection.fraction: got 'a tenth'; give a number above 0 and below 1"),
    ({"selection": {"fraction": 0.1}}, "selection.seed: missing; give a whole number"),
    ({"selection": {}}, "selection.fraction: missing; give a number above 0 and below 1\n"
     "conf/task/made-up.yaml: selection.seed: missing; give a whole number"),
    ({"selection": 0.1}, "selection: got 0.1; give {fraction: ..., seed: ...}"),
    ({"selection": {"fraction": 0.1, "seed": "x"}}, "selection.seed: got 'x'; give a whole number"),
    ({"subset_seed": None}, "subset_seed: got nothing; give a whole number"),
    ({"max_length": "long"}, "max_length: got 'long'; give a whole number from 8"),
]  # fmt: skip


def test_whole_numbers_as_class_names_are_their_digits() -> None:
    assert task_config.load_task(conf(labels=[1, 0])).labels == ("1", "0")


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_a_mistake_in_a_task_is_told_with_file_and_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        task_config.load_task(conf(**changes))
    assert str(error.value) == f"conf/task/made-up.yaml: {message}"
