"""Two writers of one target keep apart, and whatever a writer dies of, a whole folder stands there: the old one or the new one."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from catalog.base import io, scratch
from catalog.base.errors import CatalogError

WRITER = """
import sys
from catalog.base import io
with io.atomic_dir(sys.argv[1]) as folder:
    (folder / "a").write_text(sys.argv[2])
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["exchange", "two renames"])
def way(request, monkeypatch):
    """Linux's way to put a folder in place, and the one of all other systems."""
    if request.param == "exchange" and sys.platform != "linux":
        pytest.skip("needs Linux")
    if request.param == "two renames":
        monkeypatch.setattr(scratch, "_exchange", lambda one, other: False)
    return request.param


def write(path, text):
    with io.atomic_dir(path) as folder:
        (folder / "a").write_text(text)


def start(path, text):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_folder_is_put_in_place_of_none_and_of_an_old_one(tmp_path, way):
    for text in ("1", "2", "3"):
        write(tmp_path / "x", text)
        assert (tmp_path / "x" / "a").read_text() == text and os.listdir(tmp_path) == ["x"]


def test_linux_exchanges_two_folders_in_one_step(tmp_path):
    if sys.platform != "linux":
        pytest.skip("needs Linux")
    for name in ("one", "other"):
        io.write_text(name, tmp_path / name / "a")
    if not scratch._exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this disk cannot exchange folders")
    assert (tmp_path / "one" / "a").read_text() == "other" and (tmp_path / "other" / "a").read_text() == "one"
    assert not scratch._exchange(tmp_path / "one", tmp_path / "absent")


def test_two_writers_of_one_folder_have_a_folder_each_and_the_last_to_end_wins(tmp_path, way):
    with io.atomic_dir(tmp_path / "x") as first:
        (first / "first").write_text("1")
        with io.atomic_dir(tmp_path / "x") as second:
            (second / "second").write_text("2")
        assert os.listdir(tmp_path / "x") == ["second"] and os.listdir(first) == ["first"]
    assert os.listdir(tmp_path / "x") == ["first"] and os.listdir(tmp_path) == ["x"]


def test_two_writers_of_one_file_have_a_file_each(tmp_path):
    with io.replacing(tmp_path / "x.txt") as first:
        first.write_text("1")
        io.write_text("2", tmp_path / "x.txt")
        assert first.read_text() == "1" and (tmp_path / "x.txt").read_text() == "2"
    assert (tmp_path / "x.txt").read_text() == "1" and os.listdir(tmp_path) == ["x.txt"]


def test_writers_at_the_same_time_never_leave_half_a_folder(tmp_path, way):
    failures = []

    def write_often(text):
        try:
            for _ in range(30):
                with io.atomic_dir(tmp_path / "x") as folder:
                    for name in ("a", "b"):
                        (folder / name).write_text(text)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write_often, args=(text,)) for text in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x" / "a").read_text() == (tmp_path / "x" / "b").read_text()


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_makes_is_not(tmp_path):
    path = tmp_path / "x"
    write(path, "old")
    killed, living = start(path, "killed"), start(path, "living")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(list(tmp_path.glob(".x.*.tmp"))) == 2 and (path / "a").read_text() == "old"
    write(path, "new")
    assert len(list(tmp_path.glob(".x.*.tmp"))) == 1 and (path / "a").read_text() == "new"
    living.communicate("")
    assert living.returncode == 0 and (path / "a").read_text() == "living" and os.listdir(tmp_path) == ["x"]


def test_scratch_folders_of_other_targets_stay(tmp_path):
    others = [".x.y.0123abcd.tmp", ".xx.0123abcd.tmp", ".x.0123abc.tmp", ".x.tmp"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / ".x.0123abcd.tmp").mkdir()
    write(tmp_path / "x", "1")
    assert sorted(os.listdir(tmp_path)) == sorted(["x", *others])


def test_without_locks_only_what_nobody_changed_for_a_week_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "fcntl", None)
    for name in (".x.0123abcd.tmp", ".x.4567abcd.tmp"):
        (tmp_path / name).mkdir()
    os.utime(tmp_path / ".x.0123abcd.tmp", (0, 0))
    write(tmp_path / "x", "1")
    assert sorted(os.listdir(tmp_path)) == [".x.4567abcd.tmp", "x"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    path = tmp_path / "x"
    write(path, "old")
    code = """
import os, signal, sys
from catalog.base import io, scratch
scratch._exchange = lambda one, other: False
rename = os.rename
def killed(source, target):
    rename(source, target)
    os.kill(os.getpid(), signal.SIGKILL)
os.rename = killed
with io.atomic_dir(sys.argv[1]) as folder:
    (folder / "a").write_text("new")
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -signal.SIGKILL and not path.exists()
    with pytest.raises(RuntimeError), io.atomic_dir(path):
        assert (path / "a").read_text() == "old"
        raise RuntimeError
    assert (path / "a").read_text() == "old" and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("fails", [1, 2])
def test_a_rename_that_fails_leaves_the_old_folder(tmp_path, monkeypatch, fails):
    path = tmp_path / "x"
    write(path, "old")
    monkeypatch.setattr(scratch, "_exchange", lambda one, other: False)
    rename, calls = os.rename, []

    def failing(source, target):
        calls.append(source)
        if len(calls) == fails:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", failing)
        with pytest.raises(OSError, match="Input/output error"):
            write(path, "new")
    assert (path / "a").read_text() == "old" and os.listdir(tmp_path) == ["x"]


def test_the_old_folder_outlives_a_disk_on_which_nothing_can_be_renamed_any_more(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write(path, "old")
    monkeypatch.setattr(scratch, "_exchange", lambda one, other: False)
    rename, calls = os.rename, []

    def failing(source, target):
        calls.append(source)
        if len(calls) > 1:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", failing)
        with pytest.raises(OSError, match="Input/output error"):
            write(path, "new")
    with pytest.raises(RuntimeError), io.atomic_dir(path):
        raise RuntimeError
    assert (path / "a").read_text() == "old" and os.listdir(tmp_path) == ["x"]


def test_a_file_where_a_folder_goes_and_a_folder_where_a_file_goes_are_one_sentence(tmp_path):
    io.write_text("mine", tmp_path / "x")
    for path in (tmp_path / "x", tmp_path / "x" / "y"):
        with pytest.raises(CatalogError, match=r"cannot be written, since a file .+; move it away\.$"), io.atomic_dir(path):
            pass
    with pytest.raises(
        CatalogError, match=r"x/y/z cannot be written, since a file stands where its folder .+x/y should be; move it away\.$"
    ):
        io.write_text("1", tmp_path / "x" / "y" / "z")
    with pytest.raises(CatalogError, match="a file of that name is there"), io.atomic_dir(tmp_path / "later"):
        (tmp_path / "later").write_text("made meanwhile")
    write(tmp_path / "folder", "1")
    with pytest.raises(CatalogError, match=r"folder cannot be written, since it is a folder; move it away\.$"):
        io.write_text("1", tmp_path / "folder")
    assert (tmp_path / "x").read_text() == "mine" and sorted(os.listdir(tmp_path)) == ["folder", "later", "x"]


def test_a_link_to_a_folder_is_replaced_and_what_it_points_to_stays(tmp_path, way):
    write(tmp_path / "far", "far")
    (tmp_path / "x").symlink_to("far")
    write(tmp_path / "x", "new")
    assert (tmp_path / "x" / "a").read_text() == "new" and (tmp_path / "far" / "a").read_text() == "far"
    assert sorted(os.listdir(tmp_path)) == ["far", "x"]
