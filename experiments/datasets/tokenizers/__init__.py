"""Tokenizers: from sentences (`sentences`) or running text (`text`) to ids and back."""
