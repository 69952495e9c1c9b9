"""Whether padding leaves the outputs of a model alone, as batches of rows of different length need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.core.errors import UserError
from pipeline.data.batches import Examples
from pipeline.models import model_inputs
from pipeline.training.predict import predict_logits

SHORT = (7, 25)  # tokens of rows that are padded to the longest that the model takes
MAX_LENGTH = 1024  # of the longest row, to bound the time of the check
MAX_DIFFERENCE = 1e-4  # of logits in fp32: the order of sums alone came to 2e-6 in 30 families


def check_padding(model: Any, tokenizer: Any, longest: int, where: str) -> None:
    """Raise UserError when a row alone and the same row in a padded batch have different logits.

    ``model`` is a classifier in fp32, ``tokenizer`` the one it was opened with, ``longest`` the most tokens of a row.
    """
    kind, remedy = model.config.model_type, "name a checkpoint of another family in conf/model"
    if not model_inputs.is_parameter("attention_mask", type(model)):
        raise UserError(f"{where}: a {kind} cannot ignore padding, for it takes no attention mask; {remedy}")
    lengths = [min(length, longest) for length in (*SHORT, longest)]
    try:
        difference = compute_padding_effect(model, tokenizer, lengths)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{where}: this {kind} does not read rows of {', '.join(map(str, lengths))} tokens ({reason}); {remedy}"
        ) from None
    if not difference <= MAX_DIFFERENCE:
        raise UserError(
            f"{where}: padding changes the answers of this {kind}: logits of a row alone and in a padded batch differ "
            f"by {difference:.1g}, above {MAX_DIFFERENCE:g}; {remedy}"
        )


def compute_padding_effect(model: Any, tokenizer: Any, lengths: Sequence[int]) -> float:
    """Return the largest difference between the logits of rows alone and together in one padded batch.

    ``lengths`` are the tokens of the rows.
    """
    examples = _make_examples(tokenizer, np.array(lengths))
    alone = [predict_logits(model, _take_row(examples, row), "fp32") for row in range(len(examples))]
    return float(np.abs(np.concatenate(alone) - predict_logits(model, examples, "fp32")).max())


def _make_examples(tokenizer: Any, lengths: np.ndarray) -> Examples:
    """Return rows of random tokens, of two segments if the model distinguishes them."""
    random = np.random.default_rng(0)
    ordinary = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
    segments = [np.arange(length) > length // 2 for length in lengths]
    return Examples(
        tokens=random.choice(ordinary, lengths.sum()),
        types=np.concatenate(segments).astype(np.int64) if "token_type_ids" in tokenizer.model_input_names else None,
        starts=np.cumsum([0, *lengths]),
        labels=np.zeros(len(lengths), dtype=np.int64),
        pad=tokenizer.pad_token_id,
        left=tokenizer.padding_side == "left",
    )


def _take_row(examples: Examples, row: int) -> Examples:
    start, end = examples.starts[row : row + 2]
    types = None if examples.types is None else examples.types[start:end]
    labels, starts = examples.labels[row : row + 1], np.array([0, end - start])
    return replace(examples, tokens=examples.tokens[start:end], types=types, starts=starts, labels=labels)
