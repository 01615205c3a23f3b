"""The one published example of the paper's notebook, on the paper's own model: runs where its weights and the image are."""

from pathlib import Path

import pytest
from huggingface_hub import try_to_load_from_cache

from catalog.base.params import ROOT
from catalog.vision import build
from catalog.vision.geometry import cell
from catalog.vision.images import open_image
from stages.llava_vqa.explain import prompt_of, token_of
from stages.llava_vqa.looking import best_head, look

IMAGE = ROOT / "data" / "own" / "llava_vqa" / "000000219578.jpg"  # COCO val2017
HEADS = {(22, 27): 1.0399, (19, 6): 1.0166, (22, 17): 0.6654, (15, 19): 0.3564, (24, 3): 0.3344}
POSITIONS = {229: 0.1699, 276: 0.1476, 251: 0.1298, 285: 0.0875, 246: 0.0690}


def here() -> bool:
    found = try_to_load_from_cache("llava-hf/llava-1.5-7b-hf", "model.safetensors.index.json")
    return isinstance(found, str) and Path(found).exists() and IMAGE.is_file()


@pytest.mark.skipif(not here(), reason=f"needs the weights of llava-1.5-7b-hf and {IMAGE.relative_to(ROOT)}")
def test_the_notebooks_numbers():
    model, processor = build.load("llava_15_7b", "float32")
    prompt = prompt_of(processor, "What is the color of the dog?", "The color of the dog is")
    found = look(model, processor, open_image(IMAGE), prompt)
    assert found.target == 17354 == token_of(processor.tokenizer, prompt, "brown")
    assert found.image[[0, -1]].tolist() == [5, 580] and found.grid == (24, 24)
    assert best_head(found, 5) == list(HEADS)
    for (layer, head), score in HEADS.items():
        assert float(found.heads[layer, head]) == pytest.approx(score, abs=2e-3)
    scores = found.position_scores(22, 27).cpu()
    assert scores.argsort(descending=True)[:5].tolist() == list(POSITIONS)
    for position, score in POSITIONS.items():
        assert float(scores[position]) == pytest.approx(score, abs=2e-3)
    assert float(found.attention[22, 27, 229]) == pytest.approx(0.1189, abs=2e-3)
    assert cell(229, 5, found.grid) == (9, 8)
