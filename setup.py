"""What setup.cfg cannot say: what lies where at home, for those who read the README elsewhere."""

import configparser
import re
from pathlib import Path

from setuptools import setup

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

setup(long_description=re.sub(r"\]\((?!\w+:|#)", f"]({HOME}/blob/main/", README), project_urls=URLS)
