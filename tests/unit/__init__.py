"""What needs neither a broker nor a database."""
