"""Run page: serves the built files of ``ui/``, with which people see and control executions.

The files are in ``api/ui_files``, so that the service needs no Node.js. Their names in ``assets``
contain a hash of their content, so that browsers keep them.
"""

import gzip
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from http import HTTPStatus
from mimetypes import guess_type
from pathlib import Path, PurePosixPath

from fastapi import APIRouter, Response
from starlette.requests import Request

from api.errors import problem
from api.etags import IfNoneMatch, etag, matches_version

FILES = Path(__file__).resolve().parent.parent / "ui_files"
INDEX = "index.html"
_ASSETS = "assets"
_COMPRESSED_TYPES = ("text/", "image/svg")
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        # The component library creates style elements.
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    compressed: bytes | None
    media_type: str
    version: str
    is_permanent: bool


@lru_cache(maxsize=256)
def _read(name: str) -> _File:
    content = (FILES / name).read_bytes()
    media_type = guess_type(name)[0] or "application/octet-stream"
    # Faster than a proxy could, because each file is compressed once.
    is_compressed = media_type.startswith(_COMPRESSED_TYPES)
    return _File(
        content,
        gzip.compress(content, mtime=0) if is_compressed else None,
        media_type,
        sha256(content).hexdigest()[:32],
        is_permanent=PurePosixPath(name).parts[0] == _ASSETS,
    )


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(
        path.relative_to(FILES).as_posix() for path in FILES.rglob("*") if path.is_file()
    )


@router.api_route("/ui", methods=["GET", "HEAD"])
@router.api_route("/ui/{path:path}", methods=["GET", "HEAD"])
def get_file(request: Request, path: str = "", if_none_match: IfNoneMatch = None) -> Response:
    """Return a file of the page, or the page itself for the address of each of its views."""
    names = _names()
    if path not in names:
        if INDEX not in names or PurePosixPath(path).parts[:1] == (_ASSETS,):
            return problem(HTTPStatus.NOT_FOUND, f"The run page has no file {path!r}")
        path = INDEX
    file = _read(path)
    headers = {
        "ETag": etag(file.version),
        "Cache-Control": "public, max-age=31536000, immutable" if file.is_permanent else "no-cache",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Vary": "Accept-Encoding",
    }
    if matches_version(if_none_match, file.version):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    content = file.content
    if file.compressed is not None and _accepts_gzip(request):
        content = file.compressed
        headers |= {"Content-Encoding": "gzip", "ETag": f'W/"{file.version}"'}
    return Response(content, media_type=file.media_type, headers=headers)


def _accepts_gzip(request: Request) -> bool:
    """Return whether ``Accept-Encoding`` lists gzip with a weight above zero."""
    for item in request.headers.get("accept-encoding", "").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name in {"gzip", "*"}:
            return not any(part.replace(" ", "").rstrip("0.") == "q=" for part in parameters)
    return False
