"""How each sub-command is typed: arguments, options, help. Nothing here imports Ray or PyArrow: help is quick."""
