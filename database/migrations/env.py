"""Alembic environment: runs the migrations on the connection of ``database.schema``."""

from alembic import context

from database.schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
