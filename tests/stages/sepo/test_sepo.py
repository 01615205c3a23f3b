"""`sepo`: oracles, token scores and policies on a tiny model."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from jinja2 import TemplateError
from tiny_pairs import ROWS, Letters, made, of_loss
from tiny_training import LORA, tiny

from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from catalog.inside.anatomy import view
from catalog.training import train as training
from catalog.training.adapters import fold_in, lora
from catalog.training.checkpoints import checkpoint_folder, finish
from catalog.training.pairs import SIDES, sides
from stages.sepo import method, oracle, scoring, texts, train
from stages.sepo.settings import Experiment, Params

PARAMS = profile_params(Params, "sepo", "small")


def pairs():
    ids = [f"p{i}" for i in range(len(ROWS))]
    return texts.Pairs(pl.DataFrame({"id": ids}), made())


def by_hand(model, pair, side):
    ids = torch.tensor(pair[f"{side}_input_ids"])[None]
    with torch.no_grad():
        logp = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
    return logp[method.response_positions(pair, side) - 1].numpy()


@pytest.mark.parametrize("once", [False, True])
def test_token_log_probabilities_are_those_of_each_text_alone(once):
    model, own = tiny(), pairs()
    plain = [{side: by_hand(model, pair, side) for side in SIDES} for pair in own.tokens]
    seen = texts.entering(model, own, (1, 2)) if once else own
    found = scoring.token_log_probs(model, seen.tokens, 1)
    for one, other in zip(found, plain, strict=True):
        for side in SIDES:
            np.testing.assert_allclose(one[side], other[side], atol=1e-5)


def test_batches_hold_each_pair_once_and_no_more_tokens_than_fit(monkeypatch):
    monkeypatch.setattr(scoring, "TOKENS", 40)
    found = scoring.batches(made() * 4)
    assert sorted(i for group in found for i in group) == list(range(12)) and len(found) > 2
    assert all(len(group) == 1 or len(group) * 18 <= 40 for group in found)


def test_divergence_is_nothing_without_training_and_something_with_it():
    model, own = tiny(), pairs()
    with lora(model, replace(LORA, lora_dropout=0.0)) as adapted:
        assert scoring.divergence(adapted, own.tokens, 0) == pytest.approx([0, 0, 0], abs=1e-6)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    parameter.fill_(0.2)
        assert (scoring.divergence(adapted, own.tokens, 0) > 1e-4).all()


def test_a_shallow_oracle_is_the_lowest_layers_with_the_models_head():
    whole, cut = tiny(), oracle.shallow(tiny(), 1)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        stream = whole.model(ids, output_hidden_states=True).hidden_states[1]
        expected = whole.lm_head(whole.model.norm(stream))
        assert torch.allclose(cut(ids).logits, expected, atol=1e-5)
    assert view(cut).n_layers == 1 and oracle.shallow(whole, None) is whole
    with pytest.raises(CatalogError, match="cannot have 4 layers of a model that has 3"):
        oracle.shallow(tiny(), 4)


def test_a_folded_in_reference_is_where_the_next_lora_starts():
    model, own = tiny(), pairs()
    settings = replace(LORA, steps=6, batch_size=3, lora_dropout=0.0)
    run = training.train_once(model, sides(own.tokens)[:3], settings, checkpoint_folder("t", "small", model, [], settings) / "x")
    before = scoring.token_log_probs(model, own.tokens, 0)
    with lora(model, settings, run.tensors) as adapted:
        tuned = scoring.token_log_probs(adapted.eval(), own.tokens, 0)
    fold_in(model, settings, run.tensors)
    folded = scoring.token_log_probs(model, own.tokens, 0)
    assert all(np.allclose(a["chosen"], b["chosen"], atol=0.06) for a, b in zip(tuned, folded, strict=True))
    assert np.mean([a["chosen"].sum() - b["chosen"].sum() for a, b in zip(folded, before, strict=True)]) > 0.1
    finish("t", "small")


def test_a_finished_run_is_read_and_not_trained_again(tmp_path, monkeypatch):
    model, settings = tiny(), replace(LORA, steps=2, batch_size=3)
    first = training.train_once(model, sides(made())[:3], settings, tmp_path / "run")
    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained again"))
    again = training.train_once(model, sides(made())[:3], settings, tmp_path / "run")
    assert again.history == first.history and all(torch.equal(again.tensors[name], tensor) for name, tensor in first.tensors.items())


def test_reference_and_score_table_stand_at_the_tokens_they_belong_to():
    own = pairs()
    rng = np.random.default_rng(0)
    lengths = [{side: len(method.response_positions(p, side)) for side in SIDES} for p in own.tokens]
    mine, ref = ([{side: rng.normal(size=n).astype("f4") for side, n in both.items()} for both in lengths] for _ in "ab")
    kept = oracle.with_reference(own, ref)
    where = method.response_positions(own.tokens[1], "rejected")
    assert (
        kept[1]["rejected_reference"][where].tolist() == ref[1]["rejected"].tolist()
        and kept[1]["rejected_reference"][: where[0]].sum() == 0
    )
    o = PARAMS.oracle.oracles[0]
    table = oracle.score_table(o, "xsum", own, mine, ref)
    part = table.filter((pl.col("id") == "p0") & (pl.col("side") == "chosen"))
    assert part["position"].to_list() == [3, 4, 5, 6, 7] and part["token_id"].to_list() == [2, 3, 4, 5, 1]
    assert part["score"].to_list() == pytest.approx((mine[0]["chosen"] - ref[0]["chosen"]).tolist(), abs=1e-6)
    back = train.scores_of(table, o.name, "xsum", own)
    assert all(
        back[i][side].tolist() == pytest.approx((mine[i][side] - ref[i][side]).tolist(), abs=1e-6) for i in range(3) for side in SIDES
    )
    with pytest.raises(CatalogError, match="has no scores for pair p9"):
        train.scores_of(table, o.name, "xsum", texts.Pairs(pl.DataFrame({"id": ["p9"]}), own.tokens[:1]))


def test_two_shares_never_ask_the_oracle_twice(monkeypatch):
    """A sweep reads the table of scores: nothing in the training of policies runs an oracle."""
    experiment = Experiment("sweep", ("sepo",), ("whole",), ("xsum",), (0,), (0.1, 0.9), (0.3,), False, ("xsum",))
    found = list(train.specs(experiment, PARAMS.train))
    assert [spec.method.chosen_share for spec in found] == [0.1, 0.9] and {spec.oracle for spec in found} == {"whole"}
    assert len({spec.name for spec in found}) == 2
    own, scores = pairs(), [{side: np.arange(len(method.response_positions(p, side))) for side in SIDES} for p in made()]
    monkeypatch.setattr(scoring, "token_log_probs", lambda *a, **k: pytest.fail("a model was asked"))
    counts = [
        [int((np.asarray(pair["chosen_labels"]) != -100).sum()) for pair in method.labels_of(s.method, own.tokens, scores, 0)]
        for s in found
    ]
    assert counts == [[1, 1, 1], [4, 4, 4]]


def test_experiments_share_policies_and_name_only_what_is_declared():
    specs = {e.name: list(train.specs(e, PARAMS.train)) for e in PARAMS.train.experiments}
    assert set(specs["main"]) & set(specs["chosen ratio"]) and set(specs["main"]) & set(specs["oracle"])
    assert len({m.name for m in PARAMS.train.methods if m.name in PARAMS.train.experiments[0].methods}) >= 8
    assert len(PARAMS.train.experiments[0].seeds) >= 3
    assert len({s.name for group in specs.values() for s in group}) == len({s for group in specs.values() for s in group})
    wrong = replace(PARAMS.train.experiments[0], methods=("ppo",))
    with pytest.raises(CatalogError, match="names the method 'ppo'"):
        list(train.specs(wrong, PARAMS.train))
    for profile in ("small", "full"):
        for m in profile_params(Params, "sepo", profile).train.methods:
            method.check(m)


def test_cost_of_a_step_by_hand():
    model = tiny()  # of layers 1 and 2, matrices: 2 (2 * 32*32 + 2 * 16*32 + 3 * 48*32); head 60 * 32
    body, head = 2 * (2 * 1024 + 2 * 512 + 3 * 1536), 1920
    pair = made()[:1]  # 3 + 5 + 5 positions with the prompt once, 10 labels
    settings = replace(LORA, batch_size=4, lora_layers=(1, 2))
    dpo = of_loss("dpo")
    assert method.step_flops(of_loss("simpo"), model, pair, settings) == 4 * 4 * (body * 13 + head * 10)
    assert method.step_flops(dpo, model, pair, settings) == 4 * 6 * (body * 13 + head * 10)
    assert method.step_flops(replace(dpo, reference="cached"), model, pair, settings) == 4 * 4 * (body * 13 + head * 10)


def test_pairs_that_cannot_be_used_are_told(monkeypatch):
    table = pl.DataFrame(
        {
            "set": ["s"] * 3,
            "split": ["train"] * 3,
            "id": ["a", "b", "c"],
            "system_prompt": pl.Series([None] * 3, dtype=pl.String),
            "prompt": ["ab", "ab", "abcdefghijkl"],
            "chosen": ["abcd", "a", "abcd"],
            "rejected": ["efgh", "efgh", "efgh"],
        }
    )
    limits = replace(PARAMS.tokens, max_prompt=5, min_response=2, max_length=20, train={"s": None})
    monkeypatch.setattr(texts, "prompt_ids", lambda tokenizer, text, system: tokenizer([text])["input_ids"][0])
    kept, left = texts.encoded(table, Letters(), limits, "s", "train", 0)
    assert kept.rows["id"].to_list() == ["a"]
    assert dict(left.select("id", "reason").iter_rows()) == {"b": "response of fewer than 2 tokens", "c": "prompt of more than 5 tokens"}
    told = r"No train pair of set s is left \(response of fewer than 9 tokens: 2, prompt of more than 5 tokens: 1\)"
    with pytest.raises(CatalogError, match=told):
        texts.encoded(table, Letters(), replace(limits, min_response=9), "s", "train", 0)
    with pytest.raises(CatalogError, match=r"No test pair of set s is left \(it has none\)"):
        texts.encoded(table, Letters(), limits, "s", "test", 0)


class Chat:
    """A tokenizer whose template writes the messages down, or refuses a system message as Mistral's does."""

    chat_template = "of any kind"

    def __init__(self, system):
        self.system = system

    def apply_chat_template(self, messages, **_):
        if not self.system and messages[0]["role"] == "system":
            raise TemplateError("Conversation roles must alternate")
        return [f"{message['role']}: {message['content']}" for message in messages]


def test_a_rows_own_system_turn_comes_before_that_of_the_parameters():
    rows = pl.DataFrame({"prompt": ["one", "two"], "system_prompt": ["Be kind.", None]})
    assert texts.prompts(Chat(True), rows, "Be short.") == [["system: Be kind.", "user: one"], ["system: Be short.", "user: two"]]
    assert texts.prompts(Chat(False), rows[1:], None) == [["user: two"]]
    plain = Letters()
    plain.chat_template = None
    monkey = lambda text: {"input_ids": list(text)}  # noqa: E731
    plain.__class__ = type("Plain", (Letters,), {"__call__": lambda self, text: monkey(text)})
    assert "".join(texts.prompt_ids(plain, "one", "Be kind.")) == "Be kind.\n\none\n" and texts.prompt_ids(plain, "a", None) == ["a", "\n"]


def test_a_template_without_a_system_role_is_one_sentence():
    rows = pl.DataFrame({"prompt": ["one"], "system_prompt": ["Be kind."]})
    told = r"refuses messages of system, user \(Conversation roles must alternate\); leave the system message out"
    with pytest.raises(CatalogError, match=told):
        texts.prompts(Chat(False), rows, None)
