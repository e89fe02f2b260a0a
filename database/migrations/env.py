"""Alembic's entry: runs the migrations on the connection that ``database.schema`` hands over."""

from alembic import context

from database.schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
