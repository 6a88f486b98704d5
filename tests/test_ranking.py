"""Ranking without an order: against definitions, and against the parts it is made of."""

import json

import numpy as np
import pytest
from real_data import data_file

import rebel_pref as rp
from rebel_pref.diagnostics import fit_bradley_terry, pooled_triads
from rebel_pref.preferences import FunctionOracle

CYCLE = [[0, 30, 72], [70, 0, 28], [28, 72, 0]]


def by_label(ranking):
    return {item.label: item for item in ranking.items}


def test_scores_are_their_definitions():
    """Win rate against the winner, mean win rate, wins minus losses, Bradley-Terry: computed here another way."""
    game = rp.games.rock_paper_scissors(0.1, 0.3, 0.6)
    ranking = rp.rank(game)
    winner = np.array([by_label(ranking)[label].probability.estimate for label in game.labels])
    # Of three actions the winner plays each in proportion to the margin between the other two.
    margins = np.abs([game.payoff[1, 2], game.payoff[0, 2], game.payoff[0, 1]])
    assert np.allclose(winner, margins / margins.sum(), atol=1e-9)
    for i, label in enumerate(game.labels):
        item = by_label(ranking)[label]
        assert item.against_winner.estimate == pytest.approx(game.preferences[i] @ winner)
        assert item.borda.estimate == pytest.approx(np.delete(game.preferences[i], i).mean())
        assert item.copeland.estimate == 0
        assert np.isnan(item.borda.low) and item.comparisons is None and item.unmet == 0
    scores = {label: item.bradley_terry.estimate for label, item in by_label(ranking).items()}
    order = sorted(scores, key=scores.get, reverse=True)
    assert [by_label(ranking)[label].bradley_terry_rank.estimate for label in order] == [1, 2, 3]
    assert ranking.labels == tuple(np.array(game.labels)[np.argsort(-winner)])
    assert ranking.condorcet_winner is None and len(ranking.smith_set) == 3 and not ranking.notes
    # A pure choice is beaten by its worst match-up.
    borda = ranking.top["Borda"]
    assert ranking.exploitability["Borda"].estimate == pytest.approx(game.payoff[:, game.labels.index(borda[0])].max())
    assert ranking.exploitability["minimax winner"].estimate == pytest.approx(0.0, abs=1e-9)
    assert "These payoffs cycle" in ranking.sentence and "mixes" in ranking.sentence


def test_an_exact_order():
    """Without a cycle the sentence says so, and every rule agrees."""
    ranking = rp.rank(rp.PreferenceGame.from_preferences([[0.5, 0.9, 0.8], [0.1, 0.5, 0.6], [0.2, 0.4, 0.5]]))
    assert ranking.sentence.startswith("These payoffs do not cycle")
    assert ranking.condorcet_winner == ranking.labels[0]
    assert all(interval.estimate == 0 for interval in ranking.exploitability.values())


def test_a_cycle_longer_than_a_triad_is_seen():
    """a > b > c > d > a with both diagonals tied holds no cyclic triad, and still no order represents it."""
    payoffs = np.zeros((4, 4))
    for i in range(4):
        payoffs[i, (i + 1) % 4], payoffs[(i + 1) % 4, i] = 0.5, -0.5
    ranking = rp.rank(rp.PreferenceGame.from_payoffs(payoffs))
    assert ranking.triads.cyclic == 0 and "cycle" in ranking.sentence and "no order" in ranking.sentence


def test_counted_cycle():
    """Intervals hold their estimate, tests reject, and the winner's are those of the one bootstrap."""
    ranking = rp.rank(CYCLE, bootstrap=99, seed=1)
    assert ranking.sentence.startswith("These comparisons cycle") and "no order represents them" in ranking.sentence
    again = rp.bootstrap_winner(rp.Comparisons.from_counts(CYCLE), replicates=99, seed=1)
    for i, label in enumerate(again.labels):
        item = by_label(ranking)[label]
        assert (item.probability.low, item.probability.high) == (again.lower[i], again.upper[i])
        assert (item.against_winner.low, item.against_winner.high) == (
            again.win_rate_lower[i],
            again.win_rate_upper[i],
        )
        for interval in (item.probability, item.borda, item.bradley_terry, item.bradley_terry_rank):
            assert interval.low <= interval.estimate <= interval.high
        assert 0 <= item.in_support <= 1 and item.comparisons == 200
    assert np.allclose(
        [by_label(ranking)[label].bradley_terry.estimate for label in again.labels],
        fit_bradley_terry(np.array(CYCLE, dtype=float)),
        atol=1e-5,
    )
    assert rp.rank(CYCLE, bootstrap=99, seed=1).as_dict() == ranking.as_dict()


def test_an_order_is_as_good():
    """Bradley-Terry counts with many comparisons: no rejection, and the sentence says how many there were."""
    scores = np.array([1.0, 0.3, 0.0, -0.8])
    chance = 1 / (1 + np.exp(scores[None, :] - scores[:, None]))
    wins = np.round(400 * chance)
    np.fill_diagonal(wins, 0)
    ranking = rp.rank(wins, bootstrap=59)
    assert "the Bradley-Terry order is as good, as far as 400 comparisons a pair can tell." in ranking.sentence
    assert [item.bradley_terry_rank.estimate for item in ranking.items] == [1, 2, 3, 4]
    assert not ranking.notes


def test_what_limits_it_is_said():
    """Missing pairs, parts that never met, too few, one-sided; untested where nothing was tested."""
    wins = np.zeros((4, 4))
    wins[0, 1], wins[2, 3] = 2, 1
    ranking = rp.rank(wins, bootstrap=59)
    told = " ".join(ranking.notes)
    for said in ("4 of 6 pairs never met", "2 parts", "Too few comparisons", "2 pairs are one-sided"):
        assert said in told
    assert {item.unmet for item in ranking.items} == {2}
    assert "were not tested" in rp.rank(wins, bootstrap=0).sentence
    empty = rp.rank(np.zeros((3, 3)))
    assert "says nothing" in empty.notes[0] and np.isnan(empty.items[0].borda.low)


def test_clusters_are_drawn_whole():
    """One prompt decides each pair: the note says so, and replicates that lack the prompt make the pair a tie."""
    rows = rp.Comparisons(("a", "b", "c"), [0, 1, 2], [1, 2, 0], [5, 5, 5], [0] * 3, [0] * 3, [0, 1, 2])
    ranking = rp.rank(rows, bootstrap=59)
    assert "3 pairs met in one cluster only" in " ".join(ranking.notes)
    assert ranking.as_dict()["counted"]["clusters"] == 3
    assert by_label(ranking)["a"].copeland.high > 0 > by_label(ranking)["a"].copeland.low


def test_payoffs_that_are_no_win_rates():
    """A game in other units is ranked in them, without Bradley-Terry."""
    ranking = rp.rank(rp.PreferenceGame.from_payoffs([[0, 5, -2], [-5, 0, 1], [2, -1, 0]]))
    assert ranking.unit == "payoff" and ranking.items[0].bradley_terry is None
    assert "Bradley-Terry" not in ranking.exploitability
    assert max(item.against_winner.estimate for item in ranking.items) == pytest.approx(0.0, abs=1e-9)
    assert str(ranking)


def test_as_dict_is_json():
    told = json.loads(json.dumps(rp.rank(CYCLE, bootstrap=59).as_dict(), allow_nan=False))
    assert told["replicates"] == 59 and len(told["items"]) == 3 and told["status"] == "solved"
    json.dumps(rp.rank(rp.games.rock_paper_scissors()).as_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rp.rank([[0]]), "at least 2 items"),
        (lambda: rp.rank(CYCLE, level=1.0), "level"),
        (lambda: rp.rank(CYCLE, bootstrap=5), "at least 59"),
        (lambda: rp.rank("abc"), "expected a game"),
        (lambda: rp.rank_responses(FunctionOracle(lambda *_: 0.5), "p", ["a"]), "at least 2"),
        (lambda: rp.rank_responses(FunctionOracle(lambda *_: 0.5), "p", "ab"), "at least 2"),
        (
            lambda: rp.rank_responses(FunctionOracle(lambda *_: 3.0), "p", ["a", "b"]),
            "answered 3, expected",
        ),
        (lambda: rp.rank_responses(FunctionOracle(lambda *_: float("nan")), "p", ["a", "b"]), "judged no two"),
        (lambda: rp.rank_responses(Answer(np.zeros((1, 3, 3))), "p", ["a", "b"]), "shape"),
        (lambda: rp.rank_responses(Answer(np.full((1, 2, 2), 0.9)), "p", ["a", "b"]), "contradicts itself"),
        (lambda: pooled_triads(rp.Comparisons.from_counts(CYCLE)), "groups"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


class Answer:
    """An oracle that says one thing."""

    def __init__(self, answer):
        self.answer = answer

    def prefer(self, prompts, responses, opponents=None):
        return self.answer


def test_responses_without_judgements_are_left_out():
    """Never a tie: c has no judgement against a, so one of the two goes, and a note says so."""

    def compare(prompt, first, second):
        return float("nan") if {first, second} == {"a", "c"} else 0.7 if first < second else 0.3

    ranking = rp.rank_responses(FunctionOracle(compare), "p", ["a", "b", "c", "d"])
    assert len(ranking.items) == 3 and "judgements are missing: response" in ranking.notes[-1]
    complete = rp.rank_responses(FunctionOracle(compare), "p", ["b", "c", "d"])
    assert complete.condorcet_winner == "1: b" and not complete.notes


def test_equal_responses_are_different_items():
    ranking = rp.rank_responses(FunctionOracle(lambda p, a, b: 0.5 if a == b else float(a > b)), "p", ["x", "x", "y"])
    assert ranking.condorcet_winner == "3: y" and len(set(ranking.labels)) == 3


def test_pooled_triads_by_hand():
    """Sums within a group decide; ties, rows in both directions, and groups too small do not count."""
    first, second = [0, 1, 2, 0, 1, 2, 0, 0, 3], [1, 2, 0, 1, 2, 0, 1, 1, 0]
    wins = [1, 1, 1, 1, 1, 0, 2, 0, 1]
    losses = [0, 0, 0, 0, 0, 1, 0, 2, 0]
    groups = [7, 7, 7, 8, 8, 8, 9, 9, 9]
    found = pooled_triads(rp.Comparisons(("a", "b", "c", "d"), first, second, wins, losses, [0] * 9, groups))
    assert (found.cyclic, found.decided, found.groups, found.with_triads) == (1, 2, 3, 2)
    assert found.share == 0.5


@pytest.mark.parametrize(
    ("name", "cluster", "cyclic", "decided"),
    [
        ("llmfao/gpt3-crowd-comparisons.csv", "auto", 80, 418),
        ("llmfao/gpt4-crowd-comparisons.csv", "auto", 5, 433),
        ("llmfao/crowd-comparisons.csv", "prompt", 12, 253),
        ("pandalm/testset-v1.json", "auto", 1, 373),
    ],
)
def test_triads_inside_prompts_of_real_judges(name, cluster, cyclic, decided):
    """What is known of these files: a judge's cycles on single prompts, pooled."""
    found = pooled_triads(rp.load_game(data_file(name), cluster=cluster).comparisons)
    assert (found.cyclic, found.decided) == (cyclic, decided)


def test_pandalm_ranked():
    """999 pairs of 5 models with three annotators each, drawn again by instruction: an order, and it is safe."""
    ranking = rp.rank(rp.load_game(data_file("pandalm/testset-v1.json")), bootstrap=59)
    told = ranking.as_dict()
    assert told["counted"]["comparisons"] == 2997 and told["counted"]["clusters"] == 170
    assert told["grouped_triads"]["cyclic"] == 1
    assert ranking.condorcet_winner == ranking.labels[0] and "order is as good" in ranking.sentence
    assert not ranking.notes


def test_govan_ranked():
    """Glasgow's Govan ward of 2007: a top cycle of three, and a lottery over them."""
    ranking = rp.rank(rp.load_game(data_file("preflib/00008-00000009.soi")), bootstrap=0)
    assert ranking.condorcet_winner is None and set(ranking.smith_set) == set(ranking.labels[:3])
    assert [item.probability.estimate for item in ranking.items[:3]] == pytest.approx([0.88, 0.09, 0.02], abs=0.005)
