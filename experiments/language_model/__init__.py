"""Language models: train a GPT on text, measure it, let it write."""
