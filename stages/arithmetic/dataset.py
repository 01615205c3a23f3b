"""Arithmetic prompts: four operations x four templates, operands of one to three digits, in digits or in words.

Templates (paper arXiv 2409.14144, App. A, Table 14): ``noun`` "The sum of n1 and n2 is", ``qa`` "Q: What is n1 plus n2? A:",
``statement`` "n1 plus n2 is", ``symbols`` "n1+n2=". The first three end in a space, which is a token of its own before a digit.
Division is exact; subtraction is non-negative but in the LoRA split, which has negative results as the paper's has. The paper
does not publish its operand sampling: ours is uniform over distinct operand pairs.

Splits: ``scan`` (two-digit, few first operands so that prompts share prefixes; finds heads), ``eval`` (two-digit, every template,
digits and words; confirms them), ``study`` (one template, 1/2/3 digits), ``lora_train`` and ``lora_test`` (two-digit). The operand
pairs of scan and eval, and of the two LoRA splits, are disjoint.
"""

from __future__ import annotations

import random
from collections import Counter

import polars as pl

from catalog.base.errors import run
from catalog.base.io import write_parquet
from catalog.base.params import ROOT, profile_params
from stages.arithmetic.settings import Data, Params

OPERATIONS = {"+": ("sum", "plus"), "-": ("difference", "minus"), "*": ("product", "times"), "/": ("ratio", "divided by")}
TEMPLATES = ("noun", "qa", "statement", "symbols")
ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


def words(n: int) -> str:
    """English name of 0 <= n < 10,000."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    unit, name = (100, "hundred") if n < 1000 else (1000, "thousand")
    return f"{words(n // unit)} {name}" + (f" {words(n % unit)}" if n % unit else "")


def render(template: str, op: str, a: int | str, b: int | str) -> str:
    """The prompt of ``a op b``."""
    noun, verb = OPERATIONS[op]
    if template == "noun":
        link = "difference between" if op == "-" else f"{noun} of"
        return f"The {link} {a} and {b} is "
    if template == "qa":
        return f"Q: What is {a} {verb} {b}? A: "
    return f"{a} {verb} {b} is " if template == "statement" else f"{a}{op}{b}="


def compute(op: str, a: int, b: int) -> int:
    """Exact result; ``/`` is integer division of a multiple."""
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[op]


def marks(op: str, a: int, b: int) -> str:
    """One letter a result digit: ``m`` memorise, ``c`` change-one (paper §3.3). For + and - a digit is change-one when a carry or
    borrow comes into it (15+37: the 5; its last digit, where the carry starts, is memorise: our choice). For * and / the last
    digit is memorise, all others are change-one."""
    digits = str(abs(compute(op, a, b)))
    if op in "*/":
        return "c" * (len(digits) - 1) + "m"
    if op == "-" and a < b:
        a, b = b, a
    out, carry = [], 0
    for _ in digits:
        out.append("c" if carry else "m")
        column = a % 10 + b % 10 + carry if op == "+" else a % 10 - b % 10 - carry
        carry = int(column > 9 or column < 0)
        a, b = a // 10, b // 10
    return "".join(reversed(out))


def pairs(op: str, digits: int, negative: bool = False) -> list[tuple[int, int]]:
    """All operand pairs of an operation. Division: one digit means divisor and quotient of one digit (72/8); else a dividend
    of ``digits`` digits and any exact quotient and divisor of at least 2."""
    low, high = (1, 9) if digits == 1 else (10 ** (digits - 1), 10**digits - 1)
    if op == "/":
        if digits == 1:
            return [(b * q, b) for b in range(2, 10) for q in range(2, 10)]
        return [(a, b) for a in range(low, high + 1) for b in range(2, a // 2 + 1) if a % b == 0]
    span = range(low, high + 1)
    return [(a, b) for a in span for b in span if op != "-" or negative or a >= b]


def _row(split: str, template: str, op: str, digits: int, a: int, b: int, in_words: bool = False) -> dict:
    x, y = (words(a), words(b)) if in_words else (a, b)
    return {
        "split": split,
        "operation": op,
        "template": template,
        "digits": digits,
        "form": "words" if in_words else "digits",
        "a": a,
        "b": b,
        "prompt": render(template, op, x, y),
        "answer": str(compute(op, a, b)),
        "marks": marks(op, a, b),
    }


def build(p: Data, seed: int) -> pl.DataFrame:
    """Every split as one table, in a stable order."""
    rng = random.Random(seed)
    rows: list[dict] = []
    for op in OPERATIONS:
        two_digit = pairs(op, 2)
        # Shared first operands keep the scan's prefix forest small; take those with enough second operands.
        seconds = Counter(a for a, _ in two_digit)
        firsts = sorted(a for a, count in seconds.items() if count >= p.scan_per_operand)
        scan = []
        for a in rng.sample(firsts, min(p.scan_first_operands, len(firsts))):
            scan += sorted(rng.sample([pair for pair in two_digit if pair[0] == a], p.scan_per_operand))
        rows += [_row("scan", t, op, 2, a, b) for t in p.scan_templates for a, b in scan]
        single = sorted(rng.sample(pairs(op, 1), min(len(pairs(op, 1)), len(scan))))
        rows += [_row("scan", t, op, 1, a, b) for t in p.scan_templates for a, b in single]
        rest = sorted(set(two_digit) - set(scan))
        in_words = round(p.words_share * p.eval_per_cell)
        for template in TEMPLATES:
            chosen = rng.sample(rest, p.eval_per_cell)
            rows += [_row("eval", template, op, 2, a, b, i < in_words) for i, (a, b) in enumerate(chosen)]
        for digits in (1, 2, 3):
            pool = pairs(op, digits)
            chosen = sorted(rng.sample(pool, min(p.study_per_cell, len(pool))))
            rows += [_row("study", t, op, digits, a, b) for t in p.study_templates for a, b in chosen]
    pool = [(t, op, a, b) for t in p.lora_templates for op in OPERATIONS for a, b in pairs(op, 2, negative=True)]
    keys = sorted({(op, a, b) for _, op, a, b in pool})
    rng.shuffle(keys)
    share = p.lora_test / (p.lora_train + p.lora_test)
    held_out = set(keys[: round(share * len(keys))])  # by operand pair: no template of a test pair is ever trained on
    for split, size, inside in (("lora_train", p.lora_train, False), ("lora_test", p.lora_test, True)):
        for op in OPERATIONS:  # equal shares of the operations, as far as there are pairs
            own = [x for x in pool if x[1] == op and ((x[1:] in held_out) == inside)]
            rows += [_row(split, t, o, 2, a, b) for t, o, a, b in rng.sample(own, min(size // 4, len(own)))]
    return pl.DataFrame(rows).with_row_index("id").with_columns(pl.col("id", "digits", "a", "b").cast(pl.Int32))


def main(profile: str) -> None:
    params = profile_params(Params, "arithmetic", profile)
    table = build(params.data, params.seed)
    write_parquet(table, ROOT / "data" / "arithmetic" / profile / "problems.parquet")


if __name__ == "__main__":
    run(main)
