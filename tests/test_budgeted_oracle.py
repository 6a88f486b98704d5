"""An oracle that asks for a part of the pairs: which ones, what stands at the rest, and payoffs without bias."""

import numpy as np
import pytest

from rebel_pref.budgeted_oracle import BudgetedOracle
from rebel_pref.payoffs import drop_unjudged
from rebel_pref.preferences import FunctionOracle
from rebel_pref.selfplay.judging import judge_new
from rebel_pref.selfplay.pool import PromptPool

DESIGNS = ("regular", "circular", "active")


class Counting(FunctionOracle):
    """Longer wins with .8; remembers what it was asked."""

    def __init__(self):
        self.asked = []
        super().__init__(self.longer)

    def longer(self, prompt, first, second):
        self.asked.append((prompt, first, second))
        return 0.5 if len(first) == len(second) else 0.8 if len(first) > len(second) else 0.2


RESPONSES = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"]


def test_the_oracle_asks_the_designed_pairs_only():
    """Two prompts in one call: 6 pairs each at degree 2, the rest NaN, the same pairs whenever it is asked."""
    judge = Counting()
    oracle = BudgetedOracle(judge, 2, seed=3)
    answer = oracle.prefer(["p", "q"], [RESPONSES, RESPONSES])
    assert answer.shape == (2, 6, 6) and len(judge.asked) == len(set(judge.asked)) == 12
    for b, prompt in enumerate(["p", "q"]):
        design = oracle.design_of(prompt, RESPONSES)
        assert (np.isnan(answer[b]) == ~design.asked & ~np.eye(6, dtype=bool)).all()
        full = FunctionOracle(judge.compare).prefer([prompt], [RESPONSES])[0]
        assert np.allclose(answer[b][design.asked], full[design.asked])
    again = BudgetedOracle(Counting(), 2, seed=3).prefer(["q"], [RESPONSES])
    assert np.array_equal(again[0], answer[1], equal_nan=True)
    assert not np.array_equal(oracle.design_of("p", RESPONSES).asked, oracle.design_of("q", RESPONSES).asked)


def test_against_opponents():
    """Each response meets `degree` of the opponents, or all where there are fewer."""
    oracle = BudgetedOracle(Counting(), 2)
    answer = oracle.prefer(["p"], [RESPONSES], [["x", "yyyyy", "zzz"]])
    assert (np.isfinite(answer[0]).sum(1) == 2).all()
    assert np.isfinite(oracle.prefer(["p"], [RESPONSES], [["x"]])).all()


def test_a_failed_judgement_stays_missing():
    oracle = BudgetedOracle(FunctionOracle(lambda *_: float("nan")), 5)
    assert np.isnan(oracle.prefer(["p"], [RESPONSES])[0][~np.eye(6, dtype=bool)]).all()


def test_in_self_play():
    """Without a guess only a clique survives the dropping of unjudged responses; with one everything is judged."""
    sparse = BudgetedOracle(Counting(), 2).prefer(["p"], [RESPONSES])[0]
    assert len(drop_unjudged(2 * sparse - 1)) <= 3
    guess = FunctionOracle(lambda *_: 0.5)
    judge = Counting()
    pool = PromptPool()
    new = pool.add([tuple(map(ord, text)) for text in RESPONSES], RESPONSES)
    _, missing = judge_new(BudgetedOracle(judge, 2, guess=guess), "p", pool, new)
    assert missing == 0 and len(judge.asked) == 6
    assert (np.abs(pool.payoffs) > 0.5).sum() == 12


def matrix_oracle(matrix):
    """Responses are numbers, which stand for rows of a matrix of win probabilities."""
    return FunctionOracle(lambda prompt, first, second: matrix[int(first), int(second)])


def cyclic(size, seed, scale=1.0):
    """Win probabilities of random discs, and the responses that name them."""
    rng = np.random.default_rng(seed)
    points = np.sqrt(scale) * rng.normal(size=(size, 4))
    logits = points @ np.kron(np.eye(2), [[0, 1], [-1, 0]]) @ points.T
    return 1 / (1 + np.exp(-logits)), [str(i) for i in range(size)]


def noisy(matrix, error, seed):
    """A guess: logits with a skew error of that deviation."""
    size = len(matrix)
    upper = np.triu(np.random.default_rng(seed).normal(scale=error, size=(size, size)), 1)
    return 1 / (1 + np.exp(-(np.log(matrix / (1 - matrix)) + upper - upper.T)))


def estimates(matrix, names, guess, design, degree, seeds):
    """Payoffs and variances [seeds, K] of independent draws."""
    found = [
        BudgetedOracle(matrix_oracle(matrix), degree, design=design, guess=guess, seed=seed).payoffs(["p"], [names])[0]
        for seed in range(seeds)
    ]
    return np.stack([one.payoffs for one in found]), np.stack([one.variance for one in found])


@pytest.mark.parametrize(
    ("design", "guessed"),
    [("regular", False), ("circular", False), ("regular", True), ("circular", True), ("active", True)],
)
def test_payoffs_are_unbiased_and_know_their_variance(design, guessed):
    """Means within four standard errors of the payoffs of all pairs; the reported variance is the true one on average.

    The same sums without the inverse chance are twenty standard errors off.
    """
    matrix, names = cyclic(7, 0)
    exact = (2 * matrix - 1).mean(1)
    guess = matrix_oracle(noisy(matrix, 1.0, 1)) if guessed else None
    payoffs, variances = estimates(matrix, names, guess, design, 2, seeds=1500)
    error = payoffs.std(0, ddof=1) / np.sqrt(len(payoffs))
    assert (np.abs(payoffs.mean(0) - exact) < 4 * error).all()
    np.testing.assert_allclose(variances.mean(0), payoffs.var(0, ddof=1), rtol=0.2)
    assert variances.mean() == pytest.approx(payoffs.var(0, ddof=1).mean(), rel=0.05)
    if not guessed:
        assert np.abs(payoffs.mean(0) / 3 - exact).max() > 20 * error.max()


def test_a_good_guess_pays():
    """At 32 of 120 pairs, as many in every design: a guess lowers the error, and right doubts lower it further.

    The best case of an active design: single votes, and a guess that knows their chances.
    """
    matrix, names = cyclic(16, 2, scale=3.0)
    rng = np.random.default_rng(3)
    votes = np.triu(rng.random(matrix.shape) < matrix, 1)
    votes = votes + np.tril(1 - votes.T, -1) + 0.5 * np.eye(16)  # One vote a pair: what active designs are for.
    exact = (2 * votes - 1).mean(1)
    guess = matrix_oracle(matrix)
    errors = {}
    for name, design, known in (("alone", "regular", None), ("regular", "regular", guess), ("active", "active", guess)):
        payoffs, _ = estimates(votes, names, known, design, 4, seeds=200)
        errors[name] = np.sqrt(np.mean((payoffs - exact) ** 2))
    assert errors["active"] < 0.9 * errors["regular"] < 0.8 * errors["alone"]


@pytest.mark.parametrize("design", DESIGNS)
def test_every_design_asks_the_same_question_the_same_way(design):
    """By seed and texts, in `payoffs` and in `prefer`; what is asked is what `design` says."""
    judge, guess = Counting(), FunctionOracle(lambda prompt, first, second: 0.5 + 0.1 * (len(first) > len(second)))
    oracle = BudgetedOracle(judge, 2, design=design, guess=guess, seed=3)
    first = oracle.payoffs(["p", "q"], [RESPONSES, RESPONSES])
    asked = list(judge.asked)
    assert oracle.queries == len(asked) == sum(len(oracle.design_of(prompt, RESPONSES).pairs) for prompt in "pq")
    again = oracle.payoffs(["q"], [RESPONSES])[0]
    assert np.array_equal(again.payoffs, first[1].payoffs)
    judge.asked.clear()
    matrix = oracle.prefer(["p"], [RESPONSES])[0]
    assert judge.asked == [one for one in asked if one[0] == "p"]
    design_of_p = oracle.design_of("p", RESPONSES).asked
    np.testing.assert_allclose(matrix[~design_of_p], guess.prefer(["p"], [RESPONSES])[0][~design_of_p])


def test_all_pairs_are_exact():
    """A degree of K - 1 or more leaves nothing to estimate."""
    matrix, names = cyclic(5, 1)
    for design in DESIGNS:
        payoffs, variances = estimates(matrix, names, matrix_oracle(np.full((5, 5), 0.5)), design, 9, seeds=1)
        np.testing.assert_allclose(payoffs[0], (2 * matrix - 1).mean(1), atol=1e-12)
        assert (variances == 0).all()


def test_failed_judgements_are_asked_for_twice_and_cost_two_responses():
    """A pair that fails once is asked again; one that fails for good takes the payoffs of its two responses."""
    calls = []

    def sometimes(prompt, first, second):
        calls.append((first, second))
        pair = {first, second}
        if pair == {"0", "1"} or (pair == {"2", "3"} and calls.count((first, second)) == 1):
            return float("nan")
        return 0.5

    oracle = BudgetedOracle(FunctionOracle(sometimes), 4)
    found = oracle.payoffs(["p"], [["0", "1", "2", "3", "4"]])[0]
    assert np.isnan(found.payoffs).tolist() == [True, True, False, False, False]
    assert np.isnan(found.variance).tolist() == [True, True, False, False, False]
    assert oracle.queries == 12  # ten pairs, two of them twice


def test_an_active_design_needs_its_own_chances():
    """As if every pair had had the same chance to be asked: biased by far."""
    matrix, names = cyclic(8, 0, scale=4.0)
    guess = noisy(matrix, 1.0, 1)
    oracles = [
        BudgetedOracle(matrix_oracle(matrix), 3, design="active", guess=matrix_oracle(guess), seed=k)
        for k in range(500)
    ]
    asked = np.array([oracle.design_of("p", names).asked for oracle in oracles])
    wrong = (2 * guess - 1 + asked * 2 * (matrix - guess) * 7 / 3).sum(-1) / 8
    error = wrong.std(0, ddof=1) / np.sqrt(len(wrong))
    assert np.abs((wrong.mean(0) - (2 * matrix - 1).mean(1)) / error).max() > 10


@pytest.mark.parametrize("design", DESIGNS)
def test_a_failed_judgement_leaves_the_others_as_they_were(design):
    """One that fails once is asked for again; one that fails twice costs both of its responses their payoffs."""
    matrix, names = cyclic(8, 0)
    guess = matrix_oracle(noisy(matrix, 1.0, 1))
    clean = BudgetedOracle(matrix_oracle(matrix), 3, design=design, guess=guess)
    expected = clean.payoffs(["p"], [names])[0]
    i, j = map(int, clean.design_of("p", names).pairs[2])
    for times, lost in ((1, []), (2, [i, j])):
        left = [times]

        def failing(prompt, first, second, left=left):
            if {int(first), int(second)} == {i, j} and left[0] > 0:
                left[0] -= 1
                return float("nan")
            return matrix[int(first), int(second)]

        oracle = BudgetedOracle(FunctionOracle(failing), 3, design=design, guess=guess)
        found = oracle.payoffs(["p"], [names])[0]
        assert oracle.queries == clean.queries + 1
        for value, right in ((found.payoffs, expected.payoffs), (found.variance, expected.variance)):
            assert np.flatnonzero(np.isnan(value)).tolist() == lost
            assert np.array_equal(np.delete(value, lost), np.delete(right, lost))


class Rough:
    """A guess with a position bias and holes."""

    def __init__(self, matrix):
        self.matrix = matrix

    def prefer(self, prompts, responses, opponents=None):
        rivals = responses if opponents is None else opponents
        rows = zip(responses, rivals, strict=True)
        return np.array([self.matrix[np.ix_(list(map(int, a)), list(map(int, b)))] for a, b in rows])


@pytest.mark.parametrize("design", DESIGNS)
def test_any_guess_will_do(design):
    """Both orders of it are averaged, and 1/2 stands where it says nothing."""
    matrix, names = cyclic(8, 0)
    rough = np.clip(noisy(matrix, 1.0, 1) + 0.1, 0.0, 1.0)
    rough[2, 5] = rough[0, 0] = np.nan
    mended = 0.5 * (rough + 1.0 - rough.T)
    mended[[2, 5, 0], [5, 2, 0]] = 0.5
    ours, theirs = (
        BudgetedOracle(matrix_oracle(matrix), 3, design=design, guess=Rough(guess), seed=2).payoffs(["p"], [names])[0]
        for guess in (rough, mended)
    )
    assert np.isfinite(ours.payoffs).all()
    np.testing.assert_allclose(ours.payoffs, theirs.payoffs)
    np.testing.assert_allclose(ours.variance, theirs.variance)


HALF = FunctionOracle(lambda *_: 0.5)


class Wrong:
    """Answers with what it is given."""

    def __init__(self, answer):
        self.answer = answer

    def prefer(self, prompts, responses, opponents=None):
        return self.answer


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BudgetedOracle(HALF, 0), "at least 1"),
        (lambda: BudgetedOracle(HALF, 1, design="star"), "expected a design of 'regular', 'circular', 'active', got"),
        (lambda: BudgetedOracle(HALF, 1, design="active"), "expected a guess with design='active'"),
        (lambda: BudgetedOracle(HALF, 1).prefer(["x"], []), "one list of responses"),
        (lambda: BudgetedOracle(HALF, 1).payoffs(["x"], [["a"]]), "groups of at least 2 responses, got 1"),
        (lambda: BudgetedOracle(Wrong(np.zeros((2, 1))), 1).payoffs(["x"], [["a", "b"]]), "the oracle answered with"),
        (lambda: BudgetedOracle(Wrong(np.full((1, 1, 1), 7.0)), 1).payoffs(["x"], [["a", "b"]]), "not logits"),
        (lambda: BudgetedOracle(HALF, 1, guess=Wrong(np.zeros(3))).payoffs(["x"], [["a", "b"]]), "the guess answered"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
