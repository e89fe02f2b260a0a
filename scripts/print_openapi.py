"""OpenAPI printer: writes the OpenAPI document of the service to standard output, as JSON.

``clients/typescript`` generates its types from it.
"""

import json
import sys

from api_service import create_app
from config import Settings


def main() -> None:
    """Print the document with the settings that a service without a ``.env`` file has."""
    settings = Settings(_env_file=None)  # pyright: ignore[reportCallIssue]
    document = create_app(settings).openapi()
    json.dump(document, sys.stdout, ensure_ascii=False, sort_keys=True)


if __name__ == "__main__":
    main()
