"""The solver benchmarks: verdicts follow from the numbers, faults of anyone become rows, false claims are caught."""

import csv
import json
import os
import time
from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

import rebel_pref as rp
from benchmarks import fuzz_games, fuzz_ways, solver_fuzz, solver_speed, suite
from benchmarks.peers import OURS, PEERS, Solver, ours, solver_named
from benchmarks.solver_works import Bar, Work, small_games, works
from benchmarks.timing import Cell, Limits, measure

QUICK = Limits(seconds=20.0, repeats=2, budget=1.0)
RPS = suite.rock_paper_scissors


# Solvers for the tests below; module level, because a child process must find them. A toy has 5 actions, RPS has 3.
def uniform(problem, setting):
    return np.full(len(problem), 1.0 / len(problem))


def no_policy(problem, setting):
    return None


def raises(problem, setting):
    raise ValueError("no luck")


def hangs(problem, setting):
    if len(problem) == 3:
        time.sleep(60.0)
    return uniform(problem, setting)


def dies(problem, setting):
    os._exit(7)


def mixes(problem, setting):
    return (1.0 - setting) * np.array([0.6, 0.3, 0.1]) + setting / 3.0


def test_measure_ours():
    cell = measure(RPS, OURS, 1e-12, QUICK)
    assert cell.ok
    assert cell.cpu > 0.0
    assert cell.wall > 0.0
    assert cell.repeats == 2
    assert 0.0 <= cell.exploitability <= 1e-12


@pytest.mark.parametrize(
    ("solve", "status"),
    [
        (uniform, "wrong"),
        (no_policy, "wrong: no distribution"),
        (raises, "failed: ValueError: no luck"),
        (hangs, "timeout"),
        (dies, "crashed: exit code 7"),
    ],
)
def test_measure_marks_faults(solve, status):
    """Whatever goes wrong in a peer is a row, and the benchmark goes on."""
    limits = replace(QUICK, seconds=0.5) if solve is hangs else QUICK
    cell = measure(RPS, Solver("x", solve), 1e-6, limits)
    assert cell.status == status
    assert not cell.ok
    if solve is uniform:  # A p = (.2, -.5, .3) / 3 against uniform, max|A| = .6.
        assert cell.exploitability == pytest.approx(0.3 / 3 / 0.6)


def test_measure_takes_the_loosest_setting_that_passes():
    """(1 - s) p* + s u has exploitability s * .1 / .6 of max|A|: s = .1 passes at .02, s = 1 does not."""
    cell = measure(RPS, Solver("x", mixes, settings=(1.0, 0.1, 0.01)), 0.02, QUICK)
    assert (cell.status, cell.setting) == ("ok", 0.1)
    assert cell.exploitability == pytest.approx(0.1 / 6)


def test_measure_without_the_package():
    assert measure(RPS, Solver("x", uniform, "no_such_package"), 1.0, QUICK) == Cell("x", "absent")


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_peers_that_are_installed(peer):
    """Each adapter answers a game of its kind; open_spiel's LP needs a solver that it does not install."""
    if not peer.installed:
        pytest.skip(f"{peer.module} is not installed")
    make = RPS
    if "loop" in peer.name:
        make = partial(suite.random_batch, 4, 5, 0)
    if "factored" in peer.name:
        make = partial(suite.mixed, 200, 2, 0)
    cell = measure(make, peer, 1e-3, replace(QUICK, seconds=60.0))
    if peer.name == "open_spiel lp_solver":
        assert cell.ok or cell.status.startswith("failed")
    else:
        assert cell.ok, cell


def test_recheck():
    game = RPS()
    assert suite.recheck(game, [0.6, 0.3, 0.1]) == pytest.approx(0.0, abs=1e-15)
    assert suite.recheck(game, [1.0, 0.0, 0.0]) == pytest.approx(0.1 / 0.6)  # Paper gains .1 on rock.
    for bad in ([0.6, 0.4], [0.6, 0.6, -0.2], [np.nan, 0.5, 0.5], [0.5, 0.3, 0.1]):
        assert np.isnan(suite.recheck(game, bad))
    batch = suite.Batch(np.stack([game.payoff, 10.0 * game.payoff]))
    assert suite.recheck(batch, [[0.6, 0.3, 0.1], [1.0, 0.0, 0.0]]) == pytest.approx(0.1 / 0.6)
    factored = suite.mixed(30, 2, 1)
    u, v, r = factored.left, factored.right, factored.scores
    dense = suite.Dense(u @ v.T - v @ u.T + r[:, None] - r)
    policy = np.random.default_rng(0).dirichlet(np.ones(30))
    assert suite.recheck(factored, policy) == pytest.approx(suite.recheck(dense, policy))


@pytest.mark.parametrize("make", small_games(True).values(), ids=small_games(True))
def test_small_games_are_games(make):
    payoff = make().payoff
    np.testing.assert_array_equal(payoff, -payoff.T)


def test_every_piece_of_work_has_a_name_and_known_peers():
    listed = works(False)
    assert len({work.name for work in listed}) == len(listed)
    left_out = {work.name for work in listed} - {work.name for work in works(True)}
    assert left_out == {"structured: kuhn-poker (named)", "structured: mixed (named)"}
    for work in listed:
        for bar in work.bars:
            for name in bar.peers:
                assert solver_named(name).name == name


@pytest.fixture
def fake(monkeypatch):
    """`compare` on cells that are told, not measured."""

    def run(own, peers, **settings):
        cells = {"rebel_pref": replace(own, solver="rebel_pref")} | peers
        monkeypatch.setattr(solver_speed, "measure", lambda make, solver, *rest: cells[solver.name])
        bars = (Bar("peer", tuple(peers), 10.0),) if peers else ()
        work = Work("work", RPS, bars, **settings)
        return solver_speed.compare(work, Limits(seconds=100.0), "cpu")[0][0]

    return run


def test_verdicts(fake):
    own = Cell("", "ok", cpu=1.0, wall=2.0, exploitability=0.0, extra_mb=30.0, peak_mb=50.0)
    slow, quick = replace(own, cpu=20.0, wall=20.0), replace(own, cpu=5.0)
    wrong, late, absent = replace(quick, status="wrong"), replace(quick, status="timeout"), Cell("", "absent")
    a, b = "HiGHS simplex", "scipy highs-ipm"
    row = fake(own, {a: slow})
    assert (row["ratio_cpu"], row["ratio_wall"], row["verdict"]) == (20.0, 10.0, "met")
    assert fake(own, {a: slow, b: quick})["verdict"] == "missed"
    assert fake(own, {a: slow, b: wrong})["verdict"] == "met"  # A wrong answer is not faster than a right one.
    assert fake(own, {a: wrong})["verdict"] == "not measured: peer wrong"
    assert fake(own, {a: late})["verdict"].startswith("met: over 100 s")
    assert fake(replace(own, cpu=50.0), {a: late})["verdict"].startswith("not measured: over 100 s")
    assert fake(own, {a: absent})["verdict"] == "not measured: peer absent"
    assert fake(replace(own, status="wrong"), {a: slow})["verdict"] == "missed: ours wrong"
    assert fake(own, {})["verdict"] == "met"
    assert fake(own, {}, most_memory=20.0)["verdict"] == "missed: 30 MB extra"
    assert fake(own, {}, most_memory=60.0, memory="peak")["verdict"] == "met: 50 MB peak"


def test_a_missed_bar_is_an_exit_code(monkeypatch, tmp_path):
    cell = Cell("", "ok", cpu=1.0, wall=1.0, exploitability=0.0)
    monkeypatch.setattr(solver_speed, "measure", lambda make, solver, *rest: replace(cell, solver=solver.name))
    arguments = ["--only", "one game n=100", "--out", str(tmp_path)]
    assert solver_speed.main(arguments) == 1
    assert solver_speed.main([*arguments, "--quick"]) == 0


def test_solver_speed_smoke(tmp_path, capsys):
    """A row with bars, a row without, and the answers: table, CSV, JSON with the peers' versions."""
    chosen = ["Blotto margin, 4 fields, 16", "rank 12, n=1e6", "answers"]
    assert solver_speed.main(["--quick", "--out", str(tmp_path), "--only", *chosen]) == 0
    printed = capsys.readouterr().out
    assert "rank 12, n=1e6" in printed
    assert "what went wrong" in printed
    rows = list(csv.DictReader((tmp_path / "solver_speed.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["against"] for row in rows] == ["HiGHS simplex", "HiGHS interior point", "done, 1000 MB peak"]
    record = json.loads((tmp_path / "solver_speed_cells.json").read_text(encoding="utf-8"))
    assert {"scipy", "highspy", "quantecon", "commit"} <= set(record["provenance"])
    statuses = {row["solver"]: row["status"] for row in record["rows"]}
    assert statuses["rebel_pref"] == statuses["scipy highs-ipm"] == "ok"
    answers = json.loads((tmp_path / "peer_answers.json").read_text(encoding="utf-8"))["rows"]
    assert {row["answer"] for row in answers if row["solver"] == "rebel_pref"} == {"right"}


def test_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        solver_speed.main(["--only", "chess"])
    assert "matches none of" in capsys.readouterr().err


def test_figure(tmp_path):
    """Every solver with a right answer is in the legend, from slow to fast; others are not."""
    pytest.importorskip("matplotlib")
    from benchmarks.solver_figure import draw

    points = [
        {"accuracy": accuracy, "n": n, "solver": name, "status": status, "cpu": factor * n**2}
        for accuracy in (1e-9, 1e-3)
        for n in (10, 100)
        for name, factor, status in (("rebel_pref", 1e-6, "ok"), ("HiGHS simplex", 1e-4, "ok"), ("x", 1.0, "wrong"))
    ]
    figure = draw(points, "cpu")
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["HiGHS simplex", "rebel_pref"]
    figure.savefig(tmp_path / "figure.svg")


def test_ours_says_so_when_it_falls_short():
    """An answer that says itself that it is not solved is a failure in the table, not a fast answer."""
    with pytest.raises(RuntimeError, match="fell short"):
        ours(1e-12, method="fictitious_play")(suite.random_dense(12, 0), None)


@pytest.mark.parametrize("kind", fuzz_games.KINDS)
def test_fuzzed_games_are_games(kind):
    sizes = set()
    for seed in range(12):
        payoff = fuzz_games.draw_game(kind, seed, 40)
        sizes.add(len(payoff))
        np.testing.assert_array_equal(payoff, -payoff.T)
        assert np.isfinite(payoff).all()
        np.testing.assert_array_equal(payoff, fuzz_games.draw_game(kind, seed, 40))
        if kind in fuzz_games.INTEGER_KINDS:
            np.testing.assert_array_equal(payoff, payoff.round())
    assert len(sizes) > 3


def test_factors_are_the_disc_kind():
    for seed in range(5):
        left, right, scores = fuzz_games.draw_factors(seed)
        game = rp.games.FactoredGame.from_factors(left, right, scores)
        payoff = fuzz_games.draw_game("disc", seed)
        np.testing.assert_allclose(game.columns(np.arange(len(game))), payoff, atol=1e-12)


def claim_of(policy, *, tol=1e-9, **changes):
    """A claim about weighted rock, paper, scissors with some of it falsified."""
    game = rp.games.rock_paper_scissors(0.1, 0.3, 0.6)
    solution = rp.solve(game)
    solution = replace(solution, policy=np.asarray(policy), certificate=rp.certify(game, policy), **changes)
    return fuzz_ways.Claim(game, game.payoff.astype(np.longdouble), solution, tol)


def test_fuzz_judges_claims():
    winner, bad = [0.6, 0.3, 0.1], [0.6, 0.4, 0.0]
    assert solver_fuzz.failure(claim_of(winner))[0] == solver_fuzz.SOLVED
    # A p = (-.04, .06, .06): the best responder gains .06, a tenth of max|A|.
    verdict, share = solver_fuzz.failure(claim_of(bad))
    assert verdict.startswith("over its tolerance")
    assert share == pytest.approx(0.1)
    assert solver_fuzz.failure(claim_of(bad, status="fell short"))[0] == solver_fuzz.SHORT
    assert solver_fuzz.failure(claim_of(bad, tol=0.11))[0] == solver_fuzz.SOLVED
    # The policy is not the one that the certificate is about.
    swapped = claim_of(winner)
    swapped = replace(swapped, solution=replace(swapped.solution, policy=np.array(bad)))
    assert solver_fuzz.failure(swapped)[0].startswith("over its certificate")
    for broken in ([0.6, 0.4], [0.7, 0.4, -0.1], [0.6, 0.3, np.nan], [0.5, 0.3, 0.1]):
        torn = replace(swapped, solution=replace(swapped.solution, policy=np.array(broken)))
        assert solver_fuzz.failure(torn)[0].startswith("no distribution")


def test_fuzz_judges_proofs():
    game = rp.games.cycle_game(3)
    solution = replace(rp.solve(game), settings={"exact": True})
    claim = fuzz_ways.Claim(game, game.payoff.astype(np.longdouble), solution, 1e-9)
    assert solver_fuzz.failure(claim)[0] == "solved with exact=True, and no proof"

    def with_proof(shares):
        proof = dict(zip(game.labels, shares, strict=True))
        certificate = replace(solution.certificate, exact_policy=proof)
        return solver_fuzz._proof_failure(replace(claim, solution=replace(solution, certificate=certificate)))

    third = Fraction(1, 3)
    assert with_proof([third, third, third]) == solver_fuzz.SOLVED
    assert with_proof([third, third, third + Fraction(1, 10**30)]) == "proof is no distribution"
    tiny = Fraction(1, 10**30)
    assert with_proof([third - tiny, third + tiny, third]) == "proof is false"


def test_fuzz_survives_a_dead_process():
    """A case that takes its process with it is one failure; the next case has a new process."""
    cases = [solver_fuzz.Case("random", 0, "no such way"), solver_fuzz.Case("all zero", 1, "auto")]
    first, second = solver_fuzz.isolated(cases, 30.0)
    assert first.outcome == "process died: exit code 1"
    assert second.outcome == solver_fuzz.SOLVED


def test_every_kind_meets_every_way():
    cases = solver_fuzz.all_cases(15 * 2 * len(fuzz_ways.WAYS), 0)
    met = {(case.kind, case.way) for case in cases}
    assert met == {(kind, way.name) for way in fuzz_ways.WAYS for kind in fuzz_games.KINDS if way.fits(kind)}


def test_solver_fuzz_smoke(tmp_path, capsys, monkeypatch):
    """Two answers to one game of each kind, all true."""
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # In the child: compiling takes longer than these games.
    assert solver_fuzz.main(["--games", "15", "--out", str(tmp_path)]) == 0
    assert "15 games, 30 answers" in capsys.readouterr().out
    record = json.loads((tmp_path / "solver_fuzz.json").read_text(encoding="utf-8"))
    assert record["failures"] == []
    assert sum(row["answers"] for row in record["rows"]) == 30


def test_replay(capsys):
    assert solver_fuzz.main(["--replay", "all zero:3"]) == 0
    assert "fictitious_play: n=" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="expected KIND:SEED"):
        solver_fuzz.main(["--replay", "chess:1"])
