"""Shinchoku (進捗): how public plans are really going, as an open REST API."""
