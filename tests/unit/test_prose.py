"""The prose of the project: patterns of hard English, in code, tests and docs, stay at zero."""

import io
import re
import subprocess
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PATTERNS = {
    "a headless clause starts the sentence": r"(?:^|[.:;] )(?:What|Who|Whatever) (?!you )\w",
    "an indefinite person": r"\b(?:[Ww]hoever|(?:[Nn]o|[Ss]ome|[Aa]ny|[Ee]very)body)\b",
    "a negated noun": r"\b(?:is|are|was|were) no (?!longer\b|more\b|other\b)[A-Za-z]",
    "an archaic word": r"\b(?:for ever|anew|shall|in vain|turn about|whereupon|hitherto)\b",
    "a causative verb": r'^"{0,3}Has (?!no\b)\w',
    "a vague motion verb": r"\bcomes? to\b(?! (?:an end|rest)\b)",
    "a German genitive": r"\bof (?:its|their|our) own making\b",
    "a personified program": r"\b(?:[Tt]ells?|told|[Hh]ears?|heard)\b",
    "a vague continuation": r"\b(?:goes|go|went|gone|going) on\b",
}
"""Name of the pattern -> regular expression, as ``CONTRIBUTING.md`` explains them."""

ALLOWED = {
    "tests/api/test_webhook_senders.py": {"Everybody"},  # GitHub's published example of a secret
}
"""Path -> words that may stay there, because they are data or quotations."""

NOT_PROSE = {"tests/unit/test_prose.py", "LICENSE", "constraints.txt"}


def _files() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    names = [name for name in listed.stdout.split("\0") if name]
    paths = [ROOT / name for name in names] or list(ROOT.rglob("*"))
    return [
        path
        for path in paths
        if path.suffix in (".py", ".md") and path.is_file() and ".venv" not in path.parts
    ]


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of comments, strings and pages, with their numbers."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        fenced = False
        for number, line in enumerate(text.splitlines(), 1):
            fenced ^= line.lstrip().startswith("```")
            if not fenced:
                yield number, re.sub(r"`[^`]*`", "``", line)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, re.sub(r"``[^`]*``", "``", line.strip(" #"))
        elif token.type == tokenize.NAME and token.string.startswith("test_"):
            yield token.start[0], token.string.removeprefix("test_").replace("_", " ")


def findings(name: str, lines: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Yield the matches of the patterns in the lines of a file."""
    for number, line in lines:
        for pattern, expression in PATTERNS.items():
            for match in re.finditer(expression, line.strip("\"' ")):
                if match[0].strip() not in ALLOWED.get(name, set()):
                    yield f"{name}:{number}: {pattern}: {match[0]!r} in {line.strip()[:90]!r}"


def test_every_file_is_written_in_plain_english():
    names = {path.relative_to(ROOT).as_posix(): path for path in _files()}
    assert len(names) > 300
    found = [
        finding
        for name, path in names.items()
        if name not in NOT_PROSE
        for finding in findings(name, prose_of(path))
    ]
    assert found == []


EXAMPLES = {
    "a headless clause starts the sentence": "What a node returns is checked",
    "an indefinite person": "nobody may claim it",
    "a negated noun": "the body is no JSON",
    "an archaic word": "it waits for ever",
    "a causative verb": "Has the worker stop",
    "a vague motion verb": "what comes to it",
    "a German genitive": "a row of its own making",
    "a personified program": "the log tells why",
    "a vague continuation": "the execution goes on",
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_its_example(tmp_path: Path, pattern: str):
    page = tmp_path / "page.md"
    page.write_text(EXAMPLES[pattern], encoding="utf-8")
    (found, *_) = findings("page.md", prose_of(page))
    assert pattern in found
