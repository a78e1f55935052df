"""Run the command as python -m corpushooks."""

from corpushooks.cli import main

main()
