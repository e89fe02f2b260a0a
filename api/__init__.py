"""The HTTP interface: routers by resource, and the one place where errors become answers."""

from starlette.convertors import PathConvertor, register_url_convertor


class _AnyText(PathConvertor):
    """A part of a path that may contain slashes and line breaks; the original stops at a break."""

    regex = r"(?s:.*)"


register_url_convertor("path", _AnyText())
