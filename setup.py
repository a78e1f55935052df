"""What setup.cfg cannot say: where the links of the README lead elsewhere, and that each build begins afresh."""

import configparser
import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
CONFIG = configparser.ConfigParser()
CONFIG.read(HERE / "setup.cfg", encoding="utf-8")
HOME = re.search(r"Homepage = (\S+)", CONFIG["metadata"]["project_urls"])[1]
README = (HERE / "README.md").read_text(encoding="utf-8")
URLS = {
    "Homepage": HOME,
    "Documentation": f"{HOME}/blob/main/docs/index.md",
    "Source": HOME,
    "Issues": f"{HOME}/issues",
    "Changelog": f"{HOME}/blob/main/CHANGELOG.md",
}


class Afresh(build_py):
    """Build from what is there now: build/lib has what an earlier build found, and what is renamed since."""

    def run(self):
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(
    long_description=re.sub(r"\]\((?!\w+:|#)", f"]({HOME}/blob/main/", README),
    project_urls=URLS,
    cmdclass={"build_py": Afresh},
)
