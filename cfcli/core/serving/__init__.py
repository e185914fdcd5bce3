"""What a run is for: predictions, recommendations, similar items, embeddings."""
