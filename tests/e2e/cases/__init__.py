"""The end-to-end cases, one file per theme."""
