"""What Alembic runs: the scripts, in the transaction that its caller has begun and will end."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True, transaction_per_migration=False)
context.run_migrations()
