"""What the command line, the API and the pages all show."""
