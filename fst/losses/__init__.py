"""What makes a picture good: content, style statistics and smoothness."""
