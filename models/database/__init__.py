"""The state in SQL: PostgreSQL and SQLite."""
