"""Signals of the shape that `measure` and `train` of the system arithmetic write, small enough to count by hand."""

import polars as pl

MODEL, LAYERS, HEADS, OPERATIONS = "qwen_coder", 6, 2, "+-*/"
LORA_LAYERS, RATE = (1, 4), 0.002
BEST = {"+": (2, 0), "-": (2, 0), "*": (3, 1), "/": (3, 1)}  # the head whose loss costs an operation the most


def problems():
    rows = []
    for split, digits, count in (("scan", 2, 2), ("eval", 2, 4), ("study", 1, 2), ("study", 2, 2), ("study", 3, 2)):
        for op in OPERATIONS:
            rows += [{"split": split, "operation": op, "template": "qa", "digits": digits, "form": "digits"} for _ in range(count)]
    types = {"id": pl.Int32, "digits": pl.Int32}
    return pl.DataFrame(rows).with_row_index("id").cast(types).with_columns(model=pl.lit(MODEL), correct=pl.lit(True), logprob=-0.5)


def heads(base):
    """Every head on the scan, three on the evaluation set (the last is a control), each operation's own on the study set. The best head
    of an operation costs it 2 nats and every second answer, any other .1 a layer and no answer."""
    rows = []
    every = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
    for phase, split in (("scan", "scan"), ("confirm", "eval"), ("study", "study")):
        for r in base.filter(pl.col("split") == split).iter_rows(named=True):
            own = BEST[r["operation"]]
            for layer, head in {"scan": every, "confirm": [(2, 0), (3, 1), (5, 1)], "study": [own]}[phase]:
                hit = (layer, head) == own
                label = {"layer": layer, "head": head, **{k: r[k] for k in ("id", "operation", "template", "digits", "model")}}
                cost = 2.0 if hit else 0.1 * layer / LAYERS
                rows.append(label | {"phase": phase, "logprob": -0.5 - cost, "correct": not (hit and r["id"] % 2)})
    return pl.DataFrame(rows).cast({"id": pl.Int32, "digits": pl.Int32})


def verify():
    """Two cases an operation: masking the top neurons takes the first case's answer, masking random ones nothing."""
    rows = []
    for op in OPERATIONS:
        for number, case in enumerate((f"1{op}2", f"3{op}4")):
            for protocol, control in ((p, c) for p in ("mask", "keep", "coef", "lowest") for c in (False, True)):
                right = None if protocol == "coef" else bool(number or control)
                drop = {"coef": 0.4, "lowest": 0.2}.get(protocol)
                drop = None if drop is None else drop * (0.5 if control else 1) + 0.01 * number
                label = {"size": 99, "protocol": protocol, "control": control, "correct": right, "logprob": -1.0, "coef_drop": drop}
                rows.append(label | {"model": MODEL, "case": case, "operation": op})
    return pl.DataFrame(rows)


def memorise():
    """Of each of three problems an operation, one token of each kind; the first problem loses both."""
    rows = [
        {"model": MODEL, "operation": op, "id": i, "place": place, "type": kind, "before": True, "after": i > 0}
        for op in OPERATIONS
        for i in range(3)
        for place, kind in enumerate(("change-one", "memorise"))
    ]
    return pl.DataFrame(rows)


def hidden():
    rows = [
        {"case": case, "m": m, "control": control, "count": 40 - 10 * m, "correct": control or case > 1}
        for case in range(4)
        for m in range(4)
        for control in (False, True)
    ]
    return pl.DataFrame(rows).with_columns(model=pl.lit(MODEL), total=100, concepts=9, maps=2, logprob=-1.0)


def cna():
    own = {"head_layer": 2, "head": 0, "rank": 1, "layer": 4, "index": 7, "imp_orig": 1.0, "imp_int": 0.5, "delta": 0.5}
    rest = {"coef_orig": 1.0, "coef_int": 0.5, "top_tokens": "3", "proven": True, "evaluated": 9}
    return pl.DataFrame([{"model": MODEL, "operation": op, "case": f"1{op}2", **own, **rest} for op in OPERATIONS])


def chain():
    common = {"index": 7, "position": 3, "token": "=", "score_gate": 1.0, "score_up": 1.0, "score": 2.0, "top_tokens": "3", "model": MODEL}
    nodes = [("head 2_0", 3, "head", 2), ("neuron 4_7", 4, "neuron", 4)]
    rows = [{"node": node, "stage": stage, "unit": unit, "layer": layer, **common} for node, stage, unit, layer in nodes]
    labels = {"operation": pl.lit("+"), "case": pl.lit("1+2")}
    edges = pl.DataFrame({"source": ["head 2_0"], "target": ["neuron 4_7"], "weight": [2.0], "model": [MODEL]})
    return pl.DataFrame(rows).with_columns(**labels), edges.with_columns(**labels)


def lora():
    """Eight test problems: none right at first, six with the LoRA on layer 1, three with that on layer 4; pruned five, at random two."""
    runs = [("base", None, 0), ("lora", 1, 6), ("lora", 4, 3), ("pruned", None, 1), ("pruned", 1, 5), ("random-pruned", None, 0)]
    runs.append(("random-pruned", 1, 2))
    rows = [
        {
            "id": i,
            "operation": "+",
            "template": "qa",
            "correct": i < right,
            "logprob": -1.0,
            "model": MODEL,
            "variant": variant,
            "layer": layer,
        }
        for variant, layer, right in runs
        for i in range(8)
    ]
    table = pl.DataFrame(rows, infer_schema_length=None).cast({"layer": pl.Int32, "id": pl.Int32})
    return table.with_columns(rate=pl.when(pl.col("layer").is_not_null()).then(RATE))


def coefficients():
    """Three cases: the LoRA on layer 1 raises |coefficient| by .4, .5 and .6, that on layer 4 by .1."""
    rows = [
        {"lora_layer": layer, "case": case, "rank": rank, "layer": 4, "index": rank, "coef_base": -2.0, "coef_tuned": -2.0 * (1 + up[case])}
        for layer, up in ((1, (0.4, 0.5, 0.6)), (4, (0.1, 0.1, 0.1)))
        for case in range(3)
        for rank in range(1, 11)
    ]
    return pl.DataFrame(rows).with_columns(model=pl.lit(MODEL), rate=RATE, set=pl.lit("lora"))


def signals():
    """Raw signals of `measure` by name; predictions, coefficients and the kept neurons of `train`."""
    base = problems()
    nodes, edges = chain()
    certify = {"model": [MODEL], "operation": ["+"], "case": ["1+2"], "k": [99], "evaluated_limited": [220], "evaluated_certified": [500]}
    raw = {
        "predictions": base, "heads": heads(base), "cna": cna(), "verify": verify(), "memorise": memorise(), "hidden": hidden(),
        "chain": nodes, "chain_edges": edges, "certify": pl.DataFrame(certify | {"recall": [1.0]}),
    }  # fmt: skip
    kept = {"kept": [[4, 1], [4, 2]], "total": 40, "first_layer": 3, "lora_layer": 1}
    return raw, lora(), coefficients(), kept
