"""The pure core: events, claims, schedule. No SQL, no settings, no clock."""
