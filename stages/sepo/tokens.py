"""What the selectors choose: how the reward is spread over tokens, how far selections agree, whether they hit what was changed.

In a constructed pair exactly one span differs, so the tokens that decide are known. A selection *hits* where at least one of its tokens
overlaps the changed span. Token positions are absolute; the prompt's are never scored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from catalog.report.intervals import wilson
from stages.sepo.selection import highest, jaccard, lowest, random_places, reward_share, unsure
from stages.sepo.settings import Params

SHARES = np.round(np.arange(0.05, 1.01, 0.05), 2)
SHOWN = 24  # pairs whose tokens are kept for the picture


def responses(scored: pl.DataFrame) -> list[dict[str, Any]]:
    """One dict a response and oracle: oracle, set, id, side and the arrays position, token_id, score, logp_ref."""
    columns = ("position", "token_id", "score", "logp_ref")
    grouped = scored.group_by("oracle", "set", "id", "side", maintain_order=True).agg(columns)
    return [{key: np.array(value) if key in columns else value for key, value in item.items()} for item in grouped.iter_rows(named=True)]


def changed(pieces: list[str], start: int | None, end: int | None) -> np.ndarray:
    """Which tokens overlap the characters [start, end) of the text they make up; the end token, an empty piece, never does."""
    ends = np.cumsum([len(piece) for piece in pieces])
    if start is None:
        return np.zeros(len(pieces), dtype=bool)
    begins = ends - [len(piece) for piece in pieces]
    return (begins < end) & (ends > start)


def choose(item: dict[str, Any], selector: str, share: float) -> np.ndarray:
    """Places that a selector picks in a response."""
    best = highest if item["side"] == "chosen" else lowest
    if selector == "random":
        return random_places(len(item["score"]), share, [0, *item["id"].encode()])
    return unsure(item["logp_ref"]) if selector == "unsure" else best(item["score"], share)


def selection_table(items: list[dict[str, Any]], marks: list[np.ndarray], shares: list[float], oracles: list[str]) -> pl.DataFrame:
    """set, selector, side, share: how many tokens are chosen, their mean score against the rest, and how often they hit the change.

    Selectors: each oracle, random places, and the tokens the reference is unsure of (ConfPO's rule, whose share is its own).
    """
    rows = []
    names = [*oracles, "random", "unsure"]
    for name in names:
        own = [(item, mark) for item, mark in zip(items, marks, strict=True) if item["oracle"] == (name if name in oracles else oracles[0])]
        for data, side in dict.fromkeys((item["set"], item["side"]) for item, _ in own):
            part = [(item, mark) for item, mark in own if (item["set"], item["side"]) == (data, side)]
            for share in shares if name != "unsure" else [None]:
                picks = [choose(item, name if name in ("random", "unsure") else "oracle", share or 0) for item, _ in part]
                inside = [float(item["score"][at].mean()) for (item, _), at in zip(part, picks) if len(at)]
                rest = [np.delete(item["score"], at) for (item, _), at in zip(part, picks)]
                known = [(mark, at) for (_, mark), at in zip(part, picks) if mark.any()]
                hits = sum(bool(mark[at].any()) for mark, at in known)
                low, high = wilson(hits, len(known)) if known else (None, None)
                expected = [1 - _miss(len(mark), int(mark.sum()), len(at)) for mark, at in known]
                rows.append(
                    {
                        "set": data,
                        "selector": name,
                        "side": side,
                        "share": share
                        if share is not None
                        else float(np.mean([len(at) / len(i["score"]) for (i, _), at in zip(part, picks)])),
                        "pairs": len(part),
                        "tokens": float(np.mean([len(at) for at in picks])),
                        "forced": sum(len(at) == 1 and (share or 1) * len(item["score"]) < 1 for (item, _), at in zip(part, picks)),
                        "score_selected": float(np.mean(inside)),
                        "score_rest": float(np.mean([r.mean() for r in rest if len(r)])) if any(len(r) for r in rest) else None,
                        "hits": hits / len(known) if known else None,
                        "hits_low": low,
                        "hits_high": high,
                        "hits_by_chance": float(np.mean(expected)) if known else None,
                    }
                )
    return pl.DataFrame(rows, infer_schema_length=None).sort("set", "selector", "side", "share")


def _miss(tokens: int, special: int, taken: int) -> float:
    """Probability that ``taken`` places drawn without return out of ``tokens`` miss all ``special`` ones."""
    out = 1.0
    for i in range(taken):
        out *= max(tokens - special - i, 0) / (tokens - i)
    return out


def share_table(items: list[dict[str, Any]]) -> pl.DataFrame:
    """oracle, set, side, tokens (share), reward (mean share of the positive reward), responses with any: the reward-share curve."""
    rows = []
    for oracle, data, side in dict.fromkeys((i["oracle"], i["set"], i["side"]) for i in items):
        curves = np.array([reward_share(i["score"], SHARES) for i in items if (i["oracle"], i["set"], i["side"]) == (oracle, data, side)])
        some = curves[~np.isnan(curves).any(1)]
        for at, value in zip(SHARES, some.mean(0) if len(some) else []):
            rows.append({"oracle": oracle, "set": data, "side": side, "tokens": float(at), "reward": float(value), "responses": len(some)})
    return pl.DataFrame(rows).sort("oracle", "set", "side", "tokens")


def overlap_table(items: list[dict[str, Any]], share: float, oracles: list[str]) -> pl.DataFrame:
    """set, side, one, other: mean Jaccard overlap of the selections of two selectors."""
    picks: dict[tuple[str, str, str], dict[str, np.ndarray]] = {}
    for item in items:
        at = picks.setdefault((item["set"], item["side"], item["id"]), {})
        at[item["oracle"]] = choose(item, "oracle", share)
        if item["oracle"] == oracles[0]:
            at |= {"random": choose(item, "random", share), "unsure": choose(item, "unsure", share)}
    names = [*oracles, "random", "unsure"]
    rows = []
    for data, side in dict.fromkeys(key[:2] for key in picks):
        part = [value for key, value in picks.items() if key[:2] == (data, side)]
        for i, one in enumerate(names):
            for other in names[i + 1 :]:
                values = [jaccard(at[one], at[other]) for at in part if one in at and other in at]
                if values:
                    rows.append(
                        {"set": data, "side": side, "one": one, "other": other, "jaccard": float(np.mean(values)), "responses": len(values)}
                    )
    return pl.DataFrame(rows).sort("set", "side", "one", "other")


def tables(scored: pl.DataFrame, data: pl.DataFrame, params: Params, tokenizer: Path) -> dict[str, pl.DataFrame]:
    """The tables selection, reward_share, overlap and tokens, of the test pairs."""
    test = data.filter(pl.col("split") == "test")
    scored = scored.join(test.select("id"), on="id", how="semi")
    oracles = [o.name for o in params.oracle.oracles if o.name in set(scored["oracle"])]
    items = [item for name in oracles for item in responses(scored.filter(pl.col("oracle") == name))]
    text = _pieces(tokenizer) if tokenizer.is_file() else (lambda ids: [""] * len(ids))
    spans = {
        (key, side): (a, b)
        for key, *four in test.select("id", "chosen_start", "chosen_end", "rejected_start", "rejected_end").iter_rows()
        for side, a, b in (("chosen", *four[:2]), ("rejected", *four[2:]))
    }
    pieces = [text(item["token_id"].tolist()) for item in items]
    marks = [changed(p, *spans[item["id"], item["side"]]) for p, item in zip(pieces, items, strict=True)]
    methods = [m for m in params.train.methods if m.selector == "oracle"]
    share = methods[0].chosen_share if methods else 0.3
    shares = sorted({share, *(s for e in params.train.experiments for group in (e.chosen_shares, e.rejected_shares) for s in group or ())})
    shown = set(sorted({item["id"] for item in items if item["oracle"] == oracles[0]})[:SHOWN])
    rows = []
    for item, piece, mark in zip(items, pieces, marks, strict=True):
        if item["oracle"] == oracles[0] and item["id"] in shown:
            picked = set(choose(item, "oracle", share).tolist())
            for place, position in enumerate(item["position"].tolist()):
                rows.append(
                    {
                        "id": item["id"],
                        "side": item["side"],
                        "position": position,
                        "token": piece[place],
                        "score": float(item["score"][place]),
                    }
                    | {"selected": place in picked, "changed": bool(mark[place])}
                )
    return {
        "selection": selection_table(items, marks, shares, oracles),
        "reward_share": share_table(items),
        "overlap": overlap_table(items, share, oracles),
        "tokens": pl.DataFrame(rows).sort("id", "side", "position"),
    }


def _pieces(path: Path):
    """ids -> the text of each token, "" for a special one; together they are the response."""
    from tokenizers import Tokenizer

    read = Tokenizer.from_file(str(path))
    special = {item["id"] for item in json.loads(path.read_text(encoding="utf-8")).get("added_tokens", []) if item.get("special")}

    def text(ids: list[int]) -> list[str]:
        out, done = [], ""
        for i, number in enumerate(ids):
            # A character of several tokens is there with its last one: differences of what is read so far keep offsets right.
            so_far = done if number in special else read.decode([n for n in ids[: i + 1] if n not in special], skip_special_tokens=False)
            so_far = so_far.removesuffix("\ufffd")
            out.append(so_far[len(done) :])
            done = so_far
        return out

    return text
