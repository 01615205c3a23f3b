"""System arithmetic: hand-computed data, drops and graphs; verification and hidden counts on tiny models; a run of every stage."""

import json
from functools import cache

import polars as pl
import pytest
import torch
from tiny import tiny
from tiny_tokenizers import SPACE, sentencepiece

from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from catalog.inside.anatomy import forest, next_logprobs, view
from catalog.inside.attribution import Lens, lens, output_value, predicted, trace
from catalog.inside.interventions import keep_neurons, scale_heads, scale_neurons
from stages.arithmetic import dataset, method
from stages.arithmetic.chain import chain
from stages.arithmetic.measure import head_effects, memorise, tokenised, worked_examples
from stages.arithmetic.settings import Params, Row
from stages.arithmetic.train import Bench

SMALL = profile_params(Params, "arithmetic", "small")


# --- data --------------------------------------------------------------------------------------------------------------------


def test_sixteen_templates():
    made = {(t, op): dataset.render(t, op, 12, 3) for t in dataset.TEMPLATES for op in dataset.OPERATIONS}
    assert len(set(made.values())) == 16
    assert made["noun", "+"] == "The sum of 12 and 3 is "
    assert made["noun", "-"] == "The difference between 12 and 3 is "
    assert made["noun", "/"] == "The ratio of 12 and 3 is "
    assert made["qa", "*"] == "Q: What is 12 times 3? A: "
    assert made["statement", "/"] == "12 divided by 3 is "
    assert made["symbols", "-"] == "12-3="


@pytest.mark.parametrize(
    ("op", "a", "b", "marks"),
    [
        ("+", 15, 32, "mm"),  # 47, no carry
        ("+", 15, 37, "cm"),  # 52: the 5 takes the carry of 5 + 7
        ("+", 75, 37, "ccm"),  # 112
        ("+", 99, 1, "ccm"),  # 100
        ("+", 52, 61, "cmm"),  # 113: no carry out of the ones, the hundred is a carry
        ("-", 52, 37, "cm"),  # 15: the 1 has lent
        ("-", 58, 37, "mm"),
        ("-", 100, 1, "cm"),  # 99
        ("-", 37, 52, "cm"),  # -15: marks of the digits
        ("*", 12, 3, "cm"),
        ("/", 72, 8, "m"),
    ],
)
def test_marks_by_hand(op, a, b, marks):
    assert dataset.marks(op, a, b) == marks


def test_words():
    assert [dataset.words(n) for n in (0, 7, 13, 20, 42, 100, 305, 999)] == [
        "zero",
        "seven",
        "thirteen",
        "twenty",
        "forty-two",
        "one hundred",
        "three hundred five",
        "nine hundred ninety-nine",
    ]


def test_pairs_are_exact():
    assert (72, 8) in dataset.pairs("/", 1) and all(a % b == 0 and 2 <= a // b <= 9 for a, b in dataset.pairs("/", 1))
    assert all(10 <= a <= 99 and a % b == 0 and b < a for a, b in dataset.pairs("/", 2))
    assert all(a >= b for a, b in dataset.pairs("-", 2)) and any(a < b for a, b in dataset.pairs("-", 2, negative=True))
    assert len(dataset.pairs("+", 1)) == 81 and len(dataset.pairs("*", 2)) == 8100


def test_the_same_seed_gives_the_same_data_set(monkeypatch):
    every = cache(dataset.pairs)  # a third of those of two digits: with all of them a build takes seconds

    def fewer(op, digits, negative=False):
        return [(a, b) for a, b in every(op, digits, negative) if digits != 2 or a % 3 == 0]

    monkeypatch.setattr(dataset, "pairs", fewer)
    first, again, other = (dataset.build(SMALL.data, seed) for seed in (0, 0, 1))
    assert first.equals(again) and not first.equals(other) and len(first["split"].unique()) == 5


def test_dataset_splits():
    table = dataset.build(SMALL.data, 0)
    counts = dict(table.group_by("split").len().iter_rows())
    assert counts["eval"] == 16 * SMALL.data.eval_per_cell
    assert counts["lora_train"] == SMALL.data.lora_train and counts["lora_test"] == SMALL.data.lora_test
    keys = {split: set(part.select("operation", "a", "b").iter_rows()) for (split,), part in table.group_by("split")}
    assert not keys["lora_train"] & keys["lora_test"]
    two_digit = table.filter((pl.col("split") == "scan") & (pl.col("digits") == 2)).select("operation", "a", "b")
    assert not set(two_digit.iter_rows()) & keys["eval"]
    assert table.filter(pl.col("split").str.starts_with("lora") & pl.col("answer").str.starts_with("-")).height > 0
    for row in table.iter_rows(named=True):
        assert int(row["answer"]) == dataset.compute(row["operation"], row["a"], row["b"])
        assert len(row["marks"]) == len(row["answer"].lstrip("-"))
    share = table.filter(pl.col("split") == "eval")["form"].value_counts()
    assert dict(share.iter_rows())["words"] == 16 * round(SMALL.data.words_share * SMALL.data.eval_per_cell)


def test_full_data_set_has_the_papers_sizes():
    full = profile_params(Params, "arithmetic", "full").data
    table = dataset.build(full, 0)
    counts = dict(table.group_by("split").len().iter_rows())
    assert counts["eval"] == 1600 and counts["lora_train"] + counts["lora_test"] > 0.75 * 20000  # division has fewer pairs
    assert full.lora_train == 18000 and full.lora_test == 2000


def test_worked_examples_avoid_the_problems():
    row = Row("m", 3, "qa", 1, "qa", ("+",), ())
    avoid = {("+", a, b) for a in range(1, 10) for b in range(1, 10)} - {("+", 1, 2), ("+", 3, 4), ("+", 5, 6)}
    text = worked_examples(row, "+", "qa", 1, avoid, 0)
    assert sorted(text.splitlines()) == ["Q: What is 1 plus 2? A: 3", "Q: What is 3 plus 4? A: 7", "Q: What is 5 plus 6? A: 11"]


# --- tokens --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def llama_tokenizer():
    """As Llama's: a space before every text, digits one by one."""
    merges = [(SPACE, "-"), ("=", "-")]
    return sentencepiece(["<s>", "<0x0A>", SPACE, *"0123456789+-="], merges, around="<s> $A", bos_token="<s>")


def rows(*cells):
    return pl.DataFrame([dataset._row("study", "symbols", op, 2, a, b) for op, a, b in cells])


def test_llamas_answers_are_told_apart_by_their_first_digit(llama_tokenizer):
    found = tokenised(llama_tokenizer, Row("m", 0, "symbols", 2, "symbols", ("+",), ()), rows(("+", 12, 13), ("+", 35, 37)), 0)
    names = [llama_tokenizer.convert_ids_to_tokens(ids) for ids in found["answers"].to_list()]
    assert names == [["2", "5"], ["7", "2"]]
    assert llama_tokenizer.convert_ids_to_tokens(found["ids"][0].to_list()) == ["<s>", SPACE, *"12+13="]


def test_what_is_trained_on_is_what_is_tested(llama_tokenizer):
    bench = Bench.__new__(Bench)  # without a model
    bench.tokenizer = llama_tokenizer
    pairs = bench.tokens(rows(("+", 12, 13), ("-", 12, 37)))
    names = [tuple(llama_tokenizer.convert_ids_to_tokens(ids) for ids in pair) for pair in pairs]
    assert names == [(["<s>", SPACE, *"12+13="], ["2", "5"]), (["<s>", SPACE, *"12-37="], ["-", "2", "5"])]


def test_tokens_of_several_digits_have_no_digits_to_memorise():
    problem = rows(("+", 12, 13)).with_columns(ids=pl.Series([[1, 2]]), answers=pl.Series([[25]]))
    with pytest.raises(CatalogError, match="m has tokens of several digits"):
        memorise(None, problem, Row("m", 0, "symbols", 2, "symbols", ("+",), ("memorise",)), {})


# --- figures of the paper, by hand ---------------------------------------------------------------------------------------------


def test_relative_drop_by_hand():
    assert method.relative(88.9, 47.6) == pytest.approx(0.465, abs=5e-4)  # Table 2 from App. E
    assert method.relative(0.0, 0.0) is None


def test_sizes_by_hand():
    assert 15 * 11008 == 165120 and 16 * 11008 == 176128
    assert round(SMALL.measure.deep_from * 32) == 17 and round(SMALL.measure.hidden_until * 32) == 16


def test_more_than_m():
    counts = torch.tensor([0, 1, 2, 3])
    assert [int(method.at_least(counts, m).sum()) for m in range(4)] == [3, 2, 1, 0]


def test_lowest_is_the_root():
    assert method.lowest([(28, 3696), (25, 7164), (19, 5769)], [0.8, 0.3, 0.2]) == 2
    assert method.lowest([(19, 1), (25, 2), (19, 3)], [0.1, 0.9, 0.4]) == 2  # two in the lowest layer: the larger Imp


def test_pe_dag_by_hand():
    values = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    keys = [torch.tensor([[0.0, 0.0], [3.0, 0.0], [1.0, 5.0]])]
    edges = method.pe_dag(values, keys, [19, 25, 28], share=0.25)
    assert edges == [(0, 1, 3.0), (1, 2, 10.0)]  # 0 -> 2 weighs 1, under a quarter of 10
    assert method.pe_dag(values, keys, [19, 25, 28], share=0.1) == [(0, 1, 3.0), (0, 2, 1.0), (1, 2, 10.0)]
    assert method.pe_dag(values, keys, [25, 25, 25]) == []  # no edge inside a layer


def test_concepts():
    same = [method.concept(t) for t in ("3", " three", "Third", "THREE")]
    assert len(set(same)) == 1 and same[0] > 0
    assert method.concept(" plus") == method.concept("+") == method.concept("SUM") != method.concept("minus")
    assert method.concept("30") == method.concept("thirty") and method.concept("12") == method.concept("dozen")
    assert not any(map(method.concept, ["seven-up", "", " the", "x7", "plush"]))


def test_coefficient_drop_by_hand():
    before, after = torch.tensor([[4.0, -2.0]]), torch.tensor([[1.0, 2.0]])
    assert method.coefficient_drop(before, after, [(0, 0), (0, 1)]) == pytest.approx(0.5)
    assert method.coefficient_drop(before, after, []) is None


# --- model runs, on tiny models ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def v(request):
    return view(tiny(request.param))


def test_masked_runs_equal_contexts(v):
    prompt = [3, 5, 7, 9]
    sets = [[(1, 3), (2, 5)], [(2, 1)], [], [(0, 7)]]
    masks = torch.stack([*[method.mask_out(v, s) for s in sets], method.keep_only(v, [(2, 4)], 1)])
    logp, coefficients = method.masked_runs(v, prompt, masks)
    for i, neurons in enumerate(sets):
        with scale_neurons(v, neurons):
            assert torch.allclose(logp[i], next_logprobs(v, [prompt])[0], atol=1e-5)
            run = trace(v, forest([prompt]))
        alive = masks[i].bool()
        assert torch.allclose(coefficients[i][alive], run.coef[:, -1][alive], atol=1e-5)
    with keep_neurons(v, [(2, 4)], [1, 2]):
        assert torch.allclose(logp[4], next_logprobs(v, [prompt])[0], atol=1e-5)
    everything = [(layer, k) for layer in (1, 2) for k in range(v.n_ffn)]
    logp, _ = method.masked_runs(v, prompt, method.keep_only(v, everything, 1)[None])
    assert torch.allclose(logp[0], next_logprobs(v, [prompt])[0], atol=1e-5)


def test_verification_has_every_protocol_and_control(v):
    tree = forest([[3, 5, 7, 9]])
    run = trace(v, tree)
    with scale_heads(v, [(1, 0)]):
        headless = trace(v, tree)
    answer = int(predicted(run, lens(v, run))[0])
    case = method.Case([3, 5, 7, 9], answer, run.coef[:, -1], headless.coef[:, -1], [(2, 1), (1, 4), (2, 8), (1, 0)], [0.4, 0.3, 0.2, 0.1])
    rows = method.verify_case(v, case, (4, 2), 1, torch.Generator().manual_seed(0))
    assert len(rows) == 2 * 2 * 4
    assert {(r["protocol"], r["control"]) for r in rows} == {(p, c) for p in ("mask", "keep", "coef", "lowest") for c in (False, True)}
    mask = next(r for r in rows if r["protocol"] == "mask" and r["size"] == 2 and not r["control"])
    with scale_neurons(v, [(2, 1), (1, 4)]):
        assert mask["logprob"] == pytest.approx(next_logprobs(v, [[3, 5, 7, 9]])[0, answer].item(), abs=1e-5)
    coef = next(r for r in rows if r["protocol"] == "coef" and r["size"] == 2 and not r["control"])
    before, after = abs(run.coef[2, -1, 1]) + abs(run.coef[1, -1, 4]), abs(headless.coef[2, -1, 1]) + abs(headless.coef[1, -1, 4])
    assert coef["coef_drop"] == pytest.approx(float(1 - after / before), abs=1e-5)


def test_random_like_keeps_the_layers():
    own = [(3, 1), (3, 2), (5, 0)]
    other = method.random_like(own, 50, torch.Generator().manual_seed(0))
    assert [layer for layer, _ in other] == [3, 3, 5] and not set(own) & set(other) and len(set(other)) == 3


@pytest.mark.parametrize(("columns", "k"), [(64, 3), (71, 5), (40, 12), (1000, 20)])
def test_top_columns_are_those_of_a_whole_sort(columns, k):
    scores = torch.randn(50, columns, generator=torch.Generator().manual_seed(columns))
    scores[:, -1] = 9.0  # in the odd end of the row, where there is one
    found = method.top_columns(scores, k, rows=8)
    assert found.sort(-1).values.tolist() == scores.topk(k).indices.sort(-1).values.tolist()


def test_hidden_counts_equal_the_direct_product(v):
    run = trace(v, forest([[3, 5, 7]]))
    read = lens(v, run)
    concepts = torch.zeros(50, dtype=torch.long)
    concepts[torch.tensor([2, 9, 17, 30, 44, 49])] = torch.tensor([1, 1, 2, 3, 4, 4])  # two tokens each of concepts 1 and 4
    counts = method.hidden_counts(v, read, [0, 1], [0, 2], concepts, 12, lambda: None)
    for layer in (0, 1):
        best = [0] * v.n_ffn
        for through in (0, 2):
            logits = read.fold(output_value(v, through, v.values(layer).T)) @ read.unembed[:50].T
            for k, ids in enumerate(logits.topk(12).indices.tolist()):
                best[k] = max(best[k], len({int(concepts[i]) for i in ids} - {0}))
        assert counts[layer].tolist() == best


def test_chain_is_typed_and_connected(v):
    class Names:
        def decode(self, token):
            return f"t{token}"

    run = trace(v, forest([[3, 5, 7, 9]]), attention=True)
    neurons = [(2, 1), (1, 4), (2, 8)]
    nodes, edges = chain(v, run, lens(v, run), Names(), ["a", "b", "c", "d"], 0, neurons, [0.3, 0.2, 0.1], [0.5, 0.4, 0.3])
    names = [n["node"] for n in nodes]
    assert len(set(names)) == len(names) and {n["stage"] for n in nodes} <= {1, 2, 3, 4} and {3, 4} <= {n["stage"] for n in nodes}
    assert all(e["source"] in names and e["target"] in names for e in edges)
    stage = {n["node"]: n["stage"] for n in nodes}
    assert all(stage[e["target"]] - stage[e["source"]] in (0, 1) for e in edges)
    assert any(e["target"] == "neuron 1_4" and stage[e["source"]] == 3 for e in edges)  # the root is in the lowest layer
    assert {n["token"] for n in nodes if n["stage"] == 4} == {"d"}


def test_head_effects_rank_by_lost_logprob():
    base = pl.DataFrame({"id": [1, 2], "logprob": [-1.0, -1.0]})
    scanned = pl.DataFrame(
        {"id": [1, 2] * 3, "layer": [0, 0, 0, 0, 1, 1], "head": [0, 0, 1, 1, 0, 0], "logprob": [-2.0, -2, -4, -1, -1, -1]}
    )
    assert head_effects(base, scanned, []).select("layer", "head", "drop").rows() == [(0, 1, 1.5), (0, 0, 1.0), (1, 0, 0.0)]


def test_the_upper_layers_alone_give_the_loss_of_the_whole_model(v):
    from catalog.training.losses import answer_loss, tensors_of
    from catalog.training.packing import pack
    from catalog.training.tail import lower_once, upper_alone

    examples = [{"input_ids": [3, 5, 7, 9], "labels": [-100, -100, 7, 9]}, {"input_ids": [4, 5, 8], "labels": [-100, -100, 8]}]
    whole = answer_loss(v.model, tensors_of(pack(examples, 0)))
    for start in (0, 1):
        entering = lower_once(v.model, examples, (start,))
        for width in (0, 64):
            batch = tensors_of(pack(entering, width))
            with upper_alone(v.model, start):
                assert torch.allclose(answer_loss(v.model, batch), whole, atol=1e-5)
    assert torch.equal(answer_loss(v.model, tensors_of(pack(examples, 0))), whole)


# --- pictures --------------------------------------------------------------------------------------------------------------


def test_lens_reads_what_the_model_predicts(v):
    run = trace(v, forest([[3, 5, 7, 9]]))
    assert isinstance(lens(v, run), Lens)
    assert int(predicted(run, lens(v, run))[0]) == int(v.model(torch.tensor([[3, 5, 7, 9]])).logits[0, -1].argmax())


def test_committed_pictures_hold_their_own_data():
    from catalog.base.params import ROOT

    found = sorted((ROOT / "reports" / "arithmetic" / "small" / "plots").glob("*.json"))
    assert len(found) >= 6
    for path in found:
        spec = json.loads(path.read_text())
        assert spec["title"] and "url" not in json.dumps(spec.get("data", {}))
