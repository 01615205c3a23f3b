"""Training with FSDP: two processes hold a part of the weights each, train as one, and the main one writes them all.

Accelerate shards on accelerators only. As a script (`… test_sharded.py <folder>`) this file is a training stage in which it takes the
processes of a CPU for some, so that what it does then, and torch below it, is the real thing, but for the transport (gloo, not NCCL).
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import peft
import pytest
import torch
from tiny_text import char_tokenizer
from tiny_training import FULL, LORA, ROOT, copying, tiny
from transformers import LlamaForCausalLM

from catalog.training import adapters, checkpoints
from catalog.training import train as training

SETTINGS = {"full": replace(FULL, save_steps=2), "lora": replace(LORA, lora_dropout=0.0, save_steps=2)}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Folder of what two processes wrote."""
    out = tmp_path_factory.mktemp("two")
    command = ["accelerate.commands.launch", "--config_file", "accelerate/fsdp.yaml", "--num_processes", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "OMP_NUM_THREADS": "1"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-m", *command, "--main_process_port", "0", __file__, str(out)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=300)
    return out


@pytest.mark.parametrize("kind", SETTINGS)
def test_parts_of_the_weights_train_as_the_whole_and_go_on_from_their_checkpoint(two, tmp_path, kind):
    expected = trained(tmp_path, kind, tiny())
    for again in (False, True):
        main, other = (json.loads((two / f"{kind}-{again}-{rank}.json").read_text()) for rank in (0, 1))
        assert main["sharded"] and other["sharded"] and main["processes"] == 2
        assert (main["tensors"], other["tensors"]) == (len(expected.tensors), 0)  # gathered in the main process alone
        assert main["resumed_at_step"] == other["resumed_at_step"] == (6 if again else 0)
        for ours, theirs in zip(main["history"], expected.history, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)
        if kind == "full":
            found = dict(LlamaForCausalLM.from_pretrained(two / f"full-{again}").state_dict())
        else:
            with adapters.saved_lora(tiny(), two / f"lora-{again}") as adapted:
                found = {name: tensor.clone() for name, tensor in peft.get_peft_model_state_dict(adapted).items()}
        assert found.keys() == expected.tensors.keys()
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, expected.tensors[name], atol=1e-4, rtol=0)
    assert not (two / ".checkpoints" / "demo").exists()


def trained(out, kind, model):
    """One run of a stage; `finish` is left to the caller."""
    settings = SETTINGS[kind]
    folder = checkpoints.checkpoint_folder("demo", "small", model, copying(), settings, root=Path(out))
    if kind == "full":
        return training.train(model, copying(), settings, checkpoints=folder)
    with adapters.lora(model, settings) as adapted:
        return training.train(adapted, copying(), settings, checkpoints=folder)


def shard_on_cpus():
    """Let accelerate take this process for one of several that have an accelerator each."""
    from accelerate.utils import DistributedType

    from accelerate import PartialState

    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=90))  # one that waits in vain says so


def main(out):
    shard_on_cpus()
    rank = int(os.environ["RANK"])
    for kind in SETTINGS:
        for again in (False, True):
            if again:  # as if the run had been killed while its last checkpoint was written: a part of it is too short
                torch.distributed.barrier()
                last = next(out.glob(".checkpoints/demo/small/*/checkpoint-8"))
                if rank == 0:
                    part = next(last.glob("optimizer_0/*"))
                    part.write_bytes(part.read_bytes()[:-1])
                torch.distributed.barrier()
            model = tiny()
            run = trained(out, kind, model)
            sharded = any(isinstance(parameter.data, torch.distributed.tensor.DTensor) for parameter in model.parameters())
            info = {name: run.info[name] for name in ("processes", "resumed_at_step")}
            info |= {"sharded": sharded, "tensors": len(run.tensors), "history": run.history}
            (out / f"{kind}-{again}-{rank}.json").write_text(json.dumps(info))
            folder = out / f"{kind}-{again}"
            if kind == "full":
                adapters.save_model(model, char_tokenizer(), folder, run.tensors, dtype="float32")
            else:
                adapters.save_lora(run.tensors, SETTINGS[kind], "tiny", folder)
        torch.distributed.barrier()
        checkpoints.finish("demo", "small", root=out)
        torch.distributed.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
