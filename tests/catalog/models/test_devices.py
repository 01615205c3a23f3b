"""What differs between a CPU and a GPU: choice of device and type, batches, memory. Models load, score and write on a (faked) GPU too."""

import pytest
import torch
from faked_gpu import CPU, GPU, faked_gpu
from tiny_text import char_tokenizer
from tiny_training import tiny

from catalog.base.errors import CatalogError
from catalog.models import devices, inference, lm


def test_the_fake_refuses_what_a_gpu_refuses():
    with faked_gpu():
        there, here = torch.ones(2, device="cuda"), torch.ones(2)
        moved = here.to("cuda")
        assert (there.device, here.device, moved.device, moved.cpu().device) == (GPU, CPU, GPU, CPU)
        for mixture in (lambda: there + here, lambda: torch.cat([there, here]), lambda: here[there.long()]):
            with pytest.raises(RuntimeError, match="same device"):
                mixture()
        with pytest.raises(TypeError, match="Tensor.cpu"):
            there.numpy()
        model = torch.nn.Linear(2, 2)
        with pytest.raises(RuntimeError, match="same device"):
            model(there)
        assert model.to("cuda")(there)[torch.tensor([1])].sum().device == GPU
    assert torch.ones(2).device == CPU


def test_auto_is_this_processes_gpu(tmp_path, monkeypatch):
    with faked_gpu(count=4):
        assert devices.pick_device() == devices.pick_device("cuda") == GPU
        assert devices.pick_device("cuda:1") == torch.device("cuda", 1) and devices.pick_device("cpu") == CPU
        monkeypatch.setenv("LOCAL_RANK", "3")
        assert devices.pick_device() == torch.device("cuda", 3) and devices.pick_device("cuda:1") == torch.device("cuda", 1)
        monkeypatch.setenv("LOCAL_RANK", "4")
        with pytest.raises(CatalogError, match="no GPU number 4: torch sees 4"):
            devices.pick_device()
        built = tmp_path / "models" / "big" / "base"
        built.mkdir(parents=True)
        (built / "config.json").write_text("{}")
        (tmp_path / "params.yaml").write_text("models: {big: {}}")
        lm.require_full("big", tmp_path)  # what was converted here needs no hub


def test_bfloat16_only_where_the_gpu_multiplies_it():
    with faked_gpu():
        assert devices.pick_dtype("auto", "cuda") == torch.bfloat16 and devices.pick_dtype("float32", GPU) == torch.float32
    with faked_gpu("Tesla T4", bf16=False):  # torch would emulate it, at a fraction of the speed of float32
        assert torch.cuda.is_bf16_supported() and devices.pick_dtype("auto", "cuda:0") == torch.float32
    assert devices.pick_dtype("auto", "meta") == torch.float32


def test_threads_are_the_cpus_of_this_process_unless_the_user_says_how_many(tmp_path, monkeypatch):
    """As in a container, or under taskset, that may use 3 of 64 CPUs."""
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda process: {0, 1, 5}, raising=False)
    monkeypatch.setattr(devices.os, "cpu_count", lambda: 64)
    (tmp_path / "params.yaml").write_text("{device: cpu, dtype: bfloat16}")
    tiny().save_pretrained(tmp_path / "model")
    char_tokenizer().save_pretrained(tmp_path / "model")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert devices.set_up(root=tmp_path) == (CPU, torch.bfloat16) and asked == []
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert devices.set_up("float32", root=tmp_path) == (CPU, torch.float32) and asked == [3]
    assert lm.load_lm(tmp_path / "model", root=tmp_path)[0].dtype == torch.bfloat16 and asked == [3, 3]
    monkeypatch.delattr(devices.os, "sched_getaffinity")  # macOS
    assert devices.set_up("float32", "cpu") == (CPU, torch.float32) and asked == [3, 3, 64]


def test_memory_is_that_of_the_fullest_gpu_or_of_the_process(monkeypatch):
    own = devices.peak_memory_mb()
    assert own == devices.peak_memory_mb("cpu") > 100
    with faked_gpu(memory=7 * 2**20 + 5, count=2):
        assert devices.peak_memory_mb() == devices.peak_memory_mb(GPU) == devices.peak_memory_mb("cuda:1") == 7
        assert devices.peak_memory_mb("cpu") >= own
        with pytest.MonkeyPatch.context() as inside:
            inside.setattr(torch.cuda, "max_memory_allocated", lambda device: int(device) * 3 * 2**20)
            assert devices.peak_memory_mb() == 3
            inside.setattr(torch.cuda, "is_initialized", lambda: False)  # there, but not used by this process
            assert devices.peak_memory_mb() >= own
    monkeypatch.setattr(devices.sys, "platform", "darwin")
    assert devices.peak_memory_mb("cpu") == pytest.approx(own / 1024, abs=1)


def test_names_and_batches():
    assert devices.device_name("cpu") == "cpu" and devices.tokens_at_once("cpu", 12) == 12
    with faked_gpu("NVIDIA L4"):
        assert devices.device_name(GPU) == "NVIDIA L4" and devices.tokens_at_once(GPU, 12) == 16_384


def test_a_model_is_sharded_from_the_cpu_and_trained_on_the_gpu(monkeypatch):
    model = tiny()
    assert devices.training_device(model) == CPU
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert devices.training_device(model) == CPU  # no GPU
    devices.place(model, torch.device("meta"))  # stays where it is until it is sharded
    assert model.device == CPU
    with faked_gpu(count=2):
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert devices.training_device(tiny()) == torch.device("cuda", 1)
        for off in ("false", None):
            monkeypatch.setenv("ACCELERATE_USE_FSDP", off) if off else monkeypatch.delenv("ACCELERATE_USE_FSDP")
            assert devices.training_device(tiny()) == CPU and devices.training_device(tiny().to("cuda")) == GPU
        devices.place(model, GPU)
        assert model.device == GPU


def test_scores_and_texts_on_a_gpu_are_those_of_the_cpu(tmp_path):
    tokenizer = char_tokenizer()
    tiny().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    pairs = [("ab", "cd"), ("ab", "x"), ("", "abc"), ("abcdef", "a")]
    prompts = ["ab", "abcdef", "x"]

    def all_of(device):
        model, read = lm.load_lm(tmp_path, dtype="float32", device=device)
        assert model.device == (GPU if device == "auto" else CPU)
        return (
            inference.log_likelihood(model, read, pairs).total,
            inference.last_logits(model, read, prompts),
            inference.last_logits(model, read, prompts, columns=[7, 3]),
            [inference.generate(model, read, prompts, 4, **more) for more in ({}, {"temperature": 1.0, "top_p": 0.9, "stop": ("b",)})],
        )

    expected = all_of("cpu")
    with faked_gpu():
        found = all_of("auto")
        assert all(tensor.device == CPU for tensor in found[:3])
    for ours, theirs in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert found[3] == expected[3]
