"""Memory by phase: of what lives only there, of weights, and in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification
from transformers.models.bert.tokenization_bert import BertTokenizer

from pipeline.core.errors import UserError
from pipeline.data.batches import Examples
from pipeline.evaluation.cost import memory
from pipeline.evaluation.cost.memory import Request
from pipeline.models import load_model

MIB = 2**20
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
TRAINING = ("load", "forward", "backward", "update")
Ask = Callable[..., Request]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Save a classifier of some width and ask for its memory."""

    def asked(hidden: int = 32, **fields: Any) -> Request:
        config = BertConfig(
            vocab_size=len(PIECES), hidden_size=hidden, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=32,
        )  # fmt: skip
        folder = tmp_path / f"model-{hidden}"
        tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(PIECES)})
        load_model.save_classifier(BertForSequenceClassification(config), tokenizer, folder)
        usual = Request(str(hidden), 8, 19, 20, True, "fp32", 1, folder=str(folder))
        return replace(usual, **fields)

    return asked


@pytest.fixture
def answers() -> Iterator[None]:
    """Forget what was answered, before and behind a test."""
    memory.apart.cache_clear()
    yield
    memory.apart.cache_clear()


def names(*phases: str) -> list[str]:
    return [f"{phase}_memory_{kind}mib" for phase in phases for kind in ("", "added_")]


def added(found: dict[str, float]) -> dict[str, float]:
    return {name.removesuffix("_memory_added_mib"): found[name] for name in found if "_added_" in name}


def test_a_request_tells_the_longest_rows_and_how_many_words_there_are() -> None:
    tokens = np.array([5, 6, 5, 7, 7, 7])
    examples = Examples(tokens, None, np.array([0, 2, 3, 6]), np.zeros(3, dtype=np.int64), pad=0)
    assert memory.longest(examples, 2) == {"rows": 2, "length": 3, "words": 3, "types": False}
    assert memory.longest(examples, 64)["rows"] == 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_has_four_phases_and_asking_two(ask: Ask, precision: str) -> None:
    request = ask(precision=precision)
    assert list(memory.phases(request)) == names("load", "inference")
    assert list(memory.phases(replace(request, training=True))) == names(*TRAINING)
    assert list(memory.phases(replace(request, labels=1))) == names("load", "inference")


# Print what each phase adds for the requests, in turn. The first request brings in the kernels, so it is not printed.
# A block of 64 MiB is held during every forward pass of the requests whose shape is "hungry".
MEASURE = """
import json, sys
import numpy as np
from pipeline.evaluation.cost import memory
open_model = memory._load_model

def open_hungry_model(request):
    model = open_model(request)
    if request.shape == "hungry":
        model.register_forward_hook(lambda *_: np.ones(2**26 // 8).sum() and None)
    return model

memory._load_model = open_hungry_model
requests = [memory.Request(**fields) for fields in json.loads(sys.argv[1])]
print(json.dumps([memory.phases(request) for request in requests[:1] + requests][1:]))
"""


def measure_added(*requests: Request) -> list[dict[str, float]]:
    """Measure what each phase of each request adds, in a process that no other test has touched."""
    command = [sys.executable, "-c", MEASURE, json.dumps([asdict(request) for request in requests])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [added(found) for found in json.loads(done.stdout)]


@pytest.mark.parametrize("training", [False, True])
def test_a_block_held_in_one_phase_is_added_to_that_phase_only(ask: Ask, training: bool) -> None:
    request = ask(training=training)
    usual, hungry = measure_added(request, replace(request, shape="hungry"))
    phase = "forward" if training else "inference"
    assert hungry.pop(phase) - usual.pop(phase) == pytest.approx(64, abs=8)
    assert hungry == pytest.approx(usual, abs=8)


def test_a_wider_model_adds_weights_gradients_and_moments_in_their_phases(ask: Ask) -> None:
    """Weights in fp32 are a mapped file, of which nothing is resident before it is read."""
    hidden = 2048
    usual, wide = measure_added(ask(training=True), ask(hidden=hidden, training=True))
    weights = (2 * (4 * hidden**2 + 2 * 64 * hidden) + hidden**2) * 4 / MIB  # two layers and the pooler
    load, forward, backward, update = (round((wide[phase] - usual[phase]) / weights) for phase in TRAINING)
    assert load == 0
    assert forward in (1, 2)  # the pages of the file, and a copy of the layers where they are computed by hand
    assert (backward - forward, update - backward) == (1, 2)


@pytest.mark.usefixtures("answers")
def test_a_process_of_its_own_holds_nothing_of_this_one(ask: Ask) -> None:
    block = np.ones(2**30 // 8)
    found = memory.apart(ask())
    assert list(found) == names("load", "inference")
    assert 64 < found["load_memory_mib"] < block.nbytes / MIB
    assert -1 < found["inference_memory_added_mib"] < found["inference_memory_mib"] / 2


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch, answers: None) -> list[Request]:
    """Answer requests in no process, each with its number, and return those that were asked."""
    asked: list[Request] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:3] == ["-m", "pipeline.evaluation.cost.memory"]
        asked.append(Request(**json.loads(command[3])))
        return subprocess.CompletedProcess(command, 0, json.dumps({"load_memory_mib": len(asked)}), "a warning\n")

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_models_of_one_shape_are_measured_once(processes: list[Request]) -> None:
    request = Request("small", 8, 20, 9, True, "fp32", 1, folder="one")
    assert memory.apart(request) == memory.apart(replace(request, folder="two")) == {"load_memory_mib": 1}
    others = [{"shape": "wide"}, {"rows": 9}, {"length": 9}, {"words": 8}, {"types": False}, {"precision": "bf16"}]
    others += [{"threads": 2}, {"training": True}, {"labels": 2}]
    for number, fields in enumerate(others, 2):
        assert memory.apart(replace(request, **fields)) == {"load_memory_mib": number}
    assert processes[:2] == [request, replace(request, shape="wide")]
    assert processes[0].folder == "one"


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(
    ("status", "errors", "said"),
    [(1, "Traceback\n  line 3\nValueError: too long\n", "ValueError: too long"), (-9, "\n", "nothing")],
)
def test_a_process_that_fails_is_an_error_and_no_answer(
    monkeypatch: pytest.MonkeyPatch, status: int, errors: str, said: str
) -> None:
    results = [subprocess.CompletedProcess([], 0, '{"load_memory_mib": 1}', "")]
    results.insert(0, subprocess.CompletedProcess([], status, "", errors))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: results.pop(0))
    request = Request("small", 8, 20, 9, True, "fp32", 1)
    with pytest.raises(UserError) as error:
        memory.apart(request)
    assert str(error.value) == f"memory: its process ended with status {status} and printed: {said}"
    assert memory.apart(request) == {"load_memory_mib": 1}


def test_threads_are_those_of_the_request(ask: Ask) -> None:
    before = torch.get_num_threads()
    try:
        memory.phases(ask(threads=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
