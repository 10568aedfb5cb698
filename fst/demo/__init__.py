"""The web page of `fst-demo`: all but `page`, `parts` and `server` runs without gradio."""
