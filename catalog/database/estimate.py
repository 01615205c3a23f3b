"""How long a run takes here, by system: `python -m catalog.database.estimate [system]`, which `make repro` begins with.

`run.json` of each system records the seconds that its stages with a model took, and how fast that machine multiplies matrices. This machine
is measured the same way, in about a second, and the seconds are scaled by the ratio. Where a record has no speed, its seconds are
shown as they are: no ratio is guessed.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.base import params
from catalog.base.errors import CatalogError, run
from catalog.database import check, gather, pipeline, summary
from catalog.report import machine

HEADER = ("system", "recorded", "on", "here")


def recorded(root: Path, profile: str) -> dict[str, dict[str, Any]]:
    """Return system -> its `run.json` of a profile, for the systems that have one.

    Raises:
        CatalogError: a file that is no mapping, or has seconds or speeds that are no numbers.
    """
    paths = sorted(root.glob(f"reports/*/{profile}/run.json"))
    records = {path.parent.parent.name: gather.json_of(path, dict, "a mapping of keys to values") for path in paths}
    for system, record in records.items():
        speeds = record.get("gflops")
        numbers = {key: record.get(key) for key in ("seconds", "evaluation_seconds")}
        if speeds is not None:
            named = speeds if isinstance(speeds, Mapping) else {}
            numbers |= {f"gflops.{kind}": named.get(kind, "absent") for kind in ("float32", "bfloat16")}
        for key, value in numbers.items():
            least = 0 if key.endswith("seconds") else 1e-9  # a speed divides
            if value is not None and not (isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < 1e12):
                where = f"reports/{system}/{profile}/run.json"
                raise CatalogError(f"{where}: {key} is {value!r} but must be a number from 0 on; run `dvc repro -f {system}`.")
    return records


def scale(record: Mapping[str, Any], here: Mapping[str, float], dtype: str = "auto") -> float | None:
    """How many times as long as recorded the run takes here; None where the record has no speed, or is of a GPU.

    A stage that was free to choose (`dtype: auto`) takes the faster type of this machine; one that ran in float32 does so here.

    Args:
        record: a `run.json`.
        here: `machine.speeds()` of this machine.
        dtype: the parameter of that name.
    """
    speeds = record.get("gflops")
    if not speeds or record.get("device") != "cpu":
        return None
    low = str(record.get("dtype") or "float32").startswith("bfloat16")
    now = here["float32"] if not low or dtype == "float32" else here["bfloat16"] if dtype == "bfloat16" else max(here.values())
    return speeds["bfloat16" if low else "float32"] / now


def cost(record: Mapping[str, Any]) -> float:
    """Seconds of all stages of a system: those with a model and, where it was recorded, its evaluation."""
    return (record.get("seconds") or 0.0) + (record.get("evaluation_seconds") or 0.0)


def needed(system: str, root: Path, systems: list[str]) -> list[str]:
    """The system and those of which it uses a model or a data set, in the order of the pipeline.

    Raises:
        CatalogError: the system has no stage of its own name.
    """
    stages = {stage["stage"]: stage for stage in pipeline.stages(root)}
    if system not in stages:
        raise CatalogError(f"dvc.yaml has no stage {system}, which evaluates the system; add it.")
    makers = {out: stage["stage"] for stage in stages.values() for out in stage["outs"]}
    todo, seen = [system], set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [maker for dep in stages[name]["deps"] for out, maker in makers.items() if dep == out or dep.startswith(f"{out}/")]
    owners = dict.fromkeys(pipeline.owner(name, systems) for name in stages if name in seen)
    return [name for name in owners if name]


def table(records: Mapping[str, Mapping[str, Any]], systems: list[str], here: Mapping[str, float], dtype: str) -> list[tuple[str, ...]]:
    """Rows of `HEADER`, one a system and their sum; a dash where nothing was recorded or no ratio is known."""
    rows, total, total_here = [], 0.0, 0.0
    for system in systems:
        record = records.get(system)
        if record is None:
            rows.append((system, "–", "–", "–"))
            continue
        ratio = scale(record, here, dtype)
        total += cost(record)
        total_here += cost(record) * ratio if ratio else 0.0
        rows.append((system, minutes(cost(record)), _where(record), minutes(cost(record) * ratio) if ratio else "–"))
    known = all(records.get(system) and scale(records[system], here, dtype) for system in systems)
    return [*rows, ("all", minutes(total), "", minutes(total_here) if known else "–")]


def minutes(seconds: float) -> str:
    """A duration in whole minutes, or in hours and minutes."""
    whole = max(1, round(seconds / 60))
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60:02} min"


def _where(record: Mapping[str, Any]) -> str:
    """What the record was measured on."""
    if record.get("device") != "cpu":
        return str(record.get("device"))
    kinds = [name for name in ("amx_bf16", "avx512_bf16") if name in record.get("cpu_features", ())]
    return ", ".join([f"{record.get('cpu')} x {record.get('threads') or record.get('cpu_count')}", *kinds[:1]])


def main(system: str) -> None:
    root = params.ROOT
    shared = params.load_shared(root)
    systems = check.declared_systems(params.load(root))
    profile = str(shared.get("profile"))
    if profile not in params.PROFILES:
        raise CatalogError(f"params.yaml: profile is {shared.get('profile')!r} but must be one of {', '.join(params.PROFILES)}.")
    if system and system not in systems:
        raise CatalogError(f"There is no system {system!r}; choose one of {', '.join(systems)}.")
    asked = needed(system, root, systems) if system else systems
    records = recorded(root, profile)
    if not records.keys() & set(asked):
        print(f"No run of profile {profile} is recorded, so how long it takes is not known.")
        return
    here = machine.speeds()
    rows = table(records, asked, here, str(shared.get("dtype", "auto")))
    print(f"Time by system at profile {profile}, without installing and downloading. What is finished already is not run again.\n")
    print(summary.text_table(HEADER, rows))
    print(f"\nThis machine: {machine.cpu()}, {here['float32']:.0f} GFLOP/s in float32 and {here['bfloat16']:.0f} in bfloat16.")
    if rows[-1][-1] == "–":
        print("A dash under `here`: the recorded run does not say how fast its machine was, or nothing was recorded.")
        if here["bfloat16"] < here["float32"]:
            print("This processor does not compute in bfloat16, so float32 is used: expect several times what was recorded where it does.")
    print("One system alone: make repro SYSTEM=<system>. What is finished is kept: stop at any time and give the same command again.\n")


if __name__ == "__main__":
    run(main, sys.argv[1:] or [""])
