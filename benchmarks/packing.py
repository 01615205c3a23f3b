"""Throughput and peak memory of the packer, on corpora of two sizes: memory must not grow with the corpus.

    PYTHONPATH=. python benchmarks/packing.py                          # 100 MB and 1,000 MB; needs `dvc repro model@smollm2`
    PYTHONPATH=. python benchmarks/packing.py --mb 100 --processes 2   # one size, the slices shared by two processes
    PYTHONPATH=. python benchmarks/packing.py --tokenizer words        # memory alone, several times faster

Generates JSONL files of sentences and of HTML tables with random numbers, about half each as in the paper's corpus, and packs them with
`python -m stages.open_finllms.pack`. Peak memory is the resident set of the largest process, as the system counts it. Ends with an error
if the peak at the largest size is more than 10 % above that at the smallest. Nearly all the time is the tokenizer's; with
`--tokenizer words` a token is what stands between spaces or brackets, which a tokenizer finds faster than pieces of words.

Measured on a machine of two cores with AVX-512, one process, smollm2's tokenizer, chunks of 2,048 tokens: 100 MB in 18.7 s, 5.33 MB/s or
2.5 million tokens/s, peak 248 MB; 1,000 MB in 268 s beside other programs, 3.73 MB/s or 1.8 million tokens/s, peak 259 MB (+4.4 %).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer, models, pre_tokenizers

from stages.open_finllms.html_table import TAIL, head_html, row_html

MB = 10**6
WORDS = (
    "the company reported revenue of million in quarter up from a year earlier on higher demand for its products while costs rose and "
    "margins fell shares closed lower after analysts cut their forecasts investors expect the bank to hold interest rates until inflation "
    "slows chief executive said that growth in cloud services advertising retail energy would continue despite weaker sales abroad"
).split()
HEADER = ["Day", "open", "high", "low", "close", "volume"]


def documents(seed: int) -> Iterator[dict[str, str]]:
    """Sentences with numbers and tables of 50 rows, in turn, without end."""
    rng = np.random.default_rng(seed)
    words = np.array(WORDS)
    while True:
        drawn = words[rng.integers(0, len(words), 800)].tolist()
        for place, value in zip(range(7, 800, 13), rng.integers(1, 10**6, 80).tolist()):
            drawn[place] = f"{value / 100:.2f}."
        yield {"text": " ".join(drawn), "source": "notes"}
        prices = rng.integers(1000, 50000, (50, 5))
        days = (np.datetime64("1990-01-01") + rng.integers(0, 12000, 50)).astype(str)
        rows = (row_html([day, *(f"{value / 100:.2f}" for value in row[:4]), str(row[4])]) for day, row in zip(days, prices.tolist()))
        yield {"text": head_html(HEADER) + "\n".join(rows) + "\n" + TAIL, "source": "prices"}


def generate(folder: Path, size: int, file_mb: int = 250) -> list[Path]:
    """JSONL files of `size` bytes in all."""
    paths, written = [], 0
    while written < size:
        paths.append(folder / f"corpus-{len(paths)}.jsonl")
        with paths[-1].open("w") as file:
            for document in documents(len(paths)):
                written += file.write(json.dumps(document) + "\n")  # one byte a character
                if written >= size or file.tell() >= file_mb * MB:
                    break
    return paths


def words_tokenizer(folder: Path) -> None:
    """A tokenizer that knows the words of the sentences and takes all else for one unknown token."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(dict.fromkeys(["[UNK]", "[EOS]", *WORDS]))}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(mark, "removed") for mark in (" ", "<")])
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "[EOS]"}')


def packed(paths: list[Path], out: Path, tokenizer: str, options: argparse.Namespace) -> tuple[float, float, float]:
    """(seconds, seconds of the processor by all processes, MB of the largest process)."""
    command = [sys.executable, "-m", "stages.open_finllms.pack", *map(str, paths), "--tokenizer", tokenizer, "--out", str(out)]
    command += ["--length", str(options.length), "--source", "source"]
    start = time.perf_counter()
    shards = [
        subprocess.Popen([*command, "--shard", f"{i}/{options.processes}"], stdout=subprocess.DEVNULL) for i in range(options.processes)
    ]
    peak, busy = 0, 0.0
    for shard in shards:
        _, status, usage = os.wait4(shard.pid, 0)
        shard.returncode = os.waitstatus_to_exitcode(status)
        if shard.returncode:
            sys.exit("The packer ended with an error.")
        peak, busy = max(peak, usage.ru_maxrss), busy + usage.ru_utime + usage.ru_stime
    return time.perf_counter() - start, busy, peak / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="Throughput and peak memory of the packer.")
    parser.add_argument("--mb", type=int, nargs="+", default=[100, 1000], help="sizes of the corpora")
    parser.add_argument("--tokenizer", default="models/smollm2/base", help="folder of a tokenizer, or words")
    parser.add_argument("--length", type=int, default=2048, help="tokens of a chunk")
    parser.add_argument("--processes", type=int, default=1, help="processes that share the slices")
    options = parser.parse_args()
    peaks = {}
    for mb in options.mb:
        with tempfile.TemporaryDirectory() as folder:
            paths = generate(Path(folder), mb * MB)
            size = sum(path.stat().st_size for path in paths)
            out = Path(folder) / "packed"
            tokenizer = options.tokenizer
            if tokenizer == "words":
                tokenizer = str(Path(folder) / "words")
                words_tokenizer(Path(tokenizer))
            seconds, busy, peaks[mb] = packed(paths, out, tokenizer, options)
            files = sorted(out.glob("*.parquet"))
            counts = [json.loads(path.with_suffix(".json").read_text()) for path in files]
            tokens = sum(sum(count["tokens"].values()) for count in counts)
            chunks = sum(pq.ParquetFile(path).metadata.num_rows for path in files)
            written = sum(path.stat().st_size for path in files)
        speed = f"{size / MB:,.0f} MB: {seconds:.1f} s, {size / MB / seconds:.2f} MB/s, {tokens / seconds:,.0f} tokens/s"
        made = f"{tokens:,} tokens in {chunks:,} chunks, {len(files)} files of {written / MB:,.0f} MB"
        print(f"{speed}, {busy:.1f} s of processor, peak {peaks[mb]:,.0f} MB; {made}", flush=True)
    least, most = min(options.mb), max(options.mb)
    if least < most:
        growth = peaks[most] / peaks[least] - 1
        flat = growth <= 0.1
        print(f"peak memory from {least:,} to {most:,} MB: {growth:+.1%}   at most +10 %: {'holds' if flat else 'DOES NOT HOLD'}")
        sys.exit(not flat)


if __name__ == "__main__":
    main()
