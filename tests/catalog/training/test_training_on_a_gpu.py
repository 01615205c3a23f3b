"""Training on a (faked) GPU: the same weights, and figures of the run that are a GPU's."""

from dataclasses import replace

import pytest
import torch
from faked_gpu import CPU, GPU, faked_gpu
from tiny_training import FULL, LORA, copying, tiny
from transformers import Trainer

import accelerate
from catalog.training import adapters, checkpoints, flops, tail
from catalog.training import train as training

NAME = "NVIDIA H200"


@pytest.fixture
def slow_peak(monkeypatch):
    """A peak that a tiny model can reach a share of."""
    monkeypatch.setitem(flops.PEAKS, "H200", 1e10)


def train_lora(settings=LORA, examples=None):
    model = tiny().to("cuda" if torch.cuda.is_available() else "cpu")
    with adapters.lora(model, settings) as adapted:
        return training.train(adapted, copying() if examples is None else examples, settings)


def test_figures_of_a_run_by_hand(slow_peak):
    examples = copying()
    with faked_gpu(NAME, memory=3 * 2**20):
        info = train_lora(examples=examples).info
    lengths = [len(example["input_ids"]) for example in examples]
    context = sum(n * n for n in lengths) / sum(lengths)
    # Layer 1 of three is adapted (q and v, rank 4), so layer 0 only runs forward, and 1, 2 and the head pass gradients down as well.
    layer, head, added = 2 * 1024 + 2 * 512 + 3 * 1536, 60 * 32, 4 * 32 + 4 * 32 + 4 * 32 + 4 * 16
    per_token = 2 * layer + 4 * (2 * layer + head) + 6 * added + 4 * 32 * context * (1 + 3 + 3)
    share = per_token * info["tokens_per_second"] / 1e10
    assert info["mfu"] == pytest.approx(share, rel=0.02) and 0 < info["mfu"] < 1  # `seconds` are rounded
    assert (info["device"], info["dtype"], info["peak_memory_mb"]) == (NAME, "float32", 3)
    assert train_lora().info["mfu"] is None  # on the CPU


@pytest.mark.parametrize("once", [False, True])
def test_weights_are_those_of_the_cpu_and_come_back_to_it(slow_peak, once):
    def trained(device):
        model, examples = tiny().to(device), copying()
        if once:  # the layers below the adapter are run before, and count for nothing after
            examples = tail.lower_once(model, examples, (1,))
        with adapters.lora(model, LORA) as adapted:
            return training.train(adapted, examples, LORA)

    expected = trained("cpu")
    with faked_gpu(NAME):
        found = trained("cuda")
        assert {tensor.device for tensor in found.tensors.values()} == {CPU}
    for name, tensor in expected.tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor, atol=1e-5, rtol=0)
    assert found.info["mfu"] > 0 and expected.info["mfu"] is None


def test_full_fine_tuning_on_a_gpu_gives_weights_to_save():
    with faked_gpu(NAME):
        model = tiny().to("cuda")
        run = training.train(model, copying(), replace(FULL, activation_checkpointing=True))
        assert model.device == GPU and {tensor.device for tensor in run.tensors.values()} == {CPU}
    expected = training.train(tiny(), copying(), FULL).tensors
    for name, tensor in run.tensors.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "native", "dtype", "said"), [(NAME, True, "auto", "bfloat16 autocast"), ("Tesla T4", False, "auto", "float32")]
)
def test_products_are_in_bfloat16_where_the_gpu_multiplies_it(monkeypatch, name, native, dtype, said):
    seen = []
    real = Trainer.train
    monkeypatch.setattr(Trainer, "train", lambda self, **given: (seen.append(self.args), real(self, **given))[1])
    with faked_gpu(name, bf16=native):
        info = train_lora(replace(LORA, dtype="auto")).info
    assert info["dtype"] == said and info["device"] == name and (info["mfu"] is None) == (name == "Tesla T4")
    arguments = seen[0]
    assert arguments.bf16 == native and arguments.dataloader_pin_memory and not arguments.use_cpu and arguments.n_gpu == 1
    train_lora()
    assert not seen[1].dataloader_pin_memory and seen[1].use_cpu


def test_a_gpu_is_known_by_whole_words_of_its_name():
    named = {
        "NVIDIA H200": 989e12,
        "NVIDIA H200 NVL": 835e12,
        "NVIDIA GH200 480GB": 989e12,
        "NVIDIA H100 80GB HBM3": 989e12,
        "NVIDIA H100 PCIe": 756e12,
        "NVIDIA H100 NVL": 835e12,
        "NVIDIA A100-SXM4-80GB": 312e12,
        "NVIDIA A100-PCIE-40GB": 312e12,
        "NVIDIA L4": 121e12,
        "NVIDIA L40": 181e12,
        "NVIDIA L40S": 362e12,
        "NVIDIA A10": 125e12,
        "NVIDIA GeForce RTX 4090": 165e12,
    }
    assert {name: flops.peak(name) for name in named} == named
    unknown = (
        "cpu",
        "abacus",
        "NVIDIA A10G",
        "NVIDIA RTX A1000",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA A100-SXM4-80GB MIG 1g.10gb",
    )
    assert [flops.peak(name) for name in unknown] == [None] * len(unknown)


def test_processes_with_a_gpu_each_take_the_folder_of_the_main_one(monkeypatch, tmp_path):
    """What the main process says of the weights, which under FSDP it alone may have, is sent between the GPUs."""
    sent, on_cpu = [], []
    monkeypatch.setattr(accelerate, "PartialState", lambda cpu: on_cpu.append(cpu))
    monkeypatch.setattr(accelerate.utils, "broadcast_object_list", lambda names: [sent.append(names[0]) or max(sent, key=len)])
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(checkpoints, "_lock", lambda path: locked.append(path.name))
    locked, folders = [], []
    with faked_gpu(NAME, count=2):
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            model = tiny() if rank == "0" else torch.nn.Module()  # no weights to be looked at
            folders.append(checkpoints.checkpoint_folder("demo", "small", model, copying(), LORA, root=tmp_path))
    assert folders[0] == folders[1] == tmp_path / ".checkpoints" / "demo" / "small" / sent[0]
    assert len(sent[0]) == 20 and sent[1] == "" and on_cpu == [False, False] and locked == ["small.lock"]


def test_only_the_main_process_saves(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1")
    adapters.save_lora({}, LORA, "tiny", tmp_path / "lora")
    adapters.save_model(tiny(), None, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
