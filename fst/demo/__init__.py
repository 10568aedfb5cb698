"""The web page of `fst-demo`: everything but `page` and `server` runs without gradio."""
