"""Every log line is masked and has the same format, from any logger."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOGGERS = [
    "root",
    "uvicorn.error",
    "fastapi",
    "prefect.flow_runs",
    "prefect._internal.x",
    "other.library",
]
# Like the start of the service: Prefect adds handlers to several loggers at import.
WRITES = f"""
import logging
import sys
from pathlib import Path
from flows.prefect_adapter.environment import prepare_prefect
prepare_prefect(None, Path(sys.argv[1]))
import api_service
from tasks.masking import secret_masker
from logs import configure_logging
secret_masker.add_secret("v3ry-s3cret")
configure_logging("INFO", "json")
for name in {LOGGERS!r}:
    try:
        raise RuntimeError("traced v3ry-s3cret")
    except RuntimeError:
        logging.getLogger(name).exception("%s says %s", name, "v3ry-s3cret")
(shipped,) = (h for h in logging.getLogger("prefect.flow_runs").handlers)
print(shipped.format(logging.makeLogRecord(dict(msg="shipped v3ry-s3cret"))))
"""


def test_no_logger_shows_a_secret_or_uses_another_format(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", WRITES, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "INFO"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == [f"{name} says ***" for name in LOGGERS]
    assert all("traced ***" in line["exception"] for line in lines)
    assert done.stdout == "shipped ***\n"
