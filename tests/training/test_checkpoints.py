"""A training that dies goes on from its last checkpoint and ends as if it had never died, byte for byte."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.core.errors import UserError
from pipeline.data.batches import Examples
from pipeline.metrics import registry
from pipeline.training import checkpoints, pretrain_model
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.finetune_classifier import finetune_classifier
from pipeline.training.recipe import Recipe
from pipeline.training.task_loss import TaskLoss
from tests.training.test_pretrain_model import TINY, Silent, digest
from tests.training.together import Certain

Bert = Callable[..., BertForSequenceClassification]
Make = Callable[..., Examples]
Recipes = Callable[..., Recipe]
JUDGE = partial(registry.judge, metrics=["accuracy"])
MEASURED = ("seconds", "per_second", "memory")  # what a clock or the machine told: another time at every run


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a checkpoint after every step, whatever it takes."""
    monkeypatch.setattr(checkpoints, "MIN_INTERVAL_RATIO", 0)


class Died(Exception):
    pass


def dying(at: int) -> Callable[[int], None]:
    """Return what is told of every step, and dies after so many of them."""
    made = 0

    def advanced(steps: int) -> None:
        nonlocal made
        made += steps
        if made == at:
            raise Died

    return advanced


def sparse(model: BertForSequenceClassification) -> None:
    with torch.no_grad():
        model.bert.encoder.layer[0].intermediate.dense.weight[:, ::2] = 0


def shared(model: BertForSequenceClassification) -> None:
    model.bert.encoder.layer[1].intermediate = model.bert.encoder.layer[0].intermediate


def determined(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if not any(word in name for word in MEASURED)}


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("change", [lambda model: None, sparse, shared], ids=["plain", "sparse", "shared"])
@pytest.mark.parametrize("at", [1, 3, 4, 6, 8])  # a point of the curves lies after every second step
def test_a_run_that_died_ends_with_the_same_bytes(
    bert: Bert, examples: Make, recipe: Recipes, tmp_path: Path, change: Callable[[Any], None], at: int
) -> None:
    train, selection, settings = examples(30), examples(12, seed=1), recipe(epochs=2, evaluations=4)

    def run(
        model: BertForSequenceClassification, advanced: Callable[[int], None], kept: Checkpoint
    ) -> tuple[Any, list[Any], TaskLoss]:
        change(model)
        curve: list[Any] = []
        loss, record = Certain(), lambda *point: curve.append(point)
        result = finetune_classifier(
            model, train, selection, settings, JUDGE, "accuracy", 3, record, advanced, loss=loss, checkpoint=kept
        )
        return result, curve, loss

    steady, died, resumed = bert(), bert(), bert()
    told, curve, loss = run(steady, dying(-1), Checkpoint())
    file = tmp_path / "training.safetensors"
    with pytest.raises(Died):
        run(died, dying(at), Checkpoint(file, min_seconds=0.0))
    made: list[int] = []
    again, anew, other = run(resumed, made.append, Checkpoint(file, min_seconds=1e9))
    assert made[0] == (at - 1 or 1)  # it died before the state after its last step was kept
    assert sum(made) == told["steps"] == 8
    assert determined(again) == determined(told)
    assert anew == curve
    assert other.spread.item() == loss.spread.item()  # type: ignore[attr-defined]
    for name, weight in steady.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_the_end_of_a_run_is_kept_where_other_work_follows(
    bert: Bert, examples: Make, recipe: Recipes, tmp_path: Path
) -> None:
    train = examples(30)

    def run(model: BertForSequenceClassification, made: list[int]) -> dict[str, Any]:
        kept = Checkpoint(tmp_path / "training.safetensors", min_seconds=1e9, save_at_end=True)
        return finetune_classifier(
            model, train, train, recipe(), JUDGE, "accuracy", 0, on_step=made.append, checkpoint=kept
        )  # fmt: skip

    first, second, made = bert(), bert(), []
    told = run(first, [])
    again = run(second, made)
    assert made == [told["steps"]]
    assert again["train_seconds"] == told["train_seconds"]
    assert determined(again) == determined(told)
    assert all(torch.equal(weight, second.state_dict()[name]) for name, weight in first.state_dict().items())


@pytest.mark.usefixtures("always")
def test_a_pre_training_that_died_ends_with_the_same_bytes(tmp_path: Path) -> None:
    steady, resumed, file = tmp_path / "steady", tmp_path / "resumed", tmp_path / "training.safetensors"
    settings = TINY | {"steps": 250, "short_share": 0.5}  # the topics change at step 125, in the middle of a pool
    steady.mkdir()
    resumed.mkdir()
    first = Silent()
    told = pretrain_model.train_from_scratch(steady, first, **settings)

    class Dies(Silent):
        def __init__(self, at: int, seconds: float = 0.0) -> None:
            super().__init__(Checkpoint(file, seconds))
            self.dies = dying(at)

        def update(self, count: int = 1) -> None:
            if count:
                self.dies(count)

    begun = []
    for at in (100, 150, 210):  # a checkpoint stands where a pool ends
        with pytest.raises(Died):
            pretrain_model.train_from_scratch(resumed, Dies(at), **settings)
        begun.append(Checkpoint(file).load() and safe_open(file, "pt").metadata()["state"].split(",")[0])
    assert begun == ['{"step": 96', '{"step": 141', '{"step": 205']
    second = Dies(-1)
    again = pretrain_model.train_from_scratch(resumed, second, **settings)
    assert second.points == first.points
    assert determined(again) == determined(told)
    assert again["pretrain_seconds"] > second.kept.earlier_seconds > 0
    assert digest(resumed / "model.safetensors") == digest(steady / "model.safetensors")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A checkpoint of step 7."""
    file = tmp_path / "training.safetensors"
    weights = [torch.nn.Parameter(torch.ones(300, 300))]
    optimizer = torch.optim.AdamW(weights)
    Checkpoint(file).save(7, checkpoints.collect_state(weights, optimizer), {"told": []})
    return file


def test_a_checkpoint_that_was_cut_short_or_altered_is_not_gone_on_from(kept: Path) -> None:
    whole = kept.read_bytes()
    found = Checkpoint(kept).load()
    assert found is not None
    assert found.state["step"] == 7
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        kept.write_bytes(whole[:length])
        assert Checkpoint(kept).load() is None
    altered = bytearray(whole)
    altered[-1000] ^= 1
    kept.write_bytes(altered)
    assert Checkpoint(kept).load() is None
    save_file(load_file(kept), kept)  # without its header
    assert Checkpoint(kept).load() is None


def test_an_earlier_checkpoint_stands_until_the_next_is_whole(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="No space left on device"):
        Checkpoint(kept).save(8, {"weight.0": torch.ones(2)}, {})
    found = Checkpoint(kept).load()
    assert found is not None
    assert found.state["step"] == 7


def test_checkpoints_that_take_long_are_taken_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    kept = Checkpoint(tmp_path / "training.safetensors", min_seconds=30.0)

    def slow(*_: object) -> None:
        clock[0] += 5.0
        (tmp_path / "training.tmp").touch()

    monkeypatch.setattr(checkpoints, "save_file", slow)
    for at, due in ((29.9, False), (30.0, True)):
        clock[0] = at
        assert kept.is_due is due
    assert kept.save(1, {}, {}) == 5.0
    for since, due in ((30.0, False), (99.9, False), (100.0, True)):  # 5 s of 100 at most
        clock[0] = 35.0 + since
        assert kept.is_due is due
    assert not Checkpoint(None, min_seconds=0.0).is_due


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(("rate", "said"), [(50.0, r"[1-9]\d\d+|[\d.]+e\+\d\d"), (1e38, "nan|inf")])
def test_a_loss_that_explodes_ends_the_run_and_names_its_last_good_checkpoint(
    bert: Bert, examples: Make, recipe: Recipes, tmp_path: Path, rate: float, said: str
) -> None:
    train, file = examples(400), tmp_path / "training.safetensors"
    kept = Checkpoint(file, min_seconds=0.0)
    settings = recipe(epochs=3, learning_rate=rate, warmup=0.9, evaluations=1)
    with pytest.raises(UserError) as error:
        finetune_classifier(bert(), train, train, settings, JUDGE, "accuracy", 0, checkpoint=kept)
    assert kept.step >= 1
    good = Checkpoint(file).load()
    assert good is not None
    assert good.state["step"] == kept.step
    assert all(tensor.isfinite().all() for tensor in good.tensors.values())
    rate_told, place = re.escape(f"{rate:g}"), re.escape(str(file))
    assert re.fullmatch(
        rf"the loss is ({said}) at step {kept.step + 1} of 150; lower learning_rate \({rate_told}\) or clip \(1\); "
        rf"the last good checkpoint is that of step {kept.step}, {place}",
        str(error.value),
    )
