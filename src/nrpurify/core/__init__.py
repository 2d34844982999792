"""What knows torch and files, and nothing of attacks, models and tasks."""
