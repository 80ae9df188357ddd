"""The twenty bAbI tasks in English, read from a folder of the original files."""
