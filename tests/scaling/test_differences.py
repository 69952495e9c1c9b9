import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from pipeline.scaling import differences, draws
from pipeline.scaling.differences import BETTER, SAME, WORSE, Difference
from pipeline.scaling.draws import Answers, Draws
from tests.scaling import plans


def drawn(by_seed: list[list[float]], covariance: np.ndarray | None = None, groups: str = "") -> Draws:
    cells = len(by_seed)
    values = tuple(np.array(numbers) for numbers in by_seed)
    return Draws(
        "t", "accuracy", 1000, tuple("abcdefgh"[:cells]), tuple(groups or "g" * cells),
        np.array([numbers.mean() for numbers in values]), np.empty((0, cells)), values,
        np.zeros((cells, cells)) if covariance is None else covariance, np.zeros(cells),
    )  # fmt: skip


def test_with_seeds_alone_and_equal_spreads_a_pair_is_the_pooled_t_test() -> None:
    """Both variances the same, so that none lies above the pooled one."""
    one, other = [0.70, 0.72, 0.74], [0.79, 0.81, 0.83]
    (found,) = differences.compare(drawn([one, other])).pairs
    expected = stats.ttest_ind(one, other)
    ends = expected.confidence_interval()
    assert (found.difference, found.degrees) == pytest.approx((-0.09, 4))
    assert found.p == found.corrected_p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert found.verdict == WORSE


def test_with_one_seed_the_examples_alone_count_and_z_takes_the_place_of_t() -> None:
    covariance = np.array([[4e-4, 3e-4], [3e-4, 4e-4]])
    found = differences.compare(drawn([[0.80], [0.77]], covariance))
    (pair,) = found.pairs
    assert (pair.error, pair.degrees) == (pytest.approx(2e-4**0.5), np.inf)
    assert pair.p == pytest.approx(2 * stats.norm.sf(0.03 / 2e-4**0.5))
    assert found.noise is None


def test_examples_that_two_cells_share_do_not_blur_their_difference() -> None:
    alike, apart = (np.array([[4e-4, shared], [shared, 4e-4]]) for shared in (3.9e-4, 0))
    assert differences.compare(drawn([[0.80], [0.77]], alike)).pairs[0].verdict == BETTER
    assert differences.compare(drawn([[0.80], [0.77]], apart)).pairs[0].verdict == SAME


def test_seeds_that_agree_by_chance_are_taken_to_spread_as_those_of_their_group() -> None:
    lucky = differences.compare(drawn([[0.70, 0.70, 0.70], [0.72, 0.72, 0.72], [0.5, 0.6, 0.7], [0.4, 0.5, 0.6]]))
    assert lucky.between("a", "b").verdict == SAME
    assert lucky.between("a", "b").error == pytest.approx((2 * 0.005 / 3) ** 0.5)
    assert lucky.noise == pytest.approx(0.005**0.5)
    grouped = drawn([[0.70, 0.70, 0.701], [0.72, 0.72, 0.721], [0.5, 0.6, 0.7], [0.4, 0.5, 0.6]], groups="xxyy")
    assert differences.compare(grouped).between("a", "b").verdict == WORSE


def test_a_cell_louder_than_its_group_keeps_its_own_spread_and_few_degrees_of_freedom() -> None:
    steady = [[0.70, 0.701, 0.702], [0.71, 0.711, 0.712], [0.72, 0.721, 0.722], [0.73, 0.731, 0.732]]
    found = differences.compare(drawn([*steady, [0.6, 0.7, 0.8]]))
    loud = found.between("a", "e")
    assert loud.error > 0.1 / 3**0.5
    assert 2 < loud.degrees < 5
    assert found.between("a", "b").degrees == pytest.approx(10)


def test_cells_of_one_seed_take_the_spread_of_the_others() -> None:
    found = differences.compare(drawn([[0.7, 0.72, 0.74], [0.9], [0.8]], groups="xxy"))
    assert found.between("a", "b").error == pytest.approx((4e-4 / 3 + 4e-4) ** 0.5)
    assert found.between("b", "c").error == pytest.approx((8e-4) ** 0.5)


def test_holm_corrects_for_all_pairs() -> None:
    random = np.random.default_rng(0)
    found = differences.compare(drawn([list(random.normal(0.7 + 0.03 * cell, 0.02, 3)) for cell in range(6)]))
    apart, corrected, *_ = multipletests([pair.p for pair in found.pairs], 0.05, "holm")
    assert [pair.corrected_p for pair in found.pairs] == pytest.approx(corrected)
    assert [pair.verdict != SAME for pair in found.pairs] == list(apart)
    assert {pair.verdict for pair in found.pairs} >= {SAME, WORSE}


@pytest.mark.parametrize("seed", range(20))
def test_the_corrected_interval_goes_with_the_verdict(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = np.linspace(0, 0.2, 8)
    found = plans.compared(truth, np.full(8, 0.02), 3, 500, random)
    for pair in found.pairs:
        assert pair.corrected_low <= pair.difference <= pair.corrected_high
        holds_zero = pair.corrected_low < 0 < pair.corrected_high
        assert holds_zero == (pair.verdict == SAME)
        assert pair.verdict == SAME or (pair.verdict == BETTER) == (pair.difference > 0)
        assert pair.corrected_p >= pair.p


def test_a_pair_reads_from_both_sides() -> None:
    names = "abcd"
    found = differences.compare(drawn([[0.1, 0.12], [0.3, 0.32], [0.5, 0.52], [0.9, 0.92]]))
    assert [(pair.one, pair.other) for pair in found.pairs] == list(itertools.combinations(names, 2))
    for one, other in itertools.permutations(names, 2):
        pair = found.between(one, other)
        assert (pair.one, pair.other) == (one, other)
        assert pair.difference == pytest.approx(found.scores[names.index(one)] - found.scores[names.index(other)])
    there, back = found.between("d", "a"), found.between("a", "d")
    assert (there.low, there.high, there.corrected_low) == (-back.high, -back.low, -back.corrected_high)
    assert (there.verdict, back.verdict) == (BETTER, WORSE)
    assert there.turned == back


def test_the_best_cells_are_those_not_told_apart_from_the_best() -> None:
    found = differences.compare(drawn([[0.5, 0.51, 0.52], [0.8, 0.81, 0.82], [0.805, 0.815, 0.825]]))
    assert found.best_set() == ("c", "b")
    assert found.told_apart("a", "b")
    assert not found.told_apart("b", "c")
    assert not found.told_apart("b", "b")


def test_a_single_cell_has_no_pairs() -> None:
    found = differences.compare(drawn([[0.5, 0.6]]))
    assert ([*found.pairs], found.best_set()) == ([], ("a",))


def test_cells_that_never_vary_differ_where_they_differ() -> None:
    found = differences.compare(drawn([[1.0], [1.0], [0.0]]))
    assert [(pair.p, pair.verdict) for pair in found.pairs] == [(1, SAME), (0, BETTER), (0, BETTER)]


@pytest.mark.parametrize("name", plans.SPREADS)
def test_equal_cells_are_rarely_told_apart(name: str) -> None:
    """One plan in twenty at most; three standard errors above that fail. benchmarks/told_apart.py measures it well."""
    random = np.random.default_rng(1)
    tried = 120
    wrong = [
        plans.apart(plans.compared(np.zeros(12), plans.SPREADS[name](12), 3, 1000, random)).any() for _ in range(tried)
    ]
    assert np.mean(wrong) <= 0.05 + 3 * (0.05 * 0.95 / tried) ** 0.5


def test_corrected_intervals_hold_all_differences_and_single_ones_their_own() -> None:
    random = np.random.default_rng(2)
    truth = np.linspace(0, 0.2, 8)
    true = [one - other for one, other in itertools.combinations(truth, 2)]
    found = [plans.compared(truth, np.full(8, 0.02), 3, 1000, random) for _ in range(150)]
    assert np.mean([plans.held(one, np.array(true), corrected=True).all() for one in found]) >= 0.92
    single = np.mean([plans.held(one, np.array(true), corrected=False).mean() for one in found])
    assert 0.93 <= single <= 0.995


def test_cells_that_truly_differ_are_told_apart_from_their_answers() -> None:
    """From predictions to verdicts: 90, 80 and 79 right of a hundred, 1500 examples, three seeds."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 1500)

    def cell(name: str, right: float) -> Answers:
        hit = random.random((3, 1500)) < right
        return Answers(name, "t", np.where(hit, labels, 1 - labels), labels, "accuracy")

    found = differences.compare(draws.draw([cell("good", 0.9), cell("fair", 0.8), cell("even", 0.79)]))
    assert [found.told_apart("good", other) for other in ("fair", "even")] == [True, True]
    assert not found.told_apart("fair", "even")


def test_what_seeds_make_of_single_examples_counts_once() -> None:
    """Seeds that guess each example anew: the error is that of their mean, not twice as much."""
    random = np.random.default_rng(4)
    labels = np.ones(400, int)
    errors = []
    for _ in range(60):
        said = [Answers(name, "t", (random.random((5, 400)) < 0.7).astype(int), labels, "accuracy") for name in "ab"]
        errors.append(differences.compare(draws.draw(said, resamples=300)).pairs[0].error ** 2)
    truth = 2 * 0.7 * 0.3 / 400 / 5
    assert 0.9 * truth < np.mean(errors) < 1.4 * truth


def test_a_difference_turned_twice_is_itself() -> None:
    pair = Difference("a", "b", 0.1, 0.02, 4, 0.05, 0.15, 0.01, 0.0, 0.2, 0.04, BETTER)
    assert pair.turned.turned == pair
    assert pair.turned == replace(
        pair, one="b", other="a", difference=-0.1, low=-0.15, high=-0.05, corrected_low=-0.2, corrected_high=-0.0,
        verdict=WORSE,
    )  # fmt: skip


def test_cells_that_answer_alike_are_never_told_apart_and_every_number_of_theirs_is_finite() -> None:
    """What seeds make of single examples is then all that seeds make, and the variance is rounding alone."""
    random = np.random.default_rng(0)
    labels = (np.arange(400) >= 40).astype(int)  # 0.1 once is not the mean of 0.1 thrice, by the last digit
    said = np.where(random.random((3, 400)) < 0.8, labels, 1 - labels)
    one = np.zeros((1, 400), int)
    cells = {"a": said, "b": said, "c": said[::-1], "all 0": one, "all 0 thrice": np.repeat(one, 3, 0)}
    found = differences.compare(
        draws.draw([Answers(name, "t", values, labels, "accuracy") for name, values in cells.items()], 200)
    )
    for pair in found.pairs:
        assert all(np.isfinite(value) for value in (pair.low, pair.high, pair.corrected_low, pair.p, pair.corrected_p))
        assert pair.degrees >= 2
    for name, other in (("a", "b"), ("a", "c"), ("all 0", "all 0 thrice")):
        pair = found.between(name, other)
        assert (pair.difference, pair.corrected_p, pair.verdict) == (0, 1, SAME)
        assert abs(pair.low) < 0.1
