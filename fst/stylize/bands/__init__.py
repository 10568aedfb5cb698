"""Pictures that memory would not hold, painted in bands of rows."""
