"""A made-up task on pairs, small enough to count by hand."""

import pytest

from pipeline.tasks.task_config import Columns, Selection, Task


@pytest.fixture
def task() -> Task:
    return Task(
        name="made-up",
        source={},
        columns=Columns(text_a="one", text_b="two", label="same"),
        labels=("no", "yes"),
        range=None,
        metrics=("accuracy", "f1", "matthews_correlation"),
        score="f1",
        report="validation",
        train_counts=(20, 40),
        selection=Selection(fraction=0.1, seed=0),
        subset_seed=0,
        max_length=8,
    )
