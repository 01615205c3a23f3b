"""The benchmark of a GPU: a sentence where there is none, and its figures on a (faked) one."""

import re

import pytest
import torch
from faked_gpu import faked_gpu

from benchmarks import gpu
from catalog.training import flops

SMALL = "--width 64 --layers 2 --vocabulary 50 --length 12 --batch 2 --steps 2 --prompts 3 --new 4".split()


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 1
    assert capsys.readouterr().out == "This benchmark measures a CUDA GPU and torch sees none; run it on a machine that has one.\n"


def test_a_model_of_the_asked_width():
    model = gpu.made(64, 2, torch.device("cpu"), 50)
    layer, norms = 4 * 64 * 64 + 3 * 64 * 192, 2 * 64  # 8/3 of 64, rounded up to a multiple of 64
    assert sum(weight.numel() for weight in model.parameters()) == 2 * (layer + norms) + 2 * 50 * 64 + 64
    assert gpu.generated(model.eval(), 3, 5, 4) == 12


@pytest.mark.parametrize(("name", "rank"), [("NVIDIA H200", 0), ("NVIDIA H200", 4), ("Some GPU", 0)])
def test_figures_on_a_gpu(monkeypatch, capsys, name, rank):
    monkeypatch.setitem(flops.PEAKS, "H200", 1e10)
    runs, real = [], gpu.trained
    monkeypatch.setattr(gpu, "trained", lambda *given: runs.append(real(*given)) or runs[-1])
    with faked_gpu(name, memory=6 * 2**20):
        assert gpu.main([*SMALL, "--rank", str(rank)]) == 0
    first, training, generation = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{name}: peak {'0 TFLOP/s' if name == 'NVIDIA H200' else 'not known'}; torch")
    info = runs[1].info
    assert info["tokens"] == 2 * 2 * 12 and [run.info["steps"] for run in runs] == [1, 2]
    rate, share = re.search(r"bfloat16 autocast: ([\d,]+) tokens/s, MFU (.*?), 6 MiB, .* 2 x 12 tokens", training).groups()
    assert rate == f"{info['tokens_per_second']:,.0f}" and share == (f"{info['mfu']:.1%}" if info["mfu"] else "not known")
    assert (info["mfu"] is None) == (name == "Some GPU") and (info["trainable_parameters"] < info["parameters"]) == bool(rank)
    assert re.search(r"generation, bfloat16: [\d,]+ tokens/s, 6 MiB, 3 prompts of 12 tokens and 4 new ones each", generation)
