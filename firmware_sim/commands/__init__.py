"""The command groups of ``gridwitness-sim``, one file each."""
