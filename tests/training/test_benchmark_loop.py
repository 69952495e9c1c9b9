"""Fine-tuning that goes on for ever comes back to the same batches, whatever their size."""

from collections.abc import Callable

import numpy as np
import pytest
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.data.batches import Examples
from pipeline.system.distributed import SINGLE_PROCESS
from pipeline.training.benchmark_loop import BATCHES, start_benchmark_loop


@pytest.mark.parametrize("rows", [2, 5, 64])
def test_the_same_batches_of_like_length_come_again_and_again(
    bert: Callable[..., BertForSequenceClassification], examples: Callable[..., Examples], rows: int
) -> None:
    train = examples(60)
    with start_benchmark_loop(bert(), train, rows, "fp32", SINGLE_PROCESS) as run:
        for _ in range(3 * BATCHES):
            run.backward(run.forward(run.take()))
            run.update()
        first, second, third = (run.lengths[turn * BATCHES : (turn + 1) * BATCHES] for turn in range(3))
    assert all(np.array_equal(one, other) for turn in (second, third) for one, other in zip(first, turn, strict=True))
    assert {len(batch) for batch in first} == {min(rows, 60)}
    if rows == 2:
        longest = [batch.max() for batch in first]
        assert longest == sorted(longest, reverse=True)
        assert longest[0] - longest[-1] > (train.lengths.max() - train.lengths.min()) / 2  # spread over the lengths
