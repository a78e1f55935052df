"""The daemon.

server       listen, have callers served, wake the lanes
pulse        ask live releases whether they are healthy
overdue      tell people of backups and drills that are overdue
"""
