"""The domain, the database, and what all user interfaces show of them."""
