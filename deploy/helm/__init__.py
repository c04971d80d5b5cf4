"""The Helm chart, and what writes the files that it copies from elsewhere."""
