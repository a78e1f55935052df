"""Public keys."""

from __future__ import annotations

from corpushooks.access.keys import Key

ED25519 = "AAAAC3NzaC1lZDI1NTE5AAAAIJ8Jsa6XAwCtvJko/jmcewlsn79y+t7dfBXNGgUctNLc"


OTHER = "AAAAC3NzaC1lZDI1NTE5AAAAIBvHpqMCVYFQXKkXi5hQNFQuGwFYZ0uK2yMJjmyFZH1n"


KEY = Key("alice", "ssh-ed25519", ED25519)
