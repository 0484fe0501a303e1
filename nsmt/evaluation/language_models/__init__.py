"""What language models do under intervention: likelihood, language, tasks."""
