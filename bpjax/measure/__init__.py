"""What a model costs: its latency, its arithmetic, and its cost by the sizes of its layers."""
