"""How fast the service is: ``python -m bench``. ``README.md`` says how to read it."""
