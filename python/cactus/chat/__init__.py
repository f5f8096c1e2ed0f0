"""Messages, tools and chat templates: from what a caller says to the text of a prompt."""
