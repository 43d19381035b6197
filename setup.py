"""Package calcnb from settings.ini, so that names, versions and requirements stand in one place."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=["="])
parser.read(here / "settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]


def lines(key):
    return [line.strip() for line in cfg.get(key, "").splitlines() if line.strip()]


setup(
    name=cfg["name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8") if (here / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    author=cfg["author"],
    license=cfg["license"],
    keywords=cfg["keywords"].split(),
    python_requires=f">={cfg['min_python']},<{cfg['max_python']}",
    packages=find_packages(include=["calcnb", "calcnb.*"]),
    include_package_data=True,
    package_data={"calcnb.report": ["template/*"], "calcnb.formats": ["*.yaml"], "calcnb.nets": ["weights/*"]},
    install_requires=lines("requirements"),
    extras_require={extra: lines(f"{extra}_requirements") for extra in ("wandb", "tensorboard", "tune", "explain", "docs", "dev")},
    entry_points={
        "console_scripts": lines("console_scripts"),
        "papermill.engine": lines("papermill_engine"),
        "nbdev": ["calcnb=calcnb._modidx:d"],
    },
)
