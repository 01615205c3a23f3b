"""FinLLaVA's stages with a tiny model: what they write, the same bytes twice, and the claims, which hold and fail with the answers."""

from dataclasses import replace

import judging
import polars as pl
import pytest
from tiny import tiny
from tiny_llava import tokenizer, tower
from vision_cases import built

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT, profile_params
from catalog.report import tables as declarations
from catalog.report.results import write_results, write_tables
from stages.open_finllms import vision_answers, vision_read, vision_report, vision_scores, vision_train
from stages.open_finllms.settings import Params
from stages.open_finllms.vision_content import COLOURS
from stages.open_finllms.vision_letters import PROMPTS
from stages.open_finllms.vision_places import WORDS, coverage, words
from stages.open_finllms.vision_prompts import OPEN
from stages.open_finllms.vision_questions import ANSWERS, NUMBERS

pytestmark = pytest.mark.usefixtures("one_thread")
FEW = {"line": 6, "bar": 6, "grouped": 2, "pie": 2, "table": 3}


@pytest.fixture(scope="module")
def tables():
    return built(FEW, size=96)


@pytest.fixture
def home(tmp_path, monkeypatch, tables):
    """A project with charts of 96 pixels, and a tiny language model and tower in place of FinLLaMA and EfficientNet-Lite0."""
    data = tmp_path / "data/chart_questions/small"
    data.mkdir(parents=True)
    for name, table in tables.items():
        table.write_parquet(data / f"{name}.parquet")
    (tmp_path / "params.yaml").write_text("{profile: small, seed: 0, device: cpu, dtype: float32}\n")
    p = profile_params(Params, "open_finllms", "small")
    p = replace(
        p,
        vision_train=replace(
            p.vision_train, image_token="<unused>", align_steps=20, align_batch=16, shown=4, epochs=1, rank=2, letters=0.5
        ),
        vision_answers=replace(p.vision_answers, batch=4, written=6, new_tokens=dict.fromkeys(PROMPTS, 2)),
    )

    def load(*_, **__):
        tok = tokenizer()
        tok.add_tokens(sorted({f" {word}" for word in (*WORDS, *COLOURS, *ANSWERS, *NUMBERS, "up", "down")}))
        return tiny("llama", vocabulary=len(tok)), tok

    for module in (vision_train, vision_answers, vision_read, vision_report):
        if hasattr(module, "ROOT"):
            monkeypatch.setattr(module, "ROOT", tmp_path)
        if hasattr(module, "profile_params"):
            monkeypatch.setattr(module, "profile_params", lambda *_: p)
    real = vision_read.read
    for module in (vision_train, vision_answers, vision_report):
        monkeypatch.setattr(module, "read", lambda profile: real(profile, tmp_path))
    monkeypatch.setattr(vision_train.models, "load", load)
    monkeypatch.setattr(vision_train, "tower_file", lambda _: None)
    monkeypatch.setattr(vision_train.tower, "lite0", lambda _: tower())
    return tmp_path


def test_the_model_is_trained_asked_and_scored_and_the_same_twice(home, tables):
    written = []
    for _ in range(2):
        vision_train.main("small")
        vision_answers.main("small")
        files = [home / "models/finllava/small/curves.parquet", home / "models/finllava_answers/small/answers.parquet"]
        written.append([path.read_bytes() for path in files])
    assert written[0] == written[1]
    curves = pl.read_parquet(files[0])
    assert set(curves["stage"]) == {"projector", "answers"} and curves["loss"].is_finite().all()
    answers = pl.read_parquet(files[1])
    asked = tables["questions"].filter(pl.col("answer").is_not_null())
    counts = dict(answers.filter(form=OPEN).group_by("condition").len().iter_rows())
    later = asked.filter(pl.col("split").is_in(["test", "style"]))
    assert counts == {"image": len(later), "no image": len(later), "swapped": len(asked.filter(split="test"))}
    choice = dict(later.select("id", "candidates").iter_rows())
    for one in answers.filter(form=OPEN).iter_rows(named=True):
        assert len(one["logprobs"]) == len(choice[one["question"]]) and one["output"] in choice[one["question"]]
        assert one["output"] == choice[one["question"]][one["logprobs"].index(max(one["logprobs"]))]
    assert len(answers.filter(pl.col("form") != OPEN)) == 6 * 3 * 2
    found = vision_report.build("small", 0)
    columns = {name: [*declarations.declared("open_finllms")[name].columns] for name in found}
    assert {name: frame.columns for name, frame in found.items()} == columns
    assert {one["metric"] for one in vision_report.results("small", found)} == {"accuracy", "accuracy_change"}
    assert vision_report.draw(found)["charts"]["data"]["values"]


def test_stages_that_are_run_too_early_say_what_is_missing(home):
    with pytest.raises(CatalogError, match="run `dvc repro open_finllms_vision_train` to make it"):
        vision_answers.main("small")
    with pytest.raises(CatalogError, match="run `dvc repro open_finllms_vision_data` to make it"):
        vision_read.read("full", home)


def test_questions_left_out_are_not_trained_on(tables):
    questions = tables["questions"].filter(pl.col("split") == "train")
    images = sorted(set(questions["image"]))
    found = vision_train.pairs(questions.filter(pl.col("kind") != "trend"), images, 0.0, 0)
    texts = [prompt for _, pairs in found for prompt, _ in pairs]
    assert texts and not any(" go up or down?" in text for text in texts) and all(text.count("<image>") == 1 for text in texts)
    some = vision_train.pairs(questions, images, 1.0, 0)
    assert sum("A. " in prompt for _, pairs in some for prompt, _ in pairs) == len(some)


def test_places_have_the_words_of_what_is_there(tables):
    image = tables["images"].filter(pl.col("form") == "bar", pl.col("split") == "train").to_dicts()[0]
    marks = tables["marks"].filter(image=image["image"]).to_dicts()
    pixels = vision_read.pixels(image["png"])
    found = words(pixels, marks, image["style"], 3)
    assert found[7][0] == "bar" and found[7][2:] == ("middle", "bottom") or found[6][2:] == ("left", "bottom")
    total = sum(coverage(pixels, mark, image["style"], 3).sum() for mark in marks) * 32 * 32
    areas = sum((mark["x1"] - mark["x0"]) * (mark["y1"] - mark["y0"]) for mark in marks)
    assert 0.7 * areas < total < 1.3 * areas  # bars fill their boxes


def answers_of(tables, right):
    """Answers that are right with the picture and the first word without, or wrong with it and right without."""
    rows = []
    for one in tables["questions"].filter(pl.col("split").is_in(["test", "style"])).iter_rows(named=True):
        wrong = next(letter for letter in "ABCD" if letter != one["letter"])
        for condition in ("image", "swapped", "no image"):
            good = (condition == "image") == right
            if one["answer"] is not None:
                word = one["answer"] if good else next(word for word in one["candidates"] if word != one["answer"])
                rows.append({"condition": condition, "form": OPEN, "question": one["id"], "output": word, "logprobs": None})
            if condition != "swapped" and one["split"] == "test":
                for form in PROMPTS:
                    letter = one["letter"] if good else wrong
                    rows.append({"condition": condition, "form": form, "question": one["id"], "output": letter, "logprobs": None})
    return pl.DataFrame(rows, schema=vision_answers.SCHEMA)


@pytest.mark.parametrize(("right", "verdict"), [(True, "holds"), (False, "fails")])
def test_claims_turn_with_the_answers(tmp_path, monkeypatch, tables, right, verdict):
    names = ("charts-are-seen", "charts-beat-lookup", "charts-in-other-styles", "charts-by-letter")
    book = judging.ledger.read("open_finllms")
    about = [claim for claim in book["claims"] if claim["id"] in names]  # other claims have nothing to be judged by here
    monkeypatch.setattr(judging.ledger, "read", lambda _: book | {"claims": about})
    said = vision_scores.predictions(tables, answers_of(tables, right))
    made = {"vision_predictions": said, "vision_scores": vision_scores.scores(said, tables["questions"], 0)}
    declared = declarations.declared("open_finllms")
    schemas = {
        name: {c: declarations.TYPES[kind] for c, (kind, _) in declared[name].columns.items()} for name in declared.keys() - made.keys()
    }
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    write_tables(made | {name: pl.DataFrame(schema=schema) for name, schema in schemas.items()}, "open_finllms", "small", root=tmp_path)
    write_results([*vision_report.results("small", made)], "open_finllms", "small", root=tmp_path)
    found = judging.verdicts("open_finllms", tmp_path, "open_finllms_charts")
    assert {name: found[name] for name in names} == dict.fromkeys(names, verdict)
