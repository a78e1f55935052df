"""An application: it shows what it was started with."""

import json
import os
import sys

with open("settings.json") as file:
    settings = json.load(file)
json.dump({"arguments": sys.argv[1:], "mode": os.environ.get("APP_MODE"), **settings}, sys.stdout)
