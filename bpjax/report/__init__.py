"""What a run found out: data first (report.json), then a table and plots drawn from it."""
