"""Pack files of documents into chunks of tokens, by one process or by several that share the work.

    python -m stages.open_finllms.pack news.jsonl reports.parquet --tokenizer models/smollm2/base --out packed --length 2048

Each slice of about `--slice-mb` of the input becomes a Parquet file `packed/00000.parquet`, ... with the columns input_ids and source.
With `--shard 0/4`, `--shard 1/4`, ... four processes, here or on four machines, pack every fourth slice each; together they write the
same files, byte for byte, as one process. Start each with the same files and settings: the first writes them to `packed/plan.json`, and a
process with others stops before it adds to its chunks. What each slice held is in `packed/00000.json`.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from catalog.base.errors import CatalogError, run
from catalog.base.io import read_json, sha256, write_json
from catalog.base.text import print_out
from stages.open_finllms.documents import Slice, read, slices
from stages.open_finllms.packer import Packed, load_tokenizer, pack

MB = 1 << 20


def shard_of(text: str) -> tuple[int, int]:
    """("1/4") -> (1, 4).

    Raises:
        CatalogError: anything but a whole number below another.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise CatalogError(f"--shard is {text!r}; write 0/4 for the first of four processes, and 3/4 for the last.")
    return int(match[1]), int(match[2])


def plan(options: argparse.Namespace, parts: Sequence[Slice], end: int) -> dict:
    """What must be the same for all processes that write into one folder."""
    return {
        "length": options.length,
        "last": options.last,
        "text": options.text,
        "source": options.source,
        "tokenizer": sha256(Path(options.tokenizer) / "tokenizer.json"),
        "end": end,
        "slices": [[part.path.name, part.path.stat().st_size, part.start, part.stop] for part in parts],
    }


def claim(out: Path, mine: dict) -> None:
    """Write the plan to the folder, or compare it with the one that the chunks there were written by.

    Raises:
        CatalogError: chunks of another plan, or files of unknown origin.
    """
    path = out / "plan.json"
    same = path.is_file() and read_json(path) == mine
    if not same and any(out.glob("*.parquet")):
        whose = (
            f"holds chunks of other files or settings ({path})" if path.is_file() else "holds Parquet files that this command did not write"
        )
        raise CatalogError(f"{out} {whose}; give another --out, or remove the folder.")
    if not same:
        write_json(mine, path)


def summary(packed: Sequence[Packed], seconds: float) -> list[str]:
    """A line for each source and one for the whole."""
    sums: dict[str, dict[str, int]] = {}
    for found in packed:
        for name, counts in asdict(found).items():
            for source, n in counts.items():
                of = sums.setdefault(source, dict.fromkeys(asdict(Packed()), 0))
                of[name] += n
    lines = [f"{'source':<24}{'documents':>12}{'tokens':>15}{'chunks':>10}{'dropped':>10}{'empty':>8}"]
    for source, of in sorted(sums.items()):
        lines.append(f"{source:<24}{of['documents']:>12,}{of['tokens']:>15,}{of['chunks']:>10,}{of['dropped']:>10,}{of['empty']:>8,}")
    tokens, characters = (sum(of[name] for of in sums.values()) for name in ("tokens", "characters"))
    lines.append(
        f"{len(packed)} slices in {seconds:.1f} s: {tokens / seconds:,.0f} tokens/s, {characters / seconds / 1e6:.2f} million characters/s"
    )
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(argv)
    shard, of = shard_of(options.shard)
    if options.slice_mb < 1:
        raise CatalogError(f"--slice-mb is {options.slice_mb}; give at least 1.")
    if options.length < 2:
        raise CatalogError(f"--length is {options.length}; give at least 2, a token and the end of text.")
    encode, end = load_tokenizer(Path(options.tokenizer))
    parts = slices([Path(path) for path in options.files], options.slice_mb * MB)
    _check_names(options.files)
    if not parts:
        raise CatalogError(f"There is no document in {', '.join(options.files)}; name files with texts.")
    out = Path(options.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # in a folder of the system such as /proc
        raise CatalogError(f"The folder {out} cannot be made ({error.strerror}); choose another place.") from None
    except (FileExistsError, NotADirectoryError):
        raise CatalogError(f"The folder {out} cannot be made, since a file stands in its place; choose another.") from None
    wanted = plan(options, parts, end)
    start, packed = time.perf_counter(), []
    for number in range(shard, len(parts), of):
        claim(out, wanted)  # each time, in case a process with other settings began beside this one
        documents = read(parts[number], options.text, options.source)
        found = pack(documents, out / f"{number:05}.parquet", encode, end, options.length, options.last == "keep")
        write_json(asdict(found), out / f"{number:05}.json")
        packed.append(found)
    print_out("\n".join(summary(packed, max(time.perf_counter() - start, 1e-9))))


def _check_names(files: Sequence[str]) -> None:
    """A file that is named twice would be in the chunks twice; two of one name could not be told apart."""
    again = [path for path, n in Counter(Path(path).resolve() for path in files).items() if n > 1]
    if again:
        raise CatalogError(f"{again[0]} is named twice; name each file once.")
    if len({Path(path).name for path in files}) < len(files):
        raise CatalogError("Two input files have the same name, and their documents could not be told apart; rename one.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stages.open_finllms.pack", description="Pack documents into chunks of tokens.")
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="documents: .jsonl, .jsonl.gz, .parquet, or a .txt of one document")
    add("--tokenizer", required=True, metavar="FOLDER", help="tokenizer.json and tokenizer_config.json")
    add("--out", required=True, metavar="FOLDER", help="where the Parquet files are written")
    add("--length", type=int, default=8192, help="tokens of a chunk (default 8192, as in the paper)")
    add("--last", choices=("keep", "drop"), default="keep", help="the last, shorter chunk of each source in a slice")
    add("--text", default="text", metavar="FIELD", help="field or column of the text")
    add("--source", metavar="FIELD", help="field or column that names the source; by default the name of the file")
    add("--shard", default="0/1", metavar="I/N", help="of N processes this is number I, counted from 0")
    add("--slice-mb", type=int, default=64, metavar="MB", help="input of a Parquet file that is written; the same for all processes")
    return parser


if __name__ == "__main__":
    run(lambda: main(), [])
