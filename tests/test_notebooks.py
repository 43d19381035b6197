"""What every notebook keeps to."""
import ast
import json
import re

import papermill
import pytest

from calcnb.formats.files import project_root
from calcnb.report.modules import notebook_imports
from calcnb.report.stage import STAGES

ROOT = project_root()
SHARED = ["layout", "raw_dir", "work_dir", "report_dir", "seed"]
NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def cells(path, kind="code"):
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == kind]


@pytest.mark.parametrize("notebook", STAGES.values())
def test_papermill_reads_every_parameter(notebook):
    """A comment with a semicolon is enough for papermill to overlook the parameter."""
    path = ROOT / "nbs" / f"{notebook}.ipynb"
    (source,) = ["".join(c["source"]) for c in cells(path) if "parameters" in c["metadata"].get("tags", [])]
    assigned = [node.targets[0].id for node in ast.parse(source).body]
    assert assigned[:5] == SHARED
    assert list(papermill.inspect_notebook(str(path))) == assigned
    for node in ast.parse(source).body:
        ast.literal_eval(node.value)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_clean_and_starts_with_a_summary(path):
    assert all(not c["outputs"] and c["execution_count"] is None for c in cells(path))
    assert re.match(r"# .+\n> .+", "".join(cells(path, "markdown")[0]["source"]))
    ids = [c["id"] for c in json.loads(path.read_text())["cells"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_arrows_run_down_only(path):
    """Stages import no stage; formats import formats alone; no notebook imports what it exports."""
    source = "\n".join("".join(c["source"]) for c in cells(path))
    own = re.search(r"#\|\s*default_exp\s+(\S+)", source)
    exported = "\n".join("".join(c["source"]) for c in cells(path) if re.match(r"#\|\s*export", "".join(c["source"])))
    rooms = {m.group(1) for m in re.finditer(r"^from calcnb\.(\w+)", exported, re.M)} | {m.group(1) for m in re.finditer(r"^import calcnb\.(\w+)", exported, re.M)}
    assert not rooms & set(STAGES), "a stage talks to others through files alone"
    if own:
        assert f"calcnb.{own.group(1)}" not in notebook_imports(path)
    room = path.parent.name
    allowed = {"formats": {"formats"}, "image": {"formats", "image"}}.get(room)
    assert allowed is None or rooms <= allowed


@pytest.mark.parametrize("notebook", [n for n in STAGES.values() if n not in ("05_segment", "12_weights")])
def test_stages_without_a_net_do_without_keras(notebook):
    from calcnb.report.modules import modules_of

    texts = [p.read_text() for p in modules_of(ROOT / "nbs" / f"{notebook}.ipynb")] + ["".join(c["source"]) for c in cells(ROOT / "nbs" / f"{notebook}.ipynb")]
    assert not any(re.search(r"^\s*(import|from) (keras|tensorflow)", text, re.M) for text in texts)
