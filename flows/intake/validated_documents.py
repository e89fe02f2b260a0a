"""Validated documents: remembers the graphs of the documents that were submitted last.

The validation of a document of ten nodes takes a third of the time of a submission, and clients
submit the same workflow again and again.
"""

import threading
from collections import OrderedDict

from engine.limits import DocumentLimits
from engine.normalization import Normalized
from engine.validation import TypeRules, read_and_validate

MAX_DOCUMENTS = 100
MAX_CHARACTERS = 500_000
"""Maximum length of all remembered documents; a graph needs about ten times the memory."""


class ValidatedDocuments:
    """Validates documents as JSON text, each one once while it is remembered, in any thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, tuple[str, ...], DocumentLimits], Normalized] = (
            OrderedDict()
        )
        self._characters = 0
        self._lock = threading.Lock()

    def read(self, text: str, rules: TypeRules, limits: DocumentLimits) -> Normalized:
        """Return the graph of a document, which the caller must not change.

        Raises:
            InvalidDocumentError: If it cannot run; it is then not remembered.
        """
        key = (text, tuple(rules.known), limits)
        with self._lock:
            if (known := self._known.get(key)) is not None:
                self._known.move_to_end(key)
                return known
        normalized = read_and_validate(text, rules, limits)
        with self._lock:
            if key not in self._known:
                self._known[key] = normalized
                self._characters += len(text)
            while len(self._known) > MAX_DOCUMENTS or self._characters > MAX_CHARACTERS:
                (oldest, *_), _ = self._known.popitem(last=False)
                self._characters -= len(oldest)
        return normalized
