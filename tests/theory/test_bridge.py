"""NumPy's target is torch's, and the trainer's loss rests at the solver's next policy: broken, it is seen."""

from dataclasses import replace

import pytest
import torch

from rebel_pref.regression import weighted_pairwise_loss
from rebel_pref.theory import bridge, torch_side
from rebel_pref.theory.checks import Scale

QUICK = Scale(quick=True)


def failed(checks):
    return [f"{check.theorem}: {check.quantity}" for check in checks if not check.holds]


def test_every_row_is_one_definition(tmp_path):
    """Twelve rows, each by its target and by its loss; threads of torch are left as they were."""
    threads = torch.get_num_threads()
    checks = bridge.section(QUICK, tmp_path)
    assert failed(checks) == []
    assert len(checks) == 2 * 12 + 2
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("name", ["rebel", "proximal_rebel", "egpo", "scalar_rebel"])
def test_another_payoff_weight_on_torch_is_seen(monkeypatch, tmp_path, name):
    """One in a million more payoff on the torch side: the targets differ and the loss rests elsewhere."""
    row = bridge._rows()[name]
    monkeypatch.setattr(bridge, "_rows", lambda: {name: row})
    whole = torch_side.target

    def heavier(stage, *arguments):
        more = {opponent: weight * (1 + 1e-6) for opponent, weight in stage.payoff.items()}
        return whole(replace(stage, payoff=more), *arguments)

    monkeypatch.setattr(torch_side, "target", heavier)
    broken = failed(bridge.section(QUICK, tmp_path))
    assert any(line.startswith(f"bridge, target: {name}") for line in broken)
    assert any(line.startswith(f"bridge, stationary loss: {name}") for line in broken)


def test_a_pairwise_loss_for_sppo_is_seen(monkeypatch, tmp_path):
    """SPPO's own next policy keeps log Z in its errors: a loss of differences does not rest there."""
    row = bridge._rows()["sppo"]
    monkeypatch.setattr(bridge, "_rows", lambda: {"sppo": row})
    monkeypatch.setattr(bridge, "_losses", lambda row: [(weighted_pairwise_loss, True)])
    assert any("stationary loss: sppo" in line for line in failed(bridge.section(QUICK, tmp_path)))


def test_a_loss_that_is_flat_everywhere_is_seen(monkeypatch, tmp_path):
    """A gradient of zero at the next policy says nothing if it is zero at the current one too."""
    row = bridge._rows()["rebel"]
    monkeypatch.setattr(bridge, "_rows", lambda: {"rebel": row})

    def flat(error, weights):
        return 0.0 * weighted_pairwise_loss(error, weights)

    monkeypatch.setattr(bridge, "_losses", lambda row: [(flat, True)])
    assert any("at the current policy" in line for line in failed(bridge.section(QUICK, tmp_path)))
