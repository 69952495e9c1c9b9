"""Predictions: one an example, in order, whatever the batches were."""

from collections.abc import Callable

import numpy as np
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.data import batches
from pipeline.data.batches import Examples
from pipeline.training.predict import predict_logits

Bert = Callable[..., BertForSequenceClassification]


def test_an_example_gets_the_logits_it_gets_alone(bert: Bert, examples: Callable[..., Examples]) -> None:
    model, given = bert(), examples(150)
    said = predict_logits(model, given, "fp32")
    assert said.shape == (150, 2)
    for row in (0, 1, 77, 149):
        alone = model(**batches.collate(given, np.array([row])).inputs).logits
        np.testing.assert_allclose(said[row], alone[0].detach().numpy(), rtol=1e-4, atol=1e-5)


def test_nothing_is_dropped_no_gradient_is_kept_and_the_mode_stays(
    bert: Bert, examples: Callable[..., Examples]
) -> None:
    model, given = bert(hidden_dropout_prob=0.5).train(), examples(10)
    gradients = []
    model.register_forward_hook(lambda _, __, output: gradients.append(output.logits.requires_grad))
    np.testing.assert_array_equal(predict_logits(model, given, "fp32"), predict_logits(model, given, "fp32"))
    assert model.training
    assert gradients == [False, False]


def test_bf16_says_nearly_the_same(bert: Bert, examples: Callable[..., Examples]) -> None:
    model, given = bert(), examples(40)
    exact, near = predict_logits(model, given, "fp32"), predict_logits(model, given, "bf16")
    assert near.dtype == np.float32
    assert not np.array_equal(exact, near)
    np.testing.assert_allclose(near, exact, atol=0.05)
