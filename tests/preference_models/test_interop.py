"""Oracles as reward functions and as pairwise judges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import preference_models as pm
from preference_models.data import load_comparisons
from preference_models.interop import as_pairwise_judge, group_win_rates
from rebel_pref.preferences import FunctionOracle

NAN = float("nan")
ROCK_PAPER_SCISSORS = np.array([[0.5, 0.1, 0.8], [0.9, 0.5, 0.3], [0.2, 0.7, 0.5]])
LABELS = ["rock", "paper", "scissors"]


def game():
    return pm.TabularPreferenceModel.from_matrix(ROCK_PAPER_SCISSORS, LABELS)


def unjudged(*pairs):
    """Rock, paper, scissors without some pairs."""
    matrix = ROCK_PAPER_SCISSORS.copy()
    for i, j in pairs:
        matrix[i, j] = matrix[j, i] = NAN
    return pm.TabularPreferenceModel.from_matrix(matrix, LABELS)


def chat(text, role="assistant"):
    return [{"role": role, "content": text}]


def test_a_reward_is_the_mean_over_the_others():
    """Rock: (0.1 + 0.8) / 2; the diagonal is not in it, so K - 1 divides."""
    reward = group_win_rates(game())
    assert reward.__name__ == "group_win_rate"  # the name in the trainer's logs
    rates = reward(prompts=["x"] * 3, completions=LABELS)
    np.testing.assert_allclose(rates, [0.45, 0.6, 0.45], rtol=0, atol=1e-15)


def test_groups_are_contiguous_and_cut_by_their_size():
    """A prompt that comes twice in a row is two groups of num_generations; of one run it would be one group."""
    prompts = ["x"] * 4
    completions = ["rock", "paper", "paper", "scissors"]
    assert group_win_rates(game(), num_generations=2)(prompts, completions) == pytest.approx([0.1, 0.9, 0.3, 0.7])
    rates = group_win_rates(game())(prompts, completions)
    # rock against paper, paper, scissors; equal completions draw
    assert rates[0] == pytest.approx((0.1 + 0.1 + 0.8) / 3)
    assert rates[1] == pytest.approx((0.9 + 0.5 + 0.3) / 3)
    # a prompt that returns later is another group; a group of one has nobody to beat
    assert group_win_rates(game())(["x", "x", "y", "x"], completions) == pytest.approx([0.1, 0.9, None, None])
    with pytest.raises(ValueError, match="groups of 3 equal prompts in a row, got 4 from row 0"):
        group_win_rates(game(), num_generations=3)(prompts, completions)


@given(st.lists(st.lists(st.sampled_from(LABELS), min_size=2, max_size=5), min_size=1, max_size=4))
def test_rates_of_a_group_average_to_one_half(groups):
    """P + P^T = 1, so a group's mean win rate against its others is 1/2: the baseline of RLOO and GRPO is known."""
    prompts = [f"prompt {number}" for number, group in enumerate(groups) for _ in group]
    rates = group_win_rates(game())(prompts, [text for group in groups for text in group])
    at = 0
    for group in groups:
        assert np.mean(rates[at : at + len(group)]) == pytest.approx(0.5)
        at += len(group)


def test_messages_and_columns_are_taken_as_trl_passes_them():
    """Conversational data are lists of messages; columns of the dataset come by name and change nothing."""
    seen = []

    def compare(prompt, first, second):
        seen.append(prompt)
        return float(ROCK_PAPER_SCISSORS[LABELS.index(first), LABELS.index(second)])

    rates = group_win_rates(FunctionOracle(compare), num_generations=3)(
        prompts=[chat("throw", "user")] * 3,
        completions=[chat(text) for text in LABELS],
        completion_ids=[[1], [2], [3]],
        trainer_state=None,
        answer=["a"] * 3,
    )
    assert rates == pytest.approx([0.45, 0.6, 0.45])
    assert set(seen) == {"throw"}


def test_missing_judgements_are_left_out_and_then_none():
    """Rock is judged against scissors only, and paper, unjudged against anyone, has no reward."""
    one = group_win_rates(unjudged((0, 1)))(["x"] * 3, LABELS)
    assert one == pytest.approx([0.8, 0.3, 0.45])
    assert group_win_rates(unjudged((0, 1), (1, 2)))(["x"] * 3, LABELS) == pytest.approx([0.8, None, 0.2])


def test_the_mean_of_the_group_is_no_advantage():
    """With "mean" the unjudged one gets (0.8 + 0.2) / 2; where nobody is judged there is no mean either."""
    oracle = unjudged((0, 1), (1, 2))
    rates = group_win_rates(oracle, missing="mean")(["x"] * 3 + ["y"] * 2, [*LABELS, "rock", "paper"])
    assert rates == pytest.approx([0.8, 0.5, 0.2, None, None])
    assert rates[1] - np.mean(rates[:3]) == pytest.approx(0.0)  # GRPO
    assert rates[1] - np.mean([rates[0], rates[2]]) == pytest.approx(0.0)  # leave one out


def test_a_pairwise_judge_names_the_winner():
    """0 or 1 the winner, -1 for a tie and for what was not judged; the order asked for changes nothing."""
    judge = as_pairwise_judge(unjudged((0, 2)))
    prompts = ["x", chat("x", "user"), "x", "x"]
    pairs = [("rock", "paper"), [chat("paper"), chat("rock")], ("rock", "scissors"), ("rock", "rock")]
    assert judge.judge(prompts, pairs) == [1, 0, -1, -1]
    assert judge.judge(prompts, pairs, shuffle_order=False) == [1, 0, -1, -1]
    assert judge.judge([], []) == []


def test_a_model_serves_both():
    """Any oracle will do."""
    model = pm.small_hybrid_model(hidden=16, layers=1)
    rates = group_win_rates(model, num_generations=2)(["x"] * 4, ["a", "b", "c", "d"])
    winners = as_pairwise_judge(model).judge(["x", "x"], [("a", "b"), ("c", "d")])
    assert [int(rates[0] < rates[1]), int(rates[2] < rates[3])] == winners


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="num_generations must be at least 2, got 1"):
        group_win_rates(game(), num_generations=1)
    with pytest.raises(ValueError, match='missing must be "none" or "mean"'):
        group_win_rates(game(), missing="zero")
    with pytest.raises(ValueError, match="a prompt a completion, got 2 and 1"):
        group_win_rates(game())(["x", "x"], ["rock"])
    with pytest.raises(ValueError, match=r"completions\[0\]: expected two completions, got 'ab'"):
        as_pairwise_judge(game()).judge(["x"], ["ab"])
    with pytest.raises(ValueError, match="a pair a prompt, got 1 prompts and 2 pairs"):
        as_pairwise_judge(game()).judge(["x"], [("rock", "paper")] * 2)
    with pytest.raises(ValueError, match="expected messages"):
        group_win_rates(game())(["x", "x"], ["rock", [{"text": "paper"}]])


def test_a_dataset_of_hugging_face_is_read_like_rows():
    """chosen and rejected of a datasets.Dataset, strings and messages."""
    datasets = pytest.importorskip("datasets")
    rows = [{"prompt": "x", "chosen": "paper", "rejected": "rock"}, {"prompt": "y", "chosen": "a", "rejected": "b"}]
    read = load_comparisons(datasets.Dataset.from_list(rows))
    assert (read.prompts, read.first, read.second) == (("x", "y"), ("paper", "a"), ("rock", "b"))
    np.testing.assert_array_equal(read.outcome, [1.0, 1.0])
    asked = chat("x", "user")
    chats = datasets.Dataset.from_list([{"chosen": asked + chat("paper"), "rejected": asked + chat("rock")}])
    assert load_comparisons(chats).first == ("paper",)
