"""`diagnose`: what it says, of made data, of real data, and of what it cannot use."""

import ast
import csv
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import data_file, ukp_topics

import rebel_pref as rp
from rebel_pref.diagnostics import holm
from rebel_pref.games import Comparisons

CIRCLE = np.array([[0, 70, 28, 75], [30, 0, 72, 80], [72, 28, 0, 78], [25, 20, 22, 0]])
NULLS = ("Bradley-Terry", "weak stochastic transitivity")


@pytest.fixture(scope="module")
def circle():
    return rp.diagnose(CIRCLE, bootstrap=99)


def ballots(chances, voters, rng):
    """Everybody compares every pair once: a cluster each."""
    pairs = np.array(list(itertools.combinations(range(len(chances)), 2)))
    first, second = np.tile(pairs, (voters, 1)).T
    wins = (rng.random(len(first)) < chances[first, second]).astype(float)
    zeros = np.zeros(len(first))
    labels = [f"y{i}" for i in range(len(chances))]
    return Comparisons(labels, first, second, wins, 1 - wins, zeros, np.repeat(np.arange(voters), len(pairs)))


# What it says.


def test_a_cycle_is_named(circle):
    """0 > 1 > 2 > 0 at 70 % of 100: every transitive model is rejected, and item 3 has no part in it."""
    assert circle.sentence.startswith("These comparisons reject every transitive model (p = 0.0")
    assert circle.sentence.endswith("): 0 > 1 > 2 > 0.")
    assert circle.tested_cycle == ("0", "1", "2")
    assert (circle.triads.cyclic, circle.triads.decided) == (1, 4)
    assert circle.solutions.condorcet_winner is None
    assert circle.solutions.condorcet_loser == "3"
    assert circle.solutions.smith_set == ("0", "1", "2")
    assert circle.counted.comparisons == 600
    assert (circle.counted.pairs, circle.counted.possible_pairs, circle.counted.clusters) == (6, 6, None)
    assert {test.null for test in circle.tests} == set(NULLS)
    assert all(circle.p_value(null) <= 0.05 for null in NULLS)
    assert circle.sample_size.power == {}
    assert circle.status == "solved"


def test_an_order_that_is_not_bradley_terry_is_no_cycle():
    """Neighbours at 52 %, all others at 95 %: one score an item is too simple, and nothing cycles."""
    rng = np.random.default_rng(0)
    wins = np.zeros((7, 7))
    for i, j in itertools.combinations(range(7), 2):
        wins[i, j] = rng.binomial(100, 0.52 if j == i + 1 else 0.95)
        wins[j, i] = 100 - wins[i, j]
    found = rp.diagnose(wins, bootstrap=99)
    assert found.sentence.startswith("These comparisons do not reject a transitive model (p = ")
    assert "but they reject Bradley-Terry (p = 0.0" in found.sentence
    assert found.p_value(NULLS[0]) <= 0.05 < found.p_value(NULLS[1])


def test_noise_is_called_noise():
    """Three votes a pair of 12 equals: many cyclic triads, and a sentence that says how many chance makes."""
    rng = np.random.default_rng(1)
    upper = np.triu(rng.binomial(3, 0.5, (12, 12)), 1)
    found = rp.diagnose(upper + np.triu(3 - upper, 1).T, bootstrap=99)
    assert found.triads.cyclic > 30
    assert found.sentence.startswith("These comparisons do not reject a transitive model (p = 1), nor Bradley-Terry")
    assert f"{found.triads.cyclic} of 220 decided triads are cyclic, where chance alone makes " in found.sentence


def test_games_that_are_exact_are_not_tested():
    for game, text in [
        (rp.games.rock_paper_scissors(), "1 of 1 decided triads is cyclic, and no action beats all others."),
        (rp.PreferenceGame.from_payoffs(np.zeros((3, 3))), "0 of 0 decided triads are cyclic, and no action beats"),
        (rp.PreferenceGame.from_payoffs([[0.0]], labels=["alone"]), "alone beats all others."),
    ]:
        found = rp.diagnose(game)
        assert found.sentence.startswith("These payoffs are exact, so there is nothing to test: ")
        assert text in found.sentence
        assert (found.tests, dict(found.intervals), found.sample_size, found.counted) == ((), {}, None, None)
        assert found.p_value(NULLS[0]) is None
        json.dumps(found.as_dict(), allow_nan=False)
        assert found.sentence in str(found)


def test_what_cannot_be_tested_says_why():
    asked_not_to = rp.diagnose(CIRCLE, bootstrap=0)
    assert (
        "were not tested (bootstrap = 0): 1 of 4 decided triads is cyclic, which alone is no" in asked_not_to.sentence
    )
    assert asked_not_to.intervals == {}
    assert asked_not_to.sample_size.needed[0.1] == 275  # ln(12 / .05) / .02 = 274.03
    weighted = rp.diagnose(CIRCLE * 0.37, bootstrap=59)
    assert "were not tested (the counts are not whole, and no clusters say" in weighted.sentence
    assert weighted.intervals["cyclic triads"].estimate == 1
    nothing = rp.diagnose(np.zeros((3, 3)))
    assert "were not tested (no comparison was decided)" in nothing.sentence
    tied = Comparisons(("a", "b", "c"), np.array([0, 1]), np.array([1, 2]), np.zeros(2), np.zeros(2), np.full(2, 9.0))
    assert "were not tested (no comparison was decided)" in rp.diagnose(tied).sentence


def test_everything_found_is_told(circle):
    """The text has every section; the dict is JSON without NaN and says the same."""
    text = str(circle)
    for heading in ("Comparisons", "Triads", "Hodge decomposition and discs", "Sets of winners",
                    "Stochastic transitivity", "Exploitability of a choice", "Null tests", "Sample size"):  # fmt: skip
        assert f"\n{heading}\n" in text
    told = json.loads(json.dumps(circle.as_dict(), allow_nan=False))
    assert told["sentence"] == circle.sentence
    assert told["triads"]["cyclic"] == 1
    assert told["triads"]["strongest"][0]["actions"] == ["0", "1", "2"]
    assert told["solutions"]["smith_set"] == ["0", "1", "2"]
    assert told["hodge"]["flow"] == "log-odds"
    assert told["hodge"]["curl"] == pytest.approx(circle.hodge.curl)
    assert [test["statistic"] for test in told["tests"]] == [
        "cyclic triads", "cyclic energy", "deviance", "likelihood ratio", "strongest cycle"
    ]  # fmt: skip
    assert told["choices"]["minimax winner"]["exploitability"] == pytest.approx(0.0, abs=1e-9)
    assert told["sample_size"]["needed"].keys() == {"0.2", "0.1", "0.05"}
    assert told["settings"] == {"bootstrap": 99, "level": 0.95, "seed": 0, "flow": "auto"}


def test_seeds_decide_and_progress_is_told(circle):
    steps = []
    again = rp.diagnose(CIRCLE, bootstrap=99, progress=lambda done, total: steps.append((done, total)))
    assert again.as_dict() == circle.as_dict()
    assert steps[-1] == (198, 198)
    assert steps == sorted(steps)
    assert rp.diagnose(CIRCLE, bootstrap=99, seed=1).intervals != circle.intervals


def test_intervals_hold_the_estimate_of_plain_numbers(circle):
    """With 100 comparisons a pair replicates surround what they replicate; the level widens them."""
    exploitability = circle.intervals["exploitability of uniform"]
    assert exploitability.low < exploitability.estimate < exploitability.high
    for name, interval in circle.intervals.items():
        assert interval.low <= interval.high, name
    sure = rp.diagnose(CIRCLE, bootstrap=400, level=0.99).intervals["exploitability of uniform"]
    assert sure.low < exploitability.low and sure.high > exploitability.high


def test_intervals_resample_clusters():
    """Thirty ballots, each copied ten times: by ballot the interval is wide, by comparison too narrow by sqrt 10."""
    rng = np.random.default_rng(2)
    once = ballots(np.full((4, 4), 0.5) + np.triu(np.full((4, 4), 0.2), 1), 30, rng)
    columns = once.labels, once.first, once.second, 10 * once.wins, 10 * once.losses, once.ties
    name = "exploitability of uniform"
    by_cluster = rp.diagnose(Comparisons(*columns, once.cluster), bootstrap=400).intervals[name]
    by_comparison = rp.diagnose(Comparisons(*columns), bootstrap=400).intervals[name]
    ratio = (by_cluster.high - by_cluster.low) / (by_comparison.high - by_comparison.low)
    assert 2.0 < ratio < 5.0
    assert by_cluster.estimate == by_comparison.estimate


def test_more_comparisons_are_planned_for_what_exceeds_noise():
    """A cycle seen too seldom: several times as many comparisons would do; pure noise asks for none."""
    weak = np.array([[0, 23, 17], [17, 0, 23], [23, 17, 0]])
    found = rp.diagnose(weak, bootstrap=99)
    assert found.p_value(NULLS[0]) > 0.05
    assert 2 <= found.sample_size.multiple <= 16
    assert "to reject Bradley-Terry" in str(found)
    powers = list(found.sample_size.power.values())
    assert powers[-1] >= 0.8 > powers[0]
    fitting = rp.diagnose(np.array([[0, 20, 24], [20, 0, 24], [16, 16, 0]]), bootstrap=99)
    assert fitting.sample_size.power == {} and fitting.sample_size.multiple is None


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 7))
def test_labels_do_not_matter(seed, n):
    """Another order of the items: the same numbers, of the same items."""
    rng = np.random.default_rng(seed)
    wins = np.triu(rng.integers(0, 9, (n, n)), 1) + np.tril(rng.integers(0, 9, (n, n)), -1)
    order = rng.permutation(n)
    names = np.array([f"y{i}" for i in range(n)])
    one, two = (
        rp.diagnose(Comparisons.from_counts(wins[np.ix_(o, o)], labels=list(names[o])), bootstrap=0)
        for o in (np.arange(n), order)
    )
    assert (one.triads.cyclic, one.triads.decided) == (two.triads.cyclic, two.triads.decided)
    assert one.triads.consistency == pytest.approx(two.triads.consistency)
    for part in ("total", "gradient", "curl", "harmonic"):
        scale = max(one.hodge.total, 1.0)
        assert getattr(one.hodge, part) == pytest.approx(getattr(two.hodge, part), abs=1e-9 * scale)
    np.testing.assert_allclose(one.bradley_terry[order], two.bradley_terry, atol=1e-6)
    np.testing.assert_allclose(one.spectrum.strengths, two.spectrum.strengths, atol=1e-9)
    for kind in ("weak", "moderate", "strong"):
        assert getattr(one.transitivity, kind).count == getattr(two.transitivity, kind).count
    for rule in range(4):  # All but the minimax winner, of which there may be several.
        assert set(one.choices[rule].actions) == set(two.choices[rule].actions)
        assert one.choices[rule].exploitability == pytest.approx(two.choices[rule].exploitability, abs=1e-9)
    assert set(one.solutions.essential_set) == set(two.solutions.essential_set)
    assert one.sentence == two.sentence


def test_flows():
    """Log-odds of win rates inside (0, 1) and of counts, payoffs otherwise; and what was asked for."""
    inside = rp.games.rock_paper_scissors(0.1, 0.3, 0.6)
    assert rp.diagnose(inside).hodge.flow == "log-odds"
    assert rp.diagnose(inside, flow="payoff").hodge.total == pytest.approx(0.01 + 0.09 + 0.36)
    assert rp.diagnose(inside).hodge.total == pytest.approx(
        sum(np.log((1 + a) / (1 - a)) ** 2 for a in (0.1, 0.3, 0.6))
    )
    assert rp.diagnose(rp.games.rock_paper_scissors()).hodge.flow == "payoff"
    assert rp.diagnose(CIRCLE, bootstrap=0).hodge.total == pytest.approx(
        sum(
            100 * np.log((CIRCLE[i, j] + 0.5) / (CIRCLE[j, i] + 0.5)) ** 2
            for i, j in itertools.combinations(range(4), 2)
        )
    )
    beyond = rp.PreferenceGame.from_payoffs([[0, 3], [-3, 0]])
    assert rp.diagnose(beyond).bradley_terry is None
    assert [choice.rule for choice in rp.diagnose(beyond).choices] == ["Borda", "Copeland", "uniform", "minimax winner"]


@pytest.mark.parametrize(
    ("subject", "options", "message"),
    [
        ([[0, -1], [1, 0]], {}, r"matrix of win counts: .* got wins\[0, 1\] = -1.0; pass payoffs .*from_payoffs"),
        ([[0, 1, 2], [1, 0, 2]], {}, "square matrix"),
        ("nonsense", {}, "expected a game, comparisons or a matrix of win counts"),
        (CIRCLE, {"bootstrap": 58}, r"must be 0 \(no tests\) or at least 59, .* level 0.05 can reject; got 58"),
        (CIRCLE, {"bootstrap": -1}, "got -1"),
        (CIRCLE, {"level": 1.0}, "expected a level between 0 and 1, got 1.0"),
        (CIRCLE, {"flow": "curl"}, "no flow is called 'curl'; known flows: auto, log-odds, payoff"),
        (rp.games.rock_paper_scissors(), {"flow": "log-odds"}, r"strictly between 0 and 1, got max\|A\| = 1; ask for"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(subject, options, message):
    with pytest.raises(ValueError, match=message):
        rp.diagnose(subject, **options)


# Real data, with what is known of them.


def test_votes_in_debian_and_on_sushi_do_not_cycle():
    for name, favourite in (("00002-00000003.soi", "Branden Robinson"), ("00014-00000001.soc", None)):
        found = rp.diagnose(rp.load_game(data_file(f"preflib/{name}")), bootstrap=59)
        assert found.triads.cyclic == 0
        assert found.triads.consistency == 1.0
        assert found.solutions.condorcet_winner is not None
        assert favourite in (None, found.solutions.condorcet_winner)
        assert found.counted.clusters > 400
        assert "do not reject a transitive model" in found.sentence


def test_govan_has_a_top_cycle_of_three_that_its_votes_cannot_show():
    """Its weakest link is 3,578 votes against 3,557."""
    found = rp.diagnose(rp.load_game(data_file("preflib/00008-00000009.soi")), bootstrap=0)
    assert found.triads.cyclic == 1
    assert len(found.solutions.smith_set) == 3
    assert set(found.solutions.smith_set) == set(found.triads.strongest[0].actions)
    assert found.solutions.condorcet_winner is None
    assert found.triads.strongest[0].weakest == pytest.approx((3578 - 3557) / (3578 + 3557))
    counts = rp.load_game(data_file("preflib/00008-00000009.soi")).comparisons.counts
    tested = rp.diagnose(counts, bootstrap=99)
    assert "do not reject a transitive model" in tested.sentence


def test_rock_paper_scissors_programs_cycle():
    rows = [ast.literal_eval(line) for line in data_file("rrps/rrps43_bot_table_file.txt").read_text().splitlines()]
    names = sorted({row[0] for row in rows})
    returns = {(first, second): value / 1000 for first, second, value in rows}
    table = np.array([[returns.get((a, b), 0.0) for b in names] for a in names])
    found = rp.diagnose(rp.PreferenceGame.from_payoffs((table - table.T) / 2, labels=names))
    assert (found.triads.cyclic, found.triads.decided) == (956, 12_220)
    assert found.solutions.condorcet_winner is None
    assert len(found.solutions.essential_set) == 5 and found.solutions.essential_unique
    assert "956 of 12220 decided triads are cyclic, and no action beats all others" in found.sentence


def test_pokemon_types_cycle():
    """Payoff of type i against j: log2 of the damage ratio, no damage taken as one eighth."""
    with data_file("pokemon-types/type_efficacy.csv").open() as stream:
        rows = [[int(cell) for cell in row.values()] for row in csv.DictReader(stream)]
    damage = np.zeros((18, 18))
    for attacker, target, percent in rows:
        damage[attacker - 1, target - 1] = np.log2(max(percent, 12.5) / 100)
    found = rp.diagnose(rp.PreferenceGame.from_payoffs(damage - damage.T))
    assert (found.triads.cyclic, found.triads.decided) == (42, 128)
    assert found.solutions.condorcet_winner is None
    assert not found.solutions.bipartisan_unique or len(found.solutions.bipartisan_set) % 2 == 1


def test_arguments_cycle_no_more_than_chance():
    """32 topics, 5,415 cyclic triads: about what Bradley-Terry makes, and no topic rejects a transitive model."""
    found = [rp.diagnose(topic, bootstrap=59) for topic in ukp_topics()]
    assert len(found) == 32
    chance = [next(test for test in topic.tests if test.statistic == "cyclic triads") for topic in found]
    assert sum(test.observed for test in chance) == 5415
    assert sum(test.null_mean for test in chance) == pytest.approx(5500, rel=0.05)
    assert sum(test.p_value <= 0.05 for test in chance) <= 5
    for topic in found:
        assert topic.p_value(NULLS[1]) > 0.05
        assert topic.sentence.startswith("These comparisons do not reject a transitive model")


@pytest.mark.slow
def test_no_topic_of_arguments_rejects_bradley_terry_after_holm():
    """999 replicates could reject: the smallest p-value there is, .001, times 32 topics is .032."""
    topics = ukp_topics()
    found = [rp.diagnose(topic, bootstrap=999) for topic in topics]
    assert min(holm([topic.p_value(NULLS[0]) for topic in found])) > 0.05
