"""A weights folder becomes a loaded model: options, memory, plans, program, tokenizer, template."""
