"""What a training needs, and what solvers choose by size."""
