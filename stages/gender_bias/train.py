"""The fine-tuning baselines: a LoRA and a full fine-tuning on counterfactually balanced text.

Each sentence of the *locate* words stands there once with man and once with woman, so that nothing but the base rate of gender can be
learnt from it (counterfactual data augmentation). Both models go to `models/gender_tuned/<profile>/`, where `measure` measures them.
"""

from __future__ import annotations

import polars as pl

from catalog.base.errors import run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.lm import load_lm, require_full
from catalog.training.adapters import lora, save_lora, save_model
from catalog.training.checkpoints import checkpoint_folder, finish, is_main
from catalog.training.packing import encode
from catalog.training.settings import Settings
from catalog.training.train import train
from stages.gender_bias.settings import Params, Train

STAGE = "gender_bias_train"


def settings(p: Train, seed: int) -> dict[str, Settings]:
    """How the two models are trained."""
    same = {"batch_size": p.batch_size, "log_steps": 2, "save_steps": 10, "warmup": 0.1, "seed": seed}
    return {
        "lora": Settings(steps=p.lora_steps, learning_rate=p.lora_rate, lora_rank=p.lora_rank, lora_alpha=p.lora_alpha, **same),
        "full": Settings(steps=p.full_steps, learning_rate=p.full_rate, **same),
    }


def main(profile: str) -> None:
    params = profile_params(Params, "gender_bias", profile)
    p = params.train
    if profile == "full":  # before any work
        require_full(p.model)
    texts = pl.read_parquet(ROOT / "data" / "commonwords" / profile / "balanced.parquet")["text"].to_list()
    # Full fine-tuning and a LoRA both start from fp32 weights: AdamW in bf16 loses small updates.
    model, tokenizer = load_lm(p.model, dtype="float32")
    examples = encode(tokenizer, [("", text) for text in texts], end=False)
    runs = {}
    how = settings(p, params.seed)
    for name, s in how.items():  # the LoRA first: it leaves the model as it was
        folder = checkpoint_folder(STAGE, profile, model, examples, s, extra=[name])
        if name == "lora":
            with lora(model, s) as adapted:
                runs[name] = train(adapted, examples, s, checkpoints=folder, desc="LoRA on balanced text")
        else:
            runs[name] = train(model, examples, s, checkpoints=folder, desc="fine-tuning on balanced text")
    if is_main():
        curves = [pl.DataFrame(done.history).with_columns(pl.lit(name).alias("variant")) for name, done in runs.items()]
        with atomic_dir(ROOT / "models" / "gender_tuned" / profile) as folder:
            save_lora(runs["lora"].tensors, how["lora"], p.model, folder / "lora")
            save_model(model, tokenizer, folder / "full", runs["full"].tensors)
            write_parquet(pl.concat(curves), folder / "curves.parquet")
        info = [{"variant": name, **done.info} for name, done in runs.items()]
        write_json({"runs": info}, ROOT / "models" / "gender_tuned" / f"{profile}.run.json")
    finish(STAGE, profile)


if __name__ == "__main__":
    run(main)
