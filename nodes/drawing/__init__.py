"""Pictures of what a run did, drawn with Pillow; colours are told apart by colour-blind readers."""
