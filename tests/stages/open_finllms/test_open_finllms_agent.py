"""The trading agent with a made-up model and encoder: the order of a day, feedback, lockstep, leaks; and with a random language model."""

import re
import zlib
from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from tiny_text import char_tokenizer, decoder
from trading_cases import prices, walk, weekdays

from catalog.base.errors import CatalogError
from stages.open_finllms import trader as trading_state
from stages.open_finllms.actions import ACTIONS
from stages.open_finllms.agent import play
from stages.open_finllms.deciders import by_likelihood, by_text, counter, once_each
from stages.open_finllms.leak import changed_future, leaks
from stages.open_finllms.measure import trade
from stages.open_finllms.memory import Memory
from stages.open_finllms.prompt import cited, hindsight, lesson
from stages.open_finllms.trader import Answer, Options, Run
from stages.open_finllms.trading import run as execute
from stages.open_finllms.trading_metrics import metrics

TABLE = walk(200)
DAYS = TABLE["date"].to_list()
FIRST, LAST = DAYS[100], DAYS[130]
RUN = Run("ACME", "Acme", TABLE, "bull", FIRST, LAST, warm=20)
MODES = ("strict", "paper")


def embed(texts):
    """A vector of each text that depends on nothing else."""
    return np.stack([np.random.default_rng(zlib.crc32(text.encode())).normal(size=8) for text in texts])


def by_hash(prompts):
    """An answer that depends on every letter of the prompt."""
    return [("buy", "sell", "hold", "Buy now.", "lorem ipsum")[zlib.crc32(prompt.encode()) % 5] for prompt in prompts]


def words(text):
    return len(text.split())


def played(*runs, decide=by_hash, **options):
    return play(runs or [RUN], embed, decide, words, Options(**options))


def random_model():
    """A tiny language model of letters, with the padding token that `load_lm` gives."""
    tokenizer = char_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    return decoder(), tokenizer


def always(action):
    return lambda prompts: [action] * len(prompts)


@pytest.mark.parametrize("mode", MODES)
def test_a_decision_on_every_day_of_the_window_but_the_last(mode):
    found = played(mode=mode)
    assert found.decisions["date"].to_list() == DAYS[100:130]
    assert set(found.decisions["asset"]) == {"ACME"} and set(found.decisions["window"]) == {"bull"}
    frame = execute(TABLE, found.decisions)
    assert (frame["date"][0], frame["date"][-1], frame.height) == (FIRST, LAST, 31)
    assert found.memories["date"].min() == DAYS[80] and found.memories["date"].max() <= DAYS[129]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", [100, 109, 121])
def test_no_decision_knows_the_future(mode, place):
    found = [leaks(TABLE, lambda table: played(replace(RUN, prices=table), mode=mode).decisions, DAYS[place], seed) for seed in range(3)]
    assert found == [[]] * 3


@pytest.mark.parametrize("mode", MODES)
def test_no_prompt_memory_or_search_knows_the_future(mode):
    before = played(mode=mode)
    for place in (100, 112, 125):
        after = played(replace(RUN, prices=changed_future(TABLE, DAYS[place], place)), mode=mode)
        for old, new in zip(before, after):
            if "deleted" in old.columns:  # by the end of the run, not by this day
                old, new = old.drop("deleted"), new.drop("deleted")
            assert old.filter(pl.col("date") <= DAYS[place]).equals(new.filter(pl.col("date") <= DAYS[place]))
            assert not old.equals(new)
    # The days after the window need not exist.
    assert all(old.equals(new) for old, new in zip(before, played(replace(RUN, prices=TABLE[:131]), mode=mode)))


@pytest.mark.parametrize("mode", MODES)
def test_a_model_that_reads_tomorrow_is_found(mode, monkeypatch):
    early = lambda prices, *rest: honest(prices.with_columns(pl.col("adj_close", "close").shift(-1).forward_fill()), *rest)  # noqa: E731
    honest = trading_state.notes
    monkeypatch.setattr(trading_state, "notes", early)
    found = leaks(TABLE, lambda table: played(replace(RUN, prices=table), mode=mode).decisions, DAYS[115], 1)
    assert "decisions.prompt" in found


@pytest.mark.parametrize("mode", MODES)
def test_nothing_dated_later_reaches_a_prompt(mode):
    found = played(mode=mode)
    dates = dict(found.memories.select("id", "date").iter_rows())
    assert all(dates[i] <= day for i, day in found.log.select("id", "date").iter_rows())
    for day, prompt in found.decisions.select("date", "prompt").iter_rows():
        assert all(date.fromisoformat(written) <= day for written in re.findall(r"\d{4}-\d\d-\d\d", prompt)) and str(day) in prompt


def test_only_the_warm_up_of_paper_is_hindsight():
    # What is stored on a day of warm-up: `paper` knows the next day's price, `strict` does not.
    changed = changed_future(TABLE, DAYS[90])
    for mode, same in (("strict", True), ("paper", False)):
        on_the_day = [
            played(replace(RUN, prices=table), mode=mode).memories.filter(pl.col("date") == DAYS[90])["text"].to_list()
            for table in (TABLE, changed)
        ]
        assert (on_the_day[0] == on_the_day[1]) is same
        texts = played(mode=mode).memories.filter(pl.col("layer") == "reflection")["text"]
        assert texts.str.contains("on the next day, so").any() is not same
    paper = played(mode="paper").memories.filter((pl.col("layer") == "reflection") & (pl.col("date") < FIRST))
    change = TABLE["adj_close"][91] / TABLE["adj_close"][90] - 1
    assert f"{'rose' if change > 0 else 'fell'} {abs(change):.1%} on the next day" in paper.filter(pl.col("date") == DAYS[90])["text"][0]
    assert paper.height == 20


def test_a_lesson_is_learnt_when_its_outcome_is_known():
    lessons = played(decide=always("buy")).memories.filter(pl.col("layer") == "reflection")
    assert lessons["date"].to_list() == DAYS[87:130]  # the first day of the run is 80
    for place in (95, 110):
        change = TABLE["adj_close"][place] / TABLE["adj_close"][place - 7] - 1
        text = lessons.filter(pl.col("date") == DAYS[place])["text"][0]
        assert f"{'rose' if change > 0 else 'fell'} {abs(change):.1%} in seven days" in text
        right = " The decision was buy, which was " + ("right." if change > 0 else "wrong.")
        assert text.endswith(right) if place == 110 else "decision" not in text  # day 88 was warm-up


@pytest.mark.parametrize("mode", MODES)
def test_lockstep_equals_one_at_a_time(mode):
    runs = [
        RUN,
        replace(RUN, seed=1),
        replace(RUN, window="bear", first=DAYS[60], last=DAYS[80], warm=5),
        replace(RUN, asset="BETA", name="Beta", prices=walk(150, 8)),
        replace(RUN, window="none", warm=0),
    ]
    together = played(*runs, mode=mode)
    for turned in (played(*runs[::-1], mode=mode), [pl.concat(parts) for parts in zip(*(played(run, mode=mode) for run in runs))]):
        for one, other in zip(together, turned):
            assert one.sort("asset", "window", "seed", maintain_order=True).equals(
                other.sort("asset", "window", "seed", maintain_order=True)
            )
    drawn = [played(replace(RUN, seed=seed)).log["importance"] for seed in (0, 1, 1)]
    assert not drawn[0].equals(drawn[1]) and drawn[1].equals(drawn[2])


def test_one_call_of_the_model_a_day():
    sizes = []

    def decide(prompts):
        sizes.append(len(prompts))
        return always("hold")(prompts)

    played(RUN, replace(RUN, seed=1), replace(RUN, window="short", last=DAYS[110], warm=3), decide=decide)
    assert sizes == [3] * 10 + [2] * 20  # aligned at the first decision


@pytest.mark.parametrize(("action", "sign"), [("buy", 1), ("sell", -1), ("hold", 0), ("lorem", 0)])
def test_strict_feedback_by_hand(action, sign, monkeypatch):
    # Prices only rise. The first decision is on day 2 of the run and is judged on day 9.
    told = []
    monkeypatch.setattr(Memory, "feedback", lambda self, ids, sign: told.append((list(ids), sign)))
    table = prices([100.0 + i for i in range(20)])
    days = table["date"].to_list()
    found = play([Run("A", "Acme", table, "w", days[5], days[19], 2)], embed, always(action), words, Options(limit=10_000))
    shown = found.decisions["shown"].to_list()
    # Days 3 to 18 are days 0 to 15 of the run; feedback on days 7 to 15, about days 0 to 8.
    assert len(told) == 9 and [ids for ids, _ in told[:2]] == [[], []]  # warm-up decided nothing
    assert [len(ids) for ids, _ in told[2:]] == shown[:7] and [s for _, s in told[2:]] == [sign] * 7


def test_paper_feedback_by_hand(monkeypatch):
    # The book adds one share a day: 1, 2, 3, … Profit over seven days: the changes times the shares before each.
    told = []
    monkeypatch.setattr(Memory, "feedback", lambda self, ids, sign: told.append((list(ids), sign)))
    closes = [100.0, 104, 104, 104, 104, 104, 104, 103, 103, 103, 110]
    table = prices([100.0, *closes])
    days = table["date"].to_list()
    found = play([Run("A", "Acme", table, "w", days[1], days[11], 0)], embed, always("buy"), words, Options("paper", limit=10_000))
    # Day 7: 4 * 1 - 1 * 7 = -3, about day 1. Day 8: without the rise of day 1, -1 * 7, about day 2. Day 9: the same, about day 3.
    assert [sign for _, sign in told] == [-1, -1, -1]
    ids = [set(found.log.filter((pl.col("date") == day) & pl.col("cited"))["id"]) for day in days[2:5]]
    assert [set(ids) for ids, _ in told] == ids


def test_cited_memories_gain_importance():
    # With rising prices every buy is right: what was shown gets 5, 10, 15, … unless it faded before.
    table = prices([100.0 * 1.01**i for i in range(40)])
    days = table["date"].to_list()
    run = Run("A", "Acme", table, "w", days[10], days[39], 5)
    good, bad = (played(run, decide=always(action), limit=10_000).log["importance"].max() for action in ("buy", "sell"))
    assert good > 100 > bad


def test_options_of_the_query():
    asked = []

    def spy(texts):
        asked.append(list(texts))
        return embed(texts)

    for mode, times in (("paper", 1), ("strict", 0)):
        asked.clear()
        play([RUN], spy, by_hash, words, Options(mode))
        assert sum("You have followed Acme for years" in text for texts in asked for text in texts) == times
        assert len(asked) <= 3 * 50  # a few calls a day, whatever the number of texts


def test_strict_shows_the_day_first_and_looks_for_older_ones():
    found = played(limit=10_000)
    today = found.memories.filter(pl.col("layer") == "short")
    for day, prompt in found.decisions.select("date", "prompt").iter_rows():
        fresh = today.filter(pl.col("date") == day)
        assert prompt.split("\n\n")[1].splitlines() == ["Today:", *(f"- {text}" for text in fresh["text"])]
        assert not set(fresh["id"]) & set(found.log.filter(pl.col("date") == day)["id"])


def test_paper_repeats_and_leaves_out_as_released():
    # A run without warm-up has no memory of months; prices that are back after three days have no momentum.
    table = prices([100.0, 101, 102, 100, 101, 102, 100])
    run = Run("A", "Acme", table, "w", table["date"][3], table["date"][5], 0)
    (paper, other), (strict, _) = (played(replace(run, warm=3), mode=mode, limit=10_000).decisions["prompt"] for mode in MODES[::-1])
    assert paper.count("- No long-term information.") == 2 and "No long-term" not in strict
    assert "past three days" not in paper and "Over the past three days the price has not changed." in strict
    assert "past three days" not in other  # 101 after 101
    assert "You hold" not in paper and "You hold nothing." in strict


def test_the_position_is_told():
    answers = iter(["hold", "buy", "hold", "sell", "lorem", "buy"])
    run = replace(RUN, last=DAYS[106])
    found = played(run, decide=lambda prompts: [next(answers) for _ in prompts], limit=10_000).decisions["prompt"]
    states = [re.search(r"You (hold|are short)[^.]*\.", prompt)[0] for prompt in found]
    nothing, long, short = "You hold nothing.", "You hold the share.", "You are short of the share."
    assert states == [nothing, nothing, long, long, short, short]


@pytest.mark.parametrize("mode", MODES)
def test_prompts_keep_their_limit_and_lose_the_lowest_scores(mode):
    full, cut = played(mode=mode, limit=10_000), played(mode=mode, limit=130)
    assert full.decisions["left_out"].max() == 0 and full.decisions["tokens"].max() > 130
    assert cut.decisions["tokens"].max() <= 130 and cut.decisions["left_out"].max() > 0
    assert cut.decisions["tokens"].to_list() == [words(prompt) for prompt in cut.decisions["prompt"]]
    for prompt in cut.decisions["prompt"]:
        assert prompt.endswith("buy, sell or hold.") and prompt.startswith(("You trade", "The share"))
    first = cut.log.filter(pl.col("date") == FIRST)
    for (layer,), group in first.group_by("layer"):
        kept, lost = group.filter("shown")["score"], group.filter(~pl.col("shown"))["score"]
        assert not len(kept) or not len(lost) or kept.min() >= lost.max(), layer
    with pytest.raises(CatalogError, match="without any memory has .* tokens and the limit is 10"):
        played(mode=mode, limit=10)


def test_an_anonymous_prompt_names_neither_share_nor_date():
    found = played(anonymous=True)
    text = " ".join(found.decisions["prompt"])
    assert "Acme" not in text and not re.search(r"\b20\d\d\b", text) and "You trade one share. The market" in text


def test_named_memories():
    assert cited("buy, because of [3], 12 and 3.", [12, 3, 4]) == [12, 3]
    assert cited("sell: 4.5% and 1,300, not 30", [4, 5, 1, 300, 30]) == [30]
    assert cited("buy", [1]) == cited(None, [1]) == []
    shown = played(decide=always("buy"))
    named = played(decide=always("buy 5"), cite="named")
    assert shown.log["cited"].equals(shown.log["shown"])
    assert set(named.log.filter("cited")["id"]) <= {5} and "[" in named.decisions["prompt"][0] and "[" not in shown.decisions["prompt"][0]


def test_lessons_in_words():
    assert (
        lesson("Acme", ["Acme fell."], 0.031, 1) == "After “Acme fell” Acme rose 3.1% in seven days. The decision was buy, which was right."
    )
    assert lesson("Acme", ["Acme fell."], 0.031, -1).endswith("The decision was sell, which was wrong.")
    assert lesson("Acme", [], -0.02, 0) == "Acme fell 2.0% in seven days. The decision was hold."
    assert lesson("the share", [], 0.0, None) == "The share did not move in seven days."
    assert hindsight("Acme", -0.01, ["A note."]) == "Acme fell 1.0% on the next day, so sell was right. The reason may be: A note."


def test_nonsense_ends_in_recorded_outcomes():
    answers = ["lorem", "", None, "Buy", "buy or sell", "strong buy", "hold"] * 5
    frames = {}
    for mode in MODES:
        given = iter(answers)
        frames[mode] = played(decide=lambda prompts, given=given: [next(given) for _ in prompts], mode=mode).decisions
    strict, paper = frames["strict"], frames["paper"]
    assert strict["action"].to_list() == answers[:30] == paper["action"].to_list()
    assert strict["status"].to_list()[:7] == ["unparsed", "empty", "empty", "ok", "several", "unparsed", "ok"]
    assert strict["parsed"].to_list()[:7] == [None, None, None, "buy", None, None, "hold"]
    assert paper["parsed"].to_list()[:7] == ["sell", "hold", "hold", "sell", "sell", "sell", "hold"]
    counts = metrics(execute(TABLE, strict))["counts"]
    assert (counts["failures"], counts["holds"], counts["returns"]) == (22, 4, 30)  # of 30 days: 4 x 7 + lorem, ""


def test_scores_are_kept():
    found = played(decide=lambda prompts: [Answer("sell", (-2.0, -3.0, -1.5))] * len(prompts)).decisions
    assert found["scores"].to_list() == [[-2.0, -3.0, -1.5]] * 30 and set(found["parsed"]) == {"sell"}
    assert played().decisions["scores"].null_count() == 30


def test_what_is_refused():
    for change, message in (
        ({"first": date(2030, 1, 1), "last": date(2030, 2, 1)}, "ACME has 0 trading days from 2030-01-01 to 2030-02-01"),
        ({"last": FIRST}, "has 1 trading days"),
        ({"warm": 101}, "has 100 trading days before .* but 101 are for the warm-up"),
    ):
        with pytest.raises(CatalogError, match=message):
            played(replace(RUN, **change))
    with pytest.raises(CatalogError, match="same share, window and seed"):
        played(RUN, RUN)
    with pytest.raises(CatalogError, match="no option 'loose'"):
        played(mode="loose")
    with pytest.raises(CatalogError, match="2 answers to 1 prompts"):
        played(decide=lambda prompts: ["buy", "buy"])
    assert [frame.height for frame in play([], embed, by_hash, words)] == [0, 0, 0]


def test_a_random_language_model_is_measured():
    model, tokenizer = random_model()
    table = prices([100.0 * 1.01**i for i in range(12)])
    run = Run("A", "acme", table, "w", weekdays(9)[8], table["date"][11], 3)
    options = Options(limit=700, top_k=1)
    found = trade([run], ["random"], embed, options, load=lambda name: (model, tokenizer))
    text, likely = (found.decisions.filter(pl.col("reading") == reading) for reading in ("text", "likelihood"))
    assert text.height == likely.height == 3 and set(found.decisions["model"]) == {"random"}
    assert set(text["status"]) <= {"unparsed", "empty"} and text["parsed"].null_count() == 3
    assert metrics(execute(table, text))["counts"]["failures"] == 3
    assert set(likely["parsed"]) <= set(ACTIONS) and set(likely["status"]) == {"ok"}
    for answer, scores in likely.select("action", "scores").iter_rows():
        assert len(scores) == 3 and ACTIONS[int(np.argmax(scores))] == answer
    assert found.decisions["tokens"].to_list()[:3] == [counter(tokenizer)(prompt) for prompt in text["prompt"]]
    with pytest.raises(CatalogError, match="no reading 'guess'"):
        trade([run], ["random"], embed, options, readings=["guess"])


def test_a_likelihood_does_not_depend_on_its_batch():
    model, tokenizer = random_model()
    prompts = ["the price has risen", "fallen", "the price has risen"]
    for plain in (None, "buy or sell"):
        decide = by_likelihood(model, tokenizer, plain)
        together, alone = decide(prompts), [decide([prompt])[0] for prompt in prompts]
        assert together[0] == together[2] and [a.text for a in together] == [a.text for a in alone]
        assert np.array([a.scores for a in together]) == pytest.approx(np.array([a.scores for a in alone]), abs=1e-4)
    (plain_itself,) = by_likelihood(model, tokenizer, "buy or sell")(["buy or sell"])
    assert plain_itself.scores == pytest.approx((0, 0, 0), abs=1e-5)  # nothing is left of the question alone


def test_equal_prompts_are_answered_once():
    asked = []

    def answer(prompts):
        asked.append(prompts)
        return [Answer(prompt.upper()) for prompt in prompts]

    assert [a.text for a in once_each(answer)(["b", "a", "b"])] == ["B", "A", "B"] and asked == [["b", "a"]]
    assert once_each(answer)([]) == []
    model, tokenizer = random_model()
    assert len(by_text(model, tokenizer, new_tokens=3)(["x", "y", "x"])) == 3
