"""A Python that lacks the packages, as the system's where the environment is not switched on, says so in one sentence."""

import subprocess
import sys

import pytest
from declarations import ROOT


@pytest.mark.parametrize("command", [["stages.fetch", "smollm2_gguf"], ["stages.sepo.train", "small"], ["catalog.database.summary"]])
def test_a_python_without_the_packages_names_the_remedy(command):
    # -S: without the folder of installed packages
    result = subprocess.run([sys.executable, "-S", "-m", *command], cwd=ROOT, env={}, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: {sys.executable} lacks this project's packages (duckdb, ")
    assert "switch the environment on with `. .venv/bin/activate`" in result.stderr and result.stderr.count("\n") == 1
