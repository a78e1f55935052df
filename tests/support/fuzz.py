"""Ask the API what its document allows, and much that it does not: python -m tests.support.fuzz [SEED [SECONDS]]

schemathesis asks a host of its own in a temporary folder, and names what answers 500, or not as the document says.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from corpushooks.system.process import run
from tests.support.shared_box import shared_box
from tests.support.web import serving

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES = 20  # of each operation
LONGEST = 600  # seconds of asking
LEFT = "log$|/tokens/|sessions|sign"  # what is followed for ever, or would end who asks


def main() -> int:
    """Return 0 where nothing was found."""
    seed, longest = sys.argv[1:2] or ["1"], (sys.argv[2:3] or [str(LONGEST)])[0]
    with tempfile.TemporaryDirectory(prefix="corpushooks-") as made, shared_box(Path(made), page="one") as box, \
            serving(box) as web:  # fmt: skip
        words = [
            Path(sys.executable).with_name("schemathesis"), "run",
            f"http://127.0.0.1:{web.port}/api/v1/openapi.json", "--url", f"http://127.0.0.1:{web.port}/api/v1",
            "--header", f"Authorization: Bearer {web.token('host')}", "--checks", CHECKS, "--seed", *seed,
            "--max-examples", str(EXAMPLES), "--phases", "examples,coverage,fuzzing", "--exclude-path-regex", LEFT,
            "--request-timeout", "60", "--max-time", longest, "--continue-on-failure", "--no-color",
        ]  # fmt: skip
        done = run(words, check=False, timeout=3600)
        print((done.stdout + done.stderr).decode())
        return done.code


if __name__ == "__main__":
    sys.exit(main())
