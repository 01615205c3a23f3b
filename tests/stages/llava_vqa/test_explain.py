"""The command that explains an answer, and the picture that it draws."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_llava import llava, tokenizer
from tiny_looking import noise, seeing

from catalog.base.errors import CatalogError
from catalog.vision import build
from catalog.vision.geometry import Geometry
from stages.llava_vqa.explain import explain, main, map_of, prompt_of, sentence, token_of
from stages.llava_vqa.looking import look
from stages.llava_vqa.overlay import draw, is_constant, normalised

pytestmark = pytest.mark.usefixtures("one_thread")


def test_normalising_by_hand():
    for values in ((1, 2, 3), (-3, -2, -1)):  # the sign is lost
        shares, constant = normalised(values)
        assert shares == pytest.approx([0, 1 / 3, 2 / 3]) and not constant
    shares, constant = normalised([[2, 2], [2, 2]])
    assert shares.tolist() == [[0.25] * 2] * 2 and constant
    assert is_constant([0.1, 0.1 + 1e-9]) and is_constant([0, 0]) and not is_constant([0, 1e-6])


def where(size=(60, 30), side=48, grid=(2, 2)):
    """Scaled to half and moved right by 9 pixels: x of the original = 2 (x - 9)."""
    return Geometry(size, (side, side), (0.5, 0.5), (9.0, 9.0), grid, (24, 24))


def test_colours_lie_on_the_originals_pixels_and_tell_the_sign():
    image = Image.new("RGB", (60, 30), (128, 128, 128))
    made = np.asarray(draw(image, where(), [[2.0, -1.0], [0.0, -2.0]], frame=False)).astype(int)
    assert made.shape == (30, 60, 3)
    red, blue = made[..., 0] - 128, made[..., 2] - 128
    assert (red[:, :30] > 80).all() and (blue[:, :30] < -80).all()  # patch (0, 0) ends at x = 2 (24 - 9) = 30
    assert (blue[:, 30:] > 40).all() and (blue[:, 30:] < 80).all()  # half as strong


def test_what_the_model_does_not_see_is_dark_and_a_constant_map_has_no_colour():
    image = Image.new("RGB", (100, 30), (128, 128, 128))
    made = np.asarray(draw(image, where((100, 30)), [[1.0, 1.0], [1.0, 1.0]]))
    assert (made[:, :78] == 128).all()  # 2 (48 - 9)
    assert (made[:, 78:] < 70).all()


def test_the_best_patch_is_framed():
    image = Image.new("RGB", (60, 30), (128, 128, 128))
    plain, framed = (np.asarray(draw(image, where(), [[1.0, 5.0], [0.0, 0.0]], frame=frame)) for frame in (False, True))
    changed = np.argwhere((plain != framed).any(-1))
    assert changed.min(0).tolist() == [0, 30] and changed.max(0).tolist() == [29, 59]


def test_all_methods_write_a_picture_and_scores(tmp_path):
    model, processor = seeing()
    image = noise(90, 56)
    for method in ("all-heads", "best-head", "top-heads", "attention"):
        picture, report = explain(model, processor, image, "<image>What? ", target="a", method=method, count=3)
        found = look(model, processor, image, "<image>What? ", report["target_id"])
        values, heads = map_of(found, method, 3)
        assert picture.size == (90, 56) and len(report["patches"]) == 16
        assert [(each["layer"], each["head"]) for each in report["heads"]] == heads
        assert len(heads) == {"best-head": 1, "top-heads": 3}.get(method, 0)
        last = report["patches"][-1]
        assert (last["row"], last["column"]) == (3, 3) and last["score"] == pytest.approx(float(values[3, 3]), abs=1e-6)
        assert (last["x0"], last["y0"], last["x1"], last["y1"]) == (59, 42, 73, 56)  # cut by 17 pixels at the left
        assert sum(patch["normalised"] for patch in report["patches"]) == pytest.approx(1)
        assert [each["position"] for each in report["text_positions"]] == list(range(16, 22))
        assert not report["constant"] and report["sum"] == pytest.approx(sum(patch["score"] for patch in report["patches"]))
        assert "probability" in sentence(report)
    with pytest.raises(CatalogError, match="no method 'saliency'"):
        map_of(found, "saliency")


def test_a_constant_map_is_said_to_be_one():
    model, processor = seeing()
    for block in model.model.language_model.layers:
        block.self_attn.o_proj.weight.data.zero_()  # no head moves anything
    _, report = explain(model, processor, noise(), "<image>What?")
    assert report["constant"] and "constant and says nothing" in sentence(report)


def test_prompts_are_of_llava_15_unless_a_form_is_given():
    _, processor = seeing()
    assert prompt_of(processor, "What? ") == "USER: <image>\nWhat?\nASSISTANT:"
    assert prompt_of(processor, "What?", "It is ") == "USER: <image>\nWhat?\nASSISTANT: It is"
    assert prompt_of(processor, "What?", form="<image>\\n### {question}\\n") == "<image>\n### What?\n"
    for question, form in (("  ", None), ("see <image>", None), ("What?", "{question}"), ("What?", "<image>")):
        with pytest.raises(CatalogError):
            prompt_of(processor, question, form=form)


def test_a_target_is_one_token_as_it_stands_behind_the_prompt():
    words = build.renamed(tokenizer(), "<unused>", "<image>")
    with pytest.raises(CatalogError, match="'red' is 4 tokens of this model"):  # " ", "r", "e", "d"
        token_of(words, "Is it:", "red")
    assert token_of(words, "Is it: ", "r") == words.convert_tokens_to_ids("r")
    with pytest.raises(CatalogError, match="target is empty"):
        token_of(words, "Is it:", " ")


def test_the_command_writes_what_it_says(tmp_path, capsys):
    model, processor = llava()
    build.save(model, processor, tmp_path / "model")
    noise(120, 96).save(tmp_path / "photo.png")
    base = ["--model", str(tmp_path / "model"), "--image", str(tmp_path / "photo.png"), "--question", "What?", "--dtype", "float32"]
    main([*base, "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert "Next word" in said and "one forward pass" in said
    assert Image.open(tmp_path / "out" / "overlay.png").size == (120, 96)
    assert report["settings"]["grid"] == [3, 3] and report["settings"]["dtype"] == "float32" and len(report["patches"]) == 9
    assert report["patches"][0]["x0"] == 12  # the middle 96 of 120 columns
    main([*base, "--out", str(tmp_path / "out"), "--method", "best-head", "--prefix", "It is "])
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["prompt"].endswith("ASSISTANT: It is")
    (tmp_path / "text.png").write_text("no image")
    for wrong, match in (
        (["--image", str(tmp_path / "text.png")], "is not an image"),
        (["--question", " "], "question is empty"),
        (["--target", "red"], "is 4 tokens"),
        (["--heads", "0"], "at least 1"),
        (["--out", str(tmp_path / "photo.png")], "is a file"),
    ):
        with pytest.raises(CatalogError, match=match):
            main([*base, *wrong])
