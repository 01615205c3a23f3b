"""Side by side: Gower distances here against sdmetrics, and sampling of table rows here against be-great, on the same LLM and table.

    PYTHONPATH=. python benchmarks/tabular.py                # distances and sampling; needs `dvc repro harmonic_train`
    PYTHONPATH=. python benchmarks/tabular.py --rows 0       # distances only

(a) Distance of 2,000 rows to the nearest of 700, mixed types with missing cells, by `stages.harmonic.distances.nearest` and by sdmetrics'
`calculate_dcr`, and the largest difference of the two. (b) Rows a second of an adapter of form great, in float32 and in batches of 64: by
constrained decoding here, and by be-great's `sample` (needs `pip install be-great`), which generates free text and drops what is no whole
row. Both are given the same merged weights and start with a label of the training rows. A small model that has read few rows seldom
writes a whole row without a grammar, so be-great is stopped after four batches, and its texts a second stand beside its rows a second: they
are what it would reach if each text were a row. Times are of one run after a warm-up.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys

import numpy as np
import polars as pl
import torch

from benchmarks.timing import clock
from catalog.base.params import profile_params
from catalog.models.lm import load_lm, set_seed
from catalog.training.adapters import saved_lora
from stages.harmonic.bench import Bench
from stages.harmonic.decode import sample_rows
from stages.harmonic.distances import coded_together, nearest
from stages.harmonic.measure import adapter
from stages.harmonic.sampling import requests
from stages.harmonic.schema import learn
from stages.harmonic.settings import Params


def table(rows: int, seed: int) -> pl.DataFrame:
    """Eight columns of both kinds, some cells missing."""
    rng = np.random.default_rng(seed)
    out = {f"n{i}": np.where(rng.random(rows) < 0.05, np.nan, rng.normal(size=rows).round(3)) for i in range(4)}
    out |= {f"c{i}": rng.choice(list("abcdef"), rows) for i in range(4)}
    return pl.DataFrame(out).with_columns(pl.col("n0", "n1", "n2", "n3").fill_nan(None))


def distances() -> None:
    from sdmetrics.single_table.privacy.dcr_utils import calculate_dcr

    real, synthetic = table(700, 0), table(2000, 1)
    schema = learn(real.with_row_index("id").with_columns(split=pl.lit("train")), "t", "c3", "classification")
    syn, known = coded_together([synthetic, real], schema)
    ours, found = clock(lambda: nearest(syn, known, schema)[0][:, 0], 5)
    kinds = {c.name: {"sdtype": "numerical" if c.numeric else "categorical"} for c in schema.columns}
    frames = [frame.select(schema.names).to_pandas() for frame in (synthetic, real)]
    theirs, peer = clock(lambda: calculate_dcr(dataset=frames[0], reference_dataset=frames[1], metadata={"columns": kinds}))
    print(f"(a) nearest of 700 for 2,000 rows: {ours:.4f} s here, {theirs:.2f} s by sdmetrics, {theirs / ours:.0f} times")
    print(f"    largest difference of a distance: {np.abs(found - np.asarray(peer)).max():.2g}")


def sampling(name: str, method: str, rows: int, profile: str) -> None:
    try:
        import be_great
    except ImportError as error:
        print(f"(b) left out: be-great is not installed ({error})")
        return
    params = profile_params(Params, "harmonic", profile)
    model, tokenizer = load_lm(params.train.model, dtype="float32")
    bench = Bench(profile, name, params, tokenizer)
    s = next(s for s in params.measure.samplers if (s.table, s.method) == (name, method))
    g = bench.generator(s.generator)
    parts, ask = bench.context(g)
    asked, _ = requests(s, g, bench.made, parts, ask, tokenizer, bench.k, 0.0, 0, rows)
    with saved_lora(model, adapter(profile, name, g.name)) as adapted:
        adapted.merge_adapter()
        try:
            sample_rows(model, parts, asked[:4], temperature=0.7, seed=1, batch=4)
            ours, made = clock(lambda: sample_rows(model, parts, asked, temperature=0.7, seed=0, batch=64))
            print(f"(b) {name}, {rows} rows, float32, batches of 64: {rows / ours:.2f} rows/s here, all {len(made)} valid")
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                peer = be_great.GReaT(llm=str(bench_weights(params)), batch_size=64)
                peer.model = model
                # It knows "<|endoftext|>" as the one special token and takes others for part of a value, which spoils every row.
                decode = peer.tokenizer.decode
                peer.tokenizer.decode = lambda ids: decode(ids, skip_special_tokens=True)
                frame = bench.made.part("train").select(bench.schema.names).to_pandas()
                peer._update_column_information(frame)
                peer._update_conditional_information(frame, bench.schema.target)
                set_seed(0)
                longest = max(len(parts.row(row)) for row in made) + 8
                texts = stop_after(model, 4)
                theirs, got = clock(lambda: peer.sample(rows, k=64, max_length=longest, device="cpu"))
        finally:
            adapted.unmerge_adapter()
            model.__dict__.pop("generate", None)
    rate, reached = rows / ours, sum(texts) / theirs
    print(f"    be-great: {reached:.2f} texts/s, of which {len(got)} of {sum(texts)} were whole rows, {len(got) / theirs:.2f} rows/s")
    ratio = f"{rate / (len(got) / theirs):.0f} times" if len(got) else "no ratio, it found no row"
    print(f"    rows here over texts there: {rate / reached:.1f} times; rows over rows: {ratio}")


def stop_after(model, batches: int) -> list[int]:
    """Count the texts of each call of `model.generate` in the list given back; end be-great's loop, which catches errors, after some."""
    texts: list[int] = []
    generate = model.generate

    def counted(*args, **options):
        if len(texts) == batches:
            raise RuntimeError("enough")
        out = generate(*args, **options)
        texts.append(len(out))
        return out

    model.generate = counted
    return texts


def bench_weights(params: Params):
    from catalog.models.weights import resolve

    return resolve(params.train.model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", default="pima")
    parser.add_argument("--method", default="overtrained", help="a sampler of form great")
    parser.add_argument("--rows", type=int, default=128, help="rows to be sampled; 0 leaves sampling out")
    parser.add_argument("--profile", default="small")
    args = parser.parse_args()
    torch.set_num_threads(2)
    distances()
    if args.rows:
        sampling(args.table, args.method, args.rows, args.profile)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
