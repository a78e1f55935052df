"""What setup.cfg cannot say: where a README that is read elsewhere leads to."""

import configparser
import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
CONFIG = configparser.ConfigParser()
CONFIG.read(HERE / "setup.cfg", encoding="utf-8")
HOME = re.search(r"Homepage = (\S+)", CONFIG["metadata"]["project_urls"])[1]
README = (HERE / "README.md").read_text(encoding="utf-8")

setup(long_description=re.sub(r"\]\((?!\w+:|#)", f"]({HOME}/blob/main/", README))
