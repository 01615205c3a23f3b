"""The stage that lets an agent trade: its runs, prompts and calibration; then its decisions beside the rules, and the claims about it."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from judging import verdicts
from test_open_finllms_agent import FIRST, LAST, RUN, TABLE, by_hash, embed, played, random_model, words
from test_open_finllms_windows import P
from trading_cases import walk

from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from catalog.report import tables as declarations
from stages.open_finllms import agent_figures, agent_tables, evaluate, rules, simulate, trade
from stages.open_finllms.actions import ACTIONS
from stages.open_finllms.agent import play
from stages.open_finllms.contrasts import Drawn
from stages.open_finllms.leak import leaks
from stages.open_finllms.prefix import Reader, common
from stages.open_finllms.settings import Execution, Params, Series, Window
from stages.open_finllms.simulate import AGENT, HOLDING, SHUFFLED, TURNOVER
from stages.open_finllms.trader import Answer, Options, Run
from stages.open_finllms.windows import spans

# Reading prompts


def test_a_beginning_that_is_read_once_changes_no_likelihood():
    model, tokenizer = random_model()
    prompts = [tokenizer(text)["input_ids"] for text in ("you trade a share. up", "you trade a share. down again", "you trade a share. up")]
    beginning = common(prompts)
    assert tokenizer.decode(beginning).replace(" ", "").startswith("youtrade") and 0 < len(beginning) < len(prompts[0])
    whole = torch.stack([model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1) for ids in prompts])
    for start in ([], beginning):
        assert torch.allclose(Reader(model, start, max_tokens=8).next_token(prompts), whole, atol=1e-4)
    with pytest.raises(ValueError, match="does not begin"):
        Reader(model, beginning).next_token([tokenizer("a share")["input_ids"]])
    with pytest.raises(ValueError, match="ends there"):
        Reader(model, beginning).next_token([beginning])
    assert common([[1, 2], [1, 2]]) == [1] and common([[1, 2, 3], [4]]) == []  # each prompt keeps a token of its own


def test_scores_are_those_above_the_usual_by_hand():
    # Two calibrating days: buy -1 and -3, mean -2. On the first decision all words have -2: hold is 2 above its usual.
    given = iter([(-1.0, -4.0, -2.0), (-3.0, -4.0, -2.0), (-2.0, -2.0, -2.0), (-1.0, -4.0, -2.5)])
    run = replace(RUN, last=TABLE["date"][102])
    found = played(run, decide=lambda prompts: [Answer("buy", next(given)) for _ in prompts], calibrated=2).decisions
    assert found["parsed"].to_list() == ["hold", "buy"] and found["date"].to_list() == TABLE["date"][100:102].to_list()
    # The two days before the second decision have the means -2.5, -3 and -2.
    assert np.array(found["scores"].to_list()) == pytest.approx(np.array([[0, 2, 0], [1.5, -1, -0.5]]))
    # An answer without scores is taken as it is, on every day of the window and on none before.
    assert played(decide=lambda prompts: ["sell"] * len(prompts), calibrated=5).decisions["parsed"].to_list() == ["sell"] * 30


def test_a_brief_prompt_tells_neither_date_nor_position():
    answers = iter(["buy", "sell", "hold"] * 10)
    found = played(decide=lambda prompts: [next(answers) for _ in prompts], form="brief", limit=10_000)
    for prompt in found.decisions["prompt"]:
        assert prompt.startswith("Today:\n- ") and prompt.endswith("Buy, sell or hold?")
        assert "You hold" not in prompt and "You are short" not in prompt and "2024" not in prompt
    fresh = found.memories.filter((pl.col("layer") == "short") & (pl.col("date") == FIRST))["text"].to_list()
    assert found.decisions["prompt"][0].splitlines()[1 : 1 + len(fresh)] == [f"- {text}" for text in fresh]
    assert played(form="brief", limit=60).decisions["tokens"].max() <= 60


@pytest.mark.parametrize("place", [101, 118])
def test_a_brief_calibrated_agent_knows_no_future(place):
    def decide(prompts):
        values = [np.random.default_rng(len(prompt)).normal(size=3) for prompt in prompts]
        return [Answer("buy", tuple(map(float, value))) for value in values]

    def agent(table):
        return played(replace(RUN, prices=table), decide=decide, form="brief", calibrated=10).decisions

    assert leaks(TABLE, agent, TABLE["date"][place], 2) == []
    assert agent(TABLE)["parsed"].n_unique() == 3


# A market of two shares and three windows, and agents whose decisions are known

EXECUTIONS = {name: Execution(*how) for name, how in {"finmem": ("finmem", 0, True), "fees": ("realistic", 10, True)}.items()}
SPANS = {"bear": ("2024-07-01", "2024-10-31"), "bull": ("2024-11-01", "2025-02-28"), "after": ("2025-03-03", "2025-05-30")}
TRADING = replace(
    P, executions=EXECUTIONS, draws=200, random=3, equity_every=7, index=Series("SP", "a"),
    shares={"two": {"a": ("AB", "CD")}},
    windows={name: Window("all", None, *days, ("two",)) for name, days in SPANS.items()},
)  # fmt: skip
PARAMS = profile_params(Params, "open_finllms", "small")
WINDOWS = {"bear": {"a": ("AB", "CD")}, "bull": {"a": ("AB", "CD")}, "after": {"a": ("AB",)}}
SETTINGS = replace(PARAMS, trading=TRADING, agent=replace(PARAMS.agent, windows=WINDOWS, seeds=2, warm=30))


def market() -> pl.DataFrame:
    parts = [walk(400, seed).with_columns(asset=pl.lit(name), source=pl.lit("a")) for seed, name in enumerate(("AB", "CD", "SP"))]
    return pl.concat(parts)


LISTINGS = pl.DataFrame({"asset": ["AB", "CD", "SP"], "source": ["a"] * 3, "name": ["Abel", "Cedar", "Index"]})


def test_runs_of_the_agent():
    found, places = trade.runs(market(), LISTINGS, SETTINGS.agent, TRADING)
    assert [(run.asset, run.window, run.seed) for run in found[:3]] == [("AB", "bear", 0), ("AB", "bear", 1), ("CD", "bear", 0)]
    assert len(found) == 10 and places.height == 5 and {run.name for run in found} == {"Abel", "Cedar"}
    assert str(found[0].first) == "2024-07-01" and found[0].warm == 30
    for windows, message in (
        ({"bear": {"a": ("EF",)}}, "trade EF from a in the window bear, which the group trading does not have"),
        ({"crash": {"a": ("AB",)}}, "trade AB from a in the window crash"),
        ({"bear": {"a": ("AB", "AB")}}, "trades AB twice in the window bear"),
    ):
        with pytest.raises(CatalogError, match=message):
            trade.runs(market(), LISTINGS, replace(SETTINGS.agent, windows=windows), TRADING)


def test_vectors_are_read_once():
    asked = []

    def embed_once(texts):
        asked.append(list(texts))
        return embed(texts)

    read = trade.remembered(embed_once)
    assert np.array_equal(read(["a", "b", "a"]), embed(["a", "b", "a"])) and np.array_equal(read(["b"]), embed(["b"]))
    assert asked == [["a", "b"]] and len(read([])) == 0


@pytest.fixture(scope="module")
def raw() -> dict[str, pl.DataFrame]:
    """Raw signals as the stage writes them, of two models that nobody asked: one knows the next day, the other says the contrary."""
    table = market()
    found, places = trade.runs(table, LISTINGS, SETTINGS.agent, TRADING)
    traded = play(found, embed, by_hash, words, Options(form="brief", top_k=1, limit=120))
    front = [pl.lit("finllama").alias("model"), pl.lit("likelihood").alias("reading")]
    frames = {
        name: traded[n].select(*front, pl.all()).join(places, on=trade.PLACE, maintain_order="left") for name, n in trade.FILES.items()
    }
    right = pl.concat([rules.oracle(part).with_columns(asset=pl.lit(name)) for (name,), part in table.group_by("asset")])
    known = frames["decisions"].drop("action", "parsed", "status", "scores").join(right, on=["asset", "date"], maintain_order="left")
    known = known.with_columns(scores=pl.lit([-1.0, -2.0, -3.0]))
    contrary = pl.col("parsed").replace(rules.EXCHANGED)
    frames["decisions"] = pl.concat([known, known.with_columns(model=pl.lit("smollm2"), action=contrary, parsed=contrary)])
    for name in ("retrieved", "memories"):
        frames[name] = pl.concat([frames[name], frames[name].with_columns(model=pl.lit("smollm2"))])
    written = frames["decisions"].gather_every(2).select(*trade.WRITTEN, likely="parsed", text="action", parsed="parsed", status="status")
    return frames | {"written": written}


@pytest.fixture(scope="module")
def made(raw) -> dict[str, pl.DataFrame]:
    return evaluate.own_tables(market(), raw, SETTINGS)


def test_shuffled_decisions_have_the_same_actions():
    one = rules.momentum(TABLE)
    two = rules.shuffled(one, 3)
    assert two["date"].equals(one["date"]) and not two["parsed"].equals(one["parsed"])
    assert two["parsed"].value_counts(sort=True).equals(one["parsed"].value_counts(sort=True))
    assert rules.shuffled(one, 3).equals(two) and two["action"].equals(two["parsed"])


def test_an_agent_that_always_buys_is_buy_and_hold(raw):
    table, span = market(), spans(market(), TRADING)[0]
    bought = raw["decisions"].with_columns(action=pl.lit("buy"), parsed=pl.lit("buy"))
    found = list(simulate.play(table, [span], TRADING, agent_tables.decided(bought)))
    returns = {(one.agent, one.execution, one.hold, one.seed): one.returns for one in found if one.model != "smollm2"}
    for execution, hold in (("finmem", "flat"), ("fees", "keep")):
        for agent, seed in ((AGENT, 0), (AGENT, 1), (SHUFFLED, 0), (SHUFFLED, 5)):
            assert np.array_equal(returns[agent, execution, hold, seed], returns[HOLDING, execution, hold, 0])
    drawn = Drawn(found, TRADING, 0)
    less = drawn.mean(("bear", (AGENT, "finllama"), "finmem", "flat"), ("bear", HOLDING, "finmem", "flat"))
    assert (less["value"], less["low"], less["high"], less["model"], less["other_model"]) == (0, 0, 0, "finllama", None)
    assert drawn.models() == ["finllama", "smollm2"]


def test_two_windows_together_are_the_mean_of_both(made):
    rows = made["contrasts"].filter((pl.col("agent") == AGENT) & (pl.col("model") == "finllama") & (pl.col("other") == HOLDING))
    values = dict(rows.filter(execution="finmem", hold="flat").select("period", "value").iter_rows())
    assert values["bear and bull"] == pytest.approx((values["bear"] + values["bull"]) / 2)
    counted = dict(rows.filter(execution="finmem", hold="flat").select("period", "shares").iter_rows())
    assert counted == {"bear": 2, "bull": 2, "after": 1, "bear and bull": 4}


def test_the_agent_is_in_every_table(made):
    assert set(made["contrasts"].filter(pl.col("agent") == AGENT)["other"].drop_nulls()) >= {
        HOLDING,
        SHUFFLED,
        TURNOVER,
        "momentum-3",
        AGENT,
    }
    mine = made["trading"].filter((pl.col("agent") == AGENT) & (pl.col("model") == "finllama"))
    assert mine.filter(period="bear", asset="AB")["seeds"].to_list() == [2, 2] and mine.height == 10
    random = made["trading"].filter(agent=SHUFFLED, model="finllama", period="bear", asset="AB", execution="finmem")
    assert random["seeds"].item() == 6  # three draws of each of two seeds
    assert {"finllama", "smollm2"} == set(made["equity"].filter(pl.col("agent") == AGENT)["model"])
    assert made["trades"].filter(pl.col("agent") == AGENT).height and made["conventions"].filter(agent=AGENT)["hold"].n_unique() == 3
    drawn = agent_figures.draw(made)
    json.dumps(drawn, allow_nan=False)
    assert sorted(drawn) == ["agent_lead", "agent_wealth_after", "agent_wealth_bear", "agent_wealth_bull"]
    assert agent_figures.draw(made | {"equity": made["equity"].filter(pl.col("agent") != AGENT)}) == {}


def test_the_log_of_a_day_by_hand(raw, made):
    log = made["agent_days"].filter(model="finllama", period="bear", asset="AB", seed=0)
    closes = market().filter(asset="AB").sort("date")
    day = closes.with_row_index().filter(pl.col("date").cast(pl.String) == log["date"][4])["index"].item()
    prices = closes["adj_close"]
    assert log["price"][4] == pytest.approx(prices[day], abs=1e-6)
    assert log["r"][4] == pytest.approx(abs(np.log(prices[day + 1] / prices[day])), abs=1e-6)  # it knows the next day
    assert log["position"][4] == (1 if prices[day + 1] > prices[day] else -1) and log["score_hold"][4] == -2
    mine = (
        raw["retrieved"]
        .filter(model="finllama", window="bear", asset="AB", seed=0)
        .filter(pl.col("date").cast(pl.String) == log["date"][4])
    )
    assert log["retrieved"][4].count("(") == mine.height and f"({mine['score'].max():.3f}"[:6] in log["retrieved"][4].split(",")[0]
    every = made["agents"].filter(model="finllama", period="all").row(0, named=True)
    decided = raw["decisions"].filter(model="finllama")
    assert every["decisions"] == decided.height == sum(every[name] for name in ACTIONS)
    assert every["written"] == every["written_named"] == every["written_agrees"] and every["named_low"] > 0.9
    assert made["agents"].filter(model="finllama").height == 6


def test_leaks_through_the_agent(made):
    found = made["leaks"].filter(pl.col("agent").str.starts_with("FinMem"))
    assert found.filter(~pl.col("looks_ahead"))["changed"].to_list() == [0] * 18  # three windows, three days, two executions
    assert found.filter("looks_ahead").height == 6 and found.filter("looks_ahead")["changed"].min() > 0
    assert found.filter("looks_ahead")["what"].str.contains("decisions.prompt").all()


ABOUT = (
    "agent-beats-holding",
    "agent-beats-its-base",
    "agent-in-a-fall",
    "agent-in-a-rise",
    "agent-after-training-data",
    "agent-has-timing",
)
ABOUT += ("agent-beats-random-trades", "agent-beats-momentum", "base-agent-beats-holding", "base-agent-has-timing")


def judged(t, tmp_path) -> dict[str, str]:
    """Verdict of each claim on the reports that the evaluation writes."""
    (tmp_path / "stages").symlink_to(evaluate.ROOT / "stages")
    declared = declarations.declared("open_finllms")
    schemas = {
        name: {c: declarations.TYPES[kind] for c, (kind, _) in declared[name].columns.items()} for name in declared.keys() - t.keys()
    }
    none = {name: pl.DataFrame(schema=schema) for name, schema in schemas.items()}  # of the language models, which no claim here is about
    evaluate.write_tables(t | none, "open_finllms", "small", root=tmp_path)
    rows = [*evaluate.results("small", t), *evaluate.agent_results("small", t["agents"])]
    evaluate.write_results(rows, "open_finllms", "small", root=tmp_path)
    return verdicts("open_finllms", tmp_path, "open_finllms_agent")


def test_claims_hold_for_an_agent_that_knows_the_next_day_and_fail_for_its_contrary(made, raw, tmp_path):
    found = judged(made, tmp_path)
    assert {name: found[name] for name in ABOUT if name.startswith("agent")} == dict.fromkeys(ABOUT[:8], "holds")
    assert [found[name] for name in ABOUT[8:]] == ["fails", "fails"]
    assert found["agent-knows-no-future"] == found["agent-names-an-action"] == found["no-rule-knows-the-future"] == "holds"


def test_claims_turn_with_the_models_and_say_where_nothing_was_measured(raw, tmp_path):
    other = {"finllama": "smollm2", "smollm2": "finllama"}
    turned = {name: frame.with_columns(pl.col("model").replace(other)) for name, frame in raw.items()}
    turned["written"] = turned["written"].with_columns(parsed=pl.lit(None, dtype=pl.String))
    found = judged(evaluate.own_tables(market(), turned, SETTINGS), tmp_path)
    assert [found[name] for name in ABOUT] == ["fails"] * 8 + ["holds"] * 2 and found["agent-names-an-action"] == "fails"


def test_a_missing_file_of_the_agent_is_said(tmp_path):
    with pytest.raises(CatalogError, match="decisions.parquet is missing; run the stage open_finllms_trade"):
        agent_tables.read(tmp_path)


def test_written_answers_are_read_strictly(raw):
    model, tokenizer = random_model()
    decisions = raw["decisions"].filter(model="finllama").head(6).with_columns(prompt=pl.lit("up"))
    found = trade.written(decisions, ["finllama"], replace(SETTINGS.agent, written_every=2), Options(), lambda name: (model, tokenizer))
    assert found.height == 3 and found["likely"].equals(decisions["parsed"].gather_every(2).alias("likely"))
    assert set(found["status"]) <= {"unparsed", "empty"} and found["parsed"].null_count() == 3  # a random model names nothing


def test_the_window_of_a_run_is_the_one_of_the_rules():
    run = Run("ACME", "Acme", TABLE, "bull", FIRST, LAST, warm=20)
    decided = agent_tables.decided(
        play([run], embed, by_hash, words, Options()).decisions.with_columns(model=pl.lit("m"), source=pl.lit("a"))
    )
    ((model, seed, frame),) = decided["bull", "ACME", "a"]
    assert (model, seed) == ("m", 0) and frame.columns == ["date", "action", "parsed", "status"]
    assert frame["date"].to_list() == [day for day in TABLE["date"] if FIRST <= day < LAST]


# Prices as files have them


def test_order_of_rows_and_days_without_a_price_change_nothing_else():
    whole = played().decisions
    assert played(replace(RUN, prices=TABLE.sample(fraction=1.0, shuffle=True, seed=3))).decisions.equals(whole)
    for nothing in (None, float("nan")):
        gone = TABLE.with_columns(
            pl.when(pl.col("date") == TABLE["date"][110]).then(pl.lit(nothing)).otherwise("adj_close").alias("adj_close")
        )
        without = TABLE.filter(pl.col("date") != TABLE["date"][110])
        found = played(replace(RUN, prices=gone)).decisions
        assert found.equals(played(replace(RUN, prices=without)).decisions) and found.height == whole.height - 1
        assert found.filter(pl.col("date") < TABLE["date"][110]).equals(whole.filter(pl.col("date") < TABLE["date"][110]))


def test_a_split_in_the_traded_prices_is_no_fall():
    later = pl.col("date") >= TABLE["date"][110]
    split = TABLE.with_columns(
        pl.when(later).then(pl.col(name) / 2).otherwise(name).alias(name) for name in ("open", "high", "low", "close")
    )
    assert played(replace(RUN, prices=split)).decisions["prompt"].to_list() == played().decisions["prompt"].to_list()


def test_prices_that_cannot_be_are_refused():
    day = TABLE["date"][110]
    negative = TABLE.with_columns(pl.when(pl.col("date") == day).then(-1.0).otherwise("adj_close").alias("adj_close"))
    for table, message in (
        (negative, f"price of {day} is not positive"),
        (pl.concat([TABLE, TABLE.filter(pl.col("date") == day)]), f"have {day} twice"),
    ):
        with pytest.raises(CatalogError, match=message):
            played(replace(RUN, prices=table))
