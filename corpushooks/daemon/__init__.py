"""The daemon.

server       listen, serve callers, start the lanes
pulse        run the health checks of live releases
overdue      notify of overdue backups and drills
"""
