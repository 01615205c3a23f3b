"""Training goes on after a kill, and several processes train as one.

Run as a script (`python tests/catalog/training/test_resume.py <folder> <kill at step> <loss> …`) this file is the stage that the tests
kill or start twice, once for each loss: libraries are imported once for all of them.
"""

import gc
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from tiny_pairs import of_loss
from tiny_training import FULL, LORA, ROOT, bits, copying, preferences, tiny

from catalog.training import adapters, checkpoints, losses
from catalog.training import train as training
from catalog.training.pairs import pair_collate
from stages.sepo.method import labels_of, loss_of

LOSSES = ("answer", "dpo", "sepo")  # dpo asks the model without its LoRA in each step, sepo has labels at a third of the tokens


def test_the_fingerprint_holds_all_that_decides_the_result(tmp_path):
    def folder(model=None, examples=None, settings=LORA, extra=None):
        model, examples = model or tiny(), copying() if examples is None else examples
        return checkpoints.checkpoint_folder("demo", "small", model, examples, settings, extra=extra, root=tmp_path)

    changed = tiny()
    with torch.no_grad():
        changed.model.layers[1].mlp.up_proj.weight[7, 3] += 0.25
    assert folder() == folder() and folder().parent == tmp_path / ".checkpoints" / "demo" / "small"
    others = [folder(changed), folder(examples=copying()[:-1]), folder(settings=replace(LORA, seed=1)), folder(extra=1)]
    assert len({folder(), *others}) == 5


@pytest.fixture(scope="module")
def all_killed(tmp_path_factory):
    """Folder of a killed run of each loss."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, __file__, folder, "6", *LOSSES], env=environment(), check=True, timeout=180)
    return folder


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """Folder of a run by two processes of each loss."""
    folder = tmp_path_factory.mktemp("two")
    command = ["accelerate.commands.launch", "--config_file", "accelerate/ddp.yaml", "--num_processes", "2"]
    command += ["--main_process_port", "0", __file__, folder, "0", *LOSSES]
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment(), check=True, timeout=180)
    return folder


@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_killed_in_the_middle_ends_with_the_same_bits(tmp_path, all_killed, loss):
    expected = stage(tmp_path / "whole", loss)
    killed = all_killed / loss
    assert (all_killed / f"{loss}.exit").read_text() == "-9"
    assert [path.name for path in sorted(killed.glob(".checkpoints/*/*/*/*"))] == ["checkpoint-2", "checkpoint-4"]
    # As if the next checkpoint had been cut off while it was written, once before its list of files and once later.
    last = next(killed.glob(".checkpoints/*/*/*/checkpoint-4"))
    for step, cut in ((6, checkpoints.LIST), (8, "optimizer.pt")):
        broken = last.with_name(f"checkpoint-{step}")
        broken.mkdir()
        for path in last.iterdir():
            (broken / path.name).write_bytes(path.read_bytes())
        (broken / cut).write_bytes((broken / cut).read_bytes()[:-10])
    resumed = stage(killed, loss)
    assert resumed.info["resumed_at_step"] == 4
    assert bits(resumed.tensors) == bits(expected.tensors)
    assert resumed.history == expected.history
    assert not (killed / ".checkpoints" / "demo" / "small").exists()


def test_a_checkpoint_whose_parts_lie_in_folders_is_whole_with_all_of_them(tmp_path):
    """As FSDP writes them, a part of each process."""
    for step in (2, 4):
        part = tmp_path / f"checkpoint-{step}" / "optimizer_0" / "__1_0.distcp"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"some weights")
        checkpoints.mark_complete(tmp_path / f"checkpoint-{step}")
    assert checkpoints.last_complete(tmp_path) == tmp_path / "checkpoint-4"
    part.write_bytes(b"some")
    assert checkpoints.last_complete(tmp_path) == tmp_path / "checkpoint-2" and not part.exists()


def test_full_fine_tuning_goes_on_from_a_checkpoint_and_a_finished_run_is_not_trained_again(tmp_path):
    settings = replace(FULL, save_steps=3)  # rounded up to 4, where a point of the curve is
    expected = training.train(tiny(), copying(), FULL)

    def again():
        model = tiny()
        folder = checkpoints.checkpoint_folder("demo", "small", model, copying(), settings, root=tmp_path)
        return training.train(model, copying(), settings, checkpoints=folder), folder

    first, folder = again()
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-4", "checkpoint-8"]
    finished, _ = again()
    (folder / "checkpoint-8" / checkpoints.LIST).unlink()
    resumed, _ = again()
    assert [run.info["resumed_at_step"] for run in (first, finished, resumed)] == [0, 8, 4]
    for run in (first, finished, resumed):
        assert bits(run.tensors) == bits(expected.tensors) and run.history == expected.history


@pytest.mark.parametrize("loss", LOSSES)
def test_two_processes_train_as_one_and_only_the_main_one_writes(tmp_path, of_two, loss):
    two = of_two / loss
    one = stage(tmp_path / "one", loss, dropout=0.0)
    assert sorted(path.name for path in (two).iterdir()) == [".checkpoints", "adapter", "ranks"]
    assert sorted(path.read_text() for path in (two / "ranks").iterdir()) == ["0 of 2: 4", "1 of 2: 0"]
    history = json.loads((two / "adapter" / "history.json").read_text())
    for ours, theirs in zip(one.history, history, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    model = tiny()
    with adapters.saved_lora(model, two / "adapter") as adapted:
        for name, tensor in peft.get_peft_model_state_dict(adapted).items():
            torch.testing.assert_close(tensor, one.tensors[name], atol=1e-4, rtol=0)


def environment():
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def stage(out, loss, kill_at=0, dropout=0.1):
    """What a training stage does, on a tiny model; with `kill_at` it kills itself in that step's forward pass."""
    settings, model = replace(LORA, save_steps=2, lora_dropout=dropout), tiny()
    examples, collate, own = copying(), None, losses.answer_loss
    if loss != "answer":
        method = of_loss(loss) if loss == "dpo" else of_loss(loss, selector="random", chosen_share=0.3, rejected_share=0.3, beta=1.0)
        examples, collate, own = labels_of(method, preferences(), None, 0), pair_collate(shared=True), loss_of(method)
    folder = checkpoints.checkpoint_folder("demo", "small", model, examples, settings, root=Path(out))
    calls = []

    def dying(model, batch):
        calls.append(1)
        if kill_at and len(calls) == kill_at:
            os.kill(os.getpid(), 9)
        return own(model, batch)

    given = {"loss_fn": None if loss == "answer" and not dropout else dying, "collate": collate}
    with adapters.lora(model, settings) as adapted:
        run = training.train(adapted, examples, settings, checkpoints=folder, **given)
    checkpoints.finish("demo", "small", root=Path(out))
    return run


def written(out, kill_at, loss):
    """Run the stage, and write what the tests read."""
    rank, world = (os.environ.get(name) for name in ("RANK", "WORLD_SIZE"))
    run = stage(out, loss, kill_at, dropout=0.0 if world else 0.1)
    (out / "ranks").mkdir(exist_ok=True)
    (out / "ranks" / f"{rank}.txt").write_text(f"{rank} of {world}: {len(run.tensors)}")
    adapters.save_lora(run.tensors, replace(LORA, lora_dropout=0.0), "tiny", out / "adapter")
    if checkpoints.is_main():
        (out / "adapter" / "history.json").write_text(json.dumps(run.history))


def main(folder, kill_at, names):
    torch.set_num_threads(1)
    gc.freeze()  # as in conftest.py
    for loss in names:
        if not kill_at:
            written(folder / loss, 0, loss)
            continue
        child = os.fork()  # what is to be killed is a process of its own
        if not child:
            written(folder / loss, kill_at, loss)
            os._exit(0)
        (folder / f"{loss}.exit").write_text(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
