"""What the selectors choose: how the reward is spread over tokens, how far selections agree, whether they hit what was changed.

In a constructed pair exactly one span differs, so the tokens that decide are known. A selection *hits* where at least one of its tokens
overlaps the changed span. Token positions are absolute; the prompt's are never scored.

Pairs made of one document are not independent. What has an interval is averaged over a document's responses first, and the interval is over
documents. Where a response stands in two pairs and is asked the same in both, it counts once (`distinct`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from catalog.report.intervals import bootstrap
from stages.sepo.paired import difference, mean_share, share_difference
from stages.sepo.selection import highest, jaccard, lowest, needed, random_places, reward_share, unsure
from stages.sepo.settings import Params

SHARES = np.round(np.arange(0.05, 1.01, 0.05), 2)
SHOWN = 24  # pairs whose tokens are kept for the picture
MOST = 0.8  # of the positive reward, as in the paper's motivation figure
DRAWS = 100  # of noise for each response
WITHOUT = ("random", "improbable", "unsure")  # selectors that ask no oracle
FOUND = ("hits", "gain", "lead")  # of `hits`, each with its interval


def responses(scored: pl.DataFrame) -> list[dict[str, Any]]:
    """One dict a response and oracle: oracle, set, id, group (the document), side and the arrays position, token_id, score, logp_ref."""
    columns = ("position", "token_id", "score", "logp_ref")
    grouped = scored.group_by("oracle", "set", "id", "group", "side", maintain_order=True).agg(columns)
    return [{key: np.array(value) if key in columns else value for key, value in item.items()} for item in grouped.iter_rows(named=True)]


def distinct(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each response of a document once: that of the first id where several of its pairs have the same tokens."""
    first: dict[tuple, dict[str, Any]] = {}
    for item in sorted(items, key=lambda i: i["id"]):
        first.setdefault((item["oracle"], item["set"], item["side"], item["group"], tuple(item["token_id"].tolist())), item)
    kept = {id(item) for item in first.values()}
    return [item for item in items if id(item) in kept]


def by_document(documents: list[str], values: np.ndarray) -> np.ndarray:
    """Means of the rows of ``values`` (r, ...) that belong to one document: (n, ...), in the order of the documents' names."""
    names, place = np.unique(np.array(documents), return_inverse=True)
    return np.stack([values[place == at].mean(0) for at in range(len(names))])


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
    if selector == "improbable":
        return lowest(item["logp_ref"], share)
    return unsure(item["logp_ref"]) if selector == "unsure" else best(item["score"], share)


def selection_table(items: list[dict[str, Any]], marks: list[np.ndarray], shares: list[float], oracles: list[str]) -> pl.DataFrame:
    """set, selector, side, share: how many tokens are chosen, their mean score against the rest, and how often they hit the change.

    Selectors: each oracle, random places, the tokens that the reference of the first oracle finds least probable (an odd word is found so
    without an oracle), and those it is unsure of (ConfPO's rule, to which no share is given).
    """
    rows = []
    first = {(item["set"], item["side"], item["id"]): item for item in items if item["oracle"] == oracles[0]}
    for name in [*oracles, *WITHOUT]:
        own = [(item, mark) for item, mark in zip(items, marks, strict=True) if item["oracle"] == (name if name in oracles else oracles[0])]
        rule = "oracle" if name in oracles else name
        for data, side in dict.fromkeys((item["set"], item["side"]) for item, _ in own):
            part = [(item, mark) for item, mark in own if (item["set"], item["side"]) == (data, side)]
            for share in shares if rule != "unsure" else [None]:
                picks = [choose(item, rule, share or 0) for item, _ in part]
                others = [first[item["set"], item["side"], item["id"]] for item, _ in part]
                compared = share is not None and name != "improbable"
                plain = [choose(item, "improbable", share) for item in others] if compared else None
                at = {"set": data, "selector": name, "side": side, "share": share, "responses": len(part)}
                rows.append(at | picked(part, picks, share) | hits(part, picks, plain))
    return pl.DataFrame(rows, infer_schema_length=None).sort("set", "selector", "side", "share")


def picked(part: list[tuple[dict[str, Any], np.ndarray]], picks: list[np.ndarray], share: float | None) -> dict[str, Any]:
    """How many tokens are chosen and what they score against the rest."""
    sizes = [len(item["score"]) for item, _ in part]
    inside = [float(item["score"][at].mean()) for (item, _), at in zip(part, picks, strict=True) if len(at)]
    rest = [np.delete(item["score"], at) for (item, _), at in zip(part, picks, strict=True)]
    outside = [r.mean() for r in rest if len(r)]
    return {
        "tokens": float(np.mean([len(at) for at in picks])),
        "taken": float(np.mean([len(at) / size for at, size in zip(picks, sizes, strict=True)])),
        "forced": sum(len(at) == 1 and (share or 1) * size < 1 for at, size in zip(picks, sizes, strict=True)),
        "score_selected": float(np.mean(inside)) if inside else None,
        "score_rest": float(np.mean(outside)) if outside else None,
    }


def hits(
    part: list[tuple[dict[str, Any], np.ndarray]], picks: list[np.ndarray], plain: list[np.ndarray] | None = None
) -> dict[str, float | int | None]:
    """How often a selection holds a token of the changed span, over documents whose change is known.

    gain: how much more often than as many tokens drawn at random; lead: than the selections ``plain`` of the least probable tokens.
    """
    rows = list(zip(part, picks, plain or picks, strict=True))
    known = [(item["group"], mark, at, other) for (item, mark), at, other in rows if mark.any()]
    out = dict.fromkeys(("documents", "hits_by_chance", *(f"{name}{end}" for name in FOUND for end in ("", "_low", "_high"))))
    if not known:
        return out
    each = [(mark[at].any(), 1 - _miss(len(mark), int(mark.sum()), len(at)), mark[other].any()) for _, mark, at, other in known]
    found, chance, least_probable = by_document([name for name, *_ in known], np.array(each, dtype=np.float64)).T
    out |= {"documents": len(found), "hits_by_chance": float(chance.mean())}
    compared = {"hits": mean_share(found), "gain": difference(found, chance)}
    for name, values in (compared | ({"lead": share_difference(found, least_probable)} if plain else {})).items():
        out |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return out


def _miss(tokens: int, special: int, taken: int) -> float:
    """Probability that ``taken`` places drawn without return out of ``tokens`` miss all ``special`` ones."""
    out = 1.0
    for i in range(taken):
        out *= max(tokens - special - i, 0) / (tokens - i)
    return out


def share_table(items: list[dict[str, Any]]) -> pl.DataFrame:
    """oracle, set, side, tokens (share), reward (mean share of the positive reward), responses with any: the reward-share curve."""
    rows, items = [], distinct(items)
    for oracle, data, side in dict.fromkeys((i["oracle"], i["set"], i["side"]) for i in items):
        curves = np.array([reward_share(i["score"], SHARES) for i in items if (i["oracle"], i["set"], i["side"]) == (oracle, data, side)])
        some = curves[~np.isnan(curves).any(1)]
        for at, value in zip(SHARES, some.mean(0) if len(some) else []):
            rows.append({"oracle": oracle, "set": data, "side": side, "tokens": float(at), "reward": float(value), "responses": len(some)})
    return pl.DataFrame(rows).sort("oracle", "set", "side", "tokens")


def concentration_table(items: list[dict[str, Any]]) -> pl.DataFrame:
    """oracle, set, side: the share of a response's tokens that carries `MOST` of its positive reward, beside what noise needs.

    Sorted scores of any kind are steep: of normal noise a quarter of the values hold 80 % of the positive mass. So each response is
    compared with scores drawn from a normal distribution of its own mean and spread, as many as it has tokens, `DRAWS` times. Responses
    without a positive score are left out; those of one document are averaged.
    """
    rows, items = [], distinct(items)
    for oracle, data, side in dict.fromkeys((i["oracle"], i["set"], i["side"]) for i in items):
        part = [i for i in items if (i["oracle"], i["set"], i["side"]) == (oracle, data, side)]
        both = np.array([(needed(i["score"][None], MOST)[0], noise_needs(i["score"], f"{i['id']} {side}")) for i in part])
        some = ~np.isnan(both).any(1)
        if not some.any():
            continue
        own, noise = by_document([i["group"] for i, one in zip(part, some, strict=True) if one], both[some]).T
        row = {"oracle": oracle, "set": data, "side": side, "responses": int(some.sum()), "documents": len(own)}
        gaps = {"tokens": (float(own.mean()), *bootstrap(own)), "noise": (float(noise.mean()), *bootstrap(noise))}
        for name, (value, low, high) in (gaps | {"difference": difference(own, noise)}).items():
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pl.DataFrame(rows)


def noise_needs(score: np.ndarray, key: str) -> float:
    """Mean of `needed` over draws of normal noise with the mean and the spread of ``score``; NaN where no draw has a positive value."""
    drawn = np.random.default_rng([*key.encode()]).normal(score.mean(), score.std(), (DRAWS, len(score)))
    shares = needed(drawn, MOST)
    return float(np.nanmean(shares)) if not np.isnan(shares).all() else float("nan")


def overlap_table(items: list[dict[str, Any]], share: float, oracles: list[str]) -> pl.DataFrame:
    """set, side, one, other: mean Jaccard overlap of the selections of two selectors."""
    picks: dict[tuple[str, str, str], dict[str, np.ndarray]] = {}
    for item in distinct(items):
        at = picks.setdefault((item["set"], item["side"], item["id"]), {})
        at[item["oracle"]] = choose(item, "oracle", share)
        if item["oracle"] == oracles[0]:
            at |= {name: choose(item, name, share) for name in WITHOUT}
    names = [*oracles, *WITHOUT]
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
    """The tables selection, reward_share, concentration, overlap and tokens, of the test pairs."""
    test = data.filter(pl.col("split") == "test")
    scored = scored.join(test.select("id", "group"), on="id", validate="m:1", maintain_order="left")
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
        "concentration": concentration_table(items),
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
