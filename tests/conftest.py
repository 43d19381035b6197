"""A toy project: the real workflow, command and engine over four tiny notebooks, so that whole runs take seconds."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from calcnb.report.command import AFTER
from calcnb.report.stage import STAGES

PROJECT = Path(__file__).parent.parent
TOY_STAGES = ["explore", "merge", "split", "clusters"]  # merge and split rest on explore, clusters on explore and split
PARAMETERS = '''layout = "inbreast"
raw_dir = "data/raw"
work_dir = "data/work"
report_dir = "reports/toy"
seed = 1
factor = 1
fail = False
pause = 0.0'''
BODY = '''import json, pathlib, time
from calcnb.report.stage import Stage
stage = Stage({stage!r}, layout=layout, raw_dir=raw_dir, work_dir=work_dir, report_dir=report_dir, seed=seed, factor=factor)
with open(stage.work_dir/"runs.log", "a") as log: log.write({stage!r} + "\\n")
value = factor
for name in {before!r}: value += int(stage.needs(f"{{name}}/value.txt").read_text())
(stage.work_dir/"started").touch()
time.sleep(pause)
if fail: raise ZeroDivisionError("planted failure")
(stage.folder/"value.txt").write_text(str(value))
stage.finish(value=value)'''


class ToyProject:
    def __init__(self, root):
        self.root = root
        for name in ("settings.ini", "workflow/Snakefile"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, root / name)
        for stage in TOY_STAGES:
            nb = new_notebook(cells=[
                new_markdown_cell(f"# {stage.capitalize()}\n> A toy stage."),
                new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
                new_markdown_cell("## Report"),
                new_code_cell(BODY.format(stage=stage, before=[s for s in AFTER.get(stage, []) if s in TOY_STAGES])),
            ])
            nb.metadata["kernelspec"] = dict(name="python3", language="python", display_name="python3")
            (root / "nbs").mkdir(exist_ok=True)
            nbformat.write(nb, root / "nbs" / f"{STAGES[stage]}.ipynb")
        (root / "data/raw").mkdir(parents=True)
        self.study = dict(title="Toy", layout="inbreast", raw_dir="data/raw", work_dir="data/work", report_dir="reports/toy", seed=1, parameters={})
        self.write()

    def write(self, **parameters):
        self.study["parameters"] = parameters
        (self.root / "config").mkdir(exist_ok=True)
        (self.root / "config" / "toy.yaml").write_text(yaml.safe_dump({**self.study, "stages": TOY_STAGES}))

    def command(self, *more):
        return [sys.executable, "-m", "calcnb.report.command", "run", "--study", "toy", "--cores", "2", *more]

    def environment(self):
        return {k: v for k, v in os.environ.items() if k != "CALCNB_RUN"}

    def run(self, *more, **kwargs):
        return subprocess.run(self.command(*more), cwd=self.root, env=self.environment(), capture_output=True, text=True, timeout=300, **kwargs)

    def ran(self):
        """The stages that have run since the last call, in order."""
        log = self.root / "data/work/runs.log"
        names = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return names

    def values(self):
        return {p.stem: json.loads(p.read_text())["figures"]["value"] for p in sorted((self.root / "reports/toy/metrics").glob("*.json"))}

    def index(self):
        return (self.root / "reports/toy/index.html").read_text()


@pytest.fixture
def toy(tmp_path):
    return ToyProject(tmp_path / "project")
