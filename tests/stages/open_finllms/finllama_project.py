"""A project with a tiny model, a corpus and instructions, in which the stages of the language models run. Also a script: one process of
several that run the pre-training (`… finllama_project.py <folder> <profile>`)."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import torch
from tiny_text import CHAT
from tiny_tokenizers import byte_level
from transformers import LlamaConfig, LlamaForCausalLM

from catalog.base.params import profile_params
from catalog.models import lm
from stages.open_finllms import instruct, models, perplexity, pretrain
from stages.open_finllms.settings import Arm, Params

CHARACTERS = "abcdefghijklmnopqrstuvwxyzĠĊ0123456789<>/-.?"
TASKS = {"colour": ("sky", "blue"), "sum": ("1 and 1", "2")}


def params(profile="small", **changed):
    """Those of a profile, with a tiny model, little text and few steps."""
    found = profile_params(Params, "open_finllms", profile)
    arms = {name: Arm(share, changed.get("rate", 1e-4)) for name, share in (("none", 0.0), ("replay", 0.2571))}
    tuned = replace(found.instruct, items=0, batch_size=2, micro_batch=0, rank=2, alpha=4, max_prompt=60, max_answer=20)
    trained = replace(found.pretrain, model="tiny", arms=arms, finance_blocks=6, block_tokens=16, batch_size=2, micro_batch=1)
    return replace(
        found,
        pretrain=replace(trained, **changed.get("pretrain", {})),
        instruct=replace(tuned, **changed.get("instruct", {})),
        perplexity=replace(found.perplexity, tokens=24, documents={"prices": 2, "general": 1, "everyday": 2}),
    )


def make(root):
    """Write the inputs of the stages."""
    base = root / "models/tiny/base"
    tokenizer = byte_level(["<s>", "</s>", *CHARACTERS], bos_token="<s>", eos_token="</s>", chat_template=CHAT)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.2, bos_token_id=0, eos_token_id=1, pad_token_id=1, **sizes)
    )
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    shared = {"profile": "small", "seed": 0, "device": "cpu", "dtype": "float32", "models": {"tiny": {"asset": "none"}}}
    (root / "params.yaml").write_text(json.dumps(shared))
    rows = [("train", f"p{i}", "prices", "A:x", f"<td>{i}{i}.5</td><td>{i}</td>" * 2) for i in range(6)]
    rows += [("train", f"g{i}", "general", "news", "the cat sat on the mat and ran " * 2) for i in range(4)]
    rows += [("held_out", f"h{i}", "prices", "B:x", f"<td>{9 - i}1.5</td>" * 5) for i in range(2)]
    rows += [("held_out", "n0", "general", "news", "the dog sat on the mat")]
    items = [
        (f"{task}{i}", "made", task, split, f"what is {asked}{' then' * i}?", answer)
        for task, (asked, answer) in TASKS.items()
        for split in ("train", "test")
        for i in range(3)
    ]
    piqa = root / perplexity.PIQA
    for profile in ("small", "full"):
        corpus, instructions = (root / "data" / name / profile for name in ("finance_corpus", "finance_instructions"))
        for folder in (corpus, instructions, piqa.parent):
            folder.mkdir(parents=True, exist_ok=True)
        documents = pl.DataFrame(rows, schema=["split", "id", "part", "source", "text"], orient="row")
        documents.write_parquet(corpus / "documents.parquet")
        pl.DataFrame(items, schema=list(instruct.COLUMNS), orient="row").write_parquet(instructions / "items.parquet")
    asked = [("tie a rope", "B. with a knot. then pull"), ("tie a rope", "B. with a knot. then pull"), ("dry a mat", "A. in the sun")]
    piqa.write_text("".join(json.dumps({"question": q, "options": "", "answer": a}) + "\n" for q, a in asked))


def at_home(root, found, patch):
    """Let the stages work in `root` with these parameters; `patch(module, name, value)`."""

    def load(name, **options):
        return lm.load_lm(name, root=root, **({"device": "cpu", "dtype": "float32"} | {k: v for k, v in options.items() if k != "root"}))

    for module in (pretrain, perplexity, instruct, models):
        patch(module, "ROOT", root)
        patch(module, "profile_params", lambda *_, **__: found)
        patch(module, "load_lm", load)
    patch(pretrain, "resolve", lambda name, _: root / "models" / name / "base")
    for module in (pretrain, instruct):
        patch(module, "checkpoint_folder", lambda *a, **k: _checkpoints(*a, **k, root=root))
        patch(module, "finish", lambda *a: _finish(*a, root=root))
    patch(pretrain, "corpus_blocks", lambda p, profile: _blocks(p, profile, root))
    patch(perplexity, "held_out", lambda profile, p: _held_out(profile, p, root))
    patch(instruct, "read_items", lambda profile: _read_items(profile, root))
    patch(instruct, "folder", lambda name, profile: models.folder(name, profile, root))


_checkpoints, _finish = pretrain.checkpoint_folder, pretrain.finish
_blocks, _held_out, _read_items = pretrain.corpus_blocks, perplexity.held_out, instruct.read_items


if __name__ == "__main__":
    at_home(Path(sys.argv[1]), params(), setattr)
    pretrain.main(sys.argv[2])
