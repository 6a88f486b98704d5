"""What each model can say and what it cannot, by derivation; settings, saving, starting from a language model."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch
from model_zoo import PROMPTS, RESPONSES, backbone_config, causal, cooled, hybrid, logits_of, table
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

import preference_models as pm
from preference_models.evaluation import comparison_logits
from preference_models.heads import preference_logits
from preference_models.judges import Shown, position_bias
from preference_models.majority import VoterScores
from rebel_pref.preferences import FunctionOracle

RANKINGS = torch.tensor([[3.0, 2, 1], [2, 1, 3], [1, 3, 2]])  # voters' scores of a, b, c: the Condorcet profile
WORDS = [["a", "b", "c"]]


def test_three_transitive_voters_make_a_cycle():
    """a > b > c, c > a > b, b > c > a: two of three prefer a to b, b to c and c to a."""
    logits = preference_logits(VoterScores(RANKINGS.T, hard=True))
    assert torch.equal(logits, -logits.mT)
    cycle = torch.tensor([[0, 1, -1], [-1, 0, 1], [1, -1, 0.0]])
    torch.testing.assert_close(logits, cycle * math.log(2.0))  # odds of 2 to 1
    # Soft: twice sigmoid(1) and once sigmoid(-2) of 3.
    share = (2 / (1 + math.exp(-1)) + 1 / (1 + math.exp(2))) / 3
    soft = preference_logits(VoterScores(RANKINGS.T))
    torch.testing.assert_close(soft, cycle * math.log(share / (1 - share)))


def test_one_voter_and_two_voters():
    """One soft voter is Bradley-Terry; two hard ones who disagree are even, who agree are certain."""
    one = preference_logits(VoterScores(RANKINGS[:1].T))
    torch.testing.assert_close(one, RANKINGS[0].unsqueeze(1) - RANKINGS[0])
    two = preference_logits(VoterScores(RANKINGS[:2].T, hard=True))
    assert two[0, 1] == math.inf and two[0, 2] == 0 == two[0, 0]


def test_certain_voters_neither_overflow_nor_lose_their_gradient():
    """Scores 1e4 apart, whose sigmoids are 0 and 1 in every precision."""
    scores = (1e4 * RANKINGS.T).requires_grad_()
    logits = preference_logits(VoterScores(scores))
    torch.testing.assert_close(logits[0, 1].item(), math.log(2.0))
    logits.square().sum().backward()
    assert torch.isfinite(scores.grad).all()


def constant(value):
    return FunctionOracle(lambda prompt, one, other: value)


def ranking(order, steep):
    """A transitive rater: P = sigmoid(steep * difference of places)."""
    return FunctionOracle(lambda p, one, other: 1 / (1 + math.exp(-steep * (order.index(other) - order.index(one)))))


def test_a_majority_of_three_transitive_raters_prefers_in_a_cycle():
    """Condorcet: abc, bca, cab. Each pair is won 2 : 1, a > b > c > a; hard votes give 2/3 exactly."""
    hard = pm.majority_of([ranking(order, 100.0) for order in ("abc", "bca", "cab")], vote="hard")
    votes = hard.prefer(["p"], WORDS)[0]
    np.testing.assert_allclose(votes, [[1 / 2, 2 / 3, 1 / 3], [1 / 3, 1 / 2, 2 / 3], [2 / 3, 1 / 3, 1 / 2]])
    assert np.array_equal(votes + votes.T, np.ones((3, 3)))
    # Soft and unsure raters: sigmoid(2 d) is not linear, so the cycle stays; a mean of scores would be all ties.
    soft = pm.majority_of([ranking(order, 2.0) for order in ("abc", "bca", "cab")]).prefer(["p"], WORDS)[0]
    expected = (2 / (1 + math.exp(-2)) + 1 / (1 + math.exp(4))) / 3
    assert soft[0, 1] == pytest.approx(expected) and soft[0, 1] > 0.5 and soft[1, 2] > 0.5 and soft[2, 0] > 0.5


def test_weights_ties_and_missing_members_of_a_majority():
    """By hand; a member without a judgement is left out; nobody's judgement is NaN; rounding stays within [0, 1]."""

    def asked(*members, **settings):
        return pm.majority_of([constant(p) for p in members], **settings).prefer(["p"], [["a"]], [["b"]])[0, 0, 0]

    assert asked(0.9, math.nan, 0.2, weights=[3, 50, 1]) == pytest.approx((3 * 0.9 + 0.2) / 4)
    assert asked(0.9, math.nan, 0.2, weights=[3, 50, 1], vote="hard") == pytest.approx(3 / 4)
    assert asked(0.9, 0.4, vote="hard") == 0.5 and asked(0.5, 0.6, vote="hard") == pytest.approx(3 / 4)
    assert asked(0.5 + 1e-8, 0.6, vote="hard") == pytest.approx(3 / 4)  # nearer to even than single precision says
    assert asked(1.0, 1.0, 1.0, weights=[0.1, 0.2, 0.3]) == 1.0 and asked(0.7, 0.7, weights=[1e308, 1e308]) == 0.7
    assert math.isnan(asked(math.nan, math.nan))
    nobody = pm.majority_of([constant(math.nan)]).prefer(["x"], [["a", "b"]])[0]
    assert np.isnan(nobody[0, 1]) and np.isnan(nobody[1, 0]) and nobody[0, 0] == 0.5


class Odd:
    """A member that answers with whatever it was given."""

    def __init__(self, answer):
        self.answer = np.array(answer)

    def prefer(self, prompts, responses, opponents=None):
        return self.answer


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pm.majority_of([]), "at least one model"),
        (lambda: pm.majority_of([table()], [1, 2]), "expected 1 positive weights"),
        (lambda: pm.majority_of([table()], [0.0]), "expected 1 positive weights"),
        (lambda: pm.majority_of([table()], vote="loud"), 'vote must be "soft" or "hard", got \'loud\''),
        (
            lambda: pm.majority_of([constant(0.5), Odd([[[0.5], [0.5]]])]).prefer(["p"], [["a"]]),
            r"member 1 of the majority answered with shape \(1, 2, 1\), expected \(1, 1, 1\)",
        ),
        (lambda: pm.majority_of([Odd([[[1.5]]])]).prefer(["p"], [["a"]]), "member 0 of the majority answered 1.5"),
        (lambda: pm.majority_of([constant(0.5)]).prefer(["p"], [["a"]], []), "expected one list of opponents a prompt"),
        (lambda: pm.MajorityPreferenceConfig(num_voters=0), "num_voters must be at least 1"),
        (lambda: pm.MajorityPreferenceConfig(vote="loud"), "vote must be"),
        (lambda: pm.DiscPreferenceConfig(num_discs=0), "num_discs must be at least 1"),
        (lambda: pm.HybridPreferenceConfig(temperature=0.0), "temperature must be positive"),
        (lambda: pm.HybridPreferenceConfig(temperature=math.inf), "temperature must be positive"),
        (lambda: pm.BradleyTerryConfig(pooling="max"), "pooling must be"),
        (lambda: pm.TabularPreferenceModel.from_matrix([[0.5, 0.9], [0.2, 0.5]], "ab"), "not complementary"),
        (
            lambda: pm.TabularPreferenceModel.from_matrix([[0.5, math.nan], [0.2, 0.5]], "ab"),
            "both be judged or both be NaN",
        ),
        (
            lambda: pm.TabularPreferenceModel.from_matrix([[0.5, 0.5]], "ab"),
            r"square matrix of win probabilities, got shape \(1, 2\)",
        ),
        (lambda: pm.TabularPreferenceModel.from_matrix([[0.5]], "ab"), "expected 1 different labels, got 2"),
        (lambda: pm.TabularPreferenceModel.from_matrix([[0.5, 0.5], [0.5, 0.5]], "aa"), "expected 2 different labels"),
        (lambda: pm.TabularPreferenceConfig(labels=["a", "a"]), "expected 2 different labels, got 1"),
        (lambda: table().prefer(["x"], [["yes", "perhaps"]]), "unknown response 'perhaps'; the table knows ''"),
        (lambda: pm.small_cross_encoder_model(hidden=16, layers=1).prefer(["a"], [[]]), "lists of lengths"),
        (lambda: pm.small_cross_encoder_model(hidden=16, layers=1).prefer(["a"], [["x", "y"]], []), "opponents"),
        (lambda: pm.small_cross_encoder_model(hidden=16, layers=1).prefer(["a"], [["x" * 60, "y" * 60]]), "model's 96"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_discs_lie_on_the_unit_sphere_and_bound_the_logit():
    """|s| <= D / temperature, 1 / temperature where gates are equal (they start so); nothing is a scalar score."""
    model = pm.small_disc_model(num_discs=4, hidden=16, layers=1)
    embeddings = model.embed(PROMPTS, RESPONSES)
    norm = embeddings.left.square().sum(-1) + (embeddings.right * model.config.temperature).square().sum(-1)
    torch.testing.assert_close(norm, torch.ones_like(norm))
    assert model.config.temperature == 0.1 and logits_of(model).abs().max() <= 10
    assert not embeddings.scores.any()


def test_a_disc_turns_in_a_circle_and_a_score_does_not():
    """Responses at angles 0, 120 and 240 degrees of one disc beat each other in turn, by sin 120."""
    angle = torch.arange(3) * 2 * math.pi / 3
    discs = pm.ResponseEmbeddings(torch.zeros(3), angle.cos().unsqueeze(1), angle.sin().unsqueeze(1))
    cycle = torch.tensor([[0, 1, -1], [-1, 0, 1], [1, -1, 0.0]])
    torch.testing.assert_close(preference_logits(discs), cycle * math.sin(2 * math.pi / 3))


@pytest.mark.parametrize("kind", ["hybrid", "bradley_terry", "disc", "majority", "cross_encoder"])
def test_temperature_divides_logits_and_is_saved(kind, tmp_path):
    """At T they are 1 / T of those at 1, to rounding; at 1 they are untouched, to the bit; and they stay skew."""
    model = getattr(pm, f"small_{kind}_model")(hidden=16, layers=1)
    model.config.temperature = 1.0
    plain = logits_of(model)
    model.config.temperature = 2.5
    cooled = logits_of(model)
    torch.testing.assert_close(cooled, plain / 2.5, atol=1e-6, rtol=1e-5)
    assert torch.equal(cooled, -cooled.mT) and torch.equal(cooled.sign(), plain.sign())
    model.save_pretrained(tmp_path)
    assert torch.equal(logits_of(AutoModel.from_pretrained(tmp_path)), cooled)


def test_cross_encoder_averages_both_orders_and_reports_the_position():
    """s = (f(y, y') - f(y', y)) / 2 and b = (f(y, y') + f(y', y)) / 2 give f back; equal texts are even."""
    model = pm.small_cross_encoder_model(hidden=16, layers=1)
    raw, logits = model.raw_logits(PROMPTS, RESPONSES).double().numpy(), logits_of(model)
    shift = 0.5 * (raw + raw.swapaxes(1, 2))
    np.testing.assert_allclose(logits.numpy() + shift, raw, atol=1e-6)
    assert logits[1, 1, 2] == 0  # "no" against "no"
    (first, second), texts = np.triu_indices(5, 1), RESPONSES[0]
    report = position_bias(model, [PROMPTS[0]] * 10, [texts[i] for i in first], [texts[j] for j in second])
    assert (report.scale, report.pairs, report.missing) == ("logit", 10, 0)
    assert report.bias == pytest.approx(shift[0, first, second].mean(), abs=1e-6) and abs(report.bias) > 1e-3
    flips = raw[0, first, second] * raw[0, second, first] > 0
    assert report.flip_rate == pytest.approx(flips.mean())


def test_cross_encoder_judges_in_the_order_shown():
    """Each view once, at its place, equal texts read too: their logit is the bias itself. The mode comes back."""
    model = pm.small_cross_encoder_model(hidden=16, layers=1).train()
    shown = [Shown("p", "a", "bb"), Shown("p", "bb", "a"), Shown("", "a", "a"), Shown("p", "a", "bb")]
    found, raw = model.judge_as_shown(shown), model.raw_logits(["p"], [["a", "bb"]])[0]
    assert found.dtype == np.float64 and model.training and model.gives_logits
    np.testing.assert_allclose(found[[0, 1, 3]], [raw[0, 1], raw[1, 0], raw[0, 1]], atol=1e-6)
    itself = position_bias(model, [""], ["a"], ["a"])
    assert found[2] != 0 and itself.bias == pytest.approx(found[2], abs=1e-6) and itself.flip_rate == 1.0
    assert model.judge_as_shown([]).shape == (0,)


def test_cross_encoder_reads_each_ordered_pair_once():
    model, counts = pm.small_cross_encoder_model(hidden=16, layers=1), []
    model.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: counts.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    model.prefer(["x"], [["a", "b", "c", "a"]])
    assert sum(counts) == 3 * 2
    counts.clear()
    model.prefer(["x"], [["a", "b"]], [["c", "d", "e"]])
    assert sum(counts) == 2 * 2 * 3


def unjudged_table():
    """Three responses, labels in any script, a third that no double is, and an unjudged pair."""
    matrix = np.array([[0.5, 0.1, np.nan], [0.9, 0.5, 1 / 3], [np.nan, 2 / 3, 0.5]])
    return pm.TabularPreferenceModel.from_matrix(matrix, ["", "b\n", "ü<eos>"])


def test_tables_answer():
    model, asked = unjudged_table(), [["ü<eos>", "", ""], ["b\n", "", "b\n"]]
    answer = model.prefer(["x", "y"], asked)
    assert np.isnan(answer[0, 0, 1]) and answer[0, 1, 2] == 0.5 and answer[1, 0, 1] == 0.9
    assert model.prefer(["x"], [["b\n"]], [["ü<eos>", ""]]).tolist() == [[[1 / 3, 0.9]]]
    logits = model.preference_logits(["y"], asked[1:])
    assert torch.equal(logits, -logits.mT) and logits[0, 0, 1] == pytest.approx(math.log(9))
    with pytest.raises(ValueError, match="read-only"):
        model.matrix[0, 1] = 0.5
    assert model.matrix[2, 1] == 1 - 1 / 3 and model.device.type == "cpu"
    assert not [name for name, weight in model.named_parameters() if weight.requires_grad]


def test_a_table_can_be_compared_with_bradley_terry():
    """A known truth has no forward pass to prepare; its probabilities stand in, and unjudged pairs are refused."""
    model = unjudged_table()
    held_out = pm.TextComparisons(["x", "x"], ["", "b\n"], ["b\n", "ü<eos>"], [0.0, 1.0])
    np.testing.assert_allclose(comparison_logits(model, held_out), [-math.log(9), -math.log(2)])
    with pytest.raises(ValueError, match="1 of 1 comparisons are not judged"):
        comparison_logits(model, pm.TextComparisons(["x"], [""], ["ü<eos>"], [1.0]))


@pytest.mark.parametrize("load", [pm.TabularPreferenceModel.from_pretrained, AutoModel.from_pretrained])
@pytest.mark.parametrize("dtype", [{}, {"dtype": "auto"}, {"dtype": torch.bfloat16}, {"torch_dtype": torch.float16}])
def test_tables_load_to_the_last_bit_whatever_the_dtype(load, dtype, tmp_path):
    model = unjudged_table()
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path, **dtype)
    assert type(loaded) is type(model) and loaded.labels == model.labels and loaded.dtype == torch.float64
    np.testing.assert_array_equal(loaded.matrix, model.matrix)
    assert loaded.config.dtype == torch.float64 and not loaded.table.requires_grad and not loaded.training


@pytest.mark.parametrize(
    "cast",
    [lambda m: m.half(), lambda m: m.bfloat16(), lambda m: m.float(), lambda m: m.to("cpu", torch.float16),
     lambda m: m.to(torch.zeros(1)), copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
)  # fmt: skip
def test_casting_a_table_leaves_its_probabilities(cast):
    model = cast(unjudged_table())
    assert model.table.dtype == torch.float64
    np.testing.assert_array_equal(model.matrix, unjudged_table().matrix)
    assert model.to("meta").device.type == "meta"


def test_tables_that_cannot_be_loaded_are_named(tmp_path):
    """Another model's folder, weights without a table, and a table of something else than win probabilities."""
    unjudged_table().save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="expected model_type tabular_preference, got 'llama'"):
        pm.TabularPreferenceModel.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    save_file({"other": torch.zeros(3, 3)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"expected a tensor 'table' .* got \['other'\]"):
        AutoModel.from_pretrained(tmp_path)
    save_file({"table": torch.full((3, 3), 0.7).double()}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="not complementary"):
        pm.TabularPreferenceModel.from_pretrained(tmp_path)


def test_a_table_of_settings_alone_has_judged_nothing():
    config = AutoConfig.for_model("tabular_preference", labels=["a", "b"])
    np.testing.assert_array_equal(AutoModel.from_config(config).matrix, [[0.5, np.nan], [np.nan, 0.5]])


def test_a_model_starts_from_a_language_model(tmp_path):
    """The weights of the directory, its tokenizer, heads of its width; the language-model head is left behind."""
    language_model = AutoModelForCausalLM.from_config(backbone_config("llama"))
    language_model.save_pretrained(tmp_path)
    pm.character_tokenizer().save_pretrained(tmp_path)
    model = pm.HybridPreferenceModel.from_backbone(tmp_path)
    assert model.config.pooling == "last" and model.tokenizer is not None
    for name, weight in language_model.model.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], weight)
    assert model.score.weight.std() > 0.05 and not model.gate.weight.any()
    assert np.isfinite(model.prefer(PROMPTS, RESPONSES)).all()


def test_heads_on_different_backbones_keep_their_pooling(tmp_path):
    """A mean on a causal backbone stays one after saving; an old configuration without the word gets its default."""
    model = causal(pooling="mean")
    model.save_pretrained(tmp_path)
    assert pm.HybridPreferenceModel.from_pretrained(tmp_path).config.pooling == "mean"
    old = pm.HybridPreferenceConfig.from_dict({"backbone_config": hybrid().config.backbone_config.to_dict()})
    assert old.pooling == "mean" and old.temperature == 1.0 and cooled().config.temperature == 1.7


def test_serving_benchmark_smoke(tmp_path, capsys):
    """Both works in small: a table, CSV and JSON; nothing is held to a bar."""
    from benchmarks.preference_serving import main

    threads = torch.get_num_threads()
    assert main(["--quick", "--out", str(tmp_path)]) == 0
    assert torch.get_num_threads() == threads
    assert "shared prompt" in capsys.readouterr().out
    record = json.loads((tmp_path / "preference_serving.json").read_text())
    assert {row["way"] for row in record["rows"]} == {"hybrid", "cross-encoder", "shared", "apart"}
    assert record["threads"] == 1 and all(row["difference"] <= 1e-5 for row in record["rows"])
    assert (tmp_path / "preference_serving.csv").exists()


def test_a_causal_backbone_stays_causal(tmp_path):
    """What a token is made of does not depend on what follows, in memory as after saving and loading.

    A configuration shared with the loaded backbone would take its way of attending, and with it the causal mask.
    """
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(backbone_config("llama")).save_pretrained(tmp_path / "lm")
    pm.character_tokenizer().save_pretrained(tmp_path / "lm")
    model = pm.HybridPreferenceModel.from_backbone(tmp_path / "lm").eval()
    with torch.no_grad():
        alone = model.backbone(torch.tensor([[5]])).last_hidden_state[0, 0]
        followed = model.backbone(torch.tensor([[5, 9, 7]])).last_hidden_state[0, 0]
    torch.testing.assert_close(followed, alone, atol=1e-5, rtol=0)
    model.save_pretrained(tmp_path / "fitted")
    again = AutoModel.from_pretrained(tmp_path / "fitted").eval()
    np.testing.assert_array_equal(again.prefer(PROMPTS, RESPONSES), model.prefer(PROMPTS, RESPONSES))
