"""What outsiders send, changed at random: records, files and addresses of the board."""
