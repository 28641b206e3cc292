"""Plumbing that knows no word of the domain, and imports nothing from the rest of the app."""
