"""Fetch the page of the application until it answers; otherwise show the end of its log, and fail."""

import json
import sys
import time
import urllib.request
from pathlib import Path

settings = json.loads(Path("settings.json").read_text())
url = f"http://127.0.0.1:{settings['port']}/"
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for _ in range(20):
    try:
        print(direct.open(url, timeout=2).read().decode())
        sys.exit(0)
    except OSError as exc:
        problem = exc
        time.sleep(0.1)
print(f"no page: {problem}")
lines = [line for line in Path(settings["log"]).read_text().splitlines() if line.strip("-")]
print("its log ends with:", lines[-1] if lines else "nothing")
sys.exit(1)
