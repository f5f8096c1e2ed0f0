"""Speech to text: Whisper's prompts, rules and searches, and recordings of any length."""
