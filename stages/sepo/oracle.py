"""Reference models, DPO oracles and token scores (SePO, arXiv 2408.13518 §3).

For each oracle: the reference is the base model fine-tuned on chosen responses, the oracle is that reference trained by DPO on a share of
the pairs, and a token's score is the difference of their log-probabilities. A *shallow* oracle has the lowest layers of the model only,
with its final norm and head: the weak one of weak-to-strong. Writes

* ``models/sepo_oracle/<profile>/<oracle>/dpo``: PEFT adapters, each on top of ``…/<first oracle of its model>/reference``;
* ``data/token_scores/<profile>/scores.parquet``: a row for each response token, whatever shares are selected later.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.inside.anatomy import view
from catalog.models.lm import load_lm, require_full
from catalog.training.adapters import fold_in, lora, save_lora
from catalog.training.checkpoints import checkpoint_folder, finish, is_main
from catalog.training.pairs import SIDES, pair_collate, require_one_vocabulary, sides
from catalog.training.settings import Settings
from catalog.training.train import Run, train_once
from stages.sepo.method import loss_of, response_positions
from stages.sepo.scoring import Scores, token_log_probs
from stages.sepo.selection import scores
from stages.sepo.settings import LIVE_DPO, OracleModel, Params
from stages.sepo.texts import Pairs, encoded, entering, read, settings

STAGE = "sepo_oracle"


def shallow(model: Any, depth: int | None) -> Any:
    """The model with its lowest ``depth`` layers only (null: all); changed in place.

    Raises:
        CatalogError: more layers than there are, or none.
    """
    if depth is None:  # also a model of a kind that cannot be cut
        return model
    blocks = view(model).blocks
    if not 0 < depth <= len(blocks):
        raise CatalogError(f"An oracle cannot have {depth} layers of a model that has {len(blocks)}; correct depth.")
    layers = model.model.layers if hasattr(model, "model") else model.transformer.h
    del layers[depth:]
    model.config.num_hidden_layers = depth
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:depth]
    return model


def with_reference(pairs: Pairs, log_probs: list[Scores]) -> list[dict[str, Any]]:
    """The pairs with the reference's log-probability at each response token, under the key ``reference``."""
    out = []
    for pair, both in zip(pairs.tokens, log_probs, strict=True):
        kept = dict(pair)
        for side in SIDES:
            values = np.zeros(len(pair[f"{side}_input_ids"]), dtype=np.float32)
            values[response_positions(pair, side)] = both[side]
            kept[f"{side}_reference"] = values
        out.append(kept)
    return out


def score_table(o: OracleModel, name: str, pairs: Pairs, oracle: list[Scores], reference: list[Scores]) -> pl.DataFrame:
    """oracle, set, id, side, position (absolute), token_id, score, logp_oracle, logp_ref."""
    parts = []
    for key, pair, mine, ref in zip(pairs.rows["id"], pairs.tokens, oracle, reference, strict=True):
        for side in SIDES:
            where = response_positions(pair, side)
            parts.append(
                pl.DataFrame(
                    {
                        "position": where.astype(np.int32),
                        "token_id": np.asarray(pair[f"{side}_input_ids"], dtype=np.int32)[where],
                        "score": scores(mine[side], ref[side]).astype(np.float32),
                        "logp_oracle": mine[side],
                        "logp_ref": ref[side],
                    }
                ).select(pl.lit(key).alias("id"), pl.lit(side).alias("side"), pl.all())
            )
    return pl.concat(parts).select(pl.lit(o.name).alias("oracle"), pl.lit(name).alias("set"), pl.all())


def build(
    group: list[OracleModel], params: Params, sets: dict[tuple[str, str], Pairs], model: Any, profile: str
) -> tuple[list[tuple[OracleModel, str, Settings, Run]], list[pl.DataFrame]]:
    """Reference, oracles and scores of all oracles of one model and depth: ((oracle, name of the run, settings, run), …) and tables.

    They share the reference, which is tuned on all the pairs of the first one's set. ``model`` is changed.
    """
    p, first = params.oracle, group[0]
    n_layers = model.config.num_hidden_layers
    sft = settings(params.lora, p.reference, n_layers, params.seed)
    dpo = settings(params.lora, p.dpo, n_layers, params.seed)
    start = min(sft.lora_layers, default=0)
    extra = [first.name, p.beta, [[o.name, o.set, o.share] for o in group], dataclasses.asdict(sft)]
    folder = checkpoint_folder(STAGE, profile, model, sets[first.set, "train"].tokens, dpo, extra=extra)
    streams = {key: entering(model, pairs, sft.lora_layers) for key, pairs in sets.items()}
    learnt = streams[first.set, "train"].tokens
    chosen = sides(learnt)[: len(learnt)]
    tuned = train_once(model, chosen, sft, folder / "reference", desc=f"{first.name}: reference")
    fold_in(model, sft, tuned.tensors)
    reference = {key: token_log_probs(model, pairs.tokens, start) for key, pairs in streams.items()}
    method = dataclasses.replace(LIVE_DPO, reference="cached", beta=p.beta)
    options = {"loss_fn": loss_of(method), "collate": pair_collate(shared=True)}
    made, tables = [(first, "reference", sft, tuned)], []
    for o in group:
        own = streams[o.set, "train"]
        own = own.head(max(1, round(o.share * len(own.tokens))))
        examples = with_reference(own, reference[o.set, "train"][: len(own.tokens)])
        trained = train_once(model, examples, dpo, folder / o.name, desc=f"{o.name}: DPO", **options)
        made.append((o, "dpo", dpo, trained))
        with lora(model, dpo, trained.tensors) as adapted:
            for (name, split), pairs in streams.items():
                if name in p.scored:
                    tables.append(score_table(o, name, pairs, token_log_probs(adapted.eval(), pairs.tokens, start), reference[name, split]))
    return made, tables


Made = tuple[OracleModel, str, Settings, Run]  # an oracle, the name of the run, its settings, the run


def build_all(params: Params, profile: str) -> tuple[list[Made], list[pl.DataFrame], list[pl.DataFrame]]:
    """References, oracles and scores of all models and depths, and the pairs that were left out."""
    p, table = params.oracle, read(profile)
    made, scored, left = [], [], []
    policy = None
    for model_name, depth in dict.fromkeys((o.model, o.depth) for o in p.oracles):
        group = [o for o in p.oracles if (o.model, o.depth) == (model_name, depth)]
        model, tokenizer = load_lm(model_name)
        policy = policy or (tokenizer if model_name == params.train.model else load_lm(params.train.model)[1])
        require_one_vocabulary({params.train.model: policy, group[0].name: tokenizer})
        sets = {}
        for name, split in dict.fromkeys([*((o.set, "train") for o in group), *((s, t) for s in p.scored for t in ("train", "test"))]):
            sets[name, split], dropped = encoded(table, tokenizer, params.tokens, name, split, params.seed)
            left.append(dropped)
        runs, found = build(group, params, sets, shallow(model, depth), profile)
        made, scored = made + runs, scored + found
    return made, scored, left


def main(profile: str) -> None:
    params = profile_params(Params, "sepo", profile)
    if profile == "full":  # before any work
        for name in dict.fromkeys([params.train.model, *(o.model for o in params.oracle.oracles)]):
            require_full(name)
    began = time.perf_counter()
    made, scored, left = build_all(params, profile)
    if is_main():
        with atomic_dir(ROOT / "models" / "sepo_oracle" / profile) as target:
            for o, name, s, entry in made:
                save_lora(entry.tensors, s, o.model, target / o.name / name)
            curves = [pl.DataFrame(entry.history).with_columns(oracle=pl.lit(o.name), run=pl.lit(name)) for o, name, _, entry in made]
            write_parquet(pl.concat(curves), target / "curves.parquet")
        with atomic_dir(ROOT / "data" / "token_scores" / profile) as target:
            write_parquet(pl.concat(scored), target / "scores.parquet", sort_by=["oracle", "set", "id", "side", "position"])
            write_parquet(pl.concat(left).unique().sort("set", "split", "id", "reason"), target / "left_out.parquet")
        infos = [{"oracle": o.name, "run": name} | entry.info for o, name, _, entry in made]
        facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": max(info["peak_memory_mb"] for info in infos)}
        write_json({"runs": infos} | facts, ROOT / "models" / "sepo_oracle" / f"{profile}.run.json")
    finish(STAGE, profile)


if __name__ == "__main__":
    run(main)
