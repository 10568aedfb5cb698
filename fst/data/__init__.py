"""Where training pictures come from: folders of photos and procedural scenes."""
