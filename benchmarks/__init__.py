"""What is measured, and against whom. Nothing here is imported by bpjax."""
