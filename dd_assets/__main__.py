"""`python -m dd_assets`: the same as the `dd-assets` command. Nothing else belongs here."""

from dd_assets.cli import main

main(prog_name="dd-assets")
