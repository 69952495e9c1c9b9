"""Two processes that fine-tune one model come to what one process comes to.

They add up the same gradients in another order, so numbers agree to the rounding of fp32: 1e-5 of what a run tells,
and 1e-4 or 1e-5 of the weights, for AdamW divides by gradients, of which the smallest are hardly more than that.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.data import batches
from pipeline.system import distributed, hardware
from pipeline.training import checkpoints
from pipeline.training.predict import predict_logits
from pipeline.training.trainer import PAD_MULTIPLE
from tests.conftest import ROOT
from tests.training import together
from tests.training.together import Told

OTHER = ("seconds", "per_second", "peak_memory", "padding_share", "processes")  # clock, memory and shares differ
Runs = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where two processes left what each of them came to."""
    made = tmp_path_factory.mktemp("together")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        distributed.launch(2, "tests.training.together", [str(made)])
    return made


@pytest.fixture(scope="module")
def both(folder: Path) -> Runs:
    """Return what the two processes told of each run."""
    names = [case.__name__ for case in together.CASES]
    return {name: [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1)] for name in names}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """Return the same runs made by this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together, "FOLDER", tmp_path_factory.mktemp("alone"))
        patch.setattr(checkpoints, "MIN_INTERVAL_RATIO", 0)
        patch.setattr(hardware, "get_fastest_precision", lambda at: "fp32")
        return {case.__name__: case() for case in together.CASES}


def numbers(result: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers that depend neither on the clock nor on how many processes there are."""
    same = {key: value for key, value in result.items() if not any(word in key for word in OTHER)}
    return {key: value for key, value in same.items() if isinstance(value, (int, float))}


EXACT = ["plain", "regression", "sparse", "shared", "own"]


@pytest.mark.parametrize("case", EXACT)
def test_the_learning_curve_and_the_result_are_those_of_one_process(
    both: Runs, alone: dict[str, Told], case: str
) -> None:
    expected = alone[case]
    for told in both[case]:
        assert [step for step, _ in told["curve"]] == [2, 4, 6, 8]
        for (_, values), (_, others) in zip(told["curve"], expected.curve, strict=True):
            assert values == pytest.approx(others, rel=1e-5, abs=1e-5)
        assert numbers(told["result"]) == pytest.approx(numbers(expected.result), rel=1e-5, abs=1e-5)
        assert (told["result"]["steps"], told["result"]["epochs"]) == (8, 2)
        assert (told["result"]["processes"], expected.result["processes"]) == (2, 1)


@pytest.mark.parametrize("case", EXACT)
def test_the_weights_are_those_of_one_process(folder: Path, alone: dict[str, Told], case: str) -> None:
    first, second = (load_file(folder / f"{case}-{rank}.safetensors") for rank in (0, 1))
    own = {f"loss.{name}": weight for name, weight in alone[case].loss.state_dict().items()}
    expected, start = {**alone[case].model.state_dict(), **own}, together.bert().state_dict()
    assert first.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(first[name], second[name])
        if not name.endswith("key.bias"):  # it shifts all scores of a query alike: its gradient is a rounding error
            torch.testing.assert_close(first[name], weight, rtol=1e-4, atol=1e-5)
    words = "bert.embeddings.word_embeddings.weight"
    assert not torch.allclose(first[words][7], start[words][7], atol=1e-2)  # it occurs and is trained


def test_a_run_of_several_processes_that_died_ends_with_the_same_bytes(folder: Path, both: Runs) -> None:
    assert (folder / "revived-2.safetensors").exists()
    for rank in (0, 1):
        steady, revived = (load_file(folder / f"{case}-{rank}.safetensors") for case in ("dropped", "revived"))
        assert all(torch.equal(weight, revived[name]) for name, weight in steady.items())
        assert numbers(both["revived"][rank]["result"]) == numbers(both["dropped"][rank]["result"])
    for steady, revived in zip(both["dropped"], both["revived"], strict=True):
        assert revived["result"]["padding_share"] == steady["result"]["padding_share"]
        assert revived["curve"][-4:] == steady["curve"][-4:]


def test_sparse_weights_stay_sparse(folder: Path) -> None:
    weight = load_file(folder / "sparse-1.safetensors")["bert.encoder.layer.0.intermediate.dense.weight"]
    assert torch.equal(weight == 0, (torch.arange(32) % 2 == 0).expand(64, 32))


def test_a_weight_of_the_loss_is_trained(folder: Path) -> None:
    assert abs(load_file(folder / "own-1.safetensors")["loss.spread"].item()) > 0.01


def test_every_token_is_counted_once_and_padding_where_it_was_made(both: Runs, alone: dict[str, Told]) -> None:
    train, random = together.examples(22), np.random.default_rng(3)
    tokens = rows = places = 0
    for _ in range(2):
        for batch in batches.shuffled(train.lengths, 7, random):
            tokens, rows = tokens + train.lengths[batch].sum(), rows + len(batch)
            for part in (batch[::2], batch[1::2] if len(batch) > 1 else batch):  # who has no row is given one
                longest = -(-train.lengths[part].max() // PAD_MULTIPLE) * PAD_MULTIPLE
                places += len(part) * longest
    assert (rows, tokens) == (44, 2 * len(train.tokens))
    for told in both["plain"]:
        result = told["result"]
        assert result["padding_share"] == pytest.approx(1 - tokens / places)
        assert result["train_tokens_per_second"] * result["train_seconds"] == pytest.approx(tokens)
        assert result["train_pairs_per_second"] * result["train_seconds"] == pytest.approx(rows)
        assert result["train_flops"] == alone["plain"].result["train_flops"] > 0


def test_a_loss_that_is_no_number_is_told_alike_by_every_process(both: Runs, alone: dict[str, Told]) -> None:
    assert [told["error"] for told in both["nan"]] == [alone["nan"].error] * 2
    train = together.examples(22)
    first = list(batches.shuffled(train.lengths, 7, np.random.default_rng(3)))
    step = next(number for number, rows in enumerate(first, start=1) if 11 in rows)
    assert alone["nan"].error == (f"the loss is nan at step {step} of 8; lower learning_rate (0.003) or clip (1.5)")


def test_each_process_drops_other_elements(both: Runs, alone: dict[str, Told]) -> None:
    first, second = (told["seen"] for told in both["masked"])
    assert len(first) == len(second) == 3
    assert all(one != other for one, other in zip(first, second, strict=True))  # of rows that are all alike


def test_with_dropout_the_curve_stays_as_near_as_that_of_another_seed(
    both: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "get_fastest_precision", lambda at: "fp32")
    curves = [[values["selection_loss"] for _, values in together.dropped(seed).curve] for seed in range(4, 9)]
    mean, deviation = np.mean(curves, 0), np.std(curves, 0, ddof=1)
    told = [values["selection_loss"] for _, values in both["dropped"][0]["curve"]]
    # Another seed than these five lies beyond 8 of their deviations once in 500 (Student's t, 4 degrees of freedom).
    assert (np.abs(told - mean) < 8 * deviation).all()
    assert deviation.max() < 0.01


@pytest.mark.parametrize("count", [150, 10])
def test_predictions_are_complete_in_every_process(folder: Path, count: int) -> None:
    expected = predict_logits(together.bert(), together.examples(count), "fp32")
    for rank in (0, 1):
        np.testing.assert_allclose(np.load(folder / f"{count}-{rank}.npy"), expected, rtol=1e-6, atol=1e-6)


def test_a_benchmark_of_several_processes_tells_what_they_do_together_and_one_alone(folder: Path) -> None:
    first, second = (json.loads((folder / f"benchmark-{rank}.json").read_text()) for rank in (0, 1))
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").partition("### Several processes")[2]
    keys = set(re.findall(r"^\| `(\w+)`", page.partition("\n## ")[0], re.MULTILINE))
    assert (
        keys
        == first.keys() & keys
        == {key for key in first if key.split("_")[0] in ("alone", "strong", "weak")} | {"communication_share"}
    )
    alone = first["alone_pairs_per_second"]
    assert first["strong_efficiency"] == pytest.approx(first["train_pairs_per_second"] / (2 * alone))
    assert first["weak_efficiency"] == pytest.approx(first["weak_pairs_per_second"] / (2 * alone))
    assert 0 <= first["communication_share"] < 1
    hours = 7200 / first["train_pairs_per_second"] / 3600
    assert first["budget_process_hours"] == pytest.approx(2 * hours)
    assert first["budget_cost"] == pytest.approx(2.0 * hours)  # of the machine, however many processes it runs
    assert not [key for key in first if key.startswith(("inference", "latency", "growth"))]
    shared = [key for key in first if "_ms" not in key and key not in ("train_rounds", "communication_share")]
    assert {key: first[key] for key in shared} == {key: second[key] for key in shared}
