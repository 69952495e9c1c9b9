import math
import subprocess
import sys

import pytest

from pipeline.core.errors import UserError
from pipeline.plan import budget
from pipeline.plan.budget import Budget, load_budget

LIMITS = ", ".join(sorted(budget.KEYS))


def test_a_budget_is_read_from_yaml() -> None:
    assert load_budget({}) == Budget()
    budget = load_budget({"latency_p50_ms": 5, "score": 0.85, "storage_bytes": None})
    assert budget == Budget(latency_p50_ms=5.0, score=0.85)
    assert budget.limits == {"latency_p50_ms": 5.0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"latency": 5}, f"latency: unknown key; did you mean 'latency_p50_ms'? (allowed: {LIMITS})"),
        ({1: 5}, f"1: unknown key; allowed: {LIMITS}"),
        ({"train_seconds": 0}, "train_seconds: got 0; give a number above 0, or null"),
        ({"train_seconds": "5 s"}, "train_seconds: got '5 s'; give a number above 0, or null"),
        ({"storage_bytes": True}, "storage_bytes: got True; give a number above 0, or null"),
        ({"storage_bytes": math.nan}, "storage_bytes: got nan; give a number above 0, or null"),
        ({"storage_bytes": math.inf}, "storage_bytes: got inf; give a number above 0, or null"),
        ({"score": 85}, "score: got 85; give a score from 0 to 1, or null"),
        ({"score": -0.1}, "score: got -0.1; give a score from 0 to 1, or null"),
        ({"score": False}, "score: got False; give a score from 0 to 1, or null"),
    ],
)  # fmt: skip
def test_a_limit_that_is_no_bound_is_refused(given: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_budget(given)
    assert str(error.value) == message


def test_every_mistake_is_reported_in_its_place() -> None:
    with pytest.raises(UserError) as error:
        load_budget({"score": 2, "train_examples": -1}, "limits.")
    assert str(error.value) == (
        "limits.train_examples: got -1; give a number above 0, or null\n"
        "limits.score: got 2; give a score from 0 to 1, or null"
    )


def test_reading_a_budget_imports_no_numpy() -> None:
    code = "import sys, pipeline.plan.budget; print('numpy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
