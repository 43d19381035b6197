"""The package: what setup.py reads, what the wheel holds, what the console command says."""
import re
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from importlib import metadata

import pytest

import calcnb
from calcnb.formats.files import project_root

ROOT = project_root()


def settings():
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini")
    return parser["DEFAULT"]


def test_one_version_everywhere():
    assert settings()["version"] == calcnb.__version__ == metadata.version("calcnb")
    assert f"## {calcnb.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_pyproject_holds_the_build_system_and_nbdev_alone():
    toml = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(toml) == {"build-system", "tool"} and set(toml["tool"]) == {"nbdev"}


def test_the_lock_has_every_requirement():
    locked = {re.split(r"[=\[; ]", line)[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines() if re.match(r"[a-zA-Z]", line)}
    for key in ("requirements", "dev_requirements"):
        names = {re.split(r"[<>=\[; ]", line.strip())[0].lower() for line in settings()[key].splitlines() if line.strip()}
        assert names <= locked


def test_extras_and_entry_points_are_declared():
    assert {"wandb", "tune", "docs", "dev"} <= set(metadata.metadata("calcnb").get_all("Provides-Extra"))
    assert metadata.metadata("calcnb")["Requires-Python"] in ("<3.14,>=3.11", ">=3.11,<3.14")
    names = {(e.group, e.name) for e in metadata.distribution("calcnb").entry_points}
    assert {("console_scripts", "calcnb"), ("papermill.engine", "nbdev")} <= names


def test_help_says_what_it_is():
    said = subprocess.run([sys.executable, "-m", "calcnb.report.command", "--help"], capture_output=True, text=True)
    assert said.returncode == 0 and "not a medical device" in said.stdout


@pytest.mark.slow
def test_the_wheel_holds_modules_and_templates(tmp_path):
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("calcnb/formats/files.py", "calcnb/report/template/index.html.j2", "calcnb/report/template/conf.json", "calcnb/report/template/style.css", "calcnb/formats/chest_rules.yaml",
                 "calcnb/nets/weights/calcification.keras", "calcnb/nets/weights/calcification.json"):
        assert name in names, name
