"""Documentation blocks: finds code blocks, runs their commands, and compares the output."""

import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config import ROOT

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")
MEASURED = {"duration", "seq", "position", "nextSeq", "total"}
"""Numbers that differ from run to run."""


@dataclass(frozen=True, slots=True)
class Block:
    """Fenced block: its page, first line, language and text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(str(page.relative_to(ROOT)), line, found[1], found[2])


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block, and the output that the page shows for it."""
    lines = block.text.splitlines()
    while lines:
        line = lines.pop(0)
        assert line.startswith("$ "), f"{block}: no command: {line}"
        command = line[2:]
        while not _is_complete(command):
            command += "\n" + lines.pop(0)
        shown: list[str] = []
        while lines and not lines[0].startswith("$ "):
            shown.append(lines.pop(0))
        yield command, "\n".join(shown).strip()


def _is_complete(command: str) -> bool:
    if command.endswith("\\"):
        return False
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def without_ellipses(text: str) -> str:
    """Return JSON text without the ellipses of a page."""
    return re.sub(r"(?<=[\[{])\s*…|,\s*…(?=\s*[\]}])", "", text)


@dataclass
class Reader:
    """Reader of a page: runs its commands with the ids that the service returned."""

    port: int
    database: Path
    ids: dict[str, str] = field(default_factory=dict[str, str])

    def run(self, command: str) -> str:
        """Return the output of a command."""
        text = UUID.sub(lambda found: self.ids[found[0]], command)
        text = text.replace("localhost:8000", f"127.0.0.1:{self.port}")
        text = text.replace("../database.sqlite", shlex.quote(str(self.database)))
        if text.startswith("sqlite3 ") and shutil.which("sqlite3") is None:
            return self._query(shlex.split(text)[-1])
        text = text.replace("./start.sh", f"{shlex.quote(sys.executable)} start_service.py")
        text = text.replace("./wf ", f"{shlex.quote(sys.executable)} wf.py ")
        ended = subprocess.run(
            ["sh", "-c", text],
            cwd=ROOT,
            env={
                "PATH": _path(),
                "DATABASE_PATH": str(self.database),
                "WF_URL": f"http://127.0.0.1:{self.port}",
            },
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert ended.returncode == 0, f"{text}: {ended.stderr}"
        return ended.stdout.strip()

    def _query(self, sql: str) -> str:
        with closing(sqlite3.connect(self.database)) as connection:
            cursor = connection.execute(sql)
            rows = [[column[0] for column in cursor.description], *cursor.fetchall()]
        return "\n".join("  ".join(map(str, row)) for row in rows)

    def difference(self, shown: str, printed: str) -> str | None:
        """Return the first difference between the page and the output; ids and times may differ."""
        if shown.startswith("HTTP/"):
            shown_head, _, shown = shown.partition("\n\n")
            head, _, printed = printed.replace("\r", "").partition("\n\n")
            if shown_head.splitlines()[0] != head.splitlines()[0]:
                return f"{head.splitlines()[0]} instead of {shown_head.splitlines()[0]}"
        if shown.startswith(("{", "[")):
            return self._json_difference(json.loads(without_ellipses(shown)), json.loads(printed))
        for line in shown.splitlines():
            for part in re.split(r"\s{2,}|…", line):
                if not re.fullmatch(r"[-\d]*", part) and part.strip() not in printed:
                    return f"'{part}' is not in: {printed}"
        return None

    def _json_difference(self, shown: Any, real: Any, at: str = "") -> str | None:
        if isinstance(shown, dict) and isinstance(real, dict):
            pairs = [(f"{at}/{key}", value, real.get(key, ...)) for key, value in shown.items()]
        elif isinstance(shown, list) and isinstance(real, list) and len(shown) <= len(real):
            pairs = [
                (f"{at}/{place}", *pair)
                for place, pair in enumerate(zip(shown, real, strict=False))
            ]
        else:
            same = self._is_same(at.rpartition("/")[2], shown, real)
            return None if same else f"{at} is {real!r}, and the page shows {shown!r}"
        return next(filter(None, (self._json_difference(b, c, a) for a, b, c in pairs)), None)

    def _is_same(self, name: str, shown: object, real: object) -> bool:
        if not isinstance(shown, str) or not isinstance(real, str):
            return shown == real or (name in MEASURED and isinstance(real, int))
        if TIME.fullmatch(shown):
            return TIME.fullmatch(real) is not None
        if UUID.fullmatch(shown):
            return self.ids.setdefault(shown, real) == real
        start, ellipsis, _ = shown.partition("…")
        known = next((full for full in self.ids if start and full.startswith(start)), None)
        if ellipsis and known:
            return real == self.ids[known]
        return shown == real or (ellipsis != "" and (real.startswith(start) or name.endswith("Id")))


def _path() -> str:
    return f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
