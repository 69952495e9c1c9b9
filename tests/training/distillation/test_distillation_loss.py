"""The losses of a student: their values and gradients against closed forms, and against a plain model's own outputs."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch import Tensor
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.core.errors import UserError
from pipeline.data import batches
from pipeline.data.batches import Batch, Examples
from pipeline.metrics import registry as judging
from pipeline.models import bert_layers, layer_surgery
from pipeline.models.low_rank_layers import LowRankLinear
from pipeline.training import finetune_classifier, task_loss
from pipeline.training.distillation import distillation_loss, distillation_settings, layer_outputs, teacher_outputs
from pipeline.training.distillation.distillation_settings import AttentionMatching, Distillation, HiddenMatching
from pipeline.training.predict import predict_logits
from pipeline.training.recipe import Recipe

Bert = Callable[..., BertForSequenceClassification]
Make = Callable[..., Examples]
Recipes = Callable[..., Recipe]
Teach = Callable[..., distillation_loss.DistillationLoss]

JUDGE = partial(judging.judge, metrics=["accuracy"])
HIDDEN = HiddenMatching(weight=1.0, layers="uniform")
TINYBERT = AttentionMatching(weight=1.0, kind="tinybert", layers="uniform")
MINILM = AttentionMatching(weight=1.0, kind="minilm", layers="last")
F16 = 2e-3  # what the teacher's states kept in half precision change of a loss, relative
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture
def teach(tmp_path: Path) -> Teach:
    """Ask a teacher what a distillation needs and return the loss of its student."""

    def made(
        settings: Distillation, student: BertForSequenceClassification, taught: BertForSequenceClassification,
        train: Examples, seed: int = 0,
    ) -> distillation_loss.DistillationLoss:  # fmt: skip
        needs = distillation_settings.select_layers(
            settings, len(bert_layers.list_layers(student)), len(bert_layers.list_layers(taught))
        )
        answers = teacher_outputs.run_teacher(taught, train, needs, "fp32", tmp_path)
        return distillation_loss.DistillationLoss(settings, answers, student, train, seed)

    return made


def drawn(rows: int = 5, classes: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    said, taught = 3 * torch.randn(2, rows, classes, dtype=torch.float64)
    return said.requires_grad_(), taught


def gradient(said: Tensor, taught: Tensor, temperature: float) -> Tensor:
    return torch.autograd.grad(distillation_loss.compute_soft_loss(said, taught, temperature), said)[0]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 20.0])
def test_soft_targets_are_the_relative_entropy_of_the_softened_distributions(temperature: float) -> None:
    said, taught = drawn()
    student, teacher = (softmax(part.detach().numpy() / temperature, axis=1) for part in (said, taught))
    expected = temperature**2 * rel_entr(teacher, student).sum() / len(said)
    assert distillation_loss.compute_soft_loss(said, taught, temperature).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_gradient_is_that_of_the_closed_form(temperature: float) -> None:
    said, taught = drawn()
    difference = (said / temperature).softmax(1) - (taught / temperature).softmax(1)
    torch.testing.assert_close(gradient(said, taught, temperature), temperature * difference.detach() / len(said))


def test_the_gradient_keeps_its_scale_as_the_temperature_grows() -> None:
    said, taught = drawn()
    difference = (said - taught).detach()
    limit = (difference - difference.mean(1, keepdim=True)) / said.shape[1] / len(said)
    torch.testing.assert_close(gradient(said, taught, 1e5), limit, rtol=1e-3, atol=1e-6)


def test_a_regression_learns_the_number_of_the_teacher() -> None:
    said, taught = drawn(classes=1)
    expected = np.mean((said.detach().numpy() - taught.numpy()) ** 2)
    assert distillation_loss.compute_soft_loss(said, taught, 7.0).item() == pytest.approx(expected)


def padded(train: Examples) -> Batch:
    batch = batches.collate(train, np.array([3, 8, 1, 5]))
    assert len(set(train.lengths[batch.rows])) > 1
    return batch


@pytest.mark.usefixtures("fp32")
def test_relations_softmaxed_are_the_attention_of_an_eager_model(bert: Bert, examples: Make) -> None:
    model, batch = bert(attn_implementation="eager", num_attention_heads=4), padded(examples(20))
    with layer_outputs.record_layers(model) as seen:
        plain = model(**batch.inputs, output_attentions=True, output_hidden_states=True)
    padding = batch.inputs["attention_mask"][:, None, None] == 0
    for query, key, attention in zip(seen.query, seen.key, plain.attentions, strict=True):
        shares = distillation_loss.compute_relations(query, key, 4).masked_fill(padding, -1e9).softmax(3)
        torch.testing.assert_close(shares, attention)
    for mine, state in zip(seen.states, plain.hidden_states, strict=True):
        torch.testing.assert_close(mine, state)


def test_layers_that_share_their_modules_are_seen_each_by_itself(bert: Bert, examples: Make) -> None:
    model, batch = bert(num_hidden_layers=3), padded(examples(20))
    first, *others = model.bert.encoder.layer
    for layer in others:
        layer.attention, layer.intermediate, layer.output = first.attention, first.intermediate, first.output
    with layer_outputs.record_layers(model) as seen:
        model(**batch.inputs)
    for number in range(3):
        torch.testing.assert_close(seen.query[number], first.attention.self.query(seen.states[number]))
    assert (len(seen.states), len(seen.query), len(seen.key), len(seen.value)) == (4, 3, 3, 3)
    assert not first.attention.self.query._forward_hooks


Parts = dict[str, list[np.ndarray]]


def inside(model: BertForSequenceClassification, batch: Batch) -> Parts:
    """Return states, and queries, keys and values split into heads, computed by hand from the states and weights."""
    with torch.no_grad():
        states = [state.numpy() for state in model(**batch.inputs, output_hidden_states=True).hidden_states]
    parts: Parts = {"states": states, "query": [], "key": [], "value": []}
    for layer, state in zip(model.bert.encoder.layer, states[:-1], strict=True):
        attend: Any = layer.attention.self
        for name in ("query", "key", "value"):
            linear = getattr(attend, name)
            made = state @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
            parts[name].append(made.reshape(*made.shape[:2], attend.num_attention_heads, -1).swapaxes(1, 2))
    return parts


def products(left: np.ndarray, right: np.ndarray, row: int, length: int) -> np.ndarray:
    """Return the scaled products of one example's real tokens, (heads, length, length)."""
    return left[row, :, :length] @ right[row, :, :length].swapaxes(1, 2) / np.sqrt(left.shape[3])


def the_rest(loss: distillation_loss.DistillationLoss, model: BertForSequenceClassification, batch: Batch) -> float:
    """Return the loss without its part for the outputs."""
    said = model(**batch.inputs).logits
    taught = torch.from_numpy(loss.teacher.logits[batch.rows])
    alpha = loss.settings.alpha
    hard = torch.nn.functional.cross_entropy(said, batch.labels)
    outputs = alpha * distillation_loss.compute_soft_loss(said, taught, loss.settings.temperature) + (1 - alpha) * hard
    return (loss(model, batch) - outputs).item()


def test_states_are_matched_over_real_tokens_through_the_projections(bert: Bert, examples: Make, teach: Teach) -> None:
    train = examples(20)
    batch, small, large = padded(train), bert(), bert(1, hidden_size=48, num_hidden_layers=4)
    loss = teach(
        Distillation(alpha=0.5, temperature=2.0, hidden=HiddenMatching(weight=0.7, layers="uniform")),
        small,
        large,
        train,
    )
    mine, theirs, lengths = inside(small, batch)["states"], inside(large, batch)["states"], train.lengths[batch.rows]
    expected = 0.0
    for layer, other in ((0, 0), (1, 2), (2, 4)):
        weight = loss.projections[str(layer)].weight.detach().numpy()
        errors = [
            (mine[layer][row, :length] @ weight.T - theirs[other][row, :length]) ** 2
            for row, length in enumerate(lengths)
        ]
        expected += 0.7 * np.concatenate(errors).mean()
    assert the_rest(loss, small, batch) == pytest.approx(expected, rel=F16)


def test_tinybert_matches_the_scores_before_the_softmax(bert: Bert, examples: Make, teach: Teach) -> None:
    train = examples(20)
    batch, small, large = padded(train), bert(), bert(1, hidden_size=48, num_hidden_layers=4)
    loss = teach(
        Distillation(
            alpha=0.5, temperature=2.0, attention=AttentionMatching(weight=0.7, kind="tinybert", layers="uniform")
        ),
        small,
        large,
        train,
    )
    mine, theirs, lengths = inside(small, batch), inside(large, batch), train.lengths[batch.rows]
    expected = 0.0
    for layer, other in ((0, 1), (1, 3)):
        errors = [
            products(mine["query"][layer], mine["key"][layer], row, length)
            - products(theirs["query"][other], theirs["key"][other], row, length)
            for row, length in enumerate(lengths)
        ]
        expected += 0.7 * np.mean(np.concatenate([error.ravel() ** 2 for error in errors]))
    assert the_rest(loss, small, batch) == pytest.approx(expected, rel=F16)


def test_minilm_matches_the_last_attention_and_value_relations(bert: Bert, examples: Make, teach: Teach) -> None:
    train = examples(20)
    small, large = bert(), bert(1, hidden_size=48, num_hidden_layers=4, attn_implementation="eager")
    batch = padded(train)
    loss = teach(
        Distillation(alpha=0.5, temperature=2.0, attention=AttentionMatching(weight=0.7, kind="minilm", layers="last")),
        small,
        large,
        train,
    )
    mine, theirs, lengths = inside(small, batch), inside(large, batch), train.lengths[batch.rows]
    attended = large(**batch.inputs, output_attentions=True).attentions[-1].detach().numpy()
    entropies: list[list[np.ndarray]] = [[], []]
    for row, length in enumerate(lengths):
        said = softmax(products(mine["query"][-1], mine["key"][-1], row, length), axis=2)
        entropies[0].append(rel_entr(attended[row, :, :length, :length], said).sum(2).ravel())
        between = log_softmax(products(mine["value"][-1], mine["value"][-1], row, length), axis=2)
        told = log_softmax(products(theirs["value"][-1], theirs["value"][-1], row, length), axis=2)
        entropies[1].append((np.exp(told) * (told - between)).sum(2).ravel())
    expected = 0.7 * sum(np.concatenate(part).mean() for part in entropies)
    assert the_rest(loss, small, batch) == pytest.approx(expected, rel=5 * F16)


@pytest.mark.parametrize("attention", [TINYBERT, MINILM], ids=lambda attention: attention.kind)
def test_the_padding_does_not_matter(bert: Bert, examples: Make, teach: Teach, attention: AttentionMatching) -> None:
    train = examples(40)
    loss = teach(
        Distillation(alpha=0.5, temperature=2.0, hidden=HIDDEN, attention=attention),
        small := bert(),
        bert(1, num_hidden_layers=3),
        train,
    )
    rows = np.argsort(train.lengths)[:6]
    short, long = (batches.collate(train, rows, multiple) for multiple in (1, 12))
    assert short.places < long.places
    torch.testing.assert_close(loss(small, short), loss(small, long))


@pytest.mark.parametrize("attention", [TINYBERT, MINILM], ids=lambda attention: attention.kind)
def test_a_copy_of_the_teacher_has_nothing_to_learn_from_inside(
    bert: Bert, examples: Make, teach: Teach, attention: AttentionMatching
) -> None:
    train = examples(20)
    loss = teach(
        Distillation(alpha=0.5, temperature=2.0, hidden=HIDDEN, attention=attention), model := bert(), bert(), train
    )
    assert the_rest(loss, model, padded(train)) == pytest.approx(0, abs=1e-5)  # the projections begin as the identity


@pytest.mark.usefixtures("fp32")
def test_the_whole_loss_has_a_gradient_for_everything_that_is_trained(bert: Bert, examples: Make, teach: Teach) -> None:
    train = examples(20)
    small, large = bert(**STILL), bert(1, hidden_size=48, num_hidden_layers=4)
    loss = teach(Distillation(alpha=0.5, temperature=2.0, hidden=HIDDEN, attention=MINILM), small, large, train)
    loss(small, padded(train)).backward()
    gradients = {**dict(small.named_parameters()), **dict(loss.named_parameters())}
    assert [name for name, weight in gradients.items() if weight.grad is None] == []
    assert sorted(name for name, _ in loss.named_parameters()) == [f"projections.{n}.weight" for n in range(3)]


def test_projections_are_drawn_from_the_seed_alone(bert: Bert, examples: Make, teach: Teach) -> None:
    train, small, large = examples(9), bert(), bert(1, hidden_size=48)
    settings = Distillation(alpha=0.5, temperature=2.0, hidden=HIDDEN)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, again, other = (teach(settings, small, large, train, seed).state_dict() for seed in (0, 0, 7))
    assert torch.equal(torch.get_rng_state(), state)
    for name, weight in one.items():
        assert torch.equal(weight, again[name])
        assert not torch.equal(weight, other[name])


def tuned(
    model: BertForSequenceClassification, train: Examples, recipe: Recipe, loss: task_loss.TaskLoss | None = None
) -> dict[str, Any]:
    return finetune_classifier.finetune_classifier(model, train, train, recipe, JUDGE, "accuracy", 0, loss=loss)


def test_without_the_teacher_s_share_it_is_plain_fine_tuning(
    bert: Bert, examples: Make, recipe: Recipes, teach: Teach
) -> None:
    train, plain, taught = examples(40), bert(), bert()
    results = [
        tuned(plain, train, recipe()),
        tuned(taught, train, recipe(), teach(Distillation(alpha=0.0, temperature=2.0), taught, bert(1), train)),
    ]
    assert results[0]["loss"] == results[1]["loss"]
    for name, weight in plain.state_dict().items():
        assert weight.numpy().tobytes() == taught.state_dict()[name].numpy().tobytes(), name


def test_a_distilled_student_agrees_with_its_teacher_whatever_the_labels(
    bert: Bert, examples: Make, recipe: Recipes, teach: Teach
) -> None:
    train, large, settings = examples(200), bert(1), recipe(epochs=4, learning_rate=3e-3)
    tuned(large, train, settings)
    told = predict_logits(large, train, "fp32").argmax(1)
    assert 0.1 < told.mean() < 0.9
    train.labels[:] = np.random.default_rng(0).integers(0, 2, len(train))
    alone, taught = bert(), bert()
    tuned(alone, train, settings)
    tuned(taught, train, settings, teach(Distillation(alpha=1.0, temperature=2.0), taught, large, train))
    agreement = [np.mean(predict_logits(student, train, "fp32").argmax(1) == told) for student in (alone, taught)]
    assert agreement[1] > 0.95 > agreement[0] + 0.1


def test_a_student_comes_nearer_inside_and_the_teacher_stays_as_it_was(
    bert: Bert, examples: Make, recipe: Recipes, teach: Teach
) -> None:
    train, small, large = examples(64), bert(), bert(1, hidden_size=48, num_hidden_layers=4)
    before = copy.deepcopy(large.state_dict())
    loss = teach(Distillation(alpha=0.5, temperature=2.0, hidden=HIDDEN, attention=TINYBERT), small, large, train)
    drawn = copy.deepcopy(loss.state_dict())
    far = the_rest(loss, small, padded(train))
    tuned(small, train, recipe(epochs=4, learning_rate=3e-3), loss)
    assert the_rest(loss, small.eval(), padded(train)) < 0.7 * far
    for name, weight in loss.state_dict().items():
        assert not torch.equal(weight, drawn[name])
    for name, weight in large.state_dict().items():
        assert torch.equal(weight, before[name])
    assert not any(weight.requires_grad and weight.grad is not None for weight in large.parameters())


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("attention", [None, TINYBERT, MINILM], ids=lambda attention: attention and attention.kind)
def test_the_last_layer_is_matched_whole_while_training(
    bert: Bert, examples: Make, recipe: Recipes, teach: Teach, attention: AttentionMatching | None
) -> None:
    train, small, large = examples(12), bert(**STILL), bert(1)
    loss = teach(
        Distillation(alpha=0.5, temperature=2.0, hidden=HiddenMatching(weight=1.0, layers="last"), attention=attention),
        small,
        large,
        train,
    )
    expected = loss(small, batches.collate(train, np.arange(12))).item()
    result = tuned(small, train, recipe(learning_rate=1e-12, evaluations=1, batch_size=12), loss)
    assert result["loss"] == pytest.approx(expected, rel=1e-4)


def test_a_compressed_student_is_taught(bert: Bert, examples: Make, recipe: Recipes, teach: Teach) -> None:
    train, small, large = examples(40), bert(num_hidden_layers=3), bert(1, num_hidden_layers=4)
    layers: Any = small.bert.encoder.layer
    layers[1].attention = layers[0].attention
    layer_surgery.replace_module(
        small, "bert.encoder.layer.2.attention.self.query", LowRankLinear(32, 32, 4, bias=True)
    )
    loss = teach(Distillation(alpha=0.5, temperature=2.0, hidden=HIDDEN, attention=TINYBERT), small, large, train)
    whole = batches.collate(train, np.arange(40))
    before = loss(small, whole).item()
    tuned(small, train, recipe(epochs=3), loss)
    assert loss(small.eval(), whole).item() < 0.9 * before
    assert layers[1].attention is layers[0].attention


def test_under_autocast_the_loss_is_computed_in_fp32(bert: Bert, examples: Make, teach: Teach) -> None:
    train, model = examples(20), bert()
    loss, batch = teach(Distillation(alpha=1.0, temperature=2.0), model, bert(1), train), padded(train)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        found, said = loss(model, batch), model(**batch.inputs).logits
    assert (found.dtype, said.dtype) == (torch.float32, torch.bfloat16)
    taught = torch.from_numpy(loss.teacher.logits[batch.rows])
    assert torch.equal(found, distillation_loss.compute_soft_loss(said.float(), taught, 2.0))


def refused(teach: Teach, *given: Any) -> str:
    with pytest.raises(UserError) as error:
        teach(*given)
    return str(error.value)


def test_attention_of_other_heads_cannot_be_matched(bert: Bert, examples: Make, teach: Teach) -> None:
    settings = Distillation(alpha=0.5, temperature=2.0, attention=TINYBERT)
    message = refused(teach, settings, bert(), bert(num_hidden_layers=4, num_attention_heads=4), examples(5))
    assert message == (
        "layer 1 of the student has 2 attention heads, layer 2 of the teacher 4, so their attention cannot be matched; "
        "take a student with as many, or set attention to null"
    )


def test_states_of_other_tokens_cannot_be_matched(bert: Bert, examples: Make, tmp_path: Path) -> None:
    mine, theirs = examples(5), examples(5, seed=1)
    settings, model = Distillation(alpha=0.5, temperature=2.0, hidden=HIDDEN), bert()
    answers = teacher_outputs.run_teacher(
        model, theirs, distillation_settings.select_layers(settings, 2, 2), "fp32", tmp_path
    )
    with pytest.raises(UserError) as error:
        distillation_loss.DistillationLoss(settings, answers, model, mine, 0)
    assert str(error.value) == (
        "the student does not read the training rows as the tokens that the teacher reads "
        f"({len(mine.tokens)} and {len(theirs.tokens)} of them), so states and attention cannot be matched; take a "
        "student with the teacher's tokenizer, or set hidden and attention to null"
    )
    logits_only = Distillation(alpha=0.5, temperature=2.0)
    assert distillation_loss.DistillationLoss(logits_only, answers, model, mine, 0).needs_all_tokens is False


def test_outputs_of_another_task_cannot_be_matched(bert: Bert, examples: Make, teach: Teach) -> None:
    message = refused(teach, Distillation(alpha=0.5, temperature=2.0), bert(num_labels=3), bert(), examples(5))
    assert message == "the student has 3 outputs, the teacher 2; both must be of one task"
