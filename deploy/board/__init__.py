"""The board: pages for people and an API for programs, served by every worker, of all programmes in the database."""
