import math
import subprocess
import sys
from dataclasses import fields

import pytest

from pipeline.core.errors import UserError
from pipeline.plan import budget
from pipeline.plan.budget import Budget

LIMITS = ", ".join(sorted(budget.KEYS))


def test_a_budget_is_read_from_yaml() -> None:
    assert Budget.parse(None) == Budget.parse({}) == Budget()
    found = Budget.parse({"latency_p50_ms": 5, "score": 0.85, "storage_bytes": None})
    assert found == Budget(latency_p50_ms=5.0, score=0.85)
    assert found.limits == {"latency_p50_ms": 5.0}
    assert {column.name for column in fields(Budget)} == {*budget.COSTS, "score"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["fast"], "compare.budget: got list; write limits by name (latency_p50_ms, storage_bytes, "
         "inference_memory_mib, train_seconds, train_examples, score), or {} for none"),
        ({"latency": 5}, f"compare.budget.latency: unknown key; did you mean 'latency_p50_ms'? (allowed: {LIMITS})"),
        ({1: 5}, f"compare.budget.1: unknown key; allowed: {LIMITS}"),
        ({"train_seconds": 0}, "compare.budget.train_seconds: got 0; give a number above 0"),
        ({"train_seconds": "5 s"}, "compare.budget.train_seconds: got '5 s'; give a number above 0"),
        ({"storage_bytes": True}, "compare.budget.storage_bytes: got True; give a number above 0"),
        ({"storage_bytes": math.nan}, "compare.budget.storage_bytes: got nan; give a number above 0"),
        ({"storage_bytes": math.inf}, "compare.budget.storage_bytes: got inf; give a number above 0"),
        ({"score": 85}, "compare.budget.score: got 85; give a score from 0 to 1"),
        ({"score": -0.1}, "compare.budget.score: got -0.1; give a score from 0 to 1"),
        ({"score": False}, "compare.budget.score: got False; give a score from 0 to 1"),
    ],
)  # fmt: skip
def test_a_limit_that_cannot_be_kept_to_is_refused(given: object, message: str) -> None:
    assert list(budget.mistakes(given)) == [message]
    with pytest.raises(UserError) as error:
        Budget.parse(given)
    assert str(error.value) == message


def test_every_mistake_is_told_under_the_name_of_where_it_stands() -> None:
    with pytest.raises(UserError) as error:
        Budget.parse({"score": 2, "train_examples": -1}, "limits")
    assert str(error.value) == (
        "limits.score: got 2; give a score from 0 to 1\nlimits.train_examples: got -1; give a number above 0"
    )


def test_reading_a_budget_imports_no_numpy() -> None:
    code = "import sys, pipeline.plan.budget; print('numpy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
