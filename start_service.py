"""Starts the service: ``python start_service.py``."""

import sys

from config import Settings, SettingsError, load_settings


def main() -> int:
    """Runs the service until it is stopped. Exit codes: 0 stopped, 1 could not run, 2 settings."""
    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"Wrong setting: {error}", file=sys.stderr)
        return 2
    return serve(settings)


def serve(settings: Settings) -> int:
    """Serves until SIGINT or SIGTERM."""
    # Prefect reads its environment as it is imported: everything that imports it comes after.
    from flows.prefect_environment import prepare_prefect  # noqa: PLC0415

    prepare_prefect(settings.prefect_api_url, settings.prefect_home)

    import uvicorn  # noqa: PLC0415

    from api_service import create_app  # noqa: PLC0415
    from logs import set_up_logging  # noqa: PLC0415

    set_up_logging(settings.log_level, settings.log_format)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
        )
    )
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
