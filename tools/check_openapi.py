"""Asks a running server whatever its /openapi.json allows and forbids, and looks at the answers.

pip install schemathesis
cactus serve MODEL --port 8081 &
python tools/check_openapi.py http://127.0.0.1:8081 --examples 50

No answer may be 500, and each must have a status, a type and a body that are described. What a
schema cannot say (a role that there is not, a prompt that is too long) is refused with 400, which
is described, too. Requests that would end the server, or fetch and delete models, are not made, nor
those that this server answers with 501.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SPARED = "/cactus/(stop|unload)|/api/(pull|delete|copy|create|push|blobs)"
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "401", "403", "404", "409", "413", "415", "429", "503"]
[generation]
max-examples = {examples}
[phases.stateful]
enabled = false
"""


def main() -> int:
    """The exit status of schemathesis."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--key", default=os.environ.get("CACTUS_API_KEY"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        config = Path(home) / "schemathesis.toml"
        config.write_text(CONFIG.format(examples=given.examples))
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"),
            *(f"{given.url}/openapi.json", "--url", given.url, "--checks", "all"),
            *("--exclude-path-regex", SPARED, "--request-timeout", "60"),
        ]
        if given.key:
            command += ["--header", f"Authorization: Bearer {given.key}"]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
