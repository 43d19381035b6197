"""What a run promises: nothing twice, everything below a change, failures seen, kills survived."""
import json
import os
import re
import signal
import subprocess
import time

import nbformat
import pytest

from calcnb.formats.layouts import LAYOUTS


def cards(index):
    return {stage: kind for kind, stage in re.findall(r'class="card is-(\w+)" id="(\w+)"', index)}


def test_a_run_does_what_is_needed_and_nothing_twice(toy):
    first = toy.run()
    assert first.returncode == 0, first.stderr
    assert sorted(toy.ran()) == ["clusters", "explore", "merge", "split"]
    assert first.stdout.strip().splitlines()[-1] == f"report: {toy.root}/reports/toy/index.html"
    assert set(cards(toy.index()).values()) == {"done"}
    before = toy.values()

    again = toy.run()
    assert again.returncode == 0 and toy.ran() == []

    toy.write(split=dict(factor=100))
    assert toy.run().returncode == 0
    assert toy.ran() == ["split", "clusters"]
    after = toy.values()
    assert (after["explore"], after["merge"]) == (before["explore"], before["merge"])
    assert after["split"] == before["split"] + 99 and after["clusters"] == before["clusters"] + 99

    path = toy.root / "nbs" / "04_split.ipynb"
    os.utime(path)
    assert toy.run().returncode == 0 and toy.ran() == []
    nb = nbformat.read(path, 4)
    nb.cells[-1].source += "\n# changed"
    nbformat.write(nb, path)
    toy.run()
    assert toy.ran() == ["split", "clusters"]

    (toy.root / "data/raw/new.dcm").write_bytes(b"a new file")
    toy.run()
    assert "explore" in toy.ran()


def test_a_failing_stage_is_shown_and_the_others_still_run(toy):
    toy.write(merge=dict(fail=True))
    result = toy.run()
    assert result.returncode != 0
    assert "02_merge failed: ZeroDivisionError: planted failure" in result.stdout
    assert cards(toy.index()) == dict(explore="done", merge="failed", split="done", clusters="done")
    page = (toy.root / "reports/toy/02_merge.html").read_text()
    assert "planted failure" in page and "This stage failed." in page
    kept = nbformat.read(toy.root / "reports/toy/notebooks/02_merge.ipynb", 4)
    assert any(o.output_type == "error" for c in kept.cells if c.cell_type == "code" for o in c.outputs)
    assert not (toy.root / "reports/toy/metrics/merge.json").exists()

    toy.write(split=dict(fail=True))
    toy.run()
    assert cards(toy.index()) == dict(explore="done", merge="done", split="failed", clusters="stale")

    toy.write()
    assert toy.run().returncode == 0 and set(cards(toy.index()).values()) == {"done"}


@pytest.mark.parametrize("stage", ["split", pytest.param("explore", marks=pytest.mark.slow), pytest.param("clusters", marks=pytest.mark.slow)])
def test_a_killed_run_resumes_with_the_figures_of_an_unbroken_one(toy, stage):
    toy.run()
    unbroken = toy.values()
    toy.write(**{stage: dict(pause=100, factor=7)})
    (toy.root / "data/work/started").unlink()
    process = subprocess.Popen(toy.command(), cwd=toy.root, env=toy.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while not (toy.root / "data/work/started").exists():
        time.sleep(0.1)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    toy.ran()
    toy.write()
    result = toy.run()
    assert result.returncode == 0, result.stdout + result.stderr
    assert stage in toy.ran()
    assert toy.values() == unbroken


def test_the_command_line_changes_one_run(toy):
    assert toy.run("--stages", "01,02", "--set", "explore.factor=5", "--seed", "9").returncode == 0
    assert toy.ran() == ["explore", "merge"]
    assert toy.values() == dict(explore=5, merge=6)
    assert json.loads((toy.root / "reports/toy/metrics/explore.json").read_text())["seed"] == 9
    assert cards(toy.index())["split"] == "waiting"


def test_wrong_words_are_one_sentence(toy):
    result = toy.run("--study", "nothing")
    assert result.returncode == 2 and result.stderr.strip() == "calcnb: study: there is no nothing.yaml; the studies here are toy"
    toy.study["layout"] = "inbrest"
    toy.write()
    assert toy.run().stderr.strip() == f"calcnb: layout: 'inbrest' is not one of {', '.join(LAYOUTS)}"
    toy.study.update(layout="inbreast", raw_dir="data/nowhere")
    toy.write()
    assert toy.run().stderr.strip() == "calcnb: raw_dir: there is no folder data/nowhere"
