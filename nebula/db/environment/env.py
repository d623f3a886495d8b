"""Alembic's environment for every branch; run by `nebula.db.migrate`, never by hand."""

from alembic import context

from nebula.db.migrate import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata(),
    transaction_per_migration=True,
    compare_type=True,
    include_object=context.config.attributes.get("include_object"),
)
with context.begin_transaction():
    context.run_migrations()
