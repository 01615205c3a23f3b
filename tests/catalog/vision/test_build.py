"""A LLaVA made of parts: its prompt, saving and loading, and that the image is what it sees."""

import json
import subprocess
import sys

import pytest
import torch
from tiny_llava import LETTERS, llava, picture, tokenizer

from catalog.base.errors import CatalogError
from catalog.vision import build

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPT = "USER: <image>\nWhat?\nASSISTANT:"


@torch.inference_mode()
def logits(model, processor, seeds, prompts):
    return model(**build.inputs(processor, [picture(seed) for seed in seeds], prompts)).logits


def test_an_image_is_nine_tokens_in_the_prompt():
    _, processor = llava()
    made = build.inputs(processor, [picture()], [PROMPT])
    ids = made["input_ids"][0].tolist()
    assert len(ids) == len("USER: \nWhat?\nASSISTANT:") + 9
    assert ids[6:15] == [processor.image_token_id] * 9
    assert ids[5] == LETTERS.index(" ") and ids[15] == LETTERS.index("\n")
    assert made["pixel_values"].shape == (1, 3, 96, 96)


def test_prompts_are_padded_on_the_left_and_may_lack_an_image():
    _, processor = llava()
    made = build.inputs(processor, None, ["abc", "a"])
    assert set(made) == {"input_ids", "attention_mask"}
    assert made["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    with pytest.raises(CatalogError, match="1 times <image> for 0 images"):
        build.inputs(processor, [], [PROMPT])


def test_the_answer_depends_on_the_image_and_on_its_own_alone():
    model, processor = llava()
    both = logits(model, processor, [0, 1], [PROMPT, PROMPT])[:, -1]
    alone = logits(model, processor, [1], [PROMPT])[:, -1]
    assert (both[0] - both[1]).abs().max() > 1e-3
    assert torch.allclose(both[1], alone[0], atol=1e-4)


def test_a_saved_model_reads_back_without_any_difference(tmp_path):
    model, processor = llava()
    build.save(model, processor, tmp_path / "model")
    read, read_processor = build.load(tmp_path / "model", dtype="float32", device="cpu")
    assert torch.equal(logits(read, read_processor, [0], [PROMPT]), logits(model, processor, [0], [PROMPT]))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert "auto_map" not in config and config["model_type"] == "llava"
    assert not list((tmp_path / "model").glob("*.py"))
    made = read.generate(**build.inputs(read_processor, [picture()], [PROMPT]), max_new_tokens=3, do_sample=False)
    assert made.shape[1] > len("USER: \nWhat?\nASSISTANT:") + 9


def test_the_stock_class_reads_it_once_the_tower_is_imported(tmp_path):
    model, processor = llava()
    build.save(model, processor, tmp_path / "model")
    code = (
        "import sys, torch\n{}from transformers import AutoProcessor, LlavaForConditionalGeneration\n"
        "model = LlavaForConditionalGeneration.from_pretrained(sys.argv[1]).eval()\n"
        "AutoProcessor.from_pretrained(sys.argv[1])\n"
        "ids = torch.tensor([[7] + [model.config.image_token_index] * 9 + [9]])\n"
        "with torch.inference_mode():\n    print(float(model(ids, torch.ones(1, 3, 96, 96)).logits.double().sum()))\n"
    )
    call = [sys.executable, "-c", code.format("import catalog.vision.tower\n"), str(tmp_path / "model")]
    said = subprocess.run(call, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    with torch.inference_mode():
        ids = torch.tensor([[7] + [model.config.image_token_index] * 9 + [9]])
        assert float(said.stdout) == float(model(ids, torch.ones(1, 3, 96, 96)).logits.double().sum())


def test_a_special_token_is_renamed_and_no_id_moves():
    before = tokenizer()
    after = build.renamed(before, "<unused>", "<image>")
    assert after.convert_tokens_to_ids("<image>") == before.convert_tokens_to_ids("<unused>")
    assert after("a<image>b")["input_ids"] == before("a<unused>b")["input_ids"]
    assert len(after) == len(before)
    with pytest.raises(CatalogError, match="no special token '<none>'"):
        build.renamed(before, "<none>", "<image>")


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(CatalogError, match="could not be loaded"):
        build.load(tmp_path, dtype="float32", device="cpu")
