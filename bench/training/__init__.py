"""How a method is trained: batches, cached features, the loop, schedule, budgets, checkpoints."""
