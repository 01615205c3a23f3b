"""What an arm of the pre-training reads: blocks of finance, the same in every arm, and a share of blocks of general text (no torch).

Documents of a part are laid end to end and cut into blocks of equal length (§3: "concatenate; chunk"). The blocks of an arm are drawn from
all of them, so that a short run meets many shares and months rather than the first tables of the corpus.

Arms have the same blocks of finance, not the same number of all tokens. Then they differ in nothing but the general text that is added:
with equal totals an arm with replay would have read less finance too, and a smaller loss of general language could be due to that alone.
Its price is that an arm with replay is longer, by a third at the paper's share.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms.documents import Document
from stages.open_finllms.packer import Encode, Packed, chunks
from stages.open_finllms.settings import Arm

GENERAL = "general"


class Block(NamedTuple):
    """Token ids of one part of the corpus."""

    part: str
    ids: list[int]


def check(arms: dict[str, Arm]) -> None:
    """Raise a CatalogError for a share of general text that leaves no finance, or no arm at all."""
    if not arms:
        raise CatalogError("pretrain.arms is empty; name at least one arm with its share of general text.")
    for name, arm in arms.items():
        if not 0 <= arm.general < 1:
            raise CatalogError(f"Arm {name} has the share {arm.general:g} of general text; give one from 0 to below 1.")


def cut(documents: pl.DataFrame, encode: Encode, end: int, length: int) -> list[Block]:
    """Blocks of exactly ``length`` tokens of each part; what is left over at the end of a part is dropped.

    Args:
        documents: part, id, text, in order.
        encode, end: as `packer.load_tokenizer` gives them.

    Raises:
        CatalogError: a length that no document and its end fit into, or a part that does not fill a block.
    """
    if length < 2:
        raise CatalogError(f"pretrain.block_tokens is {length} but must be at least 2.")
    found = Packed()
    rows = (Document(place, part, part, text) for place, part, text in documents.select("id", "part", "text").iter_rows())
    made = [Block(part, ids.tolist()) for part, ids in chunks(rows, encode, end, length, False, found)]
    short = sorted(set(found.documents) - {block.part for block in made})
    if short:
        raise CatalogError(f"The part {short[0]} has fewer tokens than a block of {length}; lower pretrain.block_tokens.")
    return made


def chosen(blocks: list[Block], share: float, finance: int, seed: int) -> list[Block]:
    """Blocks of an arm: ``finance`` of finance (0: all), the same for every share, and general ones that bring their share to ``share``.

    Raises:
        CatalogError: there are not so many.
    """
    drawn = {general: _drawn(blocks, general, seed) for general in (False, True)}
    wanted = finance or len(drawn[False])
    counts = {False: wanted, True: round(wanted * share / (1 - share))}
    for general, count in counts.items():
        what = "general text" if general else "finance"
        if count > len(drawn[general]):
            raise CatalogError(f"An arm needs {count} blocks of {what} and the corpus has {len(drawn[general])}; lower finance_blocks.")
    return drawn[False][:wanted] + drawn[True][: counts[True]]


def _drawn(blocks: list[Block], general: bool, seed: int) -> list[Block]:
    there = [block for block in blocks if (block.part == GENERAL) == general]
    return [there[i] for i in np.random.default_rng([seed, int(general)]).permutation(len(there))]


def table(arm: str, made: list[Block]) -> Iterator[dict]:
    """arm, part, blocks, tokens, share: what an arm reads in one epoch, by part."""
    total = sum(len(block.ids) for block in made)
    for part in sorted({block.part for block in made}):
        mine = [len(block.ids) for block in made if block.part == part]
        yield {"arm": arm, "part": part, "blocks": len(mine), "tokens": sum(mine), "share": sum(mine) / total}
